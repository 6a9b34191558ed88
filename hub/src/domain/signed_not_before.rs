//! Refuses signatures made before the database was restored from a copy: nonces spent after the copy are unknown, so
//! that a recorded message could be accepted a second time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use silo_shared::signing::MAX_CLOCK_OFFSET;

use super::time::Time;

/// The time before which signatures are refused, in Unix milliseconds; 0: all are accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SignedNotBefore(pub Time);

impl SignedNotBefore {
    /// Whether a signature made at `created` is refused. A limit that is further ahead of `now` than clocks may differ
    /// comes from a wrong clock, and would refuse every signature: it is ignored.
    pub fn refuses(self, created: Time, now: Time) -> bool {
        created < self.0 && self.0 <= now.plus_seconds(MAX_CLOCK_OFFSET)
    }

    /// The limit after the database was restored at `now`: never earlier than a limit in force.
    #[must_use]
    pub fn moved_to(self, now: Time) -> Self {
        if self.0 <= now.plus_seconds(MAX_CLOCK_OFFSET) {
            Self(self.0.max(now))
        } else {
            Self(now)
        }
    }
}

/// The [`SignedNotBefore`] that this hub knows of. The feed updates it; the requests read it.
#[derive(Clone, Debug, Default)]
pub struct KnownSignedNotBefore(Arc<AtomicI64>);

impl KnownSignedNotBefore {
    /// Stores the value from the database.
    pub fn set(&self, value: SignedNotBefore) {
        self.0.store(value.0.as_millis(), Ordering::Release);
    }

    /// The latest value from the database.
    pub fn get(&self) -> SignedNotBefore {
        SignedNotBefore(Time::from_millis(self.0.load(Ordering::Acquire)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_millis(1_767_323_045_678);

    fn at(seconds: i64) -> Time {
        NOW.plus_seconds(seconds)
    }

    #[test]
    fn older_signatures_are_refused_unless_the_time_is_far_ahead() {
        let cases = [
            (Time::default(), at(-300), false),
            (at(0), at(-1), true),
            (at(0), Time::from_millis(1_767_323_045_000), true),
            (at(0), at(0), false),
            (at(0), at(1), false),
            (at(300), at(0), true),
            (at(300), at(299), true),
            (at(301), at(0), false),
            (at(86_400), at(-300), false),
        ];
        for (not_before, created, refused) in cases {
            let not_before = SignedNotBefore(not_before);
            assert_eq!(
                not_before.refuses(created, NOW),
                refused,
                "{not_before:?} {created}"
            );
        }
    }

    #[test]
    fn it_moves_on_and_back_only_from_where_it_does_not_bind() {
        for (stored, wanted) in [
            (0, 0),
            (-60, 0),
            (200, 200),
            (300, 300),
            (301, 0),
            (86_400, 0),
        ] {
            let moved = SignedNotBefore(at(stored)).moved_to(NOW);
            assert_eq!(moved, SignedNotBefore(at(wanted)), "{stored}");
        }
    }
}
