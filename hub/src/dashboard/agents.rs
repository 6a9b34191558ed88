//! `/dashboard/agents`: every agent of the silos that the session may read.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use silo_shared::silo::SiloId;

use super::agent_list::{Filter, Position, Selection};
use super::error::{PageError, html};
use super::layout::Section;
use super::pages::agents::{AgentsPage, Row};
use super::session::Session;
use crate::domain::agents::{Agent, AgentKey};
use crate::domain::pattern::Span;
use crate::domain::revision::Revision;
use crate::domain::token::Token;
use crate::http::Hub;
use crate::http::agents::of_valid_tokens;
use crate::http::error::ApiError;
use crate::http::monitor::SILENT_AFTER_SECONDS;
use crate::store::{AgentOfSilo, Missed};

/// The number of agents on a page.
const PAGE: usize = 100;
/// How many stored agents are read at once.
const BATCH: i64 = 2000;

/// The parameters of the list.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Parameters {
    silo: String,
    name: String,
    state: String,
    after: String,
}

/// The list.
pub(super) async fn list(
    session: Session,
    State(hub): State<Arc<Hub>>,
    Query(asked): Query<Parameters>,
) -> Result<Response, PageError> {
    let caller = session.caller();
    caller.require_silos()?;
    let chrome = session.chrome("Agents", Section::Agents).live(&hub);
    let now = hub.clock.now();
    let typed = asked.silo.trim();
    let silo = (!typed.is_empty())
        .then(|| SiloId::parse(typed))
        .transpose();
    let silo_error = silo.as_ref().err().map(ToString::to_string);
    let filter = Filter {
        silo: silo.clone().unwrap_or_default(),
        name: asked.name.trim().to_ascii_lowercase(),
        state: asked.state.parse().ok(),
    };
    let after = Position::decode(&asked.after);
    let is_first = after.is_none();
    let state = filter.state;
    let silent_before = now.plus_seconds(-SILENT_AFTER_SECONDS);
    let mut selection = Selection::begin(filter, after, PAGE, silent_before);
    // There is none in a silo that can't exist.
    if let Ok(silo) = silo {
        let add = |agent| selection.add(agent);
        every_agent(&hub, caller.token(), silo.as_ref(), add).await?;
    }
    let totals = selection.totals;
    let (found, next) = selection.end();
    let missed = missed(&hub, &found.iter().map(|(_, of)| of).collect::<Vec<_>>()).await?;
    let rows = found.into_iter().map(|(state, of)| {
        let missed = of
            .agent
            .applied
            .and_then(|applied| missed.get(&(of.agent.key.silo.clone(), applied)));
        Row::of(state, of, missed.copied(), now)
    });
    let rows = rows.collect();
    let page = AgentsPage {
        chrome,
        silo: typed.to_owned(),
        silo_error,
        name: asked.name.trim().to_owned(),
        state,
        totals,
        rows,
        is_admin: caller.token().is_admin(),
        is_first,
        next: next.map(|next| next.encode()),
    };
    Ok(html(StatusCode::OK, &page))
}

/// Hands over every agent that a token may see, or only those of one silo, in any order: what is stored, and what was
/// noted since.
async fn every_agent(
    hub: &Hub,
    token: &Token,
    silo: Option<&SiloId>,
    mut each: impl FnMut(AgentOfSilo),
) -> Result<(), ApiError> {
    let now = hub.clock.now();
    let is_shown = |of: &SiloId| silo.is_none_or(|silo| silo == of) && token.may_read(of);
    let noted = hub.registry.agents().due(None).into_iter();
    let noted = noted.filter(|agent| is_shown(&agent.key.silo));
    let mut noted: BTreeMap<AgentKey, Agent> =
        noted.map(|agent| (agent.key.clone(), agent)).collect();
    let spans = match silo {
        Some(silo) => vec![Span::Names(vec![silo.to_string()])],
        None => token.readable_spans(),
    };
    for span in spans {
        let mut after: Option<AgentKey> = None;
        loop {
            let stored = hub.store.agents_in(&span, after.as_ref(), BATCH).await?;
            let is_end = i64::try_from(stored.len()).is_ok_and(|read| read < BATCH);
            after = stored.last().map(|of| of.agent.key.clone());
            for of in stored {
                if !is_shown(&of.agent.key.silo) {
                    continue;
                }
                let agent = match noted.remove(&of.agent.key) {
                    Some(noted) => noted.joined(of.agent, now),
                    None => of.agent,
                };
                each(AgentOfSilo { agent, ..of });
            }
            if is_end {
                break;
            }
        }
    }
    // They are not stored yet.
    let new = of_valid_tokens(hub, noted.into_values().collect()).await?;
    let silos: Vec<&SiloId> = new.iter().map(|agent| &agent.key.silo).collect();
    let states = hub.store.silo_states(&silos).await?;
    for agent in new {
        if let Some((revision, changed_at)) = states.get(&agent.key.silo) {
            each(AgentOfSilo {
                revision: *revision,
                changed_at: *changed_at,
                agent,
            });
        }
    }
    Ok(())
}

/// What each silo changed since the revisions that its agents have applied.
async fn missed(
    hub: &Hub,
    rows: &[&AgentOfSilo],
) -> Result<HashMap<(SiloId, Revision), Missed>, ApiError> {
    let mut missed = HashMap::new();
    for of in rows {
        let Some(applied) = of.agent.applied.filter(|applied| *applied < of.revision) else {
            continue;
        };
        let key = (of.agent.key.silo.clone(), applied);
        if let Entry::Vacant(entry) = missed.entry(key) {
            let found = hub.store.missed(&entry.key().0, applied).await?;
            entry.insert(found);
        }
    }
    Ok(missed)
}
