//! `/dashboard/`: all silos that the session may read, a search over their records, and the form that makes a silo.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use silo_shared::silo::{Records, SiloId};

use super::error::{PageError, html};
use super::field_errors::FieldErrors;
use super::form::PostedForm;
use super::href::href;
use super::layout::{Notice, Section};
use super::needs;
use super::pages::home::{Agents, FoundRow, HomePage, NewSilo, Results, SiloRow, Steps};
use super::paths::silo_page;
use super::session::{Session, see_other};
use super::when::When;
use crate::domain::agents::first_of_both;
use crate::domain::precondition::{Precondition, TagList};
use crate::domain::token::{Role, Token};
use crate::http::Hub;
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::http::record_filter::RecordFilter;
use crate::http::record_search::{WalkEnd, place_of, text_of, walk};
use crate::http::request::Query;
use crate::http::site::START;
use crate::registry::ReplaceSilo;
use crate::store::{RecordPlace, SiloSummary, StoreError, Via, WriteScope};

/// How many silos a page has.
const SILOS: usize = 100;
/// How many records a page of a search has.
const FOUND: usize = 100;
/// How many agents are read for a part of the silos.
const AGENTS: i64 = 10_000;

/// The values of the form that makes a silo.
#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    #[serde(default)]
    id: String,
}

/// The page.
pub(super) async fn page(
    session: Session,
    State(hub): State<Arc<Hub>>,
    query: Query,
) -> Result<Response, PageError> {
    let page = fill(&hub, &session, &query, NewSilo::default()).await?;
    Ok(html(StatusCode::OK, &page))
}

/// Makes a silo.
pub(super) async fn make(
    State(hub): State<Arc<Hub>>,
    query: Query,
    form: PostedForm<Wanted>,
) -> Result<Response, PageError> {
    let session = &form.session;
    let text = form.values.id.trim();
    let refused = match SiloId::parse(text) {
        Err(error) => ApiError::invalid("/id", error),
        Ok(id) => match make_silo(&hub, session.caller(), &id).await {
            Ok(()) => {
                let to = silo_page(&id).with("notice", Notice::SiloMade.key());
                return Ok(see_other(&to.to_string(), None));
            }
            Err(ApiError::Precondition { .. }) => {
                ApiError::invalid("/id", "there is a silo of this name already")
            }
            Err(ApiError::Forbidden(why)) => ApiError::invalid("/id", why),
            Err(other) => return Err(other.into()),
        },
    };
    let (status, errors) = FieldErrors::of(refused)?;
    let again = NewSilo {
        id: form.values.id.clone(),
        errors,
        is_open: true,
    };
    let page = fill(&hub, session, &query, again).await?;
    Ok(html(status, &page))
}

async fn make_silo(hub: &Hub, caller: &Caller, id: &SiloId) -> Result<(), ApiError> {
    caller.require_replace(id)?;
    let place = WriteScope::Silo(id.clone());
    let command = ReplaceSilo {
        actor: caller.actor_via(Via::Dashboard),
        id: id.clone(),
        records: Records::new(),
        precondition: Precondition {
            if_none_match: Some(TagList::Any),
            ..Precondition::default()
        },
    };
    caller.apply(hub, place, command).await?;
    Ok(())
}

async fn fill(
    hub: &Hub,
    session: &Session,
    query: &Query,
    new_silo: NewSilo,
) -> Result<HomePage, PageError> {
    let caller = session.caller();
    caller.require_silos()?;
    let q = query.get("q").unwrap_or_default().trim().to_owned();
    let after = query.get("after").unwrap_or_default();
    let path = href(START).with("q", &q).with("after", after);
    let chrome = session.chrome("Silos", Section::Silos);
    let chrome = chrome.live_at(hub, path.to_string());
    let results = match q.as_str() {
        "" => None,
        q => Some(search(hub, caller, q, after).await?),
    };
    let (silos, next) = if results.is_some() {
        (Vec::new(), None)
    } else {
        silos(hub, caller, after).await?
    };
    let token = caller.token();
    let needs = needs::of(hub, caller).await?;
    let makes_silos = may_make_one(token, &silos);
    let is_first = after.is_empty();
    let steps = is_new(&silos)
        .filter(|_| makes_silos && is_first)
        .map(|silo| Steps {
            hub: session.site().origin(),
            silo: silo.map(|row| row.id.clone()),
            has_record: silo.is_some_and(|row| row.records > 0),
            makes_tokens: token.is_admin(),
        });
    let is_open = new_silo.is_open || (silos.is_empty() && is_first);
    Ok(HomePage {
        chrome,
        needs,
        q,
        results,
        silos,
        next,
        is_first,
        new_silo: makes_silos.then_some(NewSilo {
            is_open,
            ..new_silo
        }),
        steps,
    })
}

/// Whether there is a silo that the token may make.
fn may_make_one(token: &Token, silos: &[SiloRow]) -> bool {
    let is_there = |name: &String| silos.iter().any(|silo| silo.id.as_str() == name);
    let may_be_new = |pattern: &String| pattern.contains('*') || !is_there(pattern);
    let writes = matches!(token.spec.role, Role::Write | Role::Admin);
    let names_one = token.is_admin() || token.spec.silos.iter().any(may_be_new);
    writes && names_one && token.spec.hostnames.is_none()
}

/// The only silo, if any, of a hub that no agent has called yet; `None`: the hub is in use.
fn is_new(silos: &[SiloRow]) -> Option<Option<&SiloRow>> {
    match silos {
        [] => Some(None),
        [only] if only.agents == Agents::default() => Some(Some(only)),
        _ => None,
    }
}

/// A page of silos, and the last one if there are more.
async fn silos(
    hub: &Hub,
    caller: &Caller,
    after: &str,
) -> Result<(Vec<SiloRow>, Option<SiloId>), ApiError> {
    let token = caller.token();
    let mut after = after.to_owned();
    let mut ids = Vec::new();
    for span in token.readable_spans() {
        while ids.len() <= SILOS {
            let wanted = SILOS + 1 - ids.len();
            let found = hub.store.silo_ids_in(&span, &after, wanted).await?;
            let is_end = found.len() < wanted;
            for (id, _) in found {
                after = id.to_string();
                if token.may_read(&id) {
                    ids.push(id);
                }
            }
            if is_end {
                break;
            }
        }
    }
    let has_more = ids.len() > SILOS;
    ids.truncate(SILOS);
    let next = ids.last().cloned().filter(|_| has_more);
    let summaries = hub.store.silo_summaries(&ids).await?;
    let mut agents = agents(hub, &summaries).await?;
    let now = hub.clock.now();
    let rows = summaries.into_iter().map(|silo| SiloRow {
        agents: agents.remove(&silo.id).unwrap_or_default(),
        revision: silo.revision.to_string(),
        records: silo.records,
        changed: When::new(silo.updated_at, now),
        id: silo.id,
    });
    Ok((rows.collect(), next))
}

/// How many agents of each silo say what they have applied: those that are stored, and those that this hub has noted.
async fn agents(hub: &Hub, silos: &[SiloSummary]) -> Result<HashMap<SiloId, Agents>, StoreError> {
    let ids: Vec<SiloId> = silos.iter().map(|silo| silo.id.clone()).collect();
    let stored = hub.store.agents_of(&ids, AGENTS).await?;
    let now = hub.clock.now();
    let mut by_silo: HashMap<SiloId, Vec<_>> = HashMap::new();
    for agent in stored {
        let of_silo = by_silo.entry(agent.key.silo.clone()).or_default();
        of_silo.push(agent);
    }
    let mut counted = HashMap::new();
    for silo in silos {
        let stored = by_silo.remove(&silo.id).unwrap_or_default();
        let noted = hub.registry.agents().of_silo(&silo.id, None, usize::MAX);
        let mut agents = Agents::default();
        for agent in first_of_both(stored, noted, usize::MAX, now) {
            if let Some(applied) = agent.applied {
                agents.all += 1;
                agents.current += usize::from(applied == silo.revision);
            }
        }
        counted.insert(silo.id.clone(), agents);
    }
    Ok(counted)
}

async fn search(hub: &Hub, caller: &Caller, q: &str, after: &str) -> Result<Results, ApiError> {
    let filter = RecordFilter::of_text(q)?;
    let after = match after {
        "" => RecordPlace::default(),
        text => place_of(text)?,
    };
    let mut rows: Vec<FoundRow> = Vec::new();
    let end = walk(hub, caller, &filter, &after, FOUND, |silo, record| {
        if rows.len() == FOUND {
            return Ok(false);
        }
        rows.push(FoundRow {
            silo,
            addresses: record.addresses.iter().collect(),
            comment: record.attributes.comment.unwrap_or_default(),
            hostname: record.hostname,
        });
        Ok(true)
    });
    let place = match end.await? {
        WalkEnd::Done => None,
        WalkEnd::Enough => rows.last().map(|row| RecordPlace {
            silo: row.silo.to_string(),
            hostname: Some(row.hostname.clone()),
        }),
        WalkEnd::Further(place) => Some(place),
    };
    let next = place.as_ref().map(text_of);
    Ok(Results { rows, next })
}
