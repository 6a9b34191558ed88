//! Caches tokens in bounded memory, and records when they were last used.
//!
//! A token that is not cached is looked up, for many callers by one statement: while a lookup runs, further callers
//! gather, and the next lookup handles all of them. So clients that invent ids cost a bounded number of statements.
//! Unknown ids are not cached: the next invented id is another one, and a token that another hub has just created must
//! be found.

use std::collections::HashMap;
use std::mem;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quick_cache::sync::Cache;
use silo_shared::credential::TokenId;
use tokio::sync::{Semaphore, oneshot};

use crate::domain::time::Time;
use crate::store::{KnownToken, Store, StoreError};

/// The maximum number of cached tokens.
const CAPACITY: usize = 10_000;
/// Uses of a token within this time count as one.
const USE_RESOLUTION_MS: i64 = 1000;

/// How many lookups run at once for callers with [`LookupPriority::Normal`].
const LOOKUPS: usize = 2;
/// How long a lookup with [`LookupPriority::Low`] waits for further callers.
const GATHERING: Duration = Duration::from_millis(10);
/// The total time that a caller may wait for its lookup.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);
/// The maximum number of ids in one lookup.
const LOOKED_UP_AT_ONCE: usize = 512;

/// The priority of a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookupPriority {
    /// As soon as a lookup can start.
    Normal,
    /// One lookup at a time, at most a hundred per second: for addresses with too many wrong credentials. A valid token
    /// from such an address is accepted after that delay.
    Low,
}

/// A cached token.
#[derive(Debug)]
pub struct CachedToken {
    /// The token and its credential's hash.
    pub known: KnownToken,
    used_at: AtomicI64,
}

/// The token cache.
#[derive(Clone, Debug)]
pub struct TokenCache {
    cache: Arc<Cache<TokenId, Arc<CachedToken>>>,
    /// Increases whenever tokens are forgotten; values read before are not cached then.
    generation: Arc<Mutex<u64>>,
    normal: Arc<Lookups>,
    low: Arc<Lookups>,
    used: Arc<Mutex<HashMap<TokenId, Time>>>,
    store: Store,
}

/// Callers that wait for a lookup, and the limit of concurrent lookups.
#[derive(Debug)]
struct Lookups {
    waiting: Mutex<Vec<Waiting>>,
    running: Semaphore,
    gathering: Duration,
}

/// An id to look up, and the channel for the result.
type Waiting = (TokenId, oneshot::Sender<Found>);
type Found = Result<Option<Arc<CachedToken>>, Arc<StoreError>>;

impl Lookups {
    fn new(at_once: usize, gathering: Duration) -> Arc<Self> {
        Arc::new(Self {
            waiting: Mutex::default(),
            running: Semaphore::new(at_once),
            gathering,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The longest waiting calls that are still open.
    fn take(&self) -> Vec<Waiting> {
        let mut waiting = self.lock();
        waiting.retain(|(_, caller)| !caller.is_closed());
        if waiting.len() > LOOKED_UP_AT_ONCE {
            waiting.drain(..LOOKED_UP_AT_ONCE).collect()
        } else {
            mem::take(&mut *waiting)
        }
    }
}

impl TokenCache {
    /// An empty cache.
    pub fn new(store: Store) -> Self {
        Self {
            cache: Arc::new(Cache::new(CAPACITY)),
            generation: Arc::default(),
            normal: Lookups::new(LOOKUPS, Duration::ZERO),
            low: Lookups::new(1, GATHERING),
            used: Arc::default(),
            store,
        }
    }

    /// A token by its id, revoked or not, as of a time after the call began.
    pub async fn get(&self, id: TokenId) -> Result<Option<Arc<CachedToken>>, Arc<StoreError>> {
        match self.held(id) {
            Some(held) => Ok(Some(held)),
            None => self.look_up(id, LookupPriority::Normal).await,
        }
    }

    /// A cached token.
    pub fn held(&self, id: TokenId) -> Option<Arc<CachedToken>> {
        self.cache.get(&id)
    }

    /// Looks up a token that is not cached in the database, as of a time after the call began; or
    /// [`StoreError::NoAnswer`] after ten seconds.
    pub async fn look_up(
        &self,
        id: TokenId,
        priority: LookupPriority,
    ) -> Result<Option<Arc<CachedToken>>, Arc<StoreError>> {
        // Boxed: most calls find their token in the cache, and need a small future.
        let found = tokio::time::timeout(LOOKUP_TIMEOUT, self.look_up_queued(id, priority));
        let found = Box::pin(found).await;
        found.unwrap_or_else(|_| Err(Arc::new(StoreError::NoAnswer)))
    }

    async fn look_up_queued(
        &self,
        id: TokenId,
        priority: LookupPriority,
    ) -> Result<Option<Arc<CachedToken>>, Arc<StoreError>> {
        let lookups = match priority {
            LookupPriority::Normal => &self.normal,
            LookupPriority::Low => &self.low,
        };
        loop {
            let (caller, mut answer) = oneshot::channel();
            lookups.lock().push((id, caller));
            // A caller that gets a permit runs the lookup for all waiting callers. If that caller is dropped, the
            // lookup is cancelled, and the others ask again.
            loop {
                tokio::select! {
                    biased;
                    found = &mut answer => match found {
                        Ok(found) => return found,
                        Err(_) => break,
                    },
                    permit = lookups.running.acquire() => {
                        let _permit = permit.expect("the semaphore is never closed");
                        if lookups.gathering.is_zero() {
                            // Callers that arrive at the same time join.
                            tokio::task::yield_now().await;
                        } else {
                            tokio::time::sleep(lookups.gathering).await;
                        }
                        self.answer(lookups.take()).await;
                    }
                }
            }
        }
    }

    /// Looks up ids with as few statements as possible, and sends the results to the callers.
    async fn answer(&self, waiting: Vec<Waiting>) {
        let generation = *self.lock_generation();
        let mut ids: Vec<TokenId> = waiting.iter().map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids.dedup();
        let found = self.store.known_tokens(&ids).await.map_err(Arc::new);
        let found = found.map(|known| {
            let cached = known.into_iter().map(|known| {
                let used_at = AtomicI64::new(0);
                (known.token.id, Arc::new(CachedToken { known, used_at }))
            });
            cached.collect::<HashMap<_, _>>()
        });
        if let Ok(found) = &found {
            let present = self.lock_generation();
            if *present == generation {
                for (id, token) in found {
                    self.cache.insert(*id, Arc::clone(token));
                }
            }
        }
        for (id, caller) in waiting {
            let found = match &found {
                Ok(found) => Ok(found.get(&id).map(Arc::clone)),
                Err(error) => Err(Arc::clone(error)),
            };
            // The caller may be dropped.
            let _ = caller.send(found);
        }
    }

    /// Records a use of a token; costs no commit.
    pub fn note_use(&self, token: &CachedToken, now: Time) {
        let last = token.used_at.load(Ordering::Relaxed);
        if now.as_millis() - last >= USE_RESOLUTION_MS {
            token.used_at.store(now.as_millis(), Ordering::Relaxed);
            self.lock_used().insert(token.known.token.id, now);
        }
    }

    /// When a token was last used, from the stored and the pending value.
    pub fn last_used(&self, id: TokenId, stored: Option<Time>) -> Option<Time> {
        self.lock_used().get(&id).copied().max(stored)
    }

    /// The uses that are not stored yet.
    pub fn pending_uses(&self) -> Vec<(TokenId, Time)> {
        self.lock_used()
            .iter()
            .map(|(id, time)| (*id, *time))
            .collect()
    }

    /// Forgets uses that were stored, but not later ones.
    pub fn forget_uses(&self, written: &[(TokenId, Time)]) {
        let mut used = self.lock_used();
        for (id, time) in written {
            if used.get(id) == Some(time) {
                used.remove(id);
            }
        }
    }

    /// Forgets tokens that changed: calls from now on see the change.
    pub fn forget(&self, ids: &[TokenId]) {
        if ids.is_empty() {
            return;
        }
        let mut generation = self.lock_generation();
        *generation += 1;
        for id in ids {
            self.cache.remove(id);
        }
    }

    /// Forgets every token.
    pub fn forget_all(&self) {
        let mut generation = self.lock_generation();
        *generation += 1;
        self.cache.clear();
    }

    fn lock_generation(&self) -> MutexGuard<'_, u64> {
        self.generation
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_used(&self) -> MutexGuard<'_, HashMap<TokenId, Time>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
