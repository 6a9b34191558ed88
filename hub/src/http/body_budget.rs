//! Receives request bodies: limits the total size over all connections, and sets a deadline.
//!
//! A body reserves memory for all of it before any of it is read, so that bodies do not deadlock. Small bodies and
//! bodies of unauthenticated senders have separate budgets, so that large ones do not block them.

use std::ops::Deref;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use super::error::ApiError;

/// The deadline for a body to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a body waits for memory.
const BUDGET_TIMEOUT: Duration = Duration::from_secs(10);
/// A body that blocks others must deliver [`MIN_PROGRESS`] in each such interval.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(3);
/// In bytes.
const MIN_PROGRESS: usize = 16 * 1024;
/// The maximum size of a small body, in bytes.
const SMALL: usize = 16 * 1024;
/// Memory is counted in units of this many bytes.
const UNIT: usize = 1024;

/// The memory for bodies.
#[derive(Debug)]
pub struct BodyBudgets {
    large: Budget,
    small: Budget,
    unauthenticated: Budget,
}

/// The sender of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    /// Authenticated by a token.
    Authenticated,
    /// Not authenticated yet.
    Unauthenticated,
}

#[derive(Debug)]
struct Budget {
    units: Arc<Semaphore>,
    total: usize,
    waiting: AtomicUsize,
}

/// A received body; dropping it releases its memory. A handler therefore keeps it until the values parsed from it are
/// dropped too.
#[derive(Debug, Default)]
pub(crate) struct Content {
    bytes: Vec<u8>,
    _memory: Option<OwnedSemaphorePermit>,
}

impl Deref for Content {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl BodyBudgets {
    /// Creates budgets of this many bytes in total.
    pub fn new(bytes: usize) -> Self {
        let part = bytes / 8;
        Self {
            large: Budget::new(bytes - 2 * part),
            small: Budget::new(part),
            unauthenticated: Budget::new(part),
        }
    }

    /// Receives a body of at most `limit` bytes: refused if it is larger, if no memory becomes free in time, or if it
    /// does not arrive in time.
    pub(crate) async fn receive(
        &self,
        headers: &HeaderMap,
        body: Body,
        limit: usize,
        sender: Sender,
    ) -> Result<Content, ApiError> {
        let declared = headers.get(header::CONTENT_LENGTH);
        let declared = declared.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        let most = match declared.map(usize::try_from) {
            None => limit,
            Some(Ok(length)) if length <= limit => length,
            Some(_) => return Err(ApiError::TooLarge { limit }),
        };
        if http_body::Body::is_end_stream(&body) {
            return Ok(Content::default());
        }
        let budget = match sender {
            Sender::Unauthenticated => &self.unauthenticated,
            Sender::Authenticated if most <= SMALL => &self.small,
            Sender::Authenticated => &self.large,
        };
        let mut taken = budget.take(most).await?;
        let mut bytes = Vec::with_capacity(most);
        budget.fill(&mut bytes, body, limit).await?;
        // For a body of unknown length.
        bytes.shrink_to_fit();
        let surplus = taken.num_permits().saturating_sub(units(bytes.len()));
        drop(taken.split(surplus));
        Ok(Content {
            bytes,
            _memory: Some(taken),
        })
    }
}

fn units(bytes: usize) -> usize {
    bytes.div_ceil(UNIT)
}

impl Budget {
    fn new(bytes: usize) -> Self {
        let total = bytes / UNIT;
        Self {
            units: Arc::new(Semaphore::new(total)),
            total,
            waiting: AtomicUsize::new(0),
        }
    }

    /// Reserves memory for this many bytes, first come, first served.
    async fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, ApiError> {
        let wanted = u32::try_from(units(bytes).min(self.total)).map_err(|_| ApiError::Internal)?;
        if let Ok(taken) = Arc::clone(&self.units).try_acquire_many_owned(wanted) {
            return Ok(taken);
        }
        let _waits = Waits::count(&self.waiting);
        let permit = Arc::clone(&self.units).acquire_many_owned(wanted);
        match timeout(BUDGET_TIMEOUT, permit).await {
            Ok(Ok(taken)) => Ok(taken),
            Ok(Err(_)) => Err(ApiError::Internal),
            Err(_) => Err(ApiError::Busy),
        }
    }

    /// Reads a body of at most `limit` bytes. Copies each frame's data, since a frame may reference a far larger
    /// buffer.
    async fn fill(&self, bytes: &mut Vec<u8>, body: Body, limit: usize) -> Result<(), ApiError> {
        let mut body = pin!(body);
        let deadline = Instant::now() + BODY_TIMEOUT;
        let mut due = Instant::now() + PROGRESS_INTERVAL;
        let mut received = 0;
        loop {
            let Ok(frame) = timeout_at(due.min(deadline), body.frame()).await else {
                let now = Instant::now();
                let gives_way = received < MIN_PROGRESS && self.waiting.load(Ordering::Relaxed) > 0;
                if now >= deadline || gives_way {
                    return Err(ApiError::Timeout);
                }
                (due, received) = (now + PROGRESS_INTERVAL, 0);
                continue;
            };
            let Some(frame) = frame else { return Ok(()) };
            let Ok(frame) = frame else {
                return Err(ApiError::MalformedBody("the body ended early".to_owned()));
            };
            if let Some(data) = frame.data_ref() {
                if data.len() > limit - bytes.len() {
                    return Err(ApiError::TooLarge { limit });
                }
                bytes.extend_from_slice(data);
                received += data.len();
            }
        }
    }
}

/// Counts a waiting body until dropped.
struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn count(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::http::HeaderValue;
    use futures_util::stream;
    use silo_shared::api::MAX_BODY_BYTES;

    use super::*;

    const MIB: usize = 1024 * 1024;

    fn declared(length: usize) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_LENGTH, HeaderValue::from(length))])
    }

    async fn whole(body_budget: &BodyBudgets, length: usize) -> Result<Content, ApiError> {
        let body = Body::from(vec![b' '; length]);
        let headers = declared(length);
        let content = body_budget.receive(&headers, body, MAX_BODY_BYTES, Sender::Authenticated);
        content.await
    }

    /// A body of one MiB that arrives in pieces, one per second.
    fn slow(piece: usize) -> Body {
        let pieces = stream::unfold(0, move |sent| async move {
            if sent >= MIB {
                return None;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            let bytes = vec![b' '; piece.min(MIB - sent)];
            Some((Ok::<_, Infallible>(bytes), sent + piece))
        });
        Body::from_stream(pieces)
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_wait_for_room_in_turn_and_not_for_ever() {
        let body_budget = BodyBudgets::new(4 * MIB);
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(whole(&body_budget, MIB).await.unwrap());
        }
        let began = Instant::now();
        let refused = whole(&body_budget, MIB).await.unwrap_err();
        assert!(matches!(refused, ApiError::Busy), "{refused:?}");
        assert_eq!(began.elapsed(), BUDGET_TIMEOUT);
        // Other bodies have budgets of their own.
        assert_eq!(whole(&body_budget, SMALL).await.unwrap().len(), SMALL);
        let form = Body::from("host=nas");
        let headers = HeaderMap::new();
        let stranger = body_budget.receive(&headers, form, 64 * 1024, Sender::Unauthenticated);
        assert_eq!(stranger.await.unwrap().deref(), b"host=nas");
        let last = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            held.pop();
        };
        let (content, ()) = tokio::join!(whole(&body_budget, MIB), last);
        assert_eq!(content.unwrap().len(), MIB);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_of_unknown_length_releases_unused_memory() {
        let body_budget = BodyBudgets::new(4 * MIB);
        let headers = HeaderMap::new();
        let mut held = Vec::new();
        for _ in 0..100 {
            let pieces = stream::iter([Ok::<_, Infallible>(vec![b' '; 20_000])]);
            let body = Body::from_stream(pieces);
            let content =
                body_budget.receive(&headers, body, MAX_BODY_BYTES, Sender::Authenticated);
            held.push(content.await.unwrap());
        }
        let too_large =
            Body::from_stream(stream::iter(vec![
                Ok::<_, Infallible>(vec![b' '; 600_000]);
                2
            ]));
        let refused =
            body_budget.receive(&headers, too_large, MAX_BODY_BYTES, Sender::Authenticated);
        assert!(matches!(
            refused.await.unwrap_err(),
            ApiError::TooLarge {
                limit: MAX_BODY_BYTES
            }
        ));
        drop(held);
        let all = (3 * MIB / UNIT, MIB / 2 / UNIT, MIB / 2 / UNIT);
        let rooms = [
            &body_budget.large,
            &body_budget.small,
            &body_budget.unauthenticated,
        ];
        let [large, small, unauthenticated] = rooms.map(|budget| budget.units.available_permits());
        assert_eq!((large, small, unauthenticated), all);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_body_is_dropped_only_if_others_wait() {
        // Two of the three MiB for large bodies are reserved.
        let body_budget = BodyBudgets::new(4 * MIB);
        let held = [
            whole(&body_budget, MIB).await.unwrap(),
            whole(&body_budget, MIB).await.unwrap(),
        ];
        let headers = declared(MIB);
        for (piece, others_wait, seconds, comes) in [
            (1, false, 30, false),
            (1, true, 3, false),
            (MIB / 20, false, 20, true),
            (MIB / 20, true, 20, true),
        ] {
            let began = Instant::now();
            let slow =
                body_budget.receive(&headers, slow(piece), MAX_BODY_BYTES, Sender::Authenticated);
            let slow = async {
                let slow = slow.await;
                (slow.map(|content| content.len()), began.elapsed().as_secs())
            };
            let waiting = async {
                while others_wait && began.elapsed().as_secs() < 20 {
                    // Bodies that time out try again.
                    let budget = timeout(Duration::from_secs(9), whole(&body_budget, MIB)).await;
                    if matches!(budget, Ok(Ok(_))) {
                        break;
                    }
                }
            };
            let ((slow, took), ()) = tokio::join!(slow, waiting);
            assert_eq!(slow.is_ok(), comes, "{piece} {others_wait}: {slow:?}");
            assert!(took.abs_diff(seconds) <= 1, "{piece} {others_wait}: {took}");
        }
        drop(held);
    }
}
