//! Whether the database answers, as far as the feed knows: while it is away, reads go on from what is
//! held in memory, and say how old their news is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// How long tokens that are held in memory stay good for reads without the database, in seconds.
pub(crate) const TOKENS_GOOD_FOR: u64 = 300;

/// What is known of the database's presence.
#[derive(Clone, Debug)]
pub struct DatabaseHealth(Arc<State>);

#[derive(Debug)]
struct State {
    away: AtomicBool,
    /// By the monotonic clock, in milliseconds.
    heard_at: AtomicU64,
}

impl DatabaseHealth {
    /// The database answers now. `now`, here and below: by the monotonic clock.
    pub fn new(now: Duration) -> Self {
        Self(Arc::new(State {
            away: AtomicBool::new(false),
            heard_at: AtomicU64::new(millis(now)),
        }))
    }

    /// Notes that the database has answered and that what is held in memory is fresh.
    pub fn note_answer(&self, now: Duration) {
        self.0.heard_at.store(millis(now), Ordering::Release);
        self.0.away.store(false, Ordering::Release);
    }

    /// Notes that the database does not answer.
    pub fn note_silence(&self) {
        self.0.away.store(true, Ordering::Release);
    }

    /// Whether the database is away; costs less than to ask for how long.
    pub fn is_away(&self) -> bool {
        self.0.away.load(Ordering::Acquire)
    }

    /// While the database is away: for how many seconds nothing was heard of it.
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
