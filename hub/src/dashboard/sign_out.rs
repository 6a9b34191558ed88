//! `/dashboard/sign-out` and `/dashboard/sign-out-everywhere`: sessions end.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;

use super::error::refused;
use super::form::PostedForm;
use super::layout::Notice;
use super::session::{SIGN_IN, Session, see_other};
use crate::http::Hub;

/// A form without fields of its own.
#[derive(Debug, Deserialize)]
pub(super) struct NoFields {}

/// Ends this session.
pub(super) async fn here(
    State(hub): State<Arc<Hub>>,
    form: PostedForm<NoFields>,
) -> Result<Response, Response> {
    form.session.end(&hub).await.map_err(refused)?;
    Ok(signed_out(&hub, &form.session, Notice::SignedOut))
}

/// Ends all sessions of the token.
pub(super) async fn everywhere(
    State(hub): State<Arc<Hub>>,
    form: PostedForm<NoFields>,
) -> Result<Response, Response> {
    let session = &form.session;
    session.end_all_of_token(&hub).await.map_err(refused)?;
    Ok(signed_out(&hub, session, Notice::SignedOutEverywhere))
}

fn signed_out(hub: &Hub, session: &Session, notice: Notice) -> Response {
    let to = format!("{SIGN_IN}?notice={}", notice.key());
    see_other(&to, Some(session.removed_cookie(hub)))
}
