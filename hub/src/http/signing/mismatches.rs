//! Logs signatures of known tokens that do not match their request: usually a proxy has changed it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use silo_shared::credential::TokenId;

const REPORT_EVERY: Duration = Duration::from_secs(60);
/// How much of a host is shown, in bytes: the longest name with a port.
const SHOWN: usize = 260;

/// When such a signature was last reported, by the monotonic clock.
#[derive(Debug, Default)]
pub struct Mismatches(Mutex<Option<Duration>>);

impl Mismatches {
    /// Logs a signature of a known token that does not match, with the request's host, at most once a minute.
    /// `now`: by the monotonic clock.
    pub(super) fn report(&self, token: TokenId, host: &str, now: Duration) {
        if !self.is_due(now) {
            return;
        }
        let host = host.get(..SHOWN).unwrap_or(host);
        tracing::warn!(
            token_id = %token,
            host,
            "the signature of a known token does not match the request. The client signs the host of its URL; the request arrived with the host shown here. If they differ, a proxy rewrites Host: it must pass Host, path and query unchanged (logged at most once a minute)"
        );
    }

    fn is_due(&self, now: Duration) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|last| now.saturating_sub(last) >= REPORT_EVERY);
        if due {
            *last = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mismatch_is_due_once_a_minute() {
        let mismatches = Mismatches::default();
        for (second, due) in [(5, true), (6, false), (64, false), (65, true), (66, false)] {
            assert_eq!(
                mismatches.is_due(Duration::from_secs(second)),
                due,
                "{second} s"
            );
        }
    }
}
