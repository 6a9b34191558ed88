//! How busy the hub is: what was counted since a sample of a minute or two ago.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::Hub;

/// How many samples are kept, one a minute.
const KEPT: usize = 2;

/// The counters at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Sample {
    /// By the monotonic clock.
    at: Duration,
    requests: u64,
    commits: u64,
    commit_seconds: f64,
}

/// The last samples.
#[derive(Debug, Default)]
pub(super) struct Samples(Mutex<VecDeque<Sample>>);

/// What the hub did lately.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Load {
    /// For how long it was counted.
    pub(crate) over: Duration,
    /// Requests, in a second.
    pub(crate) requests_per_second: f64,
    /// How long a commit took on average, in seconds; `None`: there was none.
    pub(crate) commit_seconds: Option<f64>,
}

impl Sample {
    /// What was counted since an earlier sample; `None`: no time has passed.
    #[expect(clippy::cast_precision_loss, reason = "the numbers are shown rounded")]
    fn since(&self, earlier: &Self) -> Option<Load> {
        let over = self.at.checked_sub(earlier.at)?;
        if over < Duration::from_secs(1) {
            return None;
        }
        let requests = self.requests.saturating_sub(earlier.requests) as f64;
        let commits = self.commits.saturating_sub(earlier.commits);
        let took = self.commit_seconds - earlier.commit_seconds;
        Some(Load {
            over,
            requests_per_second: requests / over.as_secs_f64(),
            commit_seconds: (commits > 0).then(|| took / commits as f64),
        })
    }
}

impl Samples {
    fn add(&self, sample: Sample) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_back(sample);
        if kept.len() > KEPT {
            kept.pop_front();
        }
    }

    fn oldest(&self) -> Option<Sample> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.front().copied()
    }
}

impl Hub {
    fn sample(&self) -> Sample {
        let commits = self.registry.commits();
        Sample {
            at: self.clock.monotonic(),
            requests: self
                .requests
                .counts()
                .iter()
                .map(|count| count.requests)
                .sum(),
            commits: commits.commits(),
            commit_seconds: commits.took().sum,
        }
    }

    /// Keeps the present counters, once a minute.
    pub(super) fn sample_load(&self) {
        self.monitor.samples().add(self.sample());
    }

    /// What the hub did in the last minute or two; `None`: it has just started.
    pub(crate) fn load(&self) -> Option<Load> {
        self.sample().since(&self.monitor.samples().oldest()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(seconds: u64, requests: u64, commits: u64, commit_seconds: f64) -> Sample {
        Sample {
            at: Duration::from_secs(seconds),
            requests,
            commits,
            commit_seconds,
        }
    }

    #[test]
    fn the_load_is_what_was_counted_since_the_oldest_sample() {
        let samples = Samples::default();
        assert_eq!(samples.oldest(), None);
        for second in [0, 60, 120] {
            samples.add(sample(second, second * 2, second / 60, 0.25));
        }
        let oldest = samples.oldest().unwrap();
        assert_eq!(oldest, sample(60, 120, 1, 0.25));
        let load = sample(160, 320, 3, 0.75).since(&oldest).unwrap();
        assert!((load.requests_per_second - 2.0).abs() < 1e-9, "{load:?}");
        assert_eq!(load.commit_seconds, Some(0.25));
        let quiet = sample(160, 120, 1, 0.25).since(&oldest).unwrap();
        assert_eq!(quiet.commit_seconds, None);
        assert_eq!(oldest.since(&oldest), None);
    }
}
