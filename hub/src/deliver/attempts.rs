//! How often this hub has sent something to each sink, and with which outcome.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::sink::Outcome;
use crate::domain::sink::SinkName;

/// Attempts of deliveries by sink and outcome. Sinks are configured, so their number is bounded.
#[derive(Clone, Debug, Default)]
pub struct Attempts(Arc<Mutex<BTreeMap<(SinkName, &'static str), u64>>>);

impl Attempts {
    /// Counts the outcome of an attempt. Not counted: what was handed over and is still running, and a receiver that
    /// had something unexpected, which is tried again at once.
    pub(super) fn note(&self, sink: &SinkName, outcome: &Outcome) {
        let outcome = match outcome {
            Outcome::Done => "done",
            Outcome::Retry(_) => "retry",
            Outcome::Failed(_) | Outcome::Refused(_) => "failed",
            Outcome::Found(_) | Outcome::Waiting => return,
        };
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((sink.clone(), outcome)).or_default() += 1;
    }

    /// The counts: sink, outcome (`done`, `retry` or `failed`), number.
    pub fn counts(&self) -> Vec<(SinkName, &'static str, u64)> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = counts.iter();
        counts
            .map(|((sink, outcome), count)| (sink.clone(), *outcome, *count))
            .collect()
    }
}
