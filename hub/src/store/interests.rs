//! The sinks that changes are written down for, kept between transactions: a change must not read the
//! whole table each time.

use std::sync::{Arc, Mutex, PoisonError};

use super::outbox::Interest;

/// What was read last, and at which version of the sinks.
#[derive(Clone, Debug, Default)]
pub(super) struct Interests(Arc<Mutex<Option<Known>>>);

#[derive(Debug)]
struct Known {
    version: i64,
    interests: Arc<[Interest]>,
}

impl Interests {
    /// What was read at this very version.
    pub(super) fn get(&self, version: i64) -> Option<Arc<[Interest]>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.as_ref().filter(|known| known.version == version)?;
        Some(Arc::clone(&known.interests))
    }

    /// Keeps what was read at a version.
    pub(super) fn put(&self, version: i64, interests: Vec<Interest>) -> Arc<[Interest]> {
        let interests: Arc<[Interest]> = interests.into();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Known {
            version,
            interests: Arc::clone(&interests),
        });
        interests
    }
}
