//! The choice of light, dark, or what the system prefers: a cookie, set by a form.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde::Deserialize;

use super::error::refused;
use super::form::{Form, require_own_origin};
use super::layout::Theme;
use super::session::{cookie, own_path, see_other};
use crate::http::Hub;
use crate::http::body_budget::Sender;
use crate::http::site::Site;

/// The values of the form.
#[derive(Debug, Deserialize)]
struct Choice {
    theme: String,
    #[serde(default)]
    next: String,
}

/// Sets the cookie. It needs no session, so that the sign-in page and pages of errors have the choice, too, and a page
/// that was loaded before the sign-in: `Origin` shows that it comes from a page of this hub, and there is nothing to
/// protect but the colours.
pub(super) async fn choose(
    State(hub): State<Arc<Hub>>,
    request: Request,
) -> Result<Response, Response> {
    let (parts, body) = request.into_parts();
    require_own_origin(&parts, &hub).map_err(refused)?;
    let site = Site::of(&parts, &hub).map_err(refused)?;
    let request = Request::from_parts(parts, body);
    let form = Form::read(&hub, request, Sender::Unauthenticated).await?;
    let choice: Choice = form.parse().map_err(refused)?;
    let theme = Theme::parse(&choice.theme).unwrap_or_default();
    let set = cookie::of_choice(Theme::COOKIE, theme.as_str(), &site);
    Ok(see_other(&own_path(&choice.next), Some(set)))
}
