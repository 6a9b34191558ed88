//! `/dashboard/link`: a code that `silo-hub dashboard link` has printed becomes a session, once. The code is behind the
//! `#` of the link; a script sends it as the form does, and without a script one pastes it.

use std::sync::Arc;

use askama::Template;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::request::Parts;
use axum::http::{HeaderName, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use silo_shared::credential::Secret;

use super::error::{html, refused};
use super::form::{Form, require_own_origin};
use super::layout::{Chrome, Look, Section};
use super::session::{Session, see_other};
use crate::auth::secrets::LinkCode;
use crate::http::Hub;
use crate::http::auth::wrong_code;
use crate::http::body_budget::Sender;
use crate::http::client_ip::ClientIp;
use crate::http::error::ApiError;
use crate::http::site::{START, Site};

/// The page that takes a code.
#[derive(Template)]
#[template(path = "dashboard/link.html")]
struct LinkPage {
    chrome: Chrome,
    /// Why the code was refused.
    wrong: Option<String>,
    /// Whether others can read what is sent.
    is_readable_on_the_way: bool,
}

/// The values of the form.
#[derive(Deserialize)]
struct Shown {
    code: Option<Secret>,
}

impl LinkPage {
    fn new(parts: &Parts, site: &Site, wrong: Option<String>) -> Self {
        let look = Look::of(&parts.uri, &parts.headers);
        Self {
            chrome: Chrome::without_session(&look, "Sign in with a link", Section::None),
            wrong,
            is_readable_on_the_way: site.is_readable_on_the_way(),
        }
    }
}

/// The page. It is the same for someone who is signed in: the link may be of another role.
pub(super) async fn page(
    State(hub): State<Arc<Hub>>,
    request: Request,
) -> Result<Response, Response> {
    let (parts, _) = request.into_parts();
    let site = Site::of(&parts, &hub).map_err(refused)?;
    Ok(html(StatusCode::OK, &LinkPage::new(&parts, &site, None)))
}

/// The script that sends the code.
pub(super) async fn script() -> ([(HeaderName, &'static str); 1], &'static str) {
    let kind = [(CONTENT_TYPE, "text/javascript; charset=utf-8")];
    (kind, include_str!("../../assets/link.js"))
}

/// Signs in.
pub(super) async fn submit(
    State(hub): State<Arc<Hub>>,
    request: Request,
) -> Result<Response, Response> {
    let (mut parts, body) = request.into_parts();
    require_own_origin(&parts, &hub).map_err(refused)?;
    let site = Site::of(&parts, &hub).map_err(refused)?;
    let Ok(client) = ClientIp::from_request_parts(&mut parts, &hub).await;
    let former = Session::former(&mut parts, &hub).await.map_err(refused)?;
    let request = Request::from_parts(parts.clone(), body);
    let form = Form::read(&hub, request, Sender::Unauthenticated).await?;
    let Shown { code } = form.parse().map_err(refused)?;
    let code = code.and_then(|code| LinkCode::parse(code.expose().trim()));
    // After too many failures no code is looked up.
    let is_over = hub.failures.over_for(client.ip, hub.clock.reading());
    let begun = match &code {
        Some(code) if is_over.is_none() => {
            Session::begin_by_link(&hub, code, client, &site, former.as_ref()).await
        }
        _ => Ok(None),
    };
    if let Some(cookie) = begun.map_err(refused)? {
        return Ok(see_other(START, Some(cookie)));
    }
    Ok(again(&hub, &parts, &site, client))
}

/// The page again, with the reason beside the field. The attempt counts as a failure of the address.
fn again(hub: &Hub, parts: &Parts, site: &Site, client: ClientIp) -> Response {
    const USED: &str =
        "This link was used already, or has expired: print a new one with silo-hub dashboard link.";
    let refusal = ApiError::Unauthorized("no such link");
    let error = wrong_code(hub, client.ip, refusal);
    let (status, wrong) = match &error {
        ApiError::TooManyFailures { .. } => (error.status(), error.detail()),
        _ => (StatusCode::UNPROCESSABLE_ENTITY, USED.to_owned()),
    };
    let mut response = html(status, &LinkPage::new(parts, site, Some(wrong)));
    if let ApiError::TooManyFailures { retry_after } = error {
        response
            .headers_mut()
            .insert(RETRY_AFTER, retry_after.into());
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dashboard::pages::golden::{assert_golden, chrome_without_session};

    #[test]
    fn the_form_says_what_is_wrong_and_who_can_read_it() {
        let page = LinkPage {
            chrome: chrome_without_session("Sign in with a link"),
            wrong: None,
            is_readable_on_the_way: false,
        };
        assert_golden("link.html", &page);
        let page = LinkPage {
            wrong: Some("This link was <b>used</b>.".to_owned()),
            is_readable_on_the_way: true,
            ..page
        };
        assert_golden("link_refused.html", &page);
    }
}
