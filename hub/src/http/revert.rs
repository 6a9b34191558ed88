//! `/silos/{id}/revert`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use silo_shared::api::SiloDocument;

use super::Hub;
use super::auth::Caller;
use super::bodies;
use super::error::ApiError;
use super::headers::representation_or_none;
use super::openapi::bodies::RevertBody;
use super::openapi::values::{AgentField, AppliedField, EntityTags, GivenSiloId, Preferences};
use super::openapi::{self, tags};
use super::request::{JsonBody, PrefersMinimal, SiloPath};
use super::silos::written_answer;
use crate::domain::precondition::Precondition;
use crate::registry::{RevertSilo, RevertWhole, Reverted};
use crate::store::{Via, WriteScope};

/// Returns a silo to an earlier revision
///
/// Sets the addresses to those at a revision of the silo's history, which the history must show in full; else 422.
#[utoipa::path(
    post,
    path = "/silos/{id}/revert",
    operation_id = "revertSilo",
    tag = tags::SILOS,
    params(("id" = GivenSiloId, Path), ("If-Match" = Option<EntityTags>, Header), ("If-None-Match" = Option<EntityTags>, Header), ("Prefer" = Option<Preferences>, Header), ("Silo-Agent" = Option<AgentField>, Header), ("Silo-Applied" = Option<AppliedField>, Header)),
    request_body(content = RevertBody, examples(("revision" = (summary = "To a revision from the history", value = json!({"revision": 1_767_323_045_678_001_i64}))))),
    responses(
        (status = 200, description = "The silo as it is now.", body = SiloDocument, headers(("ETag" = String), ("Cache-Control" = String), ("Content-Location" = String), ("Silo-Changed" = String))),
        (status = 201, description = "The silo is there again.", body = SiloDocument, headers(("ETag" = String), ("Cache-Control" = String), ("Content-Location" = String), ("Location" = String), ("Silo-Changed" = String), ("Preference-Applied" = String))),
        (status = 204, description = "The same without the document: `Prefer: return=minimal`.", headers(("ETag" = String), ("Cache-Control" = String), ("Silo-Changed" = String), ("Preference-Applied" = String))),
        openapi::problem_sets::ConditionalWrite,
    ),
)]
pub(super) async fn revert(
    caller: Caller,
    State(hub): State<Arc<Hub>>,
    SiloPath(id): SiloPath,
    precondition: Precondition,
    PrefersMinimal(is_minimal): PrefersMinimal,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    caller.require_replace(&id)?;
    let body = body.read(&hub).await?;
    let place = WriteScope::Silo(id.clone());
    let command = RevertSilo {
        actor: caller.actor_via(Via::Revert),
        id,
        revision: bodies::revert(&body)?,
        precondition,
        replayed: None,
    };
    let command = command.replayed(&hub.store).await?;
    let written = caller.apply(&hub, place, RevertWhole(command)).await?;
    let written = written.map_err(|why| ApiError::invalid("/revision", in_words(&why)))?;
    caller.note_agent(&hub, &written.silo.id);
    Ok(representation_or_none(
        written_answer(&written)?,
        is_minimal,
    ))
}

/// Why a silo can't be reverted.
pub(crate) fn in_words(why: &Reverted) -> String {
    match why {
        Reverted::Unknown { first, last } => {
            format!("unknown: the history of this silo goes from {first} to {last}")
        }
        Reverted::Unfitting(unfitting) => {
            format!("the history does not show the state at this revision: {unfitting}")
        }
        Reverted::Importing { whole_from } => format!(
            "an interrupted import lacks part of the history before {whole_from}: import the same export again"
        ),
        Reverted::Changed { revision } | Reverted::Unchanged { revision } => {
            format!("the silo is at revision {revision}")
        }
    }
}
