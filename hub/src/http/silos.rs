//! `/silos` and `/silos/{id}`.

use std::pin::pin;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_LOCATION, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH, LINK, LOCATION,
    VARY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use silo_shared::silo::SiloId;

use super::Hub;
use super::auth::Caller;
use super::bodies;
use super::error::ApiError;
use super::finish::NOSNIFF;
use super::headers::{PRIVATE, SILO_CHANGED, changed, header_value};
use super::open::prefers_text;
use super::page::next_link;
use super::parameters;
use super::prefer::wait_seconds;
use super::request::{JsonBody, Query, SiloPath, path_error, tag_list};
use crate::domain::precondition::{Precondition, TagList};
use crate::http::connection::ConnectionHandle;
use crate::read::render::Format;
use crate::read::view::Rendered;
use crate::registry::{DeleteSilo, Refusal, ReplaceSilo};
use crate::store::WriteScope;

/// The maximum size of a page of the list, in bytes, unless its only silo is larger.
const PAGE_BYTES: usize = 1024 * 1024;

/// The prefix of the paths of silos.
pub(super) const PATH: &str = "/silos/";
/// The headers of a read's response, by format. The tag and `nosniff` are set later; their places are reserved here.
static HEADERS: LazyLock<[HeaderMap; 3]> = LazyLock::new(|| Format::ALL.map(headers_of));
/// The headers of a 304, in the same way.
static HEADERS_OF_KNOWN: LazyLock<HeaderMap> = LazyLock::new(|| {
    let mut headers = headers_of(Format::Json);
    headers.remove(CONTENT_TYPE);
    headers
});
/// For how many seconds the database has been silent, on reads that continue without it.
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
            // One more than the page holds shows whether there is a next one.
            let wanted = limit - silos + 1;
            let ids = hub.store.silo_ids_in(&span, &after, wanted).await?;
            let is_end = ids.len() < wanted;
            for id in ids {
                after = id.to_string();
                if !token.may_read(&id) {
                    continue;
                }
                // Skips a silo that was deleted since its id was read.
                let Some(silo) = hub.view.get(id.clone(), Format::Json).await? else {
                    continue;
                };
                // The first silo is sent regardless of its size; otherwise the list could not continue.
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
        let link = next_link("/silos", limit, &format!("after={last}"));
        response.headers_mut().insert(LINK, header_value(&link)?);
    }
    Ok(response)
}

/// `GET /silos/{id}`, in the requested format; with `Prefer: wait`, responds once it differs.
pub(super) async fn read(State(hub): State<Arc<Hub>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    match begin_read(hub, parts).await {
        ParsedRead::Answer(answer) => answer,
        ParsedRead::Wait(wait) => Box::pin(wait.answer()).await,
    }
}

/// The state of a read after its request is parsed.
pub(super) enum ParsedRead {
    /// It has a response.
    Answer(Response),
    /// It waits, and needs no part of its request for that.
    Wait(Wait),
}

/// Begins a read, also for a request that did not pass through the router.
pub(super) async fn begin_read(hub: Arc<Hub>, parts: Parts) -> ParsedRead {
    let read = read_for_caller(hub, parts).await;
    read.unwrap_or_else(|error| ParsedRead::Answer(error.into_response()))
}

async fn read_for_caller(hub: Arc<Hub>, mut parts: Parts) -> Result<ParsedRead, ApiError> {
    let hub = &hub;
    let caller = Caller::from_request_parts(&mut parts, hub).await?;
    // The caller's check does not know the route if the request did not pass through the router.
    parameters::check_query("/silos/{id}", parts.uri.query().unwrap_or(""))?;
    let id = match parts.uri.path().strip_prefix(PATH) {
        Some(id) if !id.contains('%') => {
            SiloId::parse(id).map_err(|error| path_error("id", error))?
        }
        _ => SiloPath::from_request_parts(&mut parts, hub).await?.0,
    };
    let query = Query::from_request_parts(&mut parts, hub).await?;
    caller.require_read(&id)?;
    let headers = &parts.headers;
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
        let silo = known_silo(hub, &id, format, &wanted).await?;
        let silo = silo.ok_or(Refusal::NoSilo)?;
        if !wanted.matches_strongly(Some(&silo.tag)) {
            // The response is a 412 (`conditional.rs`), so that waiting is pointless.
            wait = None;
        }
    }
    let (silo, known) = match (known, wait) {
        (Some(known), Some(seconds)) => {
            return Ok(ParsedRead::Wait(Wait {
                hub: Arc::clone(hub),
                caller,
                id,
                format,
                known,
                seconds,
                connection: parts.extensions.get::<ConnectionHandle>().cloned(),
            }));
        }
        (Some(known), None) => (known_silo(hub, &id, format, &known).await?, Some(known)),
        (None, _) => (hub.view.get(id, format).await?, None),
    };
    let silo = silo.ok_or(Refusal::NoSilo)?;
    let is_known = known.is_some_and(|known| known.matches_weakly(Some(&silo.tag)));
    Ok(ParsedRead::Answer(answer(
        hub, &silo, format, is_known, None,
    )?))
}

fn headers_of(format: Format) -> HeaderMap {
    let kind = HeaderValue::from_static(format.content_type());
    HeaderMap::from_iter([
        (CONTENT_TYPE, kind),
        (ETAG, HeaderValue::from_static("\"\"")),
        (CACHE_CONTROL, PRIVATE),
        (VARY, HeaderValue::from_static("Accept")),
        (X_CONTENT_TYPE_OPTIONS, NOSNIFF),
    ])
}

/// The response with a silo: 304 if the caller knows it. `wait`: the seconds that the caller asked to wait.
fn answer(
    hub: &Hub,
    silo: &Rendered,
    format: Format,
    is_known: bool,
    wait: Option<u64>,
) -> Result<Response, ApiError> {
    let (status, body) = match is_known {
        true => (StatusCode::NOT_MODIFIED, Body::empty()),
        false => (StatusCode::OK, Body::from(silo.body.clone())),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    // A copy costs less than inserting the headers one by one.
    *response.headers_mut() = match is_known {
        true => HEADERS_OF_KNOWN.clone(),
        false => HEADERS[format as usize].clone(),
    };
    let headers = response.headers_mut();
    headers.insert(ETAG, silo.etag.clone());
    if hub.database_health.is_away()
        && let Some(seconds) = hub.database_health.stale_for(hub.clock.monotonic())
    {
        headers.insert(SILO_STALE, seconds.into());
    }
    if let Some(seconds) = wait {
        let applied = header_value(&format!("wait={seconds}"))?;
        headers.insert(HeaderName::from_static("preference-applied"), applied);
    }
    Ok(response)
}

/// The silo; read again if the held revision is older than the one that the caller knows. Another program then
/// committed that one, and this hub has not received the change yet.
async fn known_silo(
    hub: &Hub,
    id: &SiloId,
    format: Format,
    known: &TagList,
) -> Result<Option<Arc<Rendered>>, ApiError> {
    let silo = hub.view.get(id.clone(), format).await?;
    let Some(held) = silo.as_ref().filter(|held| !known.is_only(&held.tag)) else {
        return Ok(silo);
    };
    match known.newest_revision() {
        Some(newest) if held.revision < newest => {
            hub.view.forget_older(id, newest);
            Ok(hub.view.get(id.clone(), format).await?)
        }
        _ => Ok(silo),
    }
}

/// A read that waits until a silo's tag differs from those that its caller knows.
pub(super) struct Wait {
    hub: Arc<Hub>,
    caller: Caller,
    id: SiloId,
    format: Format,
    known: TagList,
    seconds: u64,
    /// The connection of the request.
    connection: Option<ConnectionHandle>,
}

impl Wait {
    /// Waits, and responds with the current silo, if the caller's token is still valid.
    pub(super) async fn answer(self) -> Response {
        // By reference, so that it is not stored in two futures.
        let waited = self.wait().await;
        waited.unwrap_or_else(IntoResponse::into_response)
    }

    async fn wait(&self) -> Result<Response, ApiError> {
        let Self {
            hub, format, known, ..
        } = self;
        let deadline = tokio::time::Instant::now() + Duration::from_secs(self.seconds);
        // Before the first read, so that no change is missed between the two.
        let mut interest = hub.revision.watch_silo(self.id.clone());
        let mut is_over = false;
        let mut ended = pin!(async {
            match &self.connection {
                Some(connection) => connection.client_ended().await,
                None => std::future::pending().await,
            }
        });
        let silo = loop {
            interest.mark_known();
            let silo = known_silo(hub, &self.id, *format, known).await?;
            let tag = silo.as_ref().map(|silo| silo.tag.as_str());
            if is_over || !known.matches_weakly(tag) {
                break silo;
            }
            let changed = async {
                tokio::select! {
                    changed = interest.changed() => Some(changed),
                    () = &mut ended => None,
                }
            };
            match tokio::time::timeout_at(deadline, changed).await {
                // The client sends nothing more and may be disconnected: respond with what is known.
                Ok(None) => break silo,
                Ok(Some(true)) => {}
                // The hub stops: respond with what is known.
                Ok(Some(false)) => break silo,
                // A wake-up is only a hint, so the silo is read once more.
                Err(_) => is_over = true,
            }
        };
        self.caller.require_still(hub).await?;
        let silo = silo.ok_or(Refusal::NoSilo)?;
        let is_known = known.matches_weakly(Some(&silo.tag));
        answer(hub, &silo, *format, is_known, Some(self.seconds))
    }
}

/// `PUT /silos/{id}`: replaces the records.
pub(super) async fn replace(
    caller: Caller,
    State(hub): State<Arc<Hub>>,
    SiloPath(id): SiloPath,
    precondition: Precondition,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    caller.require_replace(&id)?;
    let body = body.read(&hub).await?;
    let (records, revision) = bodies::silo(&body, &id)?;
    let location = header_value(&format!("/silos/{id}"))?;
    let place = WriteScope::Silo(id.clone());
    let command = ReplaceSilo {
        actor: caller.actor(),
        id,
        records,
        precondition: Precondition {
            revision,
            ..precondition
        },
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
    headers.insert(SILO_CHANGED, changed(written.changed));
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
) -> Result<Response, ApiError> {
    caller.require_replace(&id)?;
    let place = WriteScope::Silo(id.clone());
    let command = DeleteSilo {
        actor: caller.actor(),
        id,
        precondition,
    };
    caller.apply(&hub, place, command).await?;
    let headers = [(SILO_CHANGED, changed(true))];
    Ok((StatusCode::NO_CONTENT, headers).into_response())
}
