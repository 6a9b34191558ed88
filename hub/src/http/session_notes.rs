//! Which sessions are being noted as used: one note at a time for each, however many pages are loaded at once.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::domain::once_a_minute::OnceAMinute;
use crate::domain::session::SessionHash;

/// The notes under way at this hub.
#[derive(Clone, Debug, Default)]
pub struct SessionNotes(Arc<Notes>);

#[derive(Debug, Default)]
struct Notes {
    under_way: Mutex<HashSet<[u8; 32]>>,
    complaints: OnceAMinute,
}

impl Notes {
    fn under_way(&self) -> MutexGuard<'_, HashSet<[u8; 32]>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A note that is under way until this is dropped.
#[derive(Debug)]
pub(crate) struct UnderWay {
    notes: Arc<Notes>,
    hash: SessionHash,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.notes.under_way().remove(&self.hash.0);
    }
}

impl SessionNotes {
    /// Begins a note of a session; `None`: one is under way.
    pub(crate) fn begin(&self, hash: SessionHash) -> Option<UnderWay> {
        let notes = Arc::clone(&self.0);
        let is_first = notes.under_way().insert(hash.0);
        is_first.then_some(UnderWay { notes, hash })
    }

    /// Whether to log that a note failed: every page would say it while the database takes no writes.
    pub(crate) fn is_complaint_due(&self, now: Duration) -> bool {
        self.0.complaints.is_due(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_has_one_note_at_a_time() {
        let notes = SessionNotes::default();
        let [a, b] = [1, 2].map(|byte| SessionHash([byte; 32]));
        let first = notes.begin(a);
        assert!(first.is_some() && notes.begin(a).is_none());
        assert!(notes.begin(b).is_some());
        drop(first);
        assert!(notes.begin(a).is_some());
    }
}
