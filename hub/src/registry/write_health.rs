//! Whether the database accepts writes: while it does not, heartbeats can't be received, and that
//! time must not count against a record that expires.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::elapsed::Listening;
use crate::domain::time::{Reading, Time};

/// How long the result of a write counts as the present state.
const LATELY: Duration = Duration::from_secs(1);

/// What is known about the database accepting writes.
#[derive(Debug, Default)]
pub struct WriteHealth {
    lost: AtomicBool,
    file_gone: AtomicBool,
    listening: Mutex<Listening>,
    last: Mutex<Option<Last>>,
    /// Held during a test write.
    pub(super) probing: tokio::sync::Mutex<()>,
}

/// The last attempted write.
#[derive(Clone, Copy, Debug)]
struct Last {
    at: Instant,
    committed: bool,
}

impl WriteHealth {
    pub(super) fn note_failure(&self) {
        self.note(false);
        self.lost.store(true, Ordering::Release);
    }

    pub(super) fn note_commit(&self, now: Time) {
        self.note(true);
        if self.lost.swap(false, Ordering::AcqRel) {
            self.listening().begin_again(now);
        }
    }

    /// Records whether an embedded database's file was moved or deleted.
    pub fn note_file(&self, is_gone: bool) {
        self.file_gone.store(is_gone, Ordering::Release);
    }

    /// Whether the database's file was moved or deleted.
    pub fn is_file_gone(&self) -> bool {
        self.file_gone.load(Ordering::Acquire)
    }

    fn note(&self, committed: bool) {
        let at = Instant::now();
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Last { at, committed });
    }

    /// Whether the last write of the last second was committed, if there was one.
    pub(super) fn known_lately(&self) -> Option<bool> {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.filter(|last| last.at.elapsed() < LATELY)
            .map(|last| last.committed)
    }

    /// Whether the last attempted write failed.
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// Since when silence counts: from `start`, when this hub began to receive writes, from when
    /// the database last accepted writes again after it did not, or from the last step of the wall
    /// clock. Call it often, since a step is noticed only by calling it.
    pub fn since(&self, start: Time, at: Reading) -> Time {
        self.listening().since(start, at)
    }

    fn listening(&self) -> MutexGuard<'_, Listening> {
        self.listening
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_last_write_counts_for_a_second() {
        let write_health = WriteHealth::default();
        assert_eq!(write_health.known_lately(), None);
        write_health.note_commit(Time::from_millis(5));
        assert_eq!(write_health.known_lately(), Some(true));
        write_health.note_failure();
        assert_eq!(write_health.known_lately(), Some(false));
        tokio::time::advance(LATELY).await;
        assert_eq!(write_health.known_lately(), None);
    }
}
