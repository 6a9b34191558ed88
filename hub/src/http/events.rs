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
use crate::store::{ChangedSilo, StoreError};
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
    caller.spend_nonce(&hub).await?;
    let announcements = hub.revision.subscribe();
    let mut teller = Teller {
        hub,
        caller,
        scope,
        announcements,
        told: 0,
        is_state_told: false,
        reset: None,
        changed: VecDeque::new(),
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
    /// Before, there is nothing to say of what is deleted.
    is_state_told: bool,
    /// That an earlier stream's end is not known any more, if it is to be told.
    reset: Option<Event>,
    /// What has changed and is told next.
    changed: VecDeque<ChangedSilo>,
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
                self.is_state_told = true;
            }
            None => {
                let data = json!({ "revision": position.revision });
                let reset = Event::default().event("reset").data(data.to_string());
                self.reset = Some(reset);
            }
        }
        Ok(())
    }

    /// The next event; `None` when the stream ends: the hub stops, the token does, or the database is away.
    /// Clients come back by themselves.
    async fn next(&mut self) -> Option<Event> {
        loop {
            self.announcements.mark_known();
            self.caller.require_still(&self.hub).await.ok()?;
            if let Some(reset) = self.reset.take() {
                return Some(reset);
            }
            let looked = match self.scope.clone() {
                Scope::Silo(id) => self.look_at(&id).await,
                Scope::All { full } => self.look_at_all(full).await,
            };
            match looked {
                Ok(Some(event)) => return Some(event),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!("a stream of events ends, since the database failed: {error}");
                    return None;
                }
            }
            loop {
                let news = tokio::time::timeout(LOOK_AT_TOKEN, self.announcements.next());
                match news.await {
                    Ok(true) => break,
                    Ok(false) => return None,
                    Err(_) => self.caller.require_still(&self.hub).await.ok()?,
                }
            }
        }
    }

    async fn look_at(&mut self, id: &SiloId) -> Result<Option<Event>, StoreError> {
        if let Some(silo) = self.hub.view.get(id.clone(), Format::Json).await? {
            let is_new = silo.revision > self.told;
            self.told = self.told.max(silo.revision);
            return Ok(is_new.then(|| self.whole(&silo)));
        }
        let head = self.hub.store.silo_head(id).await?;
        let deleted = head.filter(|head| head.deleted && head.revision > self.told);
        Ok(deleted.map(|head| {
            self.told = head.revision;
            self.event("deleted", self.name(id))
        }))
    }

    async fn look_at_all(&mut self, full: bool) -> Result<Option<Event>, StoreError> {
        loop {
            while let Some(silo) = self.changed.pop_front() {
                self.told = silo.revision;
                if self.caller.token().may_read(&silo.id)
                    && let Some(event) = self.change(silo, full).await?
                {
                    return Ok(Some(event));
                }
            }
            self.changed = self.hub.store.changed_since(self.told, PAGE).await?.into();
            if self.changed.is_empty() {
                self.is_state_told = true;
                return Ok(None);
            }
        }
    }

    async fn change(&self, silo: ChangedSilo, full: bool) -> Result<Option<Event>, StoreError> {
        if silo.deleted {
            let deleted = || self.event("deleted", self.name(&silo.id));
            return Ok(self.is_state_told.then(deleted));
        }
        if !full {
            return Ok(Some(self.event("silo", self.name(&silo.id))));
        }
        // The news of it may not have come here yet. If it is gone already, that is told next.
        self.hub.view.forget_older(&silo.id, silo.revision);
        let silo = self.hub.view.get(silo.id, Format::Json).await?;
        Ok(silo.map(|silo| self.whole(&silo)))
    }

    fn whole(&self, silo: &Rendered) -> Event {
        // One line of JSON.
        self.event("silo", String::from_utf8_lossy(&silo.body))
    }

    fn event(&self, kind: &str, data: impl AsRef<str>) -> Event {
        let id = self.told.to_string();
        Event::default().event(kind).id(id).data(data)
    }

    fn name(&self, id: &SiloId) -> String {
        json!({ "id": id, "revision": self.told }).to_string()
    }
}
