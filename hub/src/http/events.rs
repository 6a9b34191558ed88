//! `/events` and `/silos/{id}/events`: streams of changes (server-sent events: HTML Living Standard section 9.2).
//!
//! A stream sends the state first, or the changes since `Last-Event-ID`. The id of an event is a revision up to which
//! everything was sent, so that a client that reconnects with it misses nothing.
//!
//! `reset` has no id: if a stream breaks before the state is complete, the next one begins with `reset` again. The last
//! event of the state after it has an id that is not below the feed floor; otherwise each resumed stream would begin
//! with `reset` until something changes.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::json;
use silo_shared::credential::TokenId;
use silo_shared::silo::SiloId;
use tokio::time::Instant;

use super::Hub;
use super::auth::Caller;
use super::error::ApiError;
use super::headers::PRIVATE;
use super::openapi::values::{AgentField, AppliedField, EventId, Flag, GivenSiloId};
use super::openapi::{self, tags};
use super::request::{Query, SiloPath};
use super::session_watch::{SessionCheck, SessionWatch};
use super::watchers::{WatcherKind, Watching};
use crate::domain::revision::Revision;
use crate::follow::interest::Interest;
use crate::read::render::Format;
use crate::read::view::Rendered;
use crate::registry::Refusal;
use crate::store::{ChangedSilo, Position, StoreError};

/// How often an idle stream sends a keep-alive.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);

/// How many changes are read from the database at once.
const READ_AT_ONCE: i64 = 100;

const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// nginx must not buffer events.
const NO_BUFFERING: (HeaderName, HeaderValue) = (
    HeaderName::from_static("x-accel-buffering"),
    HeaderValue::from_static("no"),
);

/// Follows a silo
///
/// The stream sends the present state first, or with `Last-Event-ID` what is newer. Event `silo`: `id` is a revision, `data` the silo as
/// `GET` answers it. Event `deleted`: `data` is `{"id","revision"}`. Event `reset`: what was sent before counts no longer; the state
/// follows. A comment line comes every 15 s.
#[utoipa::path(
    get,
    path = "/silos/{id}/events",
    operation_id = "followSilo",
    tag = tags::EVENTS,
    params(("id" = GivenSiloId, Path), ("Last-Event-ID" = Option<EventId>, Header), ("Silo-Agent" = Option<AgentField>, Header), ("Silo-Applied" = Option<AppliedField>, Header)),
    responses(
        (status = 200, description = "A stream of events that does not end.", body = String, content_type = "text/event-stream", headers(("Cache-Control" = String), ("X-Accel-Buffering" = String))),
        openapi::problem_sets::StreamOfOne,
    ),
)]
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
    // A client that knows the silo reconnects and must receive its deletion.
    if head.deleted && !headers.contains_key(LAST_EVENT_ID) {
        return Err(Refusal::NoSilo.into());
    }
    if !head.deleted {
        caller.note_agent(&hub, &id);
    }
    let scope = Scope::Silo(hub.bus.watch_silo(id));
    begin(hub, caller, scope, &headers).await
}

/// Follows all silos that the token may read
///
/// As for one silo; the `data` of `silo` is `{"id","revision"}` unless `full` is 1.
#[utoipa::path(
    get,
    path = "/events",
    operation_id = "followSilos",
    tag = tags::EVENTS,
    params(("full" = Option<Flag>, Query), ("Last-Event-ID" = Option<EventId>, Header)),
    responses(
        (status = 200, description = "A stream of events that does not end.", body = String, content_type = "text/event-stream", headers(("Cache-Control" = String), ("X-Accel-Buffering" = String))),
        openapi::problem_sets::Stream,
    ),
)]
pub(super) async fn of_all(
    caller: Caller,
    State(hub): State<Arc<Hub>>,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    caller.require_silos()?;
    let full = match query.get("full") {
        None | Some("0") => false,
        Some("1") => true,
        Some(_) => return Err(ApiError::invalid("/full", "full is 0 or 1")),
    };
    let scope = Scope::All {
        news: hub.bus.watch_all(),
        full,
    };
    begin(hub, caller, scope, &headers).await
}

/// Follows all silos that a session of the dashboard may read, by name, from the revision that its page shows. The
/// stream ends with the session.
pub(crate) async fn of_session(
    hub: Arc<Hub>,
    caller: Caller,
    check: SessionCheck,
    known: Option<HeaderValue>,
) -> Result<Response, ApiError> {
    caller.require_silos()?;
    let scope = Scope::All {
        news: hub.bus.watch_all(),
        full: false,
    };
    let session = SessionWatch::new(check);
    follow(hub, caller, scope, known.as_ref(), Some(session)).await
}

async fn begin(
    hub: Arc<Hub>,
    caller: Caller,
    scope: Scope,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    caller.spend_nonce(&hub).await?;
    follow(hub, caller, scope, headers.get(LAST_EVENT_ID), None).await
}

async fn follow(
    hub: Arc<Hub>,
    caller: Caller,
    scope: Scope,
    known: Option<&HeaderValue>,
    session: Option<SessionWatch>,
) -> Result<Response, ApiError> {
    let kind = match scope {
        Scope::Silo(_) => WatcherKind::Silo,
        Scope::All { .. } => WatcherKind::All,
    };
    let mut event_stream = EventStream {
        _watching: hub.watchers.enter(kind),
        token: hub.bus.watch_token(caller.token().id),
        gaps: hub.bus.gaps(),
        hub,
        caller,
        session,
        scope,
        sent_revision: Revision::NONE,
        is_state_sent: false,
        reset: None,
        floor: Revision::NONE,
        held_back: None,
        changes: VecDeque::new(),
        last_sent: Instant::now(),
        unsent: VecDeque::new(),
    };
    if let Some(known) = known {
        event_stream.resume(known).await?;
    }
    let parts = stream::unfold(event_stream, |mut event_stream| async move {
        let part = event_stream.next().await?;
        Some((Ok::<_, Infallible>(part), event_stream))
    });
    let headers = [
        (CONTENT_TYPE, EVENT_STREAM),
        (CACHE_CONTROL, PRIVATE),
        NO_BUFFERING,
    ];
    Ok((headers, Body::from_stream(parts)).into_response())
}

/// What a stream covers.
#[derive(Debug)]
enum Scope {
    Silo(Interest<SiloId>),
    All { news: Interest<()>, full: bool },
}

impl Scope {
    fn mark_known(&mut self) {
        match self {
            Self::Silo(silo) => silo.mark_known(),
            Self::All { news, .. } => news.mark_known(),
        }
    }

    async fn changed(&self) -> bool {
        match self {
            Self::Silo(silo) => silo.changed().await,
            Self::All { news, .. } => news.changed().await,
        }
    }
}

/// An event: its name, its id, and its data, one line that all streams share.
#[derive(Debug)]
struct Event {
    kind: &'static str,
    id: Option<Revision>,
    data: Bytes,
}

impl Event {
    fn new(kind: &'static str, id: Option<Revision>, data: impl Into<Bytes>) -> Self {
        Self {
            kind,
            id,
            data: data.into(),
        }
    }

    /// The same event, with an id that is at least `least`.
    fn with_id_from(self, least: Revision) -> Self {
        let id = self.id.max(Some(least));
        Self { id, ..self }
    }

    fn into_parts(self) -> [Bytes; 3] {
        let id = self.id.map(|id| format!("id: {id}\n")).unwrap_or_default();
        let head = format!("event: {}\n{id}data: ", self.kind);
        [head.into(), self.data, Bytes::from_static(b"\n\n")]
    }
}

/// One stream.
struct EventStream {
    _watching: Watching,
    hub: Arc<Hub>,
    caller: Caller,
    /// `None`: it needs no session.
    session: Option<SessionWatch>,
    scope: Scope,
    token: Interest<TokenId>,
    /// The number of gaps in the changes when the state was sent.
    gaps: u64,
    /// The revision up to which everything was sent.
    sent_revision: Revision,
    /// Whether the state was sent. Until then, deletions need no event.
    is_state_sent: bool,
    /// The `reset` event to send, if the history since an earlier stream's end is no longer known.
    reset: Option<Event>,
    /// The feed floor when `reset` was last sent, else [`Revision::NONE`]: the id must reach it with the state.
    floor: Revision,
    /// An event of the state of all silos after `reset`, held until it is known whether it is the last one.
    held_back: Option<Event>,
    /// Changes to send next.
    changes: VecDeque<Arc<ChangedSilo>>,
    last_sent: Instant,
    /// The rest of the event that is being sent.
    unsent: VecDeque<Bytes>,
}

impl EventStream {
    /// Resumes where an earlier stream ended, if the deletions since then are still known.
    async fn resume(&mut self, known: &HeaderValue) -> Result<(), ApiError> {
        let known = known
            .to_str()
            .ok()
            .and_then(|id| id.parse::<Revision>().ok());
        // This hub may lag behind the one that served the earlier stream; the database is authoritative.
        let position = self.hub.store.position().await?;
        match known.filter(|known| (position.feed_floor..=position.revision).contains(known)) {
            Some(known) => {
                self.sent_revision = known;
                self.is_state_sent = true;
            }
            None => self.begin_again(position),
        }
        Ok(())
    }

    /// Sends `reset` and the state next.
    fn begin_again(&mut self, position: Position) {
        self.sent_revision = Revision::NONE;
        self.is_state_sent = false;
        self.reset = Some(reset(position.revision));
        self.floor = position.feed_floor;
        self.held_back = None;
        self.changes.clear();
    }

    /// The next part of the stream; `None` at its end: the hub stops, the token becomes invalid, or the database is
    /// unavailable. Clients reconnect.
    async fn next(&mut self) -> Option<Bytes> {
        if self.unsent.is_empty() {
            match self.next_event().await? {
                Some(event) => self.unsent.extend(event.into_parts()),
                None => self.unsent.push_back(Bytes::from_static(b":\n\n")),
            }
            self.last_sent = Instant::now();
        }
        self.unsent.pop_front()
    }

    /// The next event; `Some(None)` when a keep-alive is due.
    async fn next_event(&mut self) -> Option<Option<Event>> {
        loop {
            self.scope.mark_known();
            self.token.mark_known();
            self.caller.require_still(&self.hub).await.ok()?;
            if let Some(session) = &mut self.session
                && !session.goes_on().await
            {
                return None;
            }
            let looked = match self.look().await {
                Ok(looked) => looked,
                Err(error) => {
                    tracing::warn!("an event stream ends because the database failed: {error}");
                    return None;
                }
            };
            if looked.is_some() {
                return Some(looked);
            }
            let goes_on = tokio::select! {
                goes_on = self.scope.changed() => goes_on,
                goes_on = self.token.changed() => {
                    if let Some(session) = &mut self.session {
                        session.token_changed();
                    }
                    goes_on
                }
                () = tokio::time::sleep_until(self.last_sent + SIGN_OF_LIFE) => return Some(None),
            };
            if !goes_on {
                return None;
            }
        }
    }

    async fn look(&mut self) -> Result<Option<Event>, StoreError> {
        let gaps = self.hub.bus.gaps();
        if self.gaps != gaps {
            let position = self.hub.store.position().await?;
            self.gaps = gaps;
            // A stream that began after the gap may have sent everything up to the new floor before this hub noticed
            // the gap.
            if self.sent_revision < position.feed_floor {
                self.begin_again(position);
            }
        }
        if let Some(reset) = self.reset.take() {
            return Ok(Some(reset));
        }
        match &self.scope {
            Scope::Silo(silo) => {
                let id = silo.key().clone();
                self.look_at(&id).await
            }
            Scope::All { full, .. } => self.look_at_all(*full).await,
        }
    }

    async fn look_at(&mut self, id: &SiloId) -> Result<Option<Event>, StoreError> {
        if self.sent_revision < self.floor
            && let Some(head) = self.hub.store.silo_head(id).await?
        {
            // What is sent now counts as the state up to the floor, which the database has reached. This hub may not
            // have received the changes up to it yet.
            self.hub.view.forget_older(id, head.revision);
        }
        if let Some(silo) = self.hub.view.get(id.clone(), Format::Json).await? {
            let is_new = silo.revision > self.sent_revision;
            self.sent_revision = self.sent_revision.max(silo.revision).max(self.floor);
            return Ok(is_new.then(|| whole(&silo, self.sent_revision)));
        }
        let head = self.hub.store.silo_head(id).await?;
        let deleted = head.filter(|head| head.deleted && head.revision > self.sent_revision);
        Ok(deleted.map(|head| {
            self.sent_revision = head.revision.max(self.floor);
            name("deleted", id, head.revision).with_id_from(self.sent_revision)
        }))
    }

    async fn look_at_all(&mut self, full: bool) -> Result<Option<Event>, StoreError> {
        loop {
            while let Some(change) = self.changes.pop_front() {
                if change.revision > self.floor
                    && let Some(event) = self.held_back.take()
                {
                    self.changes.push_front(change);
                    return Ok(Some(event));
                }
                self.sent_revision = change.revision;
                if !self.caller.token().may_read(&change.id) {
                    continue;
                }
                let mut event = self.change(&change, full).await?;
                if event.is_some() && change.revision <= self.floor {
                    event = std::mem::replace(&mut self.held_back, event);
                }
                if event.is_some() {
                    return Ok(event);
                }
            }
            let since = self.hub.changes.since(self.sent_revision).await?;
            if !since.changes.is_empty() {
                self.changes = since.changes;
                continue;
            }
            if since.up_to < self.floor {
                // The database has reached the floor, but this hub may not have received all changes up to it.
                let more = self
                    .hub
                    .store
                    .changed_since(self.sent_revision, READ_AT_ONCE);
                self.changes.extend(more.await?.into_iter().map(Arc::new));
                if !self.changes.is_empty() {
                    continue;
                }
            }
            self.sent_revision = since.up_to.max(self.floor);
            self.is_state_sent = true;
            let last = self.held_back.take();
            return Ok(last.map(|event| event.with_id_from(self.floor)));
        }
    }

    async fn change(&self, change: &ChangedSilo, full: bool) -> Result<Option<Event>, StoreError> {
        let ChangedSilo { id, revision, .. } = change;
        if change.deleted {
            let deleted = || name("deleted", id, *revision);
            return Ok(self.is_state_sent.then(deleted));
        }
        if !full {
            return Ok(Some(name("silo", id, *revision)));
        }
        // This hub may not have received the change yet. If the silo is deleted already, that is sent next.
        self.hub.view.forget_older(id, *revision);
        let silo = self.hub.view.get(id.clone(), Format::Json).await?;
        Ok(silo.map(|silo| whole(&silo, *revision)))
    }
}

fn reset(revision: Revision) -> Event {
    let data = json!({ "revision": revision });
    Event::new("reset", None, data.to_string())
}

/// A silo's current content, as one line of JSON.
fn whole(silo: &Rendered, sent_revision: Revision) -> Event {
    Event::new("silo", Some(sent_revision), silo.body.clone())
}

fn name(kind: &'static str, id: &SiloId, revision: Revision) -> Event {
    let data = json!({ "id": id, "revision": revision });
    Event::new(kind, Some(revision), data.to_string())
}
