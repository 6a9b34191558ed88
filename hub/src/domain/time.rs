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
    /// The wall clock of the database server, which all of its hubs share, and the machine's monotonic clock.
    Server(Arc<ServerTime>),
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
            Self::Server(server) => server.at(Self::System.reading()),
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
            Self::System | Self::Server(_) => AT_START + PROCESS_START.elapsed(),
            Self::Set(millis) | Self::Stepped { passed: millis, .. } => {
                Duration::from_millis(millis.load(Ordering::Acquire).unsigned_abs())
            }
        }
    }

    /// The clock of this machine, for what is compared with the clocks of others than hubs.
    #[must_use]
    pub fn of_machine(&self) -> Self {
        match self {
            Self::System | Self::Server(_) => Self::System,
            Self::Set(_) | Self::Stepped { .. } => self.clone(),
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

/// The time of the database server, as last read from it, plus the monotonic time since.
///
/// What several hubs compare with the current time, such as leases and when a record was last seen, would otherwise
/// depend on which hub stored it.
#[derive(Debug)]
pub struct ServerTime {
    /// The server's wall clock minus this machine's monotonic clock, in milliseconds.
    offset: AtomicI64,
}

impl Default for ServerTime {
    fn default() -> Self {
        Self {
            offset: AtomicI64::new(Self::UNKNOWN),
        }
    }
}

impl ServerTime {
    const UNKNOWN: i64 = i64::MIN;

    /// The server has just said that it is this time.
    pub fn note(&self, now: Time) {
        self.note_at(now, Clock::System.monotonic());
    }

    fn note_at(&self, now: Time, monotonic: Duration) {
        let offset = now.0.saturating_sub(millis(monotonic));
        self.offset
            .store(offset.max(Self::UNKNOWN + 1), Ordering::Release);
    }

    /// The server's time at a reading of this machine's clocks; before the server was first asked, the machine's.
    fn at(&self, machine: Reading) -> Time {
        match self.offset.load(Ordering::Acquire) {
            Self::UNKNOWN => machine.now,
            offset => Time(offset.saturating_add(millis(machine.monotonic))),
        }
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
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
    fn the_servers_time_goes_on_with_the_monotonic_clock_whatever_this_machine_shows() {
        let server = ServerTime::default();
        let at = |now, monotonic| {
            server.at(Reading {
                now: Time(now),
                monotonic: Duration::from_millis(monotonic),
            })
        };
        assert_eq!(at(5_000, 100), Time(5_000));
        server.note_at(Time(1_000_000), Duration::from_millis(100));
        assert_eq!(at(5_000, 100), Time(1_000_000));
        assert_eq!(at(99_000_000, 350), Time(1_000_250));
        // The server's clock was corrected, or another server was promoted.
        server.note_at(Time(400_000), Duration::from_millis(400));
        assert_eq!(at(0, 401), Time(400_001));
    }

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
