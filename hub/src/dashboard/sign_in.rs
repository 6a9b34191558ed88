//! `/dashboard/sign-in`: a token becomes a session.

use std::sync::Arc;

use askama::Template;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::http::request::Parts;
use axum::response::Response;
use serde::Deserialize;
use silo_shared::credential::{Credential, Secret};
use url::form_urlencoded;

use super::error::{html, refused};
use super::form::{Form, require_own_origin};
use super::layout::{Chrome, Look, Section};
use super::session::{Session, own_path, see_other};
use crate::http::Hub;
use crate::http::auth::Caller;
use crate::http::body_budget::Sender;
use crate::http::client_ip::ClientIp;
use crate::http::error::ApiError;
use crate::http::site::Site;

/// The page where one signs in.
#[derive(Template)]
#[template(path = "dashboard/sign_in.html")]
struct SignInPage {
    chrome: Chrome,
    /// Where to go afterwards.
    next: String,
    /// Why the token was refused.
    wrong: Option<String>,
    /// Whether others can read what is sent.
    is_readable_on_the_way: bool,
}

/// The values of the form.
#[derive(Deserialize)]
struct Shown {
    token: Option<Secret>,
    #[serde(default)]
    next: String,
}

impl SignInPage {
    fn new(parts: &Parts, site: &Site, next: &str, wrong: Option<String>) -> Self {
        let look = Look::of(&parts.uri, &parts.headers);
        Self {
            chrome: Chrome::without_session(&look, "Sign in", Section::None),
            next: own_path(next),
            wrong,
            is_readable_on_the_way: site.is_readable_on_the_way(),
        }
    }
}

/// The page; for someone who is signed in, the one that follows.
pub(super) async fn page(
    State(hub): State<Arc<Hub>>,
    request: Request,
) -> Result<Response, Response> {
    let (mut parts, _) = request.into_parts();
    let site = Site::of(&parts, &hub).map_err(refused)?;
    let query = parts.uri.query().unwrap_or("").to_owned();
    let next = form_urlencoded::parse(query.as_bytes())
        .find(|(name, _)| name == "next")
        .map_or_else(String::new, |(_, next)| next.into_owned());
    let session = Session::former(&mut parts, &hub).await.map_err(refused)?;
    if session.is_some() {
        return Ok(see_other(&own_path(&next), None));
    }
    let page = SignInPage::new(&parts, &site, &next, None);
    Ok(html(StatusCode::OK, &page))
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
    let Shown { token, next } = form.parse().map_err(refused)?;
    let credential = token.and_then(|token| Credential::parse(token.expose().trim()).ok());
    let caller = match Caller::signing_in(&hub, credential, client).await {
        Ok(caller) => caller,
        Err(error) => return again(&parts, &site, &next, error).map_err(refused),
    };
    if !caller.token().reads_silos() {
        let error = ApiError::invalid("", "this token's role reads no silos: use another token");
        return again(&parts, &site, &next, error).map_err(refused);
    }
    let begun = Session::begin(&hub, &caller, &site, former.as_ref()).await;
    let cookie = begun.map_err(refused)?;
    Ok(see_other(&own_path(&next), Some(cookie)))
}

/// The page again, with the reason beside the field. The token is not shown again.
fn again(parts: &Parts, site: &Site, next: &str, error: ApiError) -> Result<Response, ApiError> {
    let (status, wrong) = match &error {
        ApiError::Unauthorized(_) => (
            StatusCode::UNPROCESSABLE_ENTITY,
            "This token is unknown, revoked or expired.".to_owned(),
        ),
        ApiError::Invalid(_) | ApiError::TooManyFailures { .. } => (error.status(), error.detail()),
        _ => return Err(error),
    };
    let page = SignInPage::new(parts, site, next, Some(wrong));
    let mut response = html(status, &page);
    if let ApiError::TooManyFailures { retry_after } = error {
        response
            .headers_mut()
            .insert(RETRY_AFTER, retry_after.into());
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dashboard::pages::golden::{assert_golden, chrome_without_session};

    #[test]
    fn the_form_says_what_is_wrong_and_who_can_read_it() {
        let page = SignInPage {
            chrome: chrome_without_session("Sign in"),
            next: "/dashboard/".to_owned(),
            wrong: None,
            is_readable_on_the_way: false,
        };
        assert_golden("sign_in.html", &page);
        let page = SignInPage {
            next: "/dashboard/?q=<b>".to_owned(),
            wrong: Some("This token is <b>unknown</b>.".to_owned()),
            is_readable_on_the_way: true,
            ..page
        };
        assert_golden("sign_in_refused.html", &page);
    }
}
