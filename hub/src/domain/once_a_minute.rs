//! Limits a log message to one per minute, where clients decide how often its cause occurs.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

/// When something was last logged, by a monotonic clock with any origin.
#[derive(Debug, Default)]
pub struct OnceAMinute(Mutex<Option<Duration>>);

impl OnceAMinute {
    /// Whether this has never returned true, or a minute has passed since.
    pub(crate) fn is_due(&self, now: Duration) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = last.is_none_or(|last| now.saturating_sub(last) >= MINUTE);
        if is_due {
            *last = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_due_once_a_minute() {
        let reports = OnceAMinute::default();
        for (second, due) in [(5, true), (6, false), (64, false), (65, true), (66, false)] {
            let now = Duration::from_secs(second);
            assert_eq!(reports.is_due(now), due, "{second} s");
        }
    }
}
