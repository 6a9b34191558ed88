//! Ends streams whose token has become invalid or has other rights: one ticker for all of them.
//!
//! An idle stream does not check its token. The ticker checks each watched token and wakes the streams of a token that
//! changed, which then check it themselves. A session's end is announced as a change of its token: all hubs then forget
//! the token, and what is cached afterwards is another copy.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use silo_shared::credential::TokenId;
use tokio::time::MissedTickBehavior;

use crate::auth::token_cache::{CachedToken, TokenCache};
use crate::domain::time::{Clock, Time};
use crate::domain::token::{CredentialHash, TokenSpec};
use crate::follow::bus::Bus;
use crate::store::KnownToken;

/// The interval of the ticker.
const TICK: Duration = Duration::from_millis(500);

/// What a stream depends on: the valid secrets of its token, the current one and the former one, and what it may do;
/// `None`: the token is invalid.
type ValidSecrets = Option<(CredentialHash, Option<CredentialHash>, TokenSpec)>;

/// What was found of a token at a tick.
type Looked = (ValidSecrets, Option<Arc<CachedToken>>);

/// Checks the watched tokens forever; stop it by dropping the future.
pub(crate) async fn watch_tokens(tokens: TokenCache, bus: Bus, clock: Clock) {
    let mut known: HashMap<TokenId, Looked> = HashMap::new();
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let mut looked = HashMap::new();
        for id in bus.watched_tokens() {
            let before = known.remove(&id);
            // While the database is unavailable, no token can be found invalid.
            let now = match tokens.get(id).await {
                Ok(token) => {
                    let valid = token.as_ref();
                    let valid = valid.and_then(|token| valid_secrets(&token.known, clock.now()));
                    (valid, token)
                }
                Err(_) => {
                    looked.extend(before.map(|before| (id, before)));
                    continue;
                }
            };
            // A stream that began since the last tick may have checked its token before it became invalid.
            if !before.is_some_and(|before| is_same(&before, &now)) {
                bus.token_changed(&id);
            }
            looked.insert(id, now);
        }
        known = looked;
    }
}

fn is_same(before: &Looked, now: &Looked) -> bool {
    is_same_copy(before.1.as_ref(), now.1.as_ref()) && before.0 == now.0
}

/// Whether both are the same copy: one that was read again is another, also if it says the same.
fn is_same_copy<T>(before: Option<&Arc<T>>, now: Option<&Arc<T>>) -> bool {
    match (before, now) {
        (Some(before), Some(now)) => Arc::ptr_eq(before, now),
        (None, None) => true,
        _ => false,
    }
}

fn valid_secrets(known: &KnownToken, now: Time) -> ValidSecrets {
    let former = known.former_at(now).map(|former| former.credential_hash);
    let is_valid = known.token.is_valid_at(now);
    is_valid.then(|| (known.credential_hash, former, known.token.spec.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_again_is_another_copy() {
        let (first, second) = (Arc::new(1), Arc::new(1));
        for (before, now, expected) in [
            (Some(&first), Some(&first), true),
            (Some(&first), Some(&second), false),
            (Some(&first), None, false),
            (None, Some(&first), false),
            (None, None, true),
        ] {
            assert_eq!(is_same_copy(before, now), expected, "{before:?} {now:?}");
        }
    }
}
