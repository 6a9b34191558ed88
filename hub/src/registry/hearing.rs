//! Whether the database takes writes: while it does not, nobody's heartbeat can be heard, and that
//! time must not count against a record that expires.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::time::Time;

/// For how long a commit, or a write that failed, says whether the database takes writes.
const LATELY: Duration = Duration::from_secs(1);

/// What is known of the database taking writes.
#[derive(Debug, Default)]
pub struct Hearing {
    lost: AtomicBool,
    regained_at: AtomicI64,
    last: Mutex<Option<Last>>,
    /// Held by whoever tries a write to find out.
    pub(super) probing: tokio::sync::Mutex<()>,
}

/// The last write that was tried.
#[derive(Clone, Copy, Debug)]
struct Last {
    at: Instant,
    committed: bool,
}

impl Hearing {
    pub(super) fn note_failure(&self) {
        self.note(false);
        self.lost.store(true, Ordering::Release);
    }

    pub(super) fn note_commit(&self, now: Time) {
        self.note(true);
        if self.lost.swap(false, Ordering::AcqRel) {
            self.regained_at.store(now.as_millis(), Ordering::Release);
        }
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

    /// Whether the last write that was tried failed.
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// When the database last took writes again after it did not.
    pub fn regained_at(&self) -> Time {
        Time::from_millis(self.regained_at.load(Ordering::Acquire))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_last_write_counts_for_a_second() {
        let hearing = Hearing::default();
        assert_eq!(hearing.known_lately(), None);
        hearing.note_commit(Time::from_millis(5));
        assert_eq!(hearing.known_lately(), Some(true));
        hearing.note_failure();
        assert_eq!(hearing.known_lately(), Some(false));
        tokio::time::advance(LATELY).await;
        assert_eq!(hearing.known_lately(), None);
    }
}
