//! The nonces of signed reads, in memory: a replayed read tells nobody anything new, so that it is enough
//! to refuse it at this hub and since its start.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use ring::digest;
use silo_shared::credential::TokenId;
use silo_shared::signing::MAX_CLOCK_OFFSET;

use crate::domain::time::Time;

/// For how long a signature may be shown: from as early as it may be received, to as late.
const WINDOW_MS: i64 = 2 * MAX_CLOCK_OFFSET * 1000;
/// How many nonces a generation holds at most; two generations are held.
const CAPACITY: usize = 200_000;

/// A nonce of a token, cut to what tells it from all others.
type Mark = [u8; 16];

/// The nonces of signed reads.
#[derive(Debug, Default)]
pub struct ReadNonces(Mutex<Generations>);

#[derive(Debug, Default)]
struct Generations {
    began: Time,
    young: HashSet<Mark>,
    old: HashSet<Mark>,
}

impl ReadNonces {
    /// Spends a nonce; false: it was spent before. Only those with a valid token can fill the memory, and
    /// then the oldest are forgotten.
    pub(super) fn spend(&self, token: TokenId, nonce: &str, now: Time) -> bool {
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(token.as_str().as_bytes());
        hash.update(nonce.as_bytes());
        let hash = hash.finish();
        let mut mark = Mark::default();
        mark.copy_from_slice(&hash.as_ref()[..size_of::<Mark>()]);
        let mut nonces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let age = now.as_millis() - nonces.began.as_millis();
        if age > WINDOW_MS || nonces.young.len() >= CAPACITY {
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
    fn a_nonce_is_spent_once_a_token_for_as_long_as_it_could_be_shown() {
        let nonces = ReadNonces::default();
        let [a, b] = ["aaaaaaaaaa", "bbbbbbbbbb"].map(|id| TokenId::parse(id).unwrap());
        let at = |millis| Time::from_millis(1_767_323_045_000 + millis);
        assert!(nonces.spend(a, "n", at(0)));
        assert!(nonces.spend(a, "m", at(1)));
        assert!(nonces.spend(b, "n", at(1)));
        assert!(!nonces.spend(a, "n", at(2)));
        assert!(nonces.spend(a, "o", at(WINDOW_MS)));
        // Each generation lasts a window, so that every nonce outlives its own.
        assert!(!nonces.spend(a, "o", at(2 * WINDOW_MS)));
        assert!(!nonces.spend(a, "n", at(WINDOW_MS)));
    }

    #[test]
    fn memory_stays_bounded() {
        let nonces = ReadNonces::default();
        let token = TokenId::parse("aaaaaaaaaa").unwrap();
        let now = Time::from_millis(1_767_323_045_000);
        for number in 0..3 * CAPACITY {
            assert!(nonces.spend(token, &number.to_string(), now));
        }
        let held = nonces.0.lock().unwrap();
        assert!(held.young.len() <= CAPACITY && held.old.len() <= CAPACITY);
    }
}
