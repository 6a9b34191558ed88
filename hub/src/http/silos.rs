//! `/silos/{id}`.

use std::pin::pin;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_LOCATION, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH, LOCATION, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use silo_shared::api::SiloDocument;
use silo_shared::signing::answer::SILO_DATABASE;
use silo_shared::silo::SiloId;

use super::Hub;
use super::auth::Caller;
use super::bodies;
use super::error::ApiError;
use super::finish::NOSNIFF;
use super::headers::{
    PREFERENCE_APPLIED, PRIVATE, SILO_CHANGED, changed, header_value, representation_or_none,
};
use super::open::prefers_text;
use super::openapi::bodies::SiloBody;
use super::openapi::values::{
    AgentField, AppliedField, EntityTags, FormatName, GivenSiloId, Preferences,
};
use super::openapi::{self, tags};
use super::parameters;
use super::prefer::{Patience, patience};
use super::request::{JsonBody, PrefersMinimal, Query, SiloPath, path_error, tag_list};
use super::waiting::applied;
use super::watchers::WatcherKind;
use crate::domain::precondition::{Precondition, TagList};
use crate::http::connection::ConnectionHandle;
use crate::read::render::Format;
use crate::read::view::Rendered;
use crate::registry::{DeleteSilo, Refusal, ReplaceSilo, WrittenSilo};
use crate::store::WriteScope;

/// The prefix of the paths of silos.
pub(super) const PATH: &str = "/silos/";
/// The headers of a read's response, by format. The tag, `nosniff` and the database's id are set later; their places are
/// reserved here.
static HEADERS: LazyLock<[HeaderMap; 3]> = LazyLock::new(|| Format::ALL.map(headers_of));
/// The headers of a 304, in the same way.
static HEADERS_OF_KNOWN: LazyLock<HeaderMap> = LazyLock::new(|| {
    let mut headers = headers_of(Format::Json);
    headers.remove(CONTENT_TYPE);
    headers
});
/// For how many seconds the database has been silent, on reads that continue without it.
const SILO_STALE: HeaderName = HeaderName::from_static("silo-stale");

/// Reads a silo
///
/// JSON, or with `?format=hosts` or `Accept: text/plain` the lines of a hosts file, or with `?format=zone` a fragment of a DNS zone. Each
/// form has an entity tag of its own. With `If-None-Match` and `Prefer: wait=SECONDS` (at most 300) the answer waits until the silo differs.
#[utoipa::path(
    get,
    path = "/silos/{id}",
    operation_id = "readSilo",
    tag = tags::SILOS,
    params(("id" = GivenSiloId, Path), ("format" = Option<FormatName>, Query), ("If-None-Match" = Option<EntityTags>, Header), ("Prefer" = Option<Preferences>, Header), ("Silo-Agent" = Option<AgentField>, Header), ("Silo-Applied" = Option<AppliedField>, Header)),
    responses(
        (status = 200, description = "The silo: JSON, or lines of a hosts file or of a zone.", content((SiloDocument = "application/json"), (String = "text/plain")), headers(("ETag" = String), ("Cache-Control" = String), ("Vary" = String), ("Silo-Stale" = String), ("Preference-Applied" = String))),
        (status = 304, description = "Not modified: `If-None-Match` has the present entity tag.", headers(("ETag" = String), ("Cache-Control" = String), ("Vary" = String), ("Silo-Stale" = String), ("Preference-Applied" = String))),
        openapi::problem_sets::ReadOfOne,
    ),
)]
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
    let query = parts.uri.query().unwrap_or("");
    parameters::check_query(&parts.method, "/silos/{id}", query)?;
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
    let mut wait = patience(headers);
    if let Some(wanted) = tag_list(headers, IF_MATCH)? {
        let silo = known_silo(hub, &id, format, &wanted).await?;
        let silo = silo.ok_or(Refusal::NoSilo)?;
        if !wanted.matches_strongly(Some(&silo.tag)) {
            // The response is a 412 (`conditional.rs`), so that waiting is pointless.
            wait = None;
        }
    }
    let noted = caller.names_agent().then(|| id.clone());
    let (silo, known) = match (known, wait) {
        (Some(known), None) => (known_silo(hub, &id, format, &known).await?, Some(known)),
        (None, None) => (hub.view.get(id, format).await?, None),
        (known, Some(patience)) => {
            let unknown = match known {
                Some(_) => None,
                // Without a tag, only a silo that is not there yet is worth a wait.
                None => hub.view.get(id.clone(), format).await?,
            };
            if unknown.is_none() {
                return Ok(ParsedRead::Wait(Wait {
                    hub: Arc::clone(hub),
                    caller,
                    id,
                    format,
                    known,
                    patience,
                    connection: parts.extensions.get::<ConnectionHandle>().cloned(),
                }));
            }
            (unknown, None)
        }
    };
    let silo = silo.ok_or(Refusal::NoSilo)?;
    if let Some(id) = noted {
        caller.note_agent(hub, &id);
    }
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
        (SILO_DATABASE, HeaderValue::from_static("")),
    ])
}

/// The response with a silo: 304 if the caller knows it. `wait`: how long the caller asked to wait.
fn answer(
    hub: &Hub,
    silo: &Rendered,
    format: Format,
    is_known: bool,
    wait: Option<Patience>,
) -> Result<Response, ApiError> {
    let (status, body) = if is_known {
        (StatusCode::NOT_MODIFIED, Body::empty())
    } else {
        (StatusCode::OK, Body::from(silo.body.clone()))
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    // A copy costs less than inserting the headers one by one.
    *response.headers_mut() = if is_known {
        HEADERS_OF_KNOWN.clone()
    } else {
        HEADERS[format as usize].clone()
    };
    let headers = response.headers_mut();
    headers.insert(ETAG, silo.etag.clone());
    if hub.database_health.is_away()
        && let Some(seconds) = hub.database_health.stale_for(hub.clock.monotonic())
    {
        headers.insert(SILO_STALE, seconds.into());
    }
    if let Some(applied) = wait.and_then(applied) {
        headers.insert(PREFERENCE_APPLIED, applied);
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
    /// The tags that the caller knows; `None`: it waits for any.
    known: Option<TagList>,
    patience: Patience,
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
        let deadline = tokio::time::Instant::now() + Duration::from_secs(self.patience.seconds());
        // Before the first read, so that no change is missed between the two.
        let mut interest = hub.bus.watch_silo(self.id.clone());
        let _watching = hub.watchers.enter(WatcherKind::Read);
        let mut is_over = false;
        let mut is_noted = false;
        let mut ended = pin!(async {
            match &self.connection {
                Some(connection) => connection.client_ended().await,
                None => std::future::pending().await,
            }
        });
        let silo = loop {
            interest.mark_known();
            let silo = match known {
                Some(known) => known_silo(hub, &self.id, *format, known).await?,
                None => hub.view.get(self.id.clone(), *format).await?,
            };
            if silo.is_some() && !is_noted {
                self.caller.note_agent(hub, &self.id);
                is_noted = true;
            }
            let tag = silo.as_ref().map(|silo| silo.tag.as_str());
            let differs = match known {
                Some(known) => !known.matches_weakly(tag),
                None => tag.is_some(),
            };
            if is_over || differs {
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
        let caller = self.caller.refreshed(hub).await?;
        caller.require_read(&self.id)?;
        let silo = silo.ok_or(Refusal::NoSilo)?;
        let is_known = known
            .as_ref()
            .is_some_and(|known| known.matches_weakly(Some(&silo.tag)));
        answer(hub, &silo, *format, is_known, Some(self.patience))
    }
}

/// Replaces the records of a silo
///
/// Makes the silo if there is none. A document that `GET` answered can be changed and sent back: with its `revision`, nothing that
/// others wrote meanwhile is lost. The attributes of a record stay while its hostname does. A write that changes nothing takes no
/// revision, and succeeds also if `If-Match` names an older entity tag: a repeated write is no conflict.
#[utoipa::path(
    put,
    path = "/silos/{id}",
    operation_id = "replaceSilo",
    tag = tags::SILOS,
    params(("id" = GivenSiloId, Path), ("If-Match" = Option<EntityTags>, Header), ("If-None-Match" = Option<EntityTags>, Header), ("Prefer" = Option<Preferences>, Header), ("Silo-Agent" = Option<AgentField>, Header), ("Silo-Applied" = Option<AppliedField>, Header)),
    request_body(content = SiloBody, examples(("records" = (summary = "Two records", value = json!({"dnsrecords": [{"hostname": "db", "ip": "10.0.0.5"}, {"hostname": "db", "ip": "fd00::5"}]}))), ("empty" = (summary = "No records", value = json!({"dnsrecords": []}))))),
    responses(
        (status = 200, description = "The silo as it is now.", body = SiloDocument, headers(("ETag" = String), ("Cache-Control" = String), ("Content-Location" = String), ("Silo-Changed" = String))),
        (status = 201, description = "The silo is new.", body = SiloDocument, headers(("ETag" = String), ("Cache-Control" = String), ("Content-Location" = String), ("Location" = String), ("Silo-Changed" = String), ("Preference-Applied" = String))),
        (status = 204, description = "The same without the document: `Prefer: return=minimal`.", headers(("ETag" = String), ("Cache-Control" = String), ("Silo-Changed" = String), ("Preference-Applied" = String))),
        openapi::problem_sets::ConditionalWrite,
    ),
)]
pub(super) async fn replace(
    caller: Caller,
    State(hub): State<Arc<Hub>>,
    SiloPath(id): SiloPath,
    precondition: Precondition,
    PrefersMinimal(is_minimal): PrefersMinimal,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    caller.require_replace(&id)?;
    let body = body.read(&hub).await?;
    let (records, revision) = bodies::silo(&body, &id)?;
    let place = WriteScope::Silo(id.clone());
    let command = ReplaceSilo {
        actor: caller.actor(),
        id: id.clone(),
        records,
        precondition: Precondition {
            revision,
            ..precondition
        },
    };
    let written = caller.apply(&hub, place, command).await?;
    caller.note_agent(&hub, &id);
    let mut response = written_answer(&written)?;
    if is_minimal {
        // Only a representation may have one here (RFC 9110 section 9.3.4).
        response.headers_mut().remove(ETAG);
    }
    Ok(representation_or_none(response, is_minimal))
}

/// The response with a silo after a write of all of it.
pub(super) fn written_answer(written: &WrittenSilo) -> Result<Response, ApiError> {
    let location = header_value(&format!("/silos/{}", written.silo.id))?;
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

/// Deletes a silo
///
/// Its history stays.
#[utoipa::path(
    delete,
    path = "/silos/{id}",
    operation_id = "deleteSilo",
    tag = tags::SILOS,
    params(("id" = GivenSiloId, Path), ("If-Match" = Option<EntityTags>, Header), ("If-None-Match" = Option<EntityTags>, Header)),
    responses(
        (status = 204, description = "The silo is deleted.", headers(("Silo-Changed" = String))),
        openapi::problem_sets::ConditionalRemoval,
    ),
)]
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
        id: id.clone(),
        precondition,
    };
    caller.apply(&hub, place, command).await?;
    hub.registry.agents().forget_silo(&id);
    let headers = [(SILO_CHANGED, changed(true))];
    Ok((StatusCode::NO_CONTENT, headers).into_response())
}
