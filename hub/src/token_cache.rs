//! The known tokens, in bounded memory, and when they were last used.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use quick_cache::sync::Cache;
use silo_shared::credential::TokenId;

use crate::domain::time::Time;
use crate::store::{KnownToken, Store, StoreError};

/// How many tokens are held.
const CAPACITY: usize = 10_000;
/// Uses of a token closer together than this count as one.
const USE_RESOLUTION_MS: i64 = 1000;

/// A token as the cache holds it.
#[derive(Debug)]
pub struct CachedToken {
    /// The token and its credential's hash.
    pub known: KnownToken,
    used_at: AtomicI64,
}

/// The known tokens.
#[derive(Clone, Debug)]
pub struct TokenCache {
    cache: Arc<Cache<TokenId, Arc<CachedToken>>>,
    used: Arc<Mutex<HashMap<TokenId, Time>>>,
    store: Store,
}

impl TokenCache {
    /// An empty cache.
    pub fn new(store: Store) -> Self {
        Self {
            cache: Arc::new(Cache::new(CAPACITY)),
            used: Arc::default(),
            store,
        }
    }

    /// A token by its id, revoked or not.
    pub async fn get(&self, id: TokenId) -> Result<Option<Arc<CachedToken>>, StoreError> {
        match self.cache.get_value_or_guard_async(&id).await {
            Ok(token) => Ok(Some(token)),
            Err(guard) => {
                let Some(known) = self.store.token(id).await? else {
                    return Ok(None);
                };
                let token = Arc::new(CachedToken {
                    known,
                    used_at: AtomicI64::new(0),
                });
                // Refused when the tokens were forgotten meanwhile: then it is not kept.
                let _ = guard.insert(Arc::clone(&token));
                Ok(Some(token))
            }
        }
    }

    /// Notes that a token was shown; costs no commit.
    pub fn note_use(&self, token: &CachedToken, now: Time) {
        let last = token.used_at.load(Ordering::Relaxed);
        if now.as_millis() - last >= USE_RESOLUTION_MS {
            token.used_at.store(now.as_millis(), Ordering::Relaxed);
            self.lock_used().insert(token.known.token.id, now);
        }
    }

    /// When a token was last used, by what the database says and what it does not have yet.
    pub fn last_used(&self, id: TokenId, stored: Option<Time>) -> Option<Time> {
        self.lock_used().get(&id).copied().max(stored)
    }

    /// The uses that are to be written down.
    pub fn pending_uses(&self) -> Vec<(TokenId, Time)> {
        self.lock_used()
            .iter()
            .map(|(id, time)| (*id, *time))
            .collect()
    }

    /// Forgets what was written down, but not what was noted since.
    pub fn forget_uses(&self, written: &[(TokenId, Time)]) {
        let mut used = self.lock_used();
        for (id, time) in written {
            if used.get(id) == Some(time) {
                used.remove(id);
            }
        }
    }

    /// Forgets every token: each is looked up anew.
    pub fn forget_all(&self) {
        self.cache.clear();
    }

    fn lock_used(&self) -> std::sync::MutexGuard<'_, HashMap<TokenId, Time>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
