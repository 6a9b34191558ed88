//! Pauses after failures: exponential backoff with full jitter, so that many agents do not return in the same second
//! after their hub was away ("Exponential Backoff And Jitter", AWS Architecture Blog, 2015).

use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};

/// The bound of the first pause.
const FIRST: Duration = Duration::from_secs(1);
/// The bound of every later pause at most.
const LONGEST: Duration = Duration::from_secs(60);
/// The shortest pause: the jitter may be zero, and a failure may be immediate.
const SHORTEST: Duration = Duration::from_millis(50);

/// A source of random numbers; any closure in tests.
pub trait Jitter {
    /// A number from 0 (included) to 1 (excluded), evenly distributed.
    fn fraction(&self) -> f64;
}

/// The system's random number generator. One half if it fails, which only makes a pause less random.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemJitter;

impl Jitter for SystemJitter {
    fn fraction(&self) -> f64 {
        let mut bytes = [0; 4];
        match SystemRandom::new().fill(&mut bytes) {
            Ok(()) => f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0),
            Err(_) => 0.5,
        }
    }
}

impl<F: Fn() -> f64> Jitter for F {
    fn fraction(&self) -> f64 {
        self()
    }
}

/// A duration from `least` to `most`, at random.
pub fn spread(jitter: &impl Jitter, least: Duration, most: Duration) -> Duration {
    least + most.saturating_sub(least).mul_f64(jitter.fraction())
}

/// Counts consecutive failures, and says how long to pause after each.
#[derive(Clone, Debug)]
pub struct Backoff<J = SystemJitter> {
    failures: u32,
    jitter: J,
}

impl<J: Jitter> Backoff<J> {
    /// No failure yet.
    pub fn new(jitter: J) -> Self {
        Self {
            failures: 0,
            jitter,
        }
    }

    /// Counts a failure. Returns the pause before the next attempt: at random up to 1 s after the first failure, up to
    /// twice as much after each further one, up to 60 s in the end; 50 ms at least.
    pub fn failed(&mut self) -> Duration {
        let bound = FIRST * 2_u32.saturating_pow(self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        spread(&self.jitter, Duration::ZERO, bound.min(LONGEST)).max(SHORTEST)
    }

    /// Forgets the failures: the next one counts as the first.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// How many attempts have failed since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new(SystemJitter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute_and_start_again_after_a_success() {
        for (fraction, expected_ms) in [
            (0.0, [50, 50, 50, 50, 50, 50, 50, 50]),
            (0.5, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]),
            (
                0.99,
                [990, 1980, 3960, 7920, 15_840, 31_680, 59_400, 59_400],
            ),
        ] {
            let mut backoff = Backoff::new(|| fraction);
            let pauses: Vec<u64> = (0..8)
                .map(|_| u64::try_from(backoff.failed().as_millis()).unwrap())
                .collect();
            assert_eq!(pauses, expected_ms, "{fraction}");
            assert_eq!(backoff.failures(), 8);
            backoff.succeeded();
            assert_eq!(backoff.failed().as_millis(), u128::from(expected_ms[0]));
        }
        let mut long = Backoff::new(|| 0.5);
        for _ in 0..100 {
            assert!(long.failed() <= LONGEST / 2);
        }
    }

    #[test]
    fn the_systems_jitter_differs_and_stays_within_bounds() {
        let fractions: Vec<f64> = (0..64).map(|_| SystemJitter.fraction()).collect();
        assert!(
            fractions
                .iter()
                .all(|fraction| (0.0..1.0).contains(fraction))
        );
        assert!(fractions.iter().any(|fraction| *fraction != fractions[0]));
        let (least, most) = (Duration::from_secs(10), Duration::from_secs(60));
        assert_eq!(spread(&|| 0.0, least, most), least);
        assert_eq!(spread(&|| 0.5, least, most), Duration::from_secs(35));
        // A wrong order is no panic.
        assert_eq!(spread(&|| 0.5, most, least), most);
    }
}
