//! The sinks for which changes are enqueued, cached between transactions, so that a change does not
//! read the whole table.

use std::sync::{Arc, Mutex, PoisonError};

use super::outbox::Interest;

/// The cached sinks and their version.
#[derive(Clone, Debug, Default)]
pub(super) struct Interests(Arc<Mutex<Option<Known>>>);

#[derive(Debug)]
struct Known {
    version: i64,
    interests: Arc<[Interest]>,
}

impl Interests {
    /// The cached sinks, if they have this version.
    pub(super) fn get(&self, version: i64) -> Option<Arc<[Interest]>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.as_ref().filter(|known| known.version == version)?;
        Some(Arc::clone(&known.interests))
    }

    /// Caches the sinks of a version.
    pub(super) fn put(&self, version: i64, interests: Vec<Interest>) -> Arc<[Interest]> {
        let interests: Arc<[Interest]> = interests.into();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Known {
            version,
            interests: Arc::clone(&interests),
        });
        interests
    }
}
