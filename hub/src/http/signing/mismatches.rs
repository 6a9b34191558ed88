//! Logs signatures of known tokens that do not match their request, usually because a proxy changed it.

use std::time::Duration;

use silo_shared::credential::TokenId;

use crate::domain::once_a_minute::OnceAMinute;

/// The maximum length of a logged host, in bytes: the longest name with a port.
const SHOWN: usize = 260;

/// Limits how often mismatches are logged.
#[derive(Debug, Default)]
pub struct Mismatches(OnceAMinute);

impl Mismatches {
    /// Logs a signature of a known token that does not match, with the request's host, at most once a minute. `now` is
    /// a reading of the monotonic clock.
    pub(super) fn report(&self, token: TokenId, host: &str, now: Duration) {
        if !self.0.is_due(now) {
            return;
        }
        let host = host.get(..SHOWN).unwrap_or(host);
        tracing::warn!(
            token_id = %token,
            host,
            "the signature of a known token does not match the request. The client signs the host of its URL; the request arrived with the host shown here. If they differ, a proxy rewrites Host: it must pass Host, path and query unchanged (logged at most once a minute)"
        );
    }
}
