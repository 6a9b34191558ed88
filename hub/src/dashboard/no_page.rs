//! Paths below `/dashboard` that are none of a page.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;

use super::error::refused;
use super::session::Session;
use crate::http::Hub;
use crate::http::error::ApiError;

/// A path below `/dashboard` without a page. The page of this error has the menu of who is signed in.
pub(super) async fn no_page(State(hub): State<Arc<Hub>>, request: Request) -> Response {
    let (mut parts, _) = request.into_parts();
    match Session::find(&mut parts, &hub).await {
        Ok(_) => refused(ApiError::NotFound("there is no such page")),
        Err(error) => refused(error),
    }
}
