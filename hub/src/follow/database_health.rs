//! Whether the database responds, as seen by the feed: while it is unavailable, reads are served
//! from memory and report how old the data is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// How long cached tokens remain valid for reads while the database is unavailable, in seconds.
pub(crate) const TOKENS_GOOD_FOR: u64 = 300;

/// The availability of the database.
#[derive(Clone, Debug)]
pub struct DatabaseHealth(Arc<State>);

#[derive(Debug)]
struct State {
    away: AtomicBool,
    /// On the monotonic clock, in milliseconds.
    heard_at: AtomicU64,
}

impl DatabaseHealth {
    /// Starts as available. `now`, here and below: on the monotonic clock.
    pub fn new(now: Duration) -> Self {
        Self(Arc::new(State {
            away: AtomicBool::new(false),
            heard_at: AtomicU64::new(millis(now)),
        }))
    }

    /// Records that the database responded and that cached data is fresh.
    pub fn note_answer(&self, now: Duration) {
        self.0.heard_at.store(millis(now), Ordering::Release);
        self.0.away.store(false, Ordering::Release);
    }

    /// Records that the database does not respond.
    pub fn note_silence(&self) {
        self.0.away.store(true, Ordering::Release);
    }

    /// Whether the database is unavailable; cheaper than [`DatabaseHealth::stale_for`].
    pub fn is_away(&self) -> bool {
        self.0.away.load(Ordering::Acquire)
    }

    /// While the database is unavailable: seconds since its last response.
    pub fn stale_for(&self, now: Duration) -> Option<u64> {
        let heard_at = self.0.heard_at.load(Ordering::Acquire);
        let is_away = self.0.away.load(Ordering::Acquire);
        is_away.then(|| millis(now).saturating_sub(heard_at) / 1000)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_counted_from_the_last_answer() {
        let at = |seconds: u64| Duration::from_secs(1000 + seconds);
        let database_health = DatabaseHealth::new(at(0));
        assert_eq!(database_health.stale_for(at(100)), None);
        database_health.note_answer(at(10));
        database_health.note_silence();
        assert_eq!(database_health.stale_for(at(17)), Some(7));
        database_health.note_answer(at(20));
        assert_eq!(database_health.stale_for(at(30)), None);
    }
}
