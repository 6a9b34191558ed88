//! Detects that the machine slept, or that its wall clock was set: both move the wall clock against the monotonic one,
//! and connections that were open before are probably gone.

use std::time::{Duration, Instant, SystemTime};

/// The pause between two looks at the clocks.
const EVERY: Duration = Duration::from_secs(5);
/// What the clocks may differ by between two looks: corrections of a time service are smaller.
const TOLERANCE: Duration = Duration::from_secs(3);
/// A look that comes this much too late by the monotonic clock counts as sleep too: on some systems that clock goes on
/// while the machine sleeps.
const LATE: Duration = Duration::from_secs(30);

/// Where the time comes from.
pub trait Clocks {
    /// The wall clock.
    fn wall(&self) -> SystemTime;
    /// A clock that is never set.
    fn monotonic(&self) -> Instant;
}

/// The system's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClocks;

impl Clocks for SystemClocks {
    #[expect(
        clippy::disallowed_methods,
        reason = "the system's clock behind the trait through which tests set it"
    )]
    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    fn monotonic(&self) -> Instant {
        Instant::now()
    }
}

/// The machine slept, or its clock was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jump {
    /// How far the wall clock moved against the monotonic one, or how much too late the look was.
    pub by: Duration,
    /// Whether the wall clock went back.
    pub is_backwards: bool,
}

/// Compares the clocks every five seconds.
#[derive(Debug)]
pub struct ClockWatch<C = SystemClocks> {
    clocks: C,
    wall: SystemTime,
    monotonic: Instant,
}

impl<C: Clocks> ClockWatch<C> {
    /// Begins now.
    pub fn new(clocks: C) -> Self {
        Self {
            wall: clocks.wall(),
            monotonic: clocks.monotonic(),
            clocks,
        }
    }

    /// Waits until the clocks jump. Cancel-safe.
    pub async fn jumped(&mut self) -> Jump {
        loop {
            if let Some(jump) = self.look() {
                return jump;
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Whether the clocks have jumped since the last look.
    pub fn look(&mut self) -> Option<Jump> {
        let (wall, monotonic) = (self.clocks.wall(), self.clocks.monotonic());
        let passed = monotonic.saturating_duration_since(self.monotonic);
        let expected = self.wall + passed;
        (self.wall, self.monotonic) = (wall, monotonic);
        let (by, is_backwards) = match wall.duration_since(expected) {
            Ok(ahead) => (ahead, false),
            Err(behind) => (behind.duration(), true),
        };
        if by > TOLERANCE {
            return Some(Jump { by, is_backwards });
        }
        let late = passed.saturating_sub(EVERY);
        (late > LATE).then_some(Jump {
            by: late,
            is_backwards: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    struct TestClocks {
        wall: Cell<SystemTime>,
        monotonic: Cell<Instant>,
    }

    impl Clocks for &TestClocks {
        fn wall(&self) -> SystemTime {
            self.wall.get()
        }

        fn monotonic(&self) -> Instant {
            self.monotonic.get()
        }
    }

    #[test]
    fn a_clock_that_moves_against_the_other_is_a_jump_once() {
        let seconds = Duration::from_secs;
        // By how much both clocks move; the jump.
        for (wall, monotonic, expected) in [
            (5, 5, None),
            (7, 5, None),
            (3, 5, None),
            (0, 0, None),
            (3600, 5, Some((3595, false))),
            (-3600, 5, Some((3605, true))),
            (35, 35, None),
            (60, 60, Some((55, false))),
        ] {
            let clocks = TestClocks {
                wall: Cell::new(SystemTime::UNIX_EPOCH + seconds(1_000_000)),
                monotonic: Cell::new(Instant::now()),
            };
            let mut watch = ClockWatch::new(&clocks);
            let moved = match u64::try_from(wall) {
                Ok(ahead) => clocks.wall.get() + seconds(ahead),
                Err(_) => clocks.wall.get() - seconds(i64::unsigned_abs(wall)),
            };
            clocks.wall.set(moved);
            clocks
                .monotonic
                .set(clocks.monotonic.get() + seconds(monotonic));
            let expected = expected.map(|(by, is_backwards)| Jump {
                by: seconds(by),
                is_backwards,
            });
            assert_eq!(watch.look(), expected, "{wall} {monotonic}");
            assert_eq!(watch.look(), None, "{wall} {monotonic}: a second look");
        }
    }
}
