//! `GET /status`: all that a running hub tells of itself, as JSON, for admins, for tokens with the role `metrics`, and for
//! the command line on this machine, which reads a credential of this process from its data directory.

mod facts;
mod findings;

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use silo_shared::credential::Credential;

use super::Hub;
use super::auth::Caller;
use super::error::ApiError;
use super::monitor::Counted;
use super::watchers::WatcherKind;
use crate::domain::agents::AgentState;
use crate::http::openapi::{self, tags};
use crate::store::{Activity, DeliveryState, IdCursor, KnownSink, NEVER, NamedAgent, StoreError};
pub(crate) use facts::{
    AgentFacts, Agents, Connections, DatabaseFacts, Expiring, Finding, SinkFacts, SinkState,
    Status, Stored, ViewFacts, Watchers,
};

/// What was counted longer ago is counted again, since the answer is about the present.
const FRESH: Duration = Duration::from_secs(5);
/// The same for pages of the dashboard, which are fetched often.
const FRESH_FOR_PAGES: Duration = Duration::from_secs(15);
/// How many deliveries of a sink are searched for the reason of a failure.
const SEARCHED: i64 = 50;

/// Returns how the hub is
///
/// All facts that `silo-hub status` shows. For admins, for tokens with the role `metrics`, and for the credential that the command line
/// finds in the data directory of the running hub.
#[utoipa::path(
    get,
    path = "/status",
    operation_id = "readStatus",
    tag = tags::OPERATION,
    responses(
        (status = 200, description = "How the hub is.", body = Status, headers(("Cache-Control" = String))),
        openapi::problem_sets::ReadByRight,
    ),
)]
pub(super) async fn read(
    State(hub): State<Arc<Hub>>,
    request: Request,
) -> Result<Response, ApiError> {
    let (mut parts, _) = request.into_parts();
    if !is_of_this_process(&hub, &parts.headers) {
        let caller = Caller::from_request_parts(&mut parts, &hub).await?;
        caller.require_metrics()?;
    }
    let status = status(&hub).await;
    Ok(([(CACHE_CONTROL, "no-store")], Json(status)).into_response())
}

/// Whether a request has the credential in this process's `run.json`.
fn is_of_this_process(hub: &Hub, headers: &HeaderMap) -> bool {
    let mut shown = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(shown), None) = (shown.next(), shown.next()) else {
        return false;
    };
    let credential = shown.to_str().ok();
    let credential = credential.and_then(|shown| shown.strip_prefix("Bearer "));
    let credential = credential.and_then(|shown| Credential::parse(shown.trim()).ok());
    credential.is_some_and(|shown| hub.monitor.is_run_credential(&shown))
}

/// What needs a hand, for a page that is read often: from a census that may be older, and without a test write.
pub(crate) async fn findings(hub: &Hub) -> Vec<Finding> {
    let counted = counted(hub, FRESH_FOR_PAGES).await;
    let is_writable = !hub.registry.write_health().is_lost();
    status_of(hub, counted, is_writable).await.findings
}

/// All facts, as of now.
pub(crate) async fn status(hub: &Hub) -> Status {
    let counted = counted(hub, FRESH).await;
    // A test write proves it; without the database it would only take time.
    let is_up = hub
        .database_health
        .stale_for(hub.clock.monotonic())
        .is_none();
    let is_writable = is_up && hub.registry.is_writable().await;
    status_of(hub, counted, is_writable).await
}

async fn counted(hub: &Hub, max_age: Duration) -> Option<Counted> {
    if hub.database_health.is_away() {
        // Nothing would be learnt by waiting for it.
        hub.monitor.counted_last()
    } else {
        hub.count(max_age).await
    }
}

async fn status_of(hub: &Hub, counted: Option<Counted>, is_writable: bool) -> Status {
    let is_away = hub.database_health.is_away();
    let sinks = match &counted {
        Some(counted) => sinks(hub, counted, is_away).await,
        None => Vec::new(),
    };
    let listening = hub.monitor.listening();
    let mut status = Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        started_at: hub.monitor.started_at(),
        now: hub.clock.now(),
        listen: listening.map_or(Vec::new(), |listening| listening.urls.clone()),
        is_well: true,
        findings: Vec::new(),
        database: database(hub, counted.as_ref(), is_writable),
        revision: hub.bus.current().into(),
        stored: counted.as_ref().map(|Counted { at, census, .. }| Stored {
            counted_at: *at,
            silos: census.silos,
            records: census.records,
            tokens: census.tokens,
        }),
        connections: Connections {
            open: listening.map_or(0, |listening| (listening.connections)()),
            limit: listening.map_or(0, |listening| listening.limit),
        },
        watchers: Watchers {
            read: hub.watchers.count(WatcherKind::Read),
            silo_events: hub.watchers.count(WatcherKind::Silo),
            all_events: hub.watchers.count(WatcherKind::All),
        },
        agents: agents(counted.as_ref()),
        sinks,
        view: view(hub),
        refused_credentials: hub.failures.refused(),
        expires: expiring(hub, counted.as_ref()),
    };
    status.findings = findings::of(&status);
    status.is_well = status.findings.is_empty();
    status
}

fn database(hub: &Hub, counted: Option<&Counted>, is_writable: bool) -> DatabaseFacts {
    let silent_seconds = hub.database_health.stale_for(hub.clock.monotonic());
    let write_health = hub.registry.write_health();
    DatabaseFacts {
        id: hub.database_id.id().to_string(),
        address: hub.store.address(),
        is_up: silent_seconds.is_none(),
        silent_seconds,
        is_writable,
        is_file_gone: write_health.is_file_gone(),
        bytes: counted.and_then(|counted| counted.census.database_bytes),
    }
}

fn view(hub: &Hub) -> ViewFacts {
    let usage = hub.view.usage();
    ViewFacts {
        bytes: usage.bytes,
        hits: usage.hits,
        misses: usage.misses,
    }
}

fn agents(counted: Option<&Counted>) -> Agents {
    let Some(Counted { census, .. }) = counted else {
        return Agents::default();
    };
    let number = |state: AgentState| {
        let counts = census.agents.iter();
        let counts = counts.filter(|count| count.state == state);
        counts.map(|count| count.agents).sum()
    };
    let named = |agents: &[NamedAgent]| {
        let agents = agents.iter().map(|agent| AgentFacts {
            silo: agent.silo.to_string(),
            name: agent.name.as_str().to_owned(),
            last_seen: agent.last_seen,
            silo_changed_at: agent.silo_changed_at,
        });
        agents.collect()
    };
    Agents {
        current: number(AgentState::Current),
        behind: number(AgentState::Behind),
        silent: number(AgentState::Silent),
        some_behind: named(&census.behind),
        some_silent: named(&census.silent),
    }
}

/// The sinks that receive changes, with the reasons of failures.
async fn sinks(hub: &Hub, counted: &Counted, is_away: bool) -> Vec<SinkFacts> {
    let mut all = Vec::new();
    for sink in &counted.census.sinks {
        if !matches!(sink.active, Activity::Active | Activity::Cleaning) {
            continue;
        }
        let mut facts = sink_facts(sink, counted);
        if facts.why.is_none() && facts.pending + facts.failed > 0 && !is_away {
            match failure(hub, sink, facts.failed > 0).await {
                Ok(Some((why, since))) => {
                    facts.why = Some(why);
                    facts.failing_since = since;
                }
                Ok(None) => {}
                // Without the reason, the rest still holds.
                Err(error) => {
                    tracing::debug!(sink = %sink.name, "cannot read its failures: {error}")
                }
            }
        }
        facts.state = match (facts.failed, &facts.why) {
            (1.., _) => SinkState::Failed,
            (_, Some(_)) => SinkState::Retrying,
            _ => SinkState::Ok,
        };
        all.push(facts);
    }
    all
}

fn sink_facts(sink: &KnownSink, counted: &Counted) -> SinkFacts {
    let Counted { census, .. } = counted;
    let number = |state: DeliveryState| {
        let counts = census.deliveries.iter();
        let counts = counts.filter(|count| count.sink == sink.name && count.state == state);
        counts.map(|count| count.deliveries).sum()
    };
    let oldest = census.oldest_pending.iter();
    let oldest = oldest.into_iter().find(|(name, _)| *name == sink.name);
    let is_due = sink.why.is_some() && sink.next_at != NEVER;
    SinkFacts {
        name: sink.name.to_string(),
        kind: sink.kind.clone(),
        state: SinkState::Ok,
        pending: number(DeliveryState::Pending),
        failed: number(DeliveryState::Failed),
        oldest_pending_at: oldest.map(|(_, since)| *since),
        failing_since: sink.failing_since,
        why: sink.why.clone(),
        next_try: is_due.then(|| crate::domain::time::Time::from_millis(sink.next_at)),
    }
}

/// Why a delivery of a sink fails, and since when.
async fn failure(
    hub: &Hub,
    sink: &KnownSink,
    is_final: bool,
) -> Result<Option<(String, Option<crate::domain::time::Time>)>, StoreError> {
    let state = if is_final {
        DeliveryState::Failed
    } else {
        DeliveryState::Pending
    };
    let newest = IdCursor(i64::MAX);
    let rows = hub
        .store
        .deliveries(Some(state), Some(&sink.name), newest, SEARCHED)
        .await?;
    Ok(rows.into_iter().find_map(|row| {
        let of_row = row.why.map(|why| (why, row.failing_since));
        of_row.or_else(|| {
            let mut names = row.names.into_iter();
            names.find_map(|name| name.why.map(|why| (why, name.failing_since)))
        })
    }))
}

fn expiring(hub: &Hub, counted: Option<&Counted>) -> Vec<Expiring> {
    let certificate = hub.monitor.listening();
    let certificate = certificate.and_then(|listening| (listening.certificate_ends)());
    let certificate = certificate.into_iter().map(|at| Expiring {
        what: "certificate".to_owned(),
        name: None,
        id: None,
        at,
    });
    let tokens = counted.into_iter().flat_map(|counted| {
        let tokens = counted.census.ending_tokens.iter();
        tokens.map(|token| Expiring {
            what: "token".to_owned(),
            name: Some(token.name.clone()),
            id: Some(token.id.to_string()),
            at: token.expires_at,
        })
    });
    certificate.chain(tokens).collect()
}
