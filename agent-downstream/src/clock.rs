//! The monotonic clock by which a run waits for other programs, and its replacement in tests.

use std::time::{Duration, Instant};

/// Time that only moves forward, and pauses in it.
pub(crate) trait Clock {
    /// The present moment.
    fn now(&self) -> Instant;
    /// Pauses for this long.
    fn sleep(&self, pause: Duration);
}

/// The system's monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Monotonic;

impl Clock for Monotonic {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn sleep(&self, pause: Duration) {
        std::thread::sleep(pause);
    }
}

/// A clock that moves by pauses alone, and notes them.
#[cfg(test)]
#[derive(Debug)]
pub(crate) struct TestClock {
    started: Instant,
    pauses: std::cell::RefCell<Vec<Duration>>,
}

#[cfg(test)]
impl TestClock {
    pub(crate) fn start() -> Self {
        Self {
            started: Instant::now(),
            pauses: std::cell::RefCell::default(),
        }
    }

    /// How long all pauses were.
    pub(crate) fn passed(&self) -> Duration {
        self.pauses.borrow().iter().sum()
    }

    /// Each pause.
    pub(crate) fn pauses(&self) -> Vec<Duration> {
        self.pauses.borrow().clone()
    }
}

#[cfg(test)]
impl Clock for TestClock {
    fn now(&self) -> Instant {
        self.started + self.passed()
    }

    fn sleep(&self, pause: Duration) {
        self.pauses.borrow_mut().push(pause);
    }
}
