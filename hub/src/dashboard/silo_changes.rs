//! What concerns a whole silo: its last change is taken back, it is deleted, it returns to an earlier revision.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use silo_shared::silo::{Records, SiloId};

use super::error::{PageError, html};
use super::form::PostedForm;
use super::layout::{Notice, Section};
use super::list_view::ListView;
use super::numbers::counted;
use super::pages::delete::DeletePage;
use super::pages::revert::{Difference, Preview, RevertPage};
use super::paths::SiloOf;
use super::session::{Session, see_other};
use super::silo::{Forms, fill};
use super::when::When;
use crate::domain::change::differing;
use crate::domain::precondition::{EntityTag, Precondition, TagList, silo_tag};
use crate::domain::revision::Revision;
use crate::http::Hub;
use crate::http::error::ApiError;
use crate::http::request::Query;
use crate::http::revert::in_words;
use crate::http::site::START;
use crate::registry::{DeleteSilo, Refusal, RevertSilo, RevertWhole, UndoChange};
use crate::store::{StoredSilo, Via, WriteScope};

/// How many differences a preview shows.
const SHOWN: usize = 500;
/// How often a preview is read again because the silo has changed meanwhile.
const TRIES: usize = 3;

/// The values of the form that takes back a change.
#[derive(Debug, Deserialize)]
pub(super) struct Undone {
    revision: Revision,
}

/// The values of the form that returns to a revision.
#[derive(Debug, Deserialize)]
pub(super) struct Chosen {
    revision: Revision,
    /// The revision of the silo that the preview has shown.
    present: Revision,
}

/// Takes back the last change.
pub(super) async fn undo(
    State(hub): State<Arc<Hub>>,
    SiloOf(id): SiloOf,
    query: Query,
    form: PostedForm<Undone>,
) -> Result<Response, PageError> {
    let session = &form.session;
    let caller = session.caller();
    caller.require_replace(&id)?;
    let place = WriteScope::Silo(id.clone());
    let command = UndoChange {
        actor: caller.actor_via(Via::Revert),
        id: id.clone(),
        revision: form.values.revision,
    };
    let view = ListView::of(&query).editing(None);
    let why = match caller.apply(&hub, place, command).await {
        Ok(Some(_)) => {
            let to = view.link(&id).with("notice", Notice::Undone.key());
            return Ok(see_other(&to.to_string(), None));
        }
        Ok(None) => "This change can't be taken back: the history does not have it.",
        Err(ApiError::Precondition { .. }) => {
            "Not undone: the silo was changed by somebody else meanwhile. Below is what it holds now; the history can return it to any earlier state."
        }
        Err(other) => return Err(other.into()),
    };
    let forms = Forms {
        undo_refused: Some(why),
        ..Forms::default()
    };
    let page = fill(&hub, session, id, view, forms).await?;
    Ok(html(StatusCode::PRECONDITION_FAILED, &page))
}

/// The page that asks whether to delete a silo.
pub(super) async fn ask_to_delete(
    session: Session,
    State(hub): State<Arc<Hub>>,
    SiloOf(id): SiloOf,
) -> Result<Response, PageError> {
    let caller = session.caller();
    caller.require_read(&id)?;
    caller.require_replace(&id)?;
    let silo = silo(&hub, &id).await?;
    let page = DeletePage {
        chrome: session.chrome(format!("Delete {id}"), Section::Silos),
        records: silo.records.len(),
        revision: silo.revision,
        id,
    };
    Ok(html(StatusCode::OK, &page))
}

/// Deletes a silo, unless it has changed since the page was made.
pub(super) async fn delete(
    State(hub): State<Arc<Hub>>,
    SiloOf(id): SiloOf,
    form: PostedForm<Undone>,
) -> Result<Response, PageError> {
    let caller = form.session.caller();
    caller.require_replace(&id)?;
    let place = WriteScope::Silo(id.clone());
    let command = DeleteSilo {
        actor: caller.actor_via(Via::Dashboard),
        id: id.clone(),
        precondition: at(form.values.revision),
    };
    caller.apply(&hub, place, command).await?;
    hub.registry.agents().forget_silo(&id);
    let to = format!("{START}?notice={}", Notice::SiloDeleted.key());
    Ok(see_other(&to, None))
}

/// Shows what a return to a revision would change.
pub(super) async fn preview(
    session: Session,
    State(hub): State<Arc<Hub>>,
    SiloOf(id): SiloOf,
    query: Query,
) -> Result<Response, PageError> {
    let caller = session.caller();
    caller.require_read(&id)?;
    caller.require_replace(&id)?;
    let revision: Option<Revision> = query.parse("revision")?;
    let revision = revision.ok_or(ApiError::NotFound("the link names no revision"))?;
    let chrome = session.chrome(format!("Revert {id}"), Section::Silos);
    let rows = hub.store.history_at(&id, revision).await?;
    let at = rows.first().map(|row| When::new(row.at, hub.clock.now()));
    let page = RevertPage {
        chrome,
        preview: difference(&hub, &id, revision).await?,
        id,
        revision,
        at,
        refused: None,
    };
    Ok(html(StatusCode::OK, &page))
}

/// Returns to a revision, unless the silo has changed since the preview.
pub(super) async fn revert(
    State(hub): State<Arc<Hub>>,
    SiloOf(id): SiloOf,
    form: PostedForm<Chosen>,
) -> Result<Response, PageError> {
    let session = &form.session;
    let caller = session.caller();
    caller.require_replace(&id)?;
    let Chosen { revision, present } = form.values;
    let place = WriteScope::Silo(id.clone());
    let command = RevertSilo {
        actor: caller.actor_via(Via::Revert),
        id: id.clone(),
        revision,
        precondition: at(present),
        replayed: None,
    };
    let command = command.replayed(&hub.store).await?;
    let written = caller.apply(&hub, place, RevertWhole(command)).await;
    let (status, why) = match written {
        Ok(Ok(_)) => {
            let to = format!(
                "/dashboard/silos/{id}/history?notice={}",
                Notice::Reverted.key()
            );
            return Ok(see_other(&to, None));
        }
        Ok(Err(why)) => (StatusCode::UNPROCESSABLE_ENTITY, in_words(&why)),
        Err(error @ ApiError::Precondition { .. }) => (
            error.status(),
            "Not reverted: the silo was changed by somebody else meanwhile. Below is the difference as it is now."
                .to_owned(),
        ),
        Err(other) => return Err(other.into()),
    };
    let page = RevertPage {
        chrome: session.chrome(format!("Revert {id}"), Section::Silos),
        preview: difference(&hub, &id, revision).await?,
        id,
        revision,
        at: None,
        refused: Some(why),
    };
    Ok(html(status, &page))
}

/// What a return to a revision would change.
async fn difference(hub: &Hub, id: &SiloId, revision: Revision) -> Result<Preview, ApiError> {
    for _ in 0..TRIES {
        let Some(replayed) = hub.store.replayed(id, revision).await? else {
            return Ok(Preview::Unknown(
                "the history of this silo is not complete".to_owned(),
            ));
        };
        let present = hub.store.silo(id).await?;
        let (records, at) = match &present {
            Some(silo) => (silo.records.clone(), silo.revision),
            // A deleted silo has no records.
            None => (Records::new(), replayed.until),
        };
        if at != replayed.until {
            continue;
        }
        let earlier = replayed
            .replay
            .and_then(|replay| replay.end(records.clone()));
        return Ok(match earlier {
            Err(why) => Preview::Unknown(format!(
                "the history does not show the state at this revision: {why}"
            )),
            Ok(earlier) => {
                let rows = differing(&records, &earlier);
                let (all, is_cut) = (counted(rows.len(), "record", "records"), rows.len() > SHOWN);
                let shown = rows.into_iter().take(SHOWN);
                Preview::Known {
                    present: at,
                    rows: shown
                        .map(|(hostname, before, after)| Difference {
                            hostname,
                            before,
                            after,
                        })
                        .collect(),
                    all,
                    is_cut,
                }
            }
        });
    }
    Err(ApiError::Busy)
}

async fn silo(hub: &Hub, id: &SiloId) -> Result<StoredSilo, ApiError> {
    let silo = hub.store.silo(id).await?;
    silo.ok_or(Refusal::NoSilo.into())
}

/// The condition that a silo is at a revision.
fn at(revision: Revision) -> Precondition {
    let tag = EntityTag {
        weak: false,
        opaque: silo_tag(revision).into(),
    };
    Precondition {
        if_match: Some(TagList::Tags(vec![tag])),
        ..Precondition::default()
    }
}
