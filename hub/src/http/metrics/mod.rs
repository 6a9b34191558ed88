//! `GET /metrics`, for admins and tokens with the role `metrics`, and on a listener of its own for anyone who reaches
//! it. Nothing here depends on how much is stored: what costs a query comes from the census of the last minute.

mod families;
mod process;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::registry::Registry;
use tower::{Layer, layer::layer_fn};
use tower_http::timeout::TimeoutLayer;

use super::Hub;
use super::auth::Caller;
use super::error::ApiError;
use super::finish::{Finish, FinishLayer};
use super::host::RequireHost;
use super::monitor::Counted;
use super::watchers::WatcherKind;
use crate::domain::agents::AgentState;
use crate::domain::time::Time;
use crate::http::openapi::{self, tags};
use crate::store::{Activity, Census, DeliveryState};
use families::{self as m, Snapshot, Value};
use process::Process;

/// What Prometheus asks for by name; everything else gets its older format, which every program reads.
const OPEN_METRICS: &str = "application/openmetrics-text";
const OPEN_METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The deadline of a scrape on the listener of its own: Prometheus' default, after which it has given up.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(10);
/// The kinds of agents, as labels.
const AGENT_KINDS: [&str; 3] = ["upstream", "downstream", "other"];
/// The outcomes of attempts, as labels.
const OUTCOMES: [&str; 3] = ["done", "retry", "failed"];

/// Returns metrics for Prometheus
///
/// For admins, and for tokens with the role `metrics`. In the format OpenMetrics where `Accept` asks for it.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "readMetrics",
    tag = tags::OPERATION,
    responses(
        (status = 200, description = "Metrics in the text format of Prometheus, or in that of OpenMetrics.", content(
            (String = "text/plain"),
            (String = "application/openmetrics-text"),
        ), headers(("Cache-Control" = String), ("Vary" = String))),
        openapi::problem_sets::ReadByRight,
    ),
)]
pub(super) async fn read(
    caller: Caller,
    State(hub): State<Arc<Hub>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    caller.require_metrics()?;
    export(&hub, &headers).await
}

/// The routes of the listener for metrics, which asks for no credential.
pub fn front(hub: &Arc<Hub>) -> Finish<Router> {
    let read =
        async |State(hub): State<Arc<Hub>>, request: Request| export(&hub, request.headers()).await;
    let routes = Router::new()
        .route("/metrics", get(read))
        .fallback(async || ApiError::NotFound("only /metrics is here"))
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(layer_fn(RequireHost::new))
        .layer(TimeoutLayer::with_status_code(
            StatusCode::SERVICE_UNAVAILABLE,
            SCRAPE_TIMEOUT,
        ))
        .with_state(Arc::clone(hub));
    let dates = Arc::clone(&hub.dates);
    let database_id = hub.database_id.clone();
    // No page of another site may read them here.
    let cors = Arc::default();
    let finish = FinishLayer {
        dates,
        database_id,
        cors,
    };
    finish.layer(routes)
}

async fn export(hub: &Hub, headers: &HeaderMap) -> Result<Response, ApiError> {
    let counted = hub.last_census().await;
    let mut registry = Registry::default();
    registry.register_collector(Box::new(snapshot(hub, counted)));
    let mut body = String::with_capacity(32 * 1024);
    let accepts = |value: &axum::http::HeaderValue| {
        value
            .to_str()
            .is_ok_and(|value| value.contains(OPEN_METRICS))
    };
    let (encoded, kind) = if headers.get_all(ACCEPT).iter().any(accepts) {
        (text::encode(&mut body, &registry), OPEN_METRICS_TYPE)
    } else {
        let encoded = prometheus_text::encode(&mut body, &registry);
        (encoded, prometheus_text::CONTENT_TYPE)
    };
    encoded.map_err(|_| ApiError::Internal)?;
    let headers = [
        (CONTENT_TYPE, kind),
        (CACHE_CONTROL, "no-store"),
        (VARY, "Accept"),
    ];
    Ok((headers, body).into_response())
}

/// A number of something, or a revision: never negative.
fn number(value: i64) -> Value {
    Value::Count(u64::try_from(value).unwrap_or(0))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds since 1970 are below 2^53"
)]
fn seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}

fn unix_time(time: Time) -> f64 {
    seconds(time.as_millis())
}

fn labels<const N: usize>(labels: [&str; N]) -> Vec<String> {
    labels.map(str::to_owned).to_vec()
}

fn size(count: usize) -> Value {
    Value::Count(count as u64)
}

fn snapshot(hub: &Hub, counted: Option<Counted>) -> Snapshot {
    let mut all = Snapshot::default();
    let version = vec![env!("CARGO_PKG_VERSION").to_owned()];
    all.many(&m::BUILD, [(version, Value::Count(1))]);
    of_clients(hub, &mut all);
    of_writes(hub, &mut all);
    let view = hub.view.usage();
    all.one(&m::VIEW_BYTES, Value::Count(view.bytes));
    all.one(&m::VIEW_HITS, Value::Count(view.hits));
    all.one(&m::VIEW_MISSES, Value::Count(view.misses));
    let is_up = !hub.database_health.is_away();
    all.one(&m::DATABASE_UP, Value::Count(u64::from(is_up)));
    if let Some(counted) = counted {
        of_census(&counted.census, &mut all);
        of_sinks(hub, &counted.census, &mut all);
    }
    let ends = hub.monitor.listening();
    let ends = ends.and_then(|listening| (listening.certificate_ends)());
    all.known(&m::TLS_NOT_AFTER, ends.map(unix_time));
    let started = unix_time(hub.monitor.started_at());
    all.one(&m::START_TIME, Value::Number(started));
    let process = Process::read();
    all.known(&m::CPU, process.cpu_seconds);
    all.known(&m::RESIDENT, process.resident_bytes);
    all.known(&m::VIRTUAL, process.virtual_bytes);
    all.known(&m::OPEN_FDS, process.open_fds);
    all.known(&m::MAX_FDS, process.max_fds);
    all
}

fn of_clients(hub: &Hub, all: &mut Snapshot) {
    let requests = hub.requests.counts().into_iter().map(|count| {
        let labels = vec![count.method.to_owned(), count.route, count.status];
        (labels, Value::Count(count.requests))
    });
    all.many(&m::HTTP_REQUESTS, requests);
    let took = hub.requests.timings().into_iter();
    let took = took.map(|(route, took)| (vec![route], Value::Observed(took)));
    all.many(&m::HTTP_SECONDS, took);
    if let Some(listening) = hub.monitor.listening() {
        all.one(&m::CONNECTIONS, size((listening.connections)()));
    }
    let watchers = WatcherKind::ALL.map(|kind| {
        let watchers = hub.watchers.count(kind);
        (labels([kind.as_str()]), size(watchers))
    });
    all.many(&m::WATCHERS, watchers);
    all.one(&m::REFUSED, Value::Count(hub.failures.refused()));
}

fn of_writes(hub: &Hub, all: &mut Snapshot) {
    let commits = hub.registry.commits();
    all.one(&m::COMMITS, Value::Count(commits.commits()));
    all.one(&m::COMMIT_SECONDS, Value::Observed(commits.took()));
    all.one(&m::COMMIT_BATCH, Value::Observed(commits.commands()));
    all.one(&m::REVISION, number(hub.bus.current().into()));
}

fn of_census(census: &Census, all: &mut Snapshot) {
    all.one(&m::SILOS, number(census.silos));
    all.one(&m::RECORDS, number(census.records));
    all.one(&m::TOKENS, number(census.tokens));
    if let Some(bytes) = census.database_bytes {
        all.one(&m::DATABASE_BYTES, number(bytes));
    }
    let agents = AGENT_KINDS.into_iter().flat_map(|kind| {
        AgentState::ALL.map(|state| {
            let counts = census.agents.iter().filter(|count| {
                let of = count.kind.map_or("other", |kind| kind.as_str());
                of == kind && count.state == state
            });
            let agents = counts.map(|count| count.agents).sum();
            (labels([kind, state.as_str()]), number(agents))
        })
    });
    all.many(&m::AGENTS, agents);
}

/// The deliveries of the sinks that receive changes, also where there is none.
fn of_sinks(hub: &Hub, census: &Census, all: &mut Snapshot) {
    let active = census.sinks.iter();
    let active: Vec<_> = active
        .filter(|sink| matches!(sink.active, Activity::Active | Activity::Cleaning))
        .map(|sink| &sink.name)
        .collect();
    let deliveries = active.iter().flat_map(|name| {
        [DeliveryState::Pending, DeliveryState::Failed].map(|state| {
            let counts = census.deliveries.iter();
            let count = counts
                .filter(|count| count.sink == **name && count.state == state)
                .map(|count| count.deliveries)
                .sum();
            (labels([name.as_str(), state.as_str()]), number(count))
        })
    });
    all.many(&m::DELIVERIES, deliveries);
    let now = hub.clock.now().as_millis();
    let oldest = active.iter().map(|name| {
        let pending = census.oldest_pending.iter().find(|(of, _)| of == *name);
        let age = pending.map_or(0, |(_, since)| now.saturating_sub(since.as_millis()).max(0));
        (labels([name.as_str()]), Value::Number(seconds(age)))
    });
    all.many(&m::OLDEST_PENDING, oldest);
    let counts = hub.attempts.counts();
    let attempts = active.iter().flat_map(|name| {
        let counts = &counts;
        OUTCOMES.map(move |outcome| {
            let count = counts
                .iter()
                .find(|(sink, of, _)| sink == *name && *of == outcome);
            let count = count.map_or(0, |(_, _, count)| *count);
            (labels([name.as_str(), outcome]), Value::Count(count))
        })
    });
    all.many(&m::ATTEMPTS, attempts);
}
