//! A read with `Prefer: wait` that waits until what it reads differs.

use std::future::{Future, pending};
use std::pin::Pin;
use std::time::Duration;

use axum::http::HeaderValue;
use axum::http::header::{IF_MATCH, IF_NONE_MATCH};
use axum::http::request::Parts;
use axum::response::Response;
use silo_shared::silo::SiloId;
use tokio::time::Instant;

use super::Hub;
use super::connection::ConnectionHandle;
use super::error::ApiError;
use super::headers::PREFERENCE_APPLIED;
use super::prefer::{Patience, patience};
use super::request::tag_list;
use crate::domain::precondition::TagList;
use crate::follow::interest::Interest;

/// At most how often a list of all silos is read again while it waits: anything may have changed it.
const PAUSE: Duration = Duration::from_secs(1);

/// What a read found.
#[derive(Debug)]
pub(super) enum Answer<T> {
    /// Something that the client does not know.
    New(T),
    /// What the client knows, by this tag: the response is a 304.
    Known(String),
    /// Nothing.
    Absent,
}

/// What a read waits for.
#[derive(Debug)]
enum Topic {
    Silo(Interest<SiloId>),
    All(Interest<()>),
}

/// The conditions of a read, and its wait until they make a difference.
pub(super) struct ConditionalRead {
    known: Option<TagList>,
    wanted: Option<TagList>,
    patience: Option<Patience>,
    waiting: Option<Waiting>,
    has_waited: bool,
}

impl ConditionalRead {
    /// A read of a silo, or of something in it, whether it exists or not.
    pub(super) fn of_silo(hub: &Hub, id: &SiloId, parts: &Parts) -> Result<Self, ApiError> {
        Self::new(parts, || Topic::Silo(hub.bus.watch_silo(id.clone())))
    }

    /// A read of several silos.
    pub(super) fn of_all(hub: &Hub, parts: &Parts) -> Result<Self, ApiError> {
        Self::new(parts, || Topic::All(hub.bus.watch_all()))
    }

    fn new(parts: &Parts, topic: impl FnOnce() -> Topic) -> Result<Self, ApiError> {
        let patience = patience(&parts.headers);
        Ok(Self {
            known: tag_list(&parts.headers, IF_NONE_MATCH)?,
            // What can't be read is refused with the response (`conditional.rs`).
            wanted: tag_list(&parts.headers, IF_MATCH).unwrap_or_default(),
            patience,
            // Before the first read, so that no change is missed between the two.
            waiting: patience.map(|patience| Waiting::new(topic(), patience, parts)),
            has_waited: false,
        })
    }

    /// Reads until the result differs from what the client knows, or the wait is over. What is not there differs from
    /// what the client knows, if it names a tag; a client without one waits until it is there.
    ///
    /// After a change, `may_differ` says whether it is worth another read. While it waits, only the tag is kept of what
    /// was read: it is what the client knows.
    pub(super) async fn read<T, E, F, G>(
        &mut self,
        read: impl Fn() -> F,
        tag: impl Fn(&T) -> String,
        may_differ: impl Fn() -> G,
    ) -> Result<Answer<T>, ApiError>
    where
        F: Future<Output = Result<Option<T>, E>>,
        G: Future<Output = Result<bool, E>>,
        ApiError: From<E>,
    {
        loop {
            if let Some(waiting) = &mut self.waiting {
                waiting.mark_known();
            }
            let found = read().await?;
            let (is_final, answer) = self.judged(found, &tag);
            match &mut self.waiting {
                Some(waiting) if !is_final && !waiting.is_over => {
                    self.has_waited = true;
                    loop {
                        if !waiting.changed().await {
                            return Ok(answer);
                        }
                        // A change after this wakes it again.
                        waiting.mark_known();
                        if waiting.is_over || may_differ().await? {
                            break;
                        }
                    }
                }
                _ => return Ok(answer),
            }
        }
    }

    /// Whether it is the answer, even of a read that waits.
    fn judged<T>(&self, found: Option<T>, tag: impl Fn(&T) -> String) -> (bool, Answer<T>) {
        let tag = found.as_ref().map(tag);
        let is_final = self.is_final(tag.as_deref());
        let answer = match (found, tag) {
            (Some(_), Some(tag)) if self.known().has(&tag) => Answer::Known(tag),
            (Some(found), _) => Answer::New(found),
            (None, _) => Answer::Absent,
        };
        (is_final, answer)
    }

    fn is_final(&self, tag: Option<&str>) -> bool {
        // Then the response is a 412 (`conditional.rs`).
        let is_unwanted = |wanted: &TagList| !wanted.matches_strongly(tag);
        self.wanted.as_ref().is_some_and(is_unwanted)
            || match &self.known {
                Some(known) => !known.matches_weakly(tag),
                None => tag.is_some(),
            }
    }

    /// The tags that the client knows.
    pub(super) fn known(&self) -> Known {
        Known(self.known.clone())
    }

    /// Whether time has passed since the request arrived.
    pub(super) fn has_waited(&self) -> bool {
        self.has_waited
    }

    /// Adds `Preference-Applied` to the response if the client's wait counted.
    pub(super) fn add_applied(&self, response: &mut Response) {
        let counted = self.known.is_some() || self.has_waited;
        let patience = self.patience.filter(|_| counted);
        if let Some(applied) = patience.and_then(applied) {
            response.headers_mut().insert(PREFERENCE_APPLIED, applied);
        }
    }
}

/// The tags that a client knows.
#[derive(Clone, Debug)]
pub(super) struct Known(Option<TagList>);

impl Known {
    /// Whether the client knows this one, so that the response is a 304.
    pub(super) fn has(&self, tag: &str) -> bool {
        let known = self.0.as_ref();
        known.is_some_and(|known| known.matches_weakly(Some(tag)))
    }
}

/// A wait for a topic.
struct Waiting {
    topic: Topic,
    deadline: Instant,
    is_over: bool,
    ended: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Waiting {
    fn new(topic: Topic, patience: Patience, parts: &Parts) -> Self {
        let connection = parts.extensions.get::<ConnectionHandle>().cloned();
        Self {
            topic,
            deadline: Instant::now() + Duration::from_secs(patience.seconds()),
            is_over: false,
            ended: Box::pin(async move {
                match connection {
                    Some(connection) => connection.client_ended().await,
                    None => pending().await,
                }
            }),
        }
    }

    /// Marks all changes so far as known.
    fn mark_known(&mut self) {
        match &mut self.topic {
            Topic::Silo(silo) => silo.mark_known(),
            Topic::All(all) => all.mark_known(),
        }
    }

    /// Waits for a change, or until the wait is over: then what is read next is the answer. False: what was read last
    /// is the answer, since the client sends nothing more or the hub stops.
    async fn changed(&mut self) -> bool {
        let changed = async {
            match &self.topic {
                Topic::Silo(silo) => silo.changed().await,
                Topic::All(all) => {
                    tokio::time::sleep(PAUSE).await;
                    all.changed().await
                }
            }
        };
        let woken = async {
            tokio::select! {
                changed = changed => changed,
                () = &mut self.ended => false,
            }
        };
        match tokio::time::timeout_at(self.deadline, woken).await {
            Ok(goes_on) => goes_on,
            // A wake-up is only a hint, so that it is read once more.
            Err(_) => {
                self.is_over = true;
                true
            }
        }
    }
}

/// `Preference-Applied` for a wait, unless it was not a valid one.
pub(super) fn applied(patience: Patience) -> Option<HeaderValue> {
    let seconds = patience.is_applied().then(|| patience.seconds())?;
    HeaderValue::try_from(format!("wait={seconds}")).ok()
}
