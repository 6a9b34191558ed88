//! `/silos` and `/silos/{id}`.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_LOCATION, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH, LINK, LOCATION,
    VARY,
};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use silo_shared::silo::SiloId;

use super::Hub;
use super::auth::Caller;
use super::bodies;
use super::error::ApiError;
use super::open::prefers_text;
use super::prefer::wait_seconds;
use super::request::{LenientJsonBody, Query, SiloPath, tag_list};
use crate::domain::precondition::{Precondition, TagList};
use crate::registry::{DeleteSilo, Refusal, ReplaceSilo};
use crate::render::Format;
use crate::store::Place;
use crate::view::Rendered;

/// The most that a page of the list holds, in bytes, unless its only silo is larger.
const PAGE_BYTES: usize = 1024 * 1024;

/// Stored by nobody but the reader, and asked about each time.
pub(super) const PRIVATE: HeaderValue = HeaderValue::from_static("private, no-cache");
/// For how many seconds the database was not heard of, on reads that go on without it.
const SILO_STALE: HeaderName = HeaderName::from_static("silo-stale");

/// `GET /silos`: the silos that the token may read, in byte order of their ids.
pub(super) async fn list(
    caller: Caller,
    State(hub): State<Arc<Hub>>,
    query: Query,
) -> Result<Response, ApiError> {
    let limit = query.limit(1000)?;
    let mut after = query
        .parse::<SiloId>("after")?
        .map(|id| id.to_string())
        .unwrap_or_default();
    let mut body = Vec::from(b"[");
    let mut last: Option<SiloId> = None;
    let mut silos = 0;
    let mut more = false;
    let token = caller.token();
    'spans: for span in token.readable_spans() {
        loop {
            // One more than the page takes tells whether there is a next one.
            let wanted = limit - silos + 1;
            let ids = hub.store.silo_ids_in(&span, &after, wanted).await?;
            let is_end = ids.len() < wanted;
            for id in ids {
                after = id.to_string();
                if !token.may_read(&id) {
                    continue;
                }
                // A silo deleted since its id was read is passed over.
                let Some(silo) = hub.view.get(id.clone(), Format::Json).await? else {
                    continue;
                };
                // A first silo is sent whatever its size, or the list would never go on.
                let is_full = silos > 0 && body.len() + silo.body.len() + 2 > PAGE_BYTES;
                if silos == limit || is_full {
                    more = true;
                    break 'spans;
                }
                if silos > 0 {
                    body.push(b',');
                }
                body.extend_from_slice(&silo.body);
                silos += 1;
                last = Some(id);
            }
            if is_end {
                break;
            }
        }
    }
    body.push(b']');
    let mut response = (
        [
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (CACHE_CONTROL, PRIVATE),
        ],
        body,
    )
        .into_response();
    if let Some(last) = last.filter(|_| more) {
        let link = format!("</silos?limit={limit}&after={last}>; rel=\"next\"");
        response.headers_mut().insert(LINK, header_value(&link)?);
    }
    Ok(response)
}

/// `GET /silos/{id}`, in the format that is asked for; with `Prefer: wait` once it differs.
pub(super) async fn read(
    caller: Caller,
    State(hub): State<Arc<Hub>>,
    SiloPath(id): SiloPath,
    query: Query,
    request: Request,
) -> Result<Response, ApiError> {
    caller.require_read(&id)?;
    let headers = request.headers();
    let format = match query.get("format") {
        None if prefers_text(headers) => Format::Hosts,
        None | Some("json") => Format::Json,
        Some("hosts") => Format::Hosts,
        Some("zone") => Format::Zone,
        Some(_) => {
            return Err(ApiError::invalid(
                "/format",
                "the format is json, hosts or zone",
            ));
        }
    };
    let known = tag_list(headers, IF_NONE_MATCH)?;
    let mut wait = known.as_ref().and_then(|_| wait_seconds(headers));
    if let Some(wanted) = tag_list(headers, IF_MATCH)? {
        let silo = known_silo(&hub, &id, format, &wanted).await?;
        let silo = silo.ok_or(Refusal::NoSilo)?;
        if !wanted.matches_strongly(Some(&silo.tag)) {
            // The answer is a 412 (`conditional.rs`), which has nothing to wait for.
            wait = None;
        }
    }
    // A read that waits holds none of the request.
    drop(request);
    let silo = match (&known, wait) {
        (Some(known), Some(seconds)) => {
            let silo = changed_silo(&hub, &id, format, known, seconds).await?;
            caller.require_still(&hub).await?;
            silo
        }
        (Some(known), None) => known_silo(&hub, &id, format, known).await?,
        (None, _) => hub.view.get(id, format).await?,
    };
    let silo = silo.ok_or(Refusal::NoSilo)?;
    let unchanged = known.is_some_and(|known| known.matches_weakly(Some(&silo.tag)));
    let (status, body) = if unchanged {
        (StatusCode::NOT_MODIFIED, Body::empty())
    } else {
        (StatusCode::OK, Body::from(silo.body.clone()))
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if !unchanged {
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static(format.content_type()),
        );
    }
    headers.insert(ETAG, silo.etag.clone());
    headers.insert(CACHE_CONTROL, PRIVATE);
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    if hub.contact.is_away()
        && let Some(seconds) = hub.contact.stale_for(hub.clock.now())
    {
        headers.insert(SILO_STALE, seconds.into());
    }
    if let Some(seconds) = wait {
        let applied = header_value(&format!("wait={seconds}"))?;
        headers.insert(HeaderName::from_static("preference-applied"), applied);
    }
    Ok(response)
}

/// The silo, read anew if it is held at an older revision than the caller knows: that one was then
/// committed by another program, and its news has not come here yet.
async fn known_silo(
    hub: &Hub,
    id: &SiloId,
    format: Format,
    known: &TagList,
) -> Result<Option<Arc<Rendered>>, ApiError> {
    let silo = hub.view.get(id.clone(), format).await?;
    match (&silo, known.newest_revision()) {
        (Some(held), Some(newest)) if held.revision < newest => {
            hub.view.forget_older(id, newest);
            Ok(hub.view.get(id.clone(), format).await?)
        }
        _ => Ok(silo),
    }
}

/// The silo once it has another tag than those that are known, or as it is at the end of the wait.
async fn changed_silo(
    hub: &Hub,
    id: &SiloId,
    format: Format,
    known: &TagList,
    seconds: u64,
) -> Result<Option<Arc<Rendered>>, ApiError> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(seconds);
    // Before the first read, so that no change comes between the two.
    let mut interest = hub.revision.watch_silo(id.clone());
    let mut is_over = false;
    loop {
        interest.mark_known();
        let silo = known_silo(hub, id, format, known).await?;
        let tag = silo.as_ref().map(|silo| silo.tag.as_str());
        if is_over || !known.matches_weakly(tag) {
            return Ok(silo);
        }
        match tokio::time::timeout_at(deadline, interest.changed()).await {
            Ok(true) => {}
            // The hub stops: the answer is what is known.
            Ok(false) => return Ok(silo),
            // A wake-up is a hint alone, so the silo is read once more.
            Err(_) => is_over = true,
        }
    }
}

/// `PUT /silos/{id}`: replaces the records.
pub(super) async fn replace(
    caller: Caller,
    State(hub): State<Arc<Hub>>,
    SiloPath(id): SiloPath,
    precondition: Precondition,
    LenientJsonBody(body): LenientJsonBody,
) -> Result<Response, ApiError> {
    caller.require_replace(&id)?;
    let body = body.read(&hub).await?;
    let records = bodies::silo(&body, &id)?;
    let location = header_value(&format!("/silos/{id}"))?;
    let place = Place::Silo(id.clone());
    let command = ReplaceSilo {
        actor: caller.actor(),
        id,
        records,
        precondition,
    };
    let written = caller.apply(&hub, place, command).await?;
    let silo = Rendered::new(&written.silo, Format::Json);
    let mut response = Response::new(Body::from(silo.body));
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static(Format::Json.content_type()),
    );
    headers.insert(ETAG, silo.etag);
    headers.insert(CACHE_CONTROL, PRIVATE);
    headers.insert(CONTENT_LOCATION, location.clone());
    if written.created {
        headers.insert(LOCATION, location);
        *response.status_mut() = StatusCode::CREATED;
    }
    Ok(response)
}

/// `DELETE /silos/{id}`
pub(super) async fn remove(
    caller: Caller,
    State(hub): State<Arc<Hub>>,
    SiloPath(id): SiloPath,
    precondition: Precondition,
) -> Result<StatusCode, ApiError> {
    caller.require_replace(&id)?;
    let place = Place::Silo(id.clone());
    let command = DeleteSilo {
        actor: caller.actor(),
        id,
        precondition,
    };
    caller.apply(&hub, place, command).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A header value of texts that were parsed before, and so hold no control characters.
pub(super) fn header_value(text: &str) -> Result<HeaderValue, ApiError> {
    HeaderValue::from_str(text).map_err(|_| ApiError::Internal)
}
