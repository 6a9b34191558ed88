//! `/deliveries`, for admins: which deliveries to which receivers succeeded or failed, and why.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use silo_shared::silo::{Hostname, SiloId};

use super::Hub;
use super::auth::Caller;
use super::error::ApiError;
use super::headers::PRIVATE;
use super::page::{Page, respond, rows_to_read};
use super::request::{DeliveryPath, Query};
use crate::domain::sink::SinkName;
use crate::domain::time::Time;
use crate::registry::{Refusal, RetryDelivery};
use crate::store::WriteScope;
use crate::store::{DeliveryRow, DeliveryState, IdCursor, KnownSink, NEVER, NameRow};

#[derive(Debug, Serialize)]
struct Document {
    id: i64,
    sink: String,
    event: String,
    silo: SiloId,
    revision: i64,
    at: Time,
    state: &'static str,
    done_at: Option<Time>,
    attempts: i64,
    failing_since: Option<Time>,
    why: Option<String>,
    next_try: Option<Time>,
    hostnames: Vec<Name>,
}

#[derive(Debug, Serialize)]
struct Name {
    hostname: Hostname,
    state: &'static str,
    attempts: i64,
    failing_since: Option<Time>,
    why: Option<String>,
    next_try: Option<Time>,
}

/// `GET /deliveries`: newest first.
pub(super) async fn list(
    caller: Caller,
    State(hub): State<Arc<Hub>>,
    query: Query,
) -> Result<Response, ApiError> {
    caller.require_admin()?;
    let limit = query.limit(100)?;
    let state = query.parse::<DeliveryState>("state")?;
    let sink = query.parse::<SinkName>("sink")?;
    let before = query.id_cursor()?;
    let rows = hub
        .store
        .deliveries(state, sink.as_ref(), before, rows_to_read(limit))
        .await?;
    let page = Page::of(rows, limit);
    let next = page.next("/deliveries", |last| {
        let state = state.map_or(String::new(), |state| format!("&state={}", state.as_str()));
        let sink = sink.map_or(String::new(), |sink| format!("&sink={sink}"));
        format!("cursor={}{state}{sink}", IdCursor(last.id).encode())
    });
    let sinks = known_sinks(&hub).await?;
    let documents = page.rows.into_iter().map(|row| document(row, &sinks));
    respond(documents.collect(), next)
}

/// `POST /deliveries/{id}/retry`: retries at once, also after a refusal; has no effect on a finished delivery.
pub(super) async fn retry(
    caller: Caller,
    State(hub): State<Arc<Hub>>,
    DeliveryPath(id): DeliveryPath,
) -> Result<Response, ApiError> {
    caller.require_admin()?;
    let id = id.ok_or(Refusal::NoDelivery)?;
    caller
        .apply(&hub, WriteScope::Unscoped, RetryDelivery(id))
        .await?;
    let row = hub.store.delivery(id).await?.ok_or(Refusal::NoDelivery)?;
    let sinks = known_sinks(&hub).await?;
    Ok(([(CACHE_CONTROL, PRIVATE)], Json(document(row, &sinks))).into_response())
}

async fn known_sinks(hub: &Hub) -> Result<HashMap<SinkName, KnownSink>, ApiError> {
    let sinks = hub.store.sinks().await?;
    Ok(sinks
        .into_iter()
        .map(|sink| (sink.name.clone(), sink))
        .collect())
}

/// A pending delivery also waits for its sink if the whole sink has failed.
fn document(row: DeliveryRow, sinks: &HashMap<SinkName, KnownSink>) -> Document {
    let trouble = sinks
        .get(&row.sink)
        .filter(|sink| sink.why.is_some() && row.state == DeliveryState::Pending);
    let holds_until = trouble.map_or(0, |sink| sink.next_at);
    let next_try = |state: DeliveryState, at: i64| {
        let at = if state == DeliveryState::Pending {
            at.max(holds_until)
        } else {
            at
        };
        (state != DeliveryState::Done && at != NEVER)
            .then_some(Time::from_millis(at.max(row.at.as_millis())))
    };
    let first_why = |of: fn(&NameRow) -> Option<&String>| row.names.iter().find_map(of).cloned();
    let names = row.names.iter();
    let own_next = names
        .clone()
        .filter(|name| name.state != DeliveryState::Done)
        .map(|name| name.next_at)
        .min();
    Document {
        next_try: next_try(row.state, row.next_at.max(own_next.unwrap_or(0))),
        why: row
            .why
            .clone()
            .or_else(|| first_why(|name| name.why.as_ref()))
            .or_else(|| trouble.and_then(|sink| sink.why.clone())),
        failing_since: row
            .failing_since
            .or_else(|| names.clone().filter_map(|name| name.failing_since).min())
            .or_else(|| trouble.and_then(|sink| sink.failing_since)),
        attempts: names
            .clone()
            .map(|name| name.attempts)
            .max()
            .unwrap_or(0)
            .max(row.attempts),
        hostnames: names
            .map(|name| Name {
                hostname: name.hostname.clone(),
                state: name.state.as_str(),
                attempts: name.attempts,
                failing_since: name.failing_since,
                why: name.why.clone(),
                next_try: next_try(name.state, name.next_at),
            })
            .collect(),
        id: row.id,
        sink: row.sink.to_string(),
        event: row.event,
        silo: row.silo,
        revision: row.revision,
        at: row.at,
        state: row.state.as_str(),
        done_at: row.done_at,
    }
}
