//! The `Date` header where hyper's would be wrong.
//!
//! hyper takes it from the machine's clock, by a cache that it updates once the cached second is over: after a step back,
//! the cache would stay in the future for as long as the step. The agents use `Date` to measure the offset of their clock
//! to that of the hub, by which signatures are checked: on a database server, the server's.

use std::sync::atomic::{AtomicI64, Ordering};

use axum::http::HeaderValue;

use super::error::http_date;
use crate::domain::time::{Clock, Time};

/// How far the clock may be behind its latest time, in milliseconds: a `Date` has whole seconds.
const TOLERATED_MS: i64 = 1000;

/// Detects whether hyper's `Date` differs from the hub's time.
#[derive(Debug)]
pub struct DateGuard {
    clock: Clock,
    /// The latest time of the machine's clock, in milliseconds since the Unix epoch.
    latest: AtomicI64,
}

impl DateGuard {
    /// Watches a clock.
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            latest: AtomicI64::new(0),
        }
    }

    /// The current `Date`.
    pub(super) fn date(&self) -> HeaderValue {
        http_date(self.clock.now())
    }

    /// Whether hyper's `Date` is not the hub's time.
    pub(super) fn is_needed(&self) -> bool {
        let machine = self.clock.of_machine().now();
        self.is_cache_ahead(machine) || self.differs_from(machine)
    }

    fn differs_from(&self, machine: Time) -> bool {
        // The others have one clock only.
        matches!(self.clock, Clock::Server(_))
            && machine.as_millis().abs_diff(self.clock.now().as_millis())
                >= TOLERATED_MS.unsigned_abs()
    }

    fn is_cache_ahead(&self, now: Time) -> bool {
        let latest = self.latest.load(Ordering::Relaxed);
        if now.as_millis() >= latest {
            // Stored once a second, to avoid contention between threads.
            if now.as_millis() >= latest + TOLERATED_MS {
                self.latest.fetch_max(now.as_millis(), Ordering::Relaxed);
            }
            return false;
        }
        now.as_millis() + TOLERATED_MS < latest
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::domain::time::ServerTime;

    use super::*;

    #[test]
    fn the_time_of_a_database_server_is_told_where_it_differs_from_the_machines() {
        let now = Clock::System.now();
        for (seconds, needed) in [(0, false), (-7200, true), (7200, true)] {
            let server = ServerTime::default();
            server.note(now.plus_seconds(seconds));
            let guard = DateGuard::new(Clock::Server(Arc::new(server)));
            assert_eq!(guard.is_needed(), needed, "{seconds}");
        }
    }

    #[test]
    fn a_clock_that_was_stepped_back_is_behind_until_it_shows_the_time_again() {
        const START_MS: i64 = 1_767_323_045_000;
        let millis = Arc::new(AtomicI64::new(START_MS));
        let guard = DateGuard::new(Clock::Set(Arc::clone(&millis)));
        let times = [
            (0, false),
            (28_800, false),
            (1, true),
            (28_790, true),
            (28_799, false),
            (28_801, false),
            (1, true),
        ];
        for (second, ahead) in times {
            millis.store(START_MS + second * 1000, Ordering::Relaxed);
            assert_eq!(guard.is_needed(), ahead, "{second}");
        }
        assert_eq!(guard.date(), "Fri, 02 Jan 2026 03:04:06 GMT");
    }
}
