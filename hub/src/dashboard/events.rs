//! `/dashboard/events` and `/dashboard/changes`: what changed, by name, for the script that keeps pages up to date. A
//! page then fetches itself.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::header::HeaderValue;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use silo_shared::silo::SiloId;

use super::error::PageError;
use super::session::Session;
use crate::domain::revision::Revision;
use crate::http::Hub;
use crate::http::error::ApiError;
use crate::http::events;
use crate::http::request::Query;
use crate::http::session_watch::SessionCheck;

/// The answer to one question after changes.
#[derive(Debug, Serialize)]
struct Changed {
    /// Where the next question begins.
    revision: Revision,
    /// Whether changes are missing here: everything may have changed.
    reset: bool,
    changes: Vec<ChangedSilo>,
}

/// A silo that changed or was deleted.
#[derive(Debug, Serialize)]
struct ChangedSilo {
    id: SiloId,
    revision: Revision,
}

/// The session of a script's request, which must not be led to the sign-in page.
async fn session(hub: &Arc<Hub>, request: Request) -> Result<Session, ApiError> {
    let (mut parts, _) = request.into_parts();
    let session = Session::find(&mut parts, hub).await?;
    let session = session.ok_or(ApiError::Unauthorized(
        "you are not signed in, or your session has ended",
    ))?;
    session.caller().count_request(hub)?;
    Ok(session)
}

/// A stream of what changes after the revision in `after`. It ends with the session.
pub(super) async fn stream(
    State(hub): State<Arc<Hub>>,
    query: Query,
    request: Request,
) -> Result<Response, PageError> {
    let session = session(&hub, request).await?;
    let known = query
        .get("after")
        .and_then(|text| HeaderValue::from_str(text).ok());
    let caller = session.caller().clone();
    let of = Arc::clone(&hub);
    let goes_on: SessionCheck = Box::new(move || {
        let (session, hub) = (session.clone(), Arc::clone(&of));
        Box::pin(async move { session.refreshed(&hub).await.is_ok() })
    });
    Ok(events::of_session(hub, caller, goes_on, known).await?)
}

/// What has changed after the revision in `after`, for browsers that can't share a stream between their tabs.
pub(super) async fn changes(
    State(hub): State<Arc<Hub>>,
    query: Query,
    request: Request,
) -> Result<Response, PageError> {
    let session = session(&hub, request).await?;
    let caller = session.caller();
    caller.require_silos()?;
    let known: Option<Revision> = query.parse("after")?;
    let known = known.ok_or_else(|| ApiError::invalid("/after", "the revision is missing"))?;
    let position = hub.store.position().await?;
    if !(position.feed_floor..=position.revision).contains(&known) {
        return Ok(Json(Changed {
            revision: position.revision,
            reset: true,
            changes: Vec::new(),
        })
        .into_response());
    }
    let since = hub.changes.since(known).await?;
    let last = since.changes.back().map(|change| change.revision);
    let token = caller.token();
    let read = since
        .changes
        .iter()
        .filter(|change| token.may_read(&change.id));
    let changes = read.map(|change| ChangedSilo {
        id: change.id.clone(),
        revision: change.revision,
    });
    Ok(Json(Changed {
        revision: last.unwrap_or(since.up_to).max(known),
        reset: false,
        changes: changes.collect(),
    })
    .into_response())
}
