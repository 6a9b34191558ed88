//! Points in time, and the clock that all code uses, so that tests can set it.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use silo_shared::named_schema;

/// A point in time: milliseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(i64);

impl Time {
    /// From milliseconds since the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub fn as_millis(self) -> i64 {
        self.0
    }

    /// Microseconds since the Unix epoch; a new database's revisions start there.
    pub fn as_micros(self) -> i64 {
        self.0.saturating_mul(1000)
    }

    /// This many seconds later.
    #[must_use]
    pub fn plus_seconds(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds.saturating_mul(1000)))
    }

    /// Parses RFC 3339, such as `2027-01-01T00:00:00Z`.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>()
            .ok()
            .map(|time| Self(time.as_millisecond()))
    }
}

named_schema!(Time, "Time", silo_shared::openapi::time());

impl fmt::Display for Time {
    /// RFC 3339 in UTC with milliseconds: `2026-01-02T03:04:05.678Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = jiff::Timestamp::from_millisecond(self.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        write!(f, "{time:.3}")
    }
}

impl serde::Serialize for Time {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Time {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        silo_shared::config::deserialize_text(deserializer, |text| {
            Self::parse(text).ok_or("not a time such as 2027-01-01T00:00:00Z (RFC 3339)")
        })
    }
}

/// The source of the current time.
///
/// The wall clock may be wrong and may be stepped by any amount in both directions: a board without a battery starts
/// with an old time, a laptop sleeps, a virtual machine is restored. Durations are measured with [`Clock::monotonic`].
#[derive(Clone, Debug)]
pub enum Clock {
    /// The machine's clocks.
    System,
    /// A clock set by a test, in milliseconds since the Unix epoch; time passes when the test sets it.
    Set(Arc<AtomicI64>),
    /// A clock that a test sets and steps.
    Stepped {
        /// The elapsed time in milliseconds: the wall clock without steps.
        passed: Arc<AtomicI64>,
        /// The sum of the wall clock's steps, in milliseconds; negative: back.
        stepped: Arc<AtomicI64>,
    },
}

/// What [`Clock::monotonic`] shows when the process starts: so that times shortly before have a value, too.
const AT_START: Duration = Duration::from_secs(3600);

/// When the process started.
static PROCESS_START: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Clock {
    /// The current time.
    pub fn now(&self) -> Time {
        match self {
            #[expect(
                clippy::disallowed_methods,
                reason = "the one place that asks the machine"
            )]
            Self::System => Time(jiff::Timestamp::now().as_millisecond()),
            Self::Set(millis) => Time(millis.load(Ordering::Acquire)),
            Self::Stepped { passed, stepped } => {
                Time(passed.load(Ordering::Acquire) + stepped.load(Ordering::Acquire))
            }
        }
    }

    /// The time since a fixed point in the past. It never goes back and ignores steps of the wall clock; time while the
    /// machine is suspended does not count (`CLOCK_MONOTONIC`, clock_gettime(2)).
    pub fn monotonic(&self) -> Duration {
        match self {
            Self::System => AT_START + PROCESS_START.elapsed(),
            Self::Set(millis) | Self::Stepped { passed: millis, .. } => {
                Duration::from_millis(millis.load(Ordering::Acquire).unsigned_abs())
            }
        }
    }

    /// Both clocks, read together.
    pub fn reading(&self) -> Reading {
        Reading {
            now: self.now(),
            monotonic: self.monotonic(),
        }
    }
}

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The wall clock.
    pub now: Time,
    /// See [`Clock::monotonic`].
    pub monotonic: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_print_with_milliseconds_and_parse_back() {
        let time = Time::from_millis(1_767_323_045_678);
        assert_eq!(time.to_string(), "2026-01-02T03:04:05.678Z");
        assert_eq!(Time::parse("2026-01-02T03:04:05.678Z"), Some(time));
        assert_eq!(
            Time::from_millis(1_767_323_045_000).to_string(),
            "2026-01-02T03:04:05.000Z"
        );
        assert_eq!(Time::parse("2026-01-02T04:04:05.678+01:00"), Some(time));
        assert_eq!(Time::parse("tomorrow"), None);
    }
}
