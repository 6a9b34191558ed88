//! Whether the database takes writes: while it does not, nobody's heartbeat can be heard, and that
//! time must not count against a record that expires.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use crate::domain::time::Time;

/// What is known of the database taking writes.
#[derive(Debug, Default)]
pub struct Hearing {
    lost: AtomicBool,
    regained_at: AtomicI64,
}

impl Hearing {
    pub(super) fn note_failure(&self) {
        self.lost.store(true, Ordering::Release);
    }

    pub(super) fn note_commit(&self, now: Time) {
        if self.lost.swap(false, Ordering::AcqRel) {
            self.regained_at.store(now.as_millis(), Ordering::Release);
        }
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
