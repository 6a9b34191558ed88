//! `/events` and `/silos/{id}/events`: what changes, as it changes (server-sent events: HTML Living Standard
//! section 9.2).
//!
//! A stream says the state first, or what is newer than `Last-Event-ID`. The id of an event is a revision up to
//! which everything was said, so that nothing is missed by who comes back with it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::json;
use silo_shared::silo::SiloId;

use super::Hub;
use super::auth::Caller;
use super::error::ApiError;
use super::request::{Query, SiloPath};
use super::silos::PRIVATE;
use crate::registry::Refusal;
use crate::render::Format;
use crate::revision::Announcements;
use crate::store::StoreError;
use crate::view::Rendered;

/// How often a stream without news says that it is there.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);
/// How often a stream looks whether its token still counts.
const LOOK_AT_TOKEN: Duration = Duration::from_millis(500);
/// How many changed silos are read at once.
const PAGE: i64 = 100;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// nginx must pass events on as they come.
const NO_BUFFERING: (HeaderName, HeaderValue) = (
    HeaderName::from_static("x-accel-buffering"),
    HeaderValue::from_static("no"),
);

/// `GET /silos/{id}/events`
pub(super) async fn of_silo(
    caller: Caller,
    State(hub): State<Arc<Hub>>,
    SiloPath(id): SiloPath,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    caller.require_read(&id)?;
    let Some(head) = hub.store.silo_head(&id).await? else {
        return Err(Refusal::NoSilo.into());
    };
    // Who knows it comes back to hear that it was deleted.
    if head.deleted && !headers.contains_key(LAST_EVENT_ID) {
        return Err(Refusal::NoSilo.into());
    }
    begin(hub, caller, Scope::Silo(id), &headers).await
}

/// `GET /events`: of all silos that the token may read; with `?full=1` as they are now, else only their names.
pub(super) async fn of_all(
    caller: Caller,
    State(hub): State<Arc<Hub>>,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let full = match query.get("full") {
        None | Some("0") => false,
        Some("1") => true,
        Some(_) => return Err(ApiError::invalid("/full", "full is 0 or 1")),
    };
    begin(hub, caller, Scope::All { full }, &headers).await
}

async fn begin(
    hub: Arc<Hub>,
    caller: Caller,
    scope: Scope,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    caller.refuse_signed("a stream cannot be signed: read with Prefer: wait instead")?;
    let announcements = hub.revision.subscribe();
    let mut teller = Teller {
        hub,
        caller,
        scope,
        announcements,
        told: 0,
        is_first: true,
        events: VecDeque::new(),
    };
    if let Some(known) = headers.get(LAST_EVENT_ID) {
        teller.resume(known).await?;
    }
    let events = stream::unfold(teller, |mut teller| async move {
        let event = teller.next().await?;
        Some((Ok::<_, Infallible>(event), teller))
    });
    let alive = KeepAlive::new().interval(SIGN_OF_LIFE);
    let headers = [(CACHE_CONTROL, PRIVATE), NO_BUFFERING];
    Ok((headers, Sse::new(events).keep_alive(alive)).into_response())
}

/// What a stream tells of.
#[derive(Clone, Debug)]
enum Scope {
    Silo(SiloId),
    All { full: bool },
}

/// One stream.
#[derive(Debug)]
struct Teller {
    hub: Arc<Hub>,
    caller: Caller,
    scope: Scope,
    announcements: Announcements,
    /// The revision up to which everything was told.
    told: i64,
    /// Nothing was told yet: of what is deleted there is nothing to say.
    is_first: bool,
    events: VecDeque<Event>,
}

impl Teller {
    /// Goes on where an earlier stream ended, if what was deleted since is still known.
    async fn resume(&mut self, known: &HeaderValue) -> Result<(), ApiError> {
        let known = known.to_str().ok().and_then(|id| id.parse::<i64>().ok());
        // This hub may lag behind the one that the stream was at: the database knows.
        let position = self.hub.store.position().await?;
        match known.filter(|known| (position.feed_floor..=position.revision).contains(known)) {
            Some(known) => {
                self.told = known;
                self.is_first = false;
            }
            None => {
                let data = json!({ "revision": position.revision });
                let reset = Event::default().event("reset").data(data.to_string());
                self.events.push_back(reset);
            }
        }
        Ok(())
    }

    /// The next event; `None` when the stream ends: the hub stops, the token does, or the database is away.
    /// Clients come back by themselves.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            self.announcements.mark_known();
            self.caller.require_still(&self.hub).await.ok()?;
            let looked = match self.scope.clone() {
                Scope::Silo(id) => self.look_at(&id).await,
                Scope::All { full } => self.look_at_all(full).await,
            };
            if let Err(error) = looked {
                tracing::warn!("a stream of events ends, since the database failed: {error}");
                return None;
            }
            while self.events.is_empty() {
                let news = tokio::time::timeout(LOOK_AT_TOKEN, self.announcements.next());
                match news.await {
                    Ok(true) => break,
                    Ok(false) => return None,
                    Err(_) => self.caller.require_still(&self.hub).await.ok()?,
                }
            }
        }
    }

    async fn look_at(&mut self, id: &SiloId) -> Result<(), StoreError> {
        match self.hub.view.get(id.clone(), Format::Json).await? {
            Some(silo) if silo.revision > self.told => {
                self.told = silo.revision;
                self.tell(&silo, true, id);
            }
            Some(_) => {}
            None => {
                let head = self.hub.store.silo_head(id).await?;
                if let Some(head) = head.filter(|head| head.deleted && head.revision > self.told) {
                    self.told = head.revision;
                    self.tell_deleted(id);
                }
            }
        }
        self.is_first = false;
        Ok(())
    }

    async fn look_at_all(&mut self, full: bool) -> Result<(), StoreError> {
        loop {
            let changed = self.hub.store.changed_since(self.told, PAGE).await?;
            for (id, revision) in &changed {
                self.told = *revision;
                if !self.caller.token().may_read(id) {
                    continue;
                }
                // The news of it may not have come here yet.
                self.hub.view.forget_older(id, *revision);
                match self.hub.view.get(id.clone(), Format::Json).await? {
                    Some(silo) => self.tell(&silo, full, id),
                    None if self.is_first => {}
                    None => self.tell_deleted(id),
                }
            }
            let is_all = i64::try_from(changed.len()).is_ok_and(|changed| changed < PAGE);
            if is_all {
                self.is_first = false;
            }
            if is_all || !self.events.is_empty() {
                return Ok(());
            }
        }
    }

    fn tell(&mut self, silo: &Rendered, full: bool, id: &SiloId) {
        let event = self.event("silo");
        let event = match full {
            // One line of JSON.
            true => event.data(String::from_utf8_lossy(&silo.body)),
            false => event.data(self.name(id)),
        };
        self.events.push_back(event);
    }

    fn tell_deleted(&mut self, id: &SiloId) {
        let event = self.event("deleted").data(self.name(id));
        self.events.push_back(event);
    }

    fn event(&self, kind: &str) -> Event {
        Event::default().event(kind).id(self.told.to_string())
    }

    fn name(&self, id: &SiloId) -> String {
        json!({ "id": id, "revision": self.told }).to_string()
    }
}
