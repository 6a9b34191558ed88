//! Ends streams whose token has become invalid: one ticker for all of them.
//!
//! An idle stream does not check its token. The ticker checks each watched token and wakes the streams of a token that
//! changed, which then check it themselves.

use std::collections::HashMap;
use std::time::Duration;

use silo_shared::credential::TokenId;
use tokio::time::MissedTickBehavior;

use crate::auth::token_cache::TokenCache;
use crate::domain::time::{Clock, Time};
use crate::domain::token::CredentialHash;
use crate::follow::revision::Revision;
use crate::store::KnownToken;

/// The interval of the ticker.
const TICK: Duration = Duration::from_millis(500);

/// The valid secrets of a token: the current one and the former one; `None`: the token is invalid.
type ValidSecrets = Option<(CredentialHash, Option<CredentialHash>)>;

/// Checks the watched tokens forever; stop it by dropping the future.
pub(crate) async fn watch_tokens(tokens: TokenCache, revision: Revision, clock: Clock) {
    let mut known: HashMap<TokenId, ValidSecrets> = HashMap::new();
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let mut looked = HashMap::new();
        for id in revision.watched_tokens() {
            let before = known.remove(&id);
            // While the database is unavailable, no token can be found invalid.
            let now = match tokens.get(id).await {
                Ok(token) => token.and_then(|token| valid_secrets(&token.known, clock.now())),
                Err(_) => {
                    looked.extend(before.map(|before| (id, before)));
                    continue;
                }
            };
            // A stream that began since the last tick may have checked its token before it became invalid.
            if before != Some(now) {
                revision.token_changed(&id);
            }
            looked.insert(id, now);
        }
        known = looked;
    }
}

fn valid_secrets(known: &KnownToken, now: Time) -> ValidSecrets {
    let former = known.former_at(now).map(|former| former.credential_hash);
    let is_valid = known.token.is_valid_at(now);
    is_valid.then_some((known.credential_hash, former))
}
