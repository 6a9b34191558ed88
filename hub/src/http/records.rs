//! `/silos/{id}/records/{hostname}`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_LOCATION, ETAG, LOCATION};
use axum::response::{IntoResponse, Response};
use silo_shared::api::RecordDocument;
use silo_shared::silo::SiloId;

use super::Hub;
use super::auth::Caller;
use super::bodies;
use super::error::ApiError;
use super::headers::{PRIVATE, SILO_CHANGED, changed, header_value, representation_or_none};
use super::openapi::bodies::RecordBody;
use super::openapi::values::{
    AgentField, AppliedField, EntityTags, FamilyNumber, GivenHostname, GivenSiloId, Preferences,
};
use super::openapi::{self, tags};
use super::page::not_modified;
use super::record_document::document;
use super::request::{JsonBody, PrefersMinimal, Query, RecordPath};
use super::waiting::{Answer, ConditionalRead};
use crate::domain::precondition::{Precondition, record_tag};
use crate::registry::{Refusal, RemoveRecord, SetRecord};
use crate::store::{StoreError, StoredRecord, WriteScope};

/// Reads a record
#[utoipa::path(
    get,
    path = "/silos/{id}/records/{hostname}",
    operation_id = "readRecord",
    tag = tags::RECORDS,
    params(("id" = GivenSiloId, Path), ("hostname" = GivenHostname, Path), ("If-None-Match" = Option<EntityTags>, Header), ("Prefer" = Option<Preferences>, Header), ("Silo-Agent" = Option<AgentField>, Header), ("Silo-Applied" = Option<AppliedField>, Header)),
    responses(
        (status = 200, description = "The record.", body = RecordDocument, headers(("ETag" = String), ("Cache-Control" = String), ("Preference-Applied" = String))),
        (status = 304, description = "Not modified: `If-None-Match` has the present entity tag.", headers(("ETag" = String), ("Cache-Control" = String), ("Preference-Applied" = String))),
        openapi::problem_sets::ReadOfOne,
    ),
)]
pub(super) async fn read(
    caller: Caller,
    State(hub): State<Arc<Hub>>,
    RecordPath(id, hostname): RecordPath,
    request: Request,
) -> Result<Response, ApiError> {
    caller.require_read(&id)?;
    // The request is not kept while the read waits.
    let mut read = ConditionalRead::of_silo(&hub, &id, &request.into_parts().0)?;
    let look = || async {
        let record = hub.store.record(&id, &hostname).await?;
        if record.is_some() {
            caller.note_agent(&hub, &id);
        }
        Ok::<_, StoreError>(record)
    };
    let tag = |record: &StoredRecord| record_tag(record.revision, &record.hostname);
    // Only the record shows whether it is the same one.
    let may_differ = || async { Ok(true) };
    let record = read.read(look, tag, may_differ).await?;
    let caller = if read.has_waited() {
        let caller = caller.refreshed(&hub).await?;
        caller.require_read(&id)?;
        caller
    } else {
        caller
    };
    let mut response = match record {
        Answer::Known(tag) => not_modified(header_value(&format!("\"{tag}\""))?),
        Answer::New(record) => answer(&hub, &caller, &id, record)?,
        Answer::Absent => return Err(Refusal::NoRecord.into()),
    };
    read.add_applied(&mut response);
    Ok(response)
}

/// Sets a record
///
/// Sets this hostname alone, atomically, and makes the silo if there is none. Without a body, that is with neither `Content-Type` nor
/// `Content-Length`, it sets the address that the request comes from, as `{"ip":"caller"}` does; signed requests must name the address.
#[utoipa::path(
    put,
    path = "/silos/{id}/records/{hostname}",
    operation_id = "setRecord",
    tag = tags::RECORDS,
    params(("id" = GivenSiloId, Path), ("hostname" = GivenHostname, Path), ("If-Match" = Option<EntityTags>, Header), ("If-None-Match" = Option<EntityTags>, Header), ("Prefer" = Option<Preferences>, Header), ("Silo-Agent" = Option<AgentField>, Header), ("Silo-Applied" = Option<AppliedField>, Header)),
    request_body(content = RecordBody, examples(("one" = (summary = "One address", value = json!({"ip": "10.0.0.5"}))), ("both" = (summary = "Both addresses", value = json!({"ips": ["10.0.0.5", "fd00::5"]}))), ("exact" = (summary = "An IPv4 address and no IPv6 address", value = json!({"ip4": "10.0.0.5", "ip6": null}))), ("caller" = (summary = "The address that the request comes from", value = json!({"ip": "caller"}))), ("attributes" = (summary = "An address and attributes", value = json!({"ip": "10.0.0.5", "comment": "in the cellar", "expires_after": 86400}))))),
    responses(
        (status = 200, description = "The record as it is now.", body = RecordDocument, headers(("ETag" = String), ("Cache-Control" = String), ("Content-Location" = String), ("Silo-Changed" = String))),
        (status = 201, description = "The hostname is new.", body = RecordDocument, headers(("ETag" = String), ("Cache-Control" = String), ("Content-Location" = String), ("Location" = String), ("Silo-Changed" = String), ("Preference-Applied" = String))),
        (status = 204, description = "The same without the document: `Prefer: return=minimal`.", headers(("ETag" = String), ("Cache-Control" = String), ("Silo-Changed" = String), ("Preference-Applied" = String))),
        openapi::problem_sets::ConditionalWrite,
    ),
)]
pub(super) async fn set(
    caller: Caller,
    State(hub): State<Arc<Hub>>,
    RecordPath(id, hostname): RecordPath,
    precondition: Precondition,
    PrefersMinimal(is_minimal): PrefersMinimal,
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
    } = bodies::record(body, &id, &hostname, || caller.implied_ip(&hub))?;
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
    caller.note_agent(&hub, &id);
    let mut response = answer(&hub, &caller, &id, written.record)?;
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
    if is_minimal {
        // Only a representation may have one here (RFC 9110 section 9.3.4).
        response.headers_mut().remove(ETAG);
    }
    Ok(representation_or_none(response, is_minimal))
}

/// Removes a record
///
/// With `family`, only the address of that family.
#[utoipa::path(
    delete,
    path = "/silos/{id}/records/{hostname}",
    operation_id = "deleteRecord",
    tag = tags::RECORDS,
    params(("id" = GivenSiloId, Path), ("hostname" = GivenHostname, Path), ("family" = Option<FamilyNumber>, Query), ("If-Match" = Option<EntityTags>, Header), ("If-None-Match" = Option<EntityTags>, Header), ("Silo-Agent" = Option<AgentField>, Header), ("Silo-Applied" = Option<AppliedField>, Header)),
    responses(
        (status = 204, description = "The record, or the address of one family, is removed.", headers(("Silo-Changed" = String))),
        openapi::problem_sets::ConditionalRemoval,
    ),
)]
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
        id: id.clone(),
        hostname: hostname.clone(),
        family,
        precondition,
    };
    let removed = caller.apply(&hub, place, command).await;
    removed.map_err(|error| error.of_record(&hostname))?;
    caller.note_agent(&hub, &id);
    let headers = [(SILO_CHANGED, changed(true))];
    Ok((StatusCode::NO_CONTENT, headers).into_response())
}

/// The response with a record.
fn answer(
    hub: &Hub,
    caller: &Caller,
    id: &SiloId,
    record: StoredRecord,
) -> Result<Response, ApiError> {
    let tag = record_tag(record.revision, &record.hostname);
    let etag = header_value(&format!("\"{tag}\""))?;
    let headers = [(ETAG, etag), (CACHE_CONTROL, PRIVATE)];
    Ok((headers, Json(document(hub, caller, id, record))).into_response())
}
