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
use super::openapi::values::{Cursor, DeliveryId, EntityTags, GivenSinkName, Limit};
use super::openapi::{self, tags};
use super::page::{Page, respond, rows_to_read};
use super::request::{DeliveryPath, Query};
use crate::domain::precondition::Precondition;
use crate::domain::revision::Revision;
use crate::domain::sink::SinkName;
use crate::domain::time::Time;
use crate::registry::{Refusal, RetryDelivery};
use crate::store::WriteScope;
use crate::store::{DeliveryRow, DeliveryState, IdCursor, KnownSink, NEVER, NameRow, Queries};
use utoipa::ToSchema;

/// A delivery to a sink.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Delivery)]
pub(crate) struct Document {
    #[schema(minimum = 1, example = 1)]
    pub(crate) id: i64,
    #[schema(example = "dns")]
    pub(crate) sink: String,
    /// What it tells: `change`, `unseen`, `back`, `failing` or `recovered`.
    #[schema(example = "change")]
    pub(crate) event: String,
    pub(crate) silo: SiloId,
    pub(crate) revision: Revision,
    pub(crate) at: Time,
    #[schema(value_type = DeliveryState)]
    pub(crate) state: &'static str,
    #[schema(required = true)]
    pub(crate) done_at: Option<Time>,
    #[schema(minimum = 0, example = 1)]
    pub(crate) attempts: i64,
    #[schema(required = true)]
    pub(crate) failing_since: Option<Time>,
    /// Why the last attempt failed.
    #[schema(required = true, example = "the server answers REFUSED")]
    pub(crate) why: Option<String>,
    #[schema(required = true)]
    pub(crate) next_try: Option<Time>,
    pub(crate) hostnames: Vec<Name>,
}

/// The part of a delivery that concerns one hostname.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeliveryOfHostname)]
pub(crate) struct Name {
    pub(crate) hostname: Hostname,
    #[schema(value_type = DeliveryState)]
    pub(crate) state: &'static str,
    #[schema(minimum = 0, example = 1)]
    pub(crate) attempts: i64,
    #[schema(required = true)]
    pub(crate) failing_since: Option<Time>,
    /// Why the last attempt failed.
    #[schema(required = true, example = "the server answers REFUSED")]
    pub(crate) why: Option<String>,
    #[schema(required = true)]
    pub(crate) next_try: Option<Time>,
}

/// Lists deliveries to sinks
///
/// Newest first. `limit` is 100 unless given. For admins.
#[utoipa::path(
    get,
    path = "/deliveries",
    operation_id = "listDeliveries",
    tag = tags::OPERATION,
    params(("state" = Option<DeliveryState>, Query), ("sink" = Option<GivenSinkName>, Query), ("limit" = Option<Limit>, Query), ("cursor" = Option<Cursor>, Query)),
    responses(
        (status = 200, description = "A page of deliveries.", body = Vec<Document>, headers(("Link" = String), ("Cache-Control" = String))),
        openapi::problem_sets::ReadByRight,
    ),
)]
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

/// Retries a delivery
///
/// Also after a refusal. For admins.
#[utoipa::path(
    post,
    path = "/deliveries/{delivery}/retry",
    operation_id = "retryDelivery",
    tag = tags::OPERATION,
    params(("delivery" = DeliveryId, Path), ("If-Match" = Option<EntityTags>, Header), ("If-None-Match" = Option<EntityTags>, Header)),
    responses(
        (status = 200, description = "The delivery, which is tried again at once; a finished one stays as it is.", body = Document, headers(("Cache-Control" = String))),
        openapi::problem_sets::WriteOfOne,
    ),
)]
pub(super) async fn retry(
    caller: Caller,
    State(hub): State<Arc<Hub>>,
    DeliveryPath(id): DeliveryPath,
    precondition: Precondition,
) -> Result<Response, ApiError> {
    caller.require_admin()?;
    let id = id.ok_or(Refusal::NoDelivery)?;
    if !precondition.holds_without_tag() {
        hub.store.delivery(id).await?.ok_or(Refusal::NoDelivery)?;
        return Err(ApiError::precondition_without_tag());
    }
    caller
        .apply(&hub, WriteScope::Unscoped, RetryDelivery(id))
        .await?;
    let row = hub.store.delivery(id).await?.ok_or(Refusal::NoDelivery)?;
    let sinks = known_sinks(&hub).await?;
    Ok(([(CACHE_CONTROL, PRIVATE)], Json(document(row, &sinks))).into_response())
}

/// All sinks that were ever configured.
pub(crate) async fn known_sinks(hub: &Hub) -> Result<HashMap<SinkName, KnownSink>, ApiError> {
    let sinks = hub.store.sinks().await?;
    Ok(sinks
        .into_iter()
        .map(|sink| (sink.name.clone(), sink))
        .collect())
}

/// Describes a delivery. A pending one also waits for its sink if the whole sink has failed.
pub(crate) fn document(row: DeliveryRow, sinks: &HashMap<SinkName, KnownSink>) -> Document {
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
