//! What is done from time to time, whatever happens.

use std::time::Duration;

use silo_shared::stay::{SystemJitter, spread};
use tokio::time::{Instant, sleep_until};

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// Look at this machine's own addresses: events may be missing.
    Look,
    /// Ask others for this machine's addresses, of which no event tells.
    Ask,
    /// Report the records again.
    Heartbeat,
}

/// When each is due.
#[derive(Debug)]
pub(super) struct Timers([(Timer, Instant); 3]);

impl Timers {
    /// A first time from now on.
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self([Timer::Look, Timer::Ask, Timer::Heartbeat].map(|timer| (timer, now + timer.pause())))
    }

    /// Waits for the next one. Cancel-safe.
    pub(super) async fn next(&mut self) -> Timer {
        let Self([first, rest @ ..]) = self;
        let mut due = first;
        for other in rest {
            if other.1 < due.1 {
                due = other;
            }
        }
        sleep_until(due.1).await;
        due.1 = Instant::now() + due.0.pause();
        due.0
    }
}

impl Timer {
    /// The time until the next one. With jitter, so that agents that were started together do not stay together.
    fn pause(self) -> Duration {
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        match self {
            Self::Look => Duration::from_secs(30),
            Self::Ask => spread(&SystemJitter, minutes(4), minutes(6)),
            Self::Heartbeat => spread(&SystemJitter, minutes(9), minutes(11)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_timer_is_due_again_and_again() {
        let began = Instant::now();
        let mut timers = Timers::new();
        let mut counts = [0; 3];
        while began.elapsed() < Duration::from_secs(6600) {
            // Dropped and begun again: nothing is lost.
            let waited = tokio::time::timeout(Duration::from_secs(7), timers.next()).await;
            if let Ok(timer) = waited {
                counts[timer as usize] += 1;
            }
        }
        let [looks, asked, heartbeats] = counts;
        assert!((218..=221).contains(&looks), "{looks}");
        assert!((18..=28).contains(&asked), "{asked}");
        assert!((9..=13).contains(&heartbeats), "{heartbeats}");
    }
}
