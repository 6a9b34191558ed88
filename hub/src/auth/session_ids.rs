//! Which session ids are known here, by their hashes, in bounded memory: so that an id that a client has made up costs
//! nothing once the address has sent too many of them, and does not lock out those who share the address.
//!
//! An id is random, and a browser gets it only after it was stored. So one that is not in the database is never added
//! later.

use std::sync::Arc;

use quick_cache::sync::Cache;

use crate::domain::session::SessionHash;

/// How many ids of each kind are remembered.
const CAPACITY: usize = 10_000;

/// The ids that this hub has looked up.
#[derive(Clone, Debug)]
pub struct SessionIds(Arc<Ids>);

#[derive(Debug)]
struct Ids {
    found: Cache<[u8; 32], ()>,
    missing: Cache<[u8; 32], ()>,
}

impl Default for SessionIds {
    fn default() -> Self {
        Self(Arc::new(Ids {
            found: Cache::new(CAPACITY),
            missing: Cache::new(CAPACITY),
        }))
    }
}

impl SessionIds {
    /// Notes that the database has a session of this id.
    pub(crate) fn note_found(&self, hash: SessionHash) {
        self.0.found.insert(hash.0, ());
    }

    /// Notes that the database has none, or no longer has it.
    pub(crate) fn note_missing(&self, hash: SessionHash) {
        self.0.missing.insert(hash.0, ());
        self.0.found.remove(&hash.0);
    }

    /// Whether there was a session of this id.
    pub(crate) fn was_found(&self, hash: SessionHash) -> bool {
        self.0.found.get(&hash.0).is_some()
    }

    /// Whether there is none, and never will be.
    pub(crate) fn is_missing(&self, hash: SessionHash) -> bool {
        self.0.missing.get(&hash.0).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_is_missing_stays_so() {
        let ids = SessionIds::default();
        let [a, b] = [1, 2].map(|byte| SessionHash([byte; 32]));
        ids.note_found(a);
        assert!(ids.was_found(a) && !ids.is_missing(a));
        assert!(!ids.was_found(b) && !ids.is_missing(b));
        ids.note_missing(a);
        assert!(!ids.was_found(a) && ids.is_missing(a));
        // A read that began before the session ended.
        ids.note_found(a);
        assert!(ids.is_missing(a));
    }
}
