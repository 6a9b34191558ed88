//! `/silos/{id}/records/{hostname}`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_LOCATION, ETAG, IF_NONE_MATCH, LOCATION};
use axum::response::{IntoResponse, Response};
use silo_shared::api::RecordDocument;
use silo_shared::silo::SiloId;

use super::Hub;
use super::auth::Caller;
use super::bodies;
use super::error::ApiError;
use super::headers::{PRIVATE, SILO_CHANGED, changed, header_value};
use super::request::{JsonBody, Query, RecordPath, tag_list};
use crate::domain::precondition::{Precondition, record_tag};
use crate::registry::{Refusal, RemoveRecord, SetRecord};
use crate::store::{StoredRecord, WriteScope};

/// `GET /silos/{id}/records/{hostname}`
pub(super) async fn read(
    caller: Caller,
    State(hub): State<Arc<Hub>>,
    RecordPath(id, hostname): RecordPath,
    request: Request,
) -> Result<Response, ApiError> {
    caller.require_read(&id)?;
    let headers = request.headers();
    let known = tag_list(headers, IF_NONE_MATCH)?;
    let mut record = hub
        .store
        .record(&id, &hostname)
        .await?
        .ok_or(Refusal::NoRecord)?;
    record.last_seen = hub.registry.seen().latest(&id, &hostname, record.last_seen);
    let tag = record_tag(record.revision, &record.hostname);
    if known.is_some_and(|known| known.matches_weakly(Some(&tag))) {
        let etag = header_value(&format!("\"{tag}\""))?;
        let headers = [(ETAG, etag), (CACHE_CONTROL, PRIVATE)];
        return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
    }
    answer(&caller, &id, record)
}

/// `PUT /silos/{id}/records/{hostname}`: sets this hostname only.
pub(super) async fn set(
    caller: Caller,
    State(hub): State<Arc<Hub>>,
    RecordPath(id, hostname): RecordPath,
    precondition: Precondition,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    caller.require_write(&id, &hostname)?;
    let is_absent = body.is_absent();
    let body = body.read(&hub).await?;
    let body = (!is_absent).then_some(&*body);
    let bodies::RecordPatch {
        addresses,
        cleared,
        attributes,
    } = bodies::record(body, &hostname, || caller.implied_ip(&hub))?;
    let location = header_value(&format!("/silos/{id}/records/{hostname}"))?;
    let place = WriteScope::Record(id.clone(), hostname.clone());
    let command = SetRecord {
        actor: caller.actor(),
        id: id.clone(),
        hostname: hostname.clone(),
        addresses,
        cleared,
        attributes,
        precondition,
    };
    let written = caller.apply(&hub, place, command).await;
    let written = written.map_err(|error| error.of_record(&hostname))?;
    let mut response = answer(&caller, &id, written.record)?;
    response
        .headers_mut()
        .insert(SILO_CHANGED, changed(written.changed));
    response
        .headers_mut()
        .insert(CONTENT_LOCATION, location.clone());
    if written.created {
        response.headers_mut().insert(LOCATION, location);
        *response.status_mut() = StatusCode::CREATED;
    }
    Ok(response)
}

/// `DELETE /silos/{id}/records/{hostname}?family=4`
pub(super) async fn remove(
    caller: Caller,
    State(hub): State<Arc<Hub>>,
    RecordPath(id, hostname): RecordPath,
    query: Query,
    precondition: Precondition,
) -> Result<Response, ApiError> {
    caller.require_write(&id, &hostname)?;
    let family = query.family()?;
    let place = WriteScope::Record(id.clone(), hostname.clone());
    let command = RemoveRecord {
        actor: caller.actor(),
        id,
        hostname: hostname.clone(),
        family,
        precondition,
    };
    let removed = caller.apply(&hub, place, command).await;
    removed.map_err(|error| error.of_record(&hostname))?;
    let headers = [(SILO_CHANGED, changed(true))];
    Ok((StatusCode::NO_CONTENT, headers).into_response())
}

/// The response with a record; it includes the mail address only if the caller may write the silo.
fn answer(caller: &Caller, id: &SiloId, record: StoredRecord) -> Result<Response, ApiError> {
    let etag = header_value(&format!(
        "\"{}\"",
        record_tag(record.revision, &record.hostname)
    ))?;
    let attributes = record.attributes;
    let document = RecordDocument {
        hostname: record.hostname.to_string(),
        ips: record.addresses.iter().collect(),
        revision: record.revision,
        updated_at: record.updated_at.to_string(),
        last_seen: record.last_seen.to_string(),
        comment: attributes.comment,
        notify: attributes.notify.filter(|_| caller.token().may_write(id)),
        ipv6_suffix: attributes.ipv6_suffix,
        expires_after: attributes.expires_after,
    };
    let headers = [(ETAG, etag), (CACHE_CONTROL, PRIVATE)];
    Ok((headers, Json(document)).into_response())
}
