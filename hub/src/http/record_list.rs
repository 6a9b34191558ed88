//! `/silos/{id}/records`: the records of a silo, with all that they have.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, ETAG, LOCATION};
use axum::response::{IntoResponse, Response};
use silo_shared::api::RecordDocument;
use silo_shared::silo::{Hostname, MAX_RECORDS, SiloId};

use super::Hub;
use super::auth::Caller;
use super::bodies;
use super::error::ApiError;
use super::headers::{PRIVATE, SILO_CHANGED, changed, header_value, representation_or_none};
use super::openapi::bodies::RecordsBody;
use super::openapi::values::{
    AgentField, AppliedField, EntityTags, GivenHostname, GivenSiloId, Limit, Preferences,
    SearchText,
};
use super::openapi::{self, tags};
use super::page::{ListBody, next_link, not_modified};
use super::record_document::document;
use super::record_filter::RecordFilter;
use super::request::{JsonBody, PrefersMinimal, Query, SiloPath};
use super::waiting::{Answer, ConditionalRead};
use crate::domain::precondition::{Precondition, silo_tag};
use crate::domain::revision::Revision;
use crate::read::render::Format;
use crate::registry::{PatchRecords, RecordChange, Refusal};
use crate::store::{StoreError, StoredRecord, WriteScope};

/// The default number of records on a page.
const PAGE: usize = 1000;
/// How many records are read at once to look for those that match.
const READ_AT_ONCE: usize = 1000;
/// How often a page is read again because the silo has changed meanwhile.
const TRIES: usize = 3;

/// The records after a hostname that match a filter, as they were read.
#[derive(Debug)]
struct Found {
    revision: Revision,
    /// Empty if the client knows this revision.
    records: Vec<StoredRecord>,
}

/// Lists the records of a silo
///
/// In byte order of their hostnames, each as a read of it answers. The entity tag is that of the silo. `limit` is 1000 unless given.
#[utoipa::path(
    get,
    path = "/silos/{id}/records",
    operation_id = "listRecords",
    tag = tags::RECORDS,
    params(("id" = GivenSiloId, Path), ("q" = Option<SearchText>, Query), ("limit" = Option<Limit>, Query), ("after" = Option<GivenHostname>, Query), ("If-None-Match" = Option<EntityTags>, Header), ("Prefer" = Option<Preferences>, Header), ("Silo-Agent" = Option<AgentField>, Header), ("Silo-Applied" = Option<AppliedField>, Header)),
    responses(
        (status = 200, description = "A page of records.", body = Vec<RecordDocument>, headers(("ETag" = String), ("Link" = String), ("Cache-Control" = String), ("Preference-Applied" = String))),
        (status = 304, description = "Not modified: `If-None-Match` has the present entity tag.", headers(("ETag" = String), ("Cache-Control" = String), ("Preference-Applied" = String))),
        openapi::problem_sets::ReadOfOne,
    ),
)]
pub(super) async fn list(
    caller: Caller,
    State(hub): State<Arc<Hub>>,
    SiloPath(id): SiloPath,
    query: Query,
    request: Request,
) -> Result<Response, ApiError> {
    caller.require_read(&id)?;
    let limit = query.limit(PAGE)?;
    let after = query.parse::<Hostname>("after")?;
    let filter = RecordFilter::of(&query)?;
    // The request is not kept while the read waits.
    let mut read = ConditionalRead::of_silo(&hub, &id, &request.into_parts().0)?;
    let known = read.known();
    let look = || async {
        let head = hub.store.silo_head(&id).await?;
        let Some(head) = head.filter(|head| !head.deleted) else {
            return Ok(None);
        };
        caller.note_agent(&hub, &id);
        if known.has(&silo_tag(head.revision)) {
            return Ok(Some(Found {
                revision: head.revision,
                records: Vec::new(),
            }));
        }
        let after = after.as_ref().map_or("", Hostname::as_str);
        page(&hub, &id, after, &filter, limit).await
    };
    // All that wait for a silo share one read of it.
    let may_differ = || async {
        let silo = hub.view.get(id.clone(), Format::Json).await?;
        Ok::<_, StoreError>(silo.is_none_or(|silo| !known.has(&silo.tag)))
    };
    let tag = |found: &Found| silo_tag(found.revision);
    let answer = read.read(look, tag, may_differ).await?;
    let caller = if read.has_waited() {
        let caller = caller.refreshed(&hub).await?;
        caller.require_read(&id)?;
        caller
    } else {
        caller
    };
    let mut response = match answer {
        Answer::Absent => return Err(Refusal::NoSilo.into()),
        Answer::Known(tag) => not_modified(header_value(&format!("\"{tag}\""))?),
        Answer::New(Found { revision, records }) => {
            let etag = header_value(&format!("\"{}\"", silo_tag(revision)))?;
            let mut body = ListBody::new(limit);
            let mut next = None;
            let mut last = None;
            for record in records {
                let hostname = record.hostname.clone();
                if !body.push_json(&document(&hub, &caller, &id, record))? {
                    next = last;
                    break;
                }
                last = Some(hostname);
            }
            let next = next.map(|after| {
                let query = filter.next_query(after.as_str());
                next_link(&format!("/silos/{id}/records"), limit, &query)
            });
            body.respond(etag, next.as_deref())?
        }
    };
    read.add_applied(&mut response);
    Ok(response)
}

/// The next records that match, one more than the page may have if there are so many; `None`: there is no silo.
async fn page(
    hub: &Hub,
    id: &SiloId,
    after: &str,
    filter: &RecordFilter,
    limit: usize,
) -> Result<Option<Found>, StoreError> {
    let mut at_once = if filter.takes_all() {
        limit + 1
    } else {
        READ_AT_ONCE
    };
    for attempt in 1.. {
        if attempt > TRIES {
            // It changes faster than it is read in parts.
            at_once = MAX_RECORDS + 1;
        }
        let mut place = after.to_owned();
        let mut begun = None;
        let mut found = Vec::new();
        loop {
            let step = hub.store.silo_records(id, &place, at_once).await?;
            let Some((revision, records)) = step else {
                return Ok(None);
            };
            if *begun.get_or_insert(revision) != revision {
                break;
            }
            let is_end = records.len() < at_once;
            if let Some(last) = records.last() {
                place = last.hostname.to_string();
            }
            found.extend(records.into_iter().filter(|record| filter.takes(record)));
            if is_end || found.len() > limit {
                return Ok(Some(Found {
                    revision,
                    records: found,
                }));
            }
        }
    }
    Ok(None)
}

/// Sets and removes records of a silo
///
/// All or none, in one revision. Each hostname is judged as a `PUT` or `DELETE` of it would be, and may be named once. At most 10000 hostnames.
/// `If-Match` takes the silo's entity tag.
#[utoipa::path(
    patch,
    path = "/silos/{id}/records",
    operation_id = "changeRecords",
    tag = tags::RECORDS,
    params(("id" = GivenSiloId, Path), ("If-Match" = Option<EntityTags>, Header), ("If-None-Match" = Option<EntityTags>, Header), ("Prefer" = Option<Preferences>, Header), ("Silo-Agent" = Option<AgentField>, Header), ("Silo-Applied" = Option<AppliedField>, Header)),
    request_body(content = RecordsBody, examples(("both" = (summary = "Sets two records and removes none", value = json!({"set": [{"hostname": "db", "ips": ["10.0.0.6", "fd00::6"]}, {"hostname": "web", "ip4": "10.0.0.5", "comment": "x"}]}))), ("remove" = (summary = "Removes a record", value = json!({"remove": ["db"]}))))),
    responses(
        (status = 200, description = "The records that were set, as they are now.", body = Vec<RecordDocument>, headers(("ETag" = String), ("Cache-Control" = String), ("Silo-Changed" = String))),
        (status = 201, description = "The silo is new.", body = Vec<RecordDocument>, headers(("ETag" = String), ("Cache-Control" = String), ("Silo-Changed" = String), ("Location" = String), ("Preference-Applied" = String))),
        (status = 204, description = "The same without the document: `Prefer: return=minimal`, or a document of more than 1 MiB.", headers(("ETag" = String), ("Cache-Control" = String), ("Silo-Changed" = String), ("Preference-Applied" = String))),
        openapi::problem_sets::ConditionalWrite,
    ),
)]
pub(super) async fn change(
    caller: Caller,
    State(hub): State<Arc<Hub>>,
    SiloPath(id): SiloPath,
    precondition: Precondition,
    PrefersMinimal(is_minimal): PrefersMinimal,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    caller.require_write_some(&id)?;
    let body = body.read(&hub).await?;
    let may_write = |hostname: &Hostname| caller.token().may_write_record(&id, hostname);
    let patches = bodies::records(&body, &id, may_write, || caller.implied_ip(&hub))?;
    // A signed one must not come after a newer write to any of its hostnames.
    let place = WriteScope::Silo(id.clone());
    let command = PatchRecords {
        actor: caller.actor(),
        id: id.clone(),
        set: patches.set.into_iter().map(record_change).collect(),
        removed: patches.removed,
        precondition: Precondition {
            revision: patches.revision,
            ..precondition
        },
    };
    let written = caller.apply(&hub, place, command).await?;
    caller.note_agent(&hub, &id);
    let mut body = ListBody::new(usize::MAX);
    let mut is_whole = !is_minimal;
    for record in written.records {
        // Ten thousand records with all that they may have are forty times the size of a page.
        is_whole = is_whole && body.push_json(&document(&hub, &caller, &id, record))?;
        if !is_whole {
            break;
        }
    }
    let etag = header_value(&format!("\"{}\"", silo_tag(written.revision)))?;
    let mut response = if is_whole {
        body.respond(etag, None)?
    } else {
        (
            [(ETAG, etag), (CACHE_CONTROL, PRIVATE)],
            StatusCode::NO_CONTENT,
        )
            .into_response()
    };
    let headers = response.headers_mut();
    headers.insert(SILO_CHANGED, changed(written.changed));
    if written.created {
        *response.status_mut() = StatusCode::CREATED;
        let location = header_value(&format!("/silos/{id}"))?;
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(representation_or_none(response, is_minimal))
}

fn record_change((hostname, patch): (Hostname, bodies::RecordPatch)) -> RecordChange {
    RecordChange {
        hostname,
        addresses: patch.addresses,
        cleared: patch.cleared,
        attributes: patch.attributes,
    }
}
