//! The nonces of signed reads, in memory. A replayed read reveals nothing new, so it is enough to refuse it at this
//! hub, and only until it restarts.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ring::digest;
use silo_shared::credential::TokenId;
use silo_shared::signing::MAX_CLOCK_OFFSET;

/// How long a signature may be received: from the earliest to the latest accepted time.
const WINDOW: Duration = Duration::from_secs(2 * MAX_CLOCK_OFFSET.unsigned_abs());
/// The maximum number of nonces in a generation; there are two generations.
const CAPACITY: usize = 200_000;

/// A hash of a token's nonce, truncated to what makes it unique.
type Mark = [u8; 16];

/// The nonces of signed reads.
#[derive(Debug, Default)]
pub struct ReadNonces(Mutex<Generations>);

#[derive(Debug, Default)]
struct Generations {
    /// By the monotonic clock.
    began: Duration,
    young: HashSet<Mark>,
    old: HashSet<Mark>,
}

impl ReadNonces {
    /// Spends a nonce; false: it was spent before. Only callers with a valid token can fill the memory; then the oldest
    /// nonces are forgotten. `now` is a reading of the monotonic clock.
    pub(super) fn spend(&self, token: TokenId, nonce: &str, now: Duration) -> bool {
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(token.as_str().as_bytes());
        hash.update(nonce.as_bytes());
        let hash = hash.finish();
        let mut mark = Mark::default();
        mark.copy_from_slice(&hash.as_ref()[..size_of::<Mark>()]);
        let mut nonces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let age = now.saturating_sub(nonces.began);
        if age > WINDOW || nonces.young.len() >= CAPACITY {
            nonces.old = std::mem::take(&mut nonces.young);
            nonces.began = now;
        }
        !nonces.old.contains(&mark) && nonces.young.insert(mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_spent_once_per_token_while_its_signature_is_valid() {
        let nonces = ReadNonces::default();
        let [a, b] = ["aaaaaaaaaa", "bbbbbbbbbb"].map(|id| TokenId::parse(id).unwrap());
        let at = |millis| Duration::from_millis(1_000_000 + millis);
        let window = u64::try_from(WINDOW.as_millis()).unwrap();
        assert!(nonces.spend(a, "n", at(0)));
        assert!(nonces.spend(a, "m", at(1)));
        assert!(nonces.spend(b, "n", at(1)));
        assert!(!nonces.spend(a, "n", at(2)));
        assert!(nonces.spend(a, "o", at(window)));
        // Each generation lasts a window, so that every nonce is kept for at least a window.
        assert!(!nonces.spend(a, "o", at(2 * window)));
        assert!(!nonces.spend(a, "n", at(window)));
    }

    #[test]
    fn memory_stays_bounded() {
        let nonces = ReadNonces::default();
        let token = TokenId::parse("aaaaaaaaaa").unwrap();
        let now = Duration::from_secs(1000);
        for number in 0..3 * CAPACITY {
            assert!(nonces.spend(token, &number.to_string(), now));
        }
        let held = nonces.0.lock().unwrap();
        assert!(held.young.len() <= CAPACITY && held.old.len() <= CAPACITY);
    }
}
