//! The known tokens, in bounded memory, and when they were last used.
//!
//! What is not held is looked up, for many callers by one statement: a lookup under way lets the ones that
//! come meanwhile gather, and the next takes them all. So strangers who make up ids cost a bounded number
//! of statements, however many they are. An id that is not there is not remembered: the next id that is
//! made up is another one, and a token that another hub has just made must be found.

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

/// How many tokens are held.
const CAPACITY: usize = 10_000;
/// Uses of a token closer together than this count as one.
const USE_RESOLUTION_MS: i64 = 1000;

/// How many lookups run at once for callers whose turn is at once.
const LOOKUPS: usize = 2;
/// How long a lookup for the others lets callers gather.
const GATHERING: Duration = Duration::from_millis(10);
/// How long a caller may wait for its turn and the answer together.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);
/// The most ids that one lookup takes.
const LOOKED_UP_AT_ONCE: usize = 512;

/// When the id that a caller names is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// As soon as a lookup may begin.
    AtOnce,
    /// One lookup at a time, at most a hundred a second: for addresses that have shown too many wrong
    /// credentials. A valid token of such an address is honoured after that moment.
    AfterOthers,
}

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
    /// Moves whenever tokens are forgotten: what was read before is not kept.
    generation: Arc<Mutex<u64>>,
    at_once: Arc<Lookups>,
    after_others: Arc<Lookups>,
    used: Arc<Mutex<HashMap<TokenId, Time>>>,
    store: Store,
}

/// Callers that wait for a lookup, and how many may run.
#[derive(Debug)]
struct Lookups {
    waiting: Mutex<Vec<Waiting>>,
    running: Semaphore,
    gathering: Duration,
}

/// An id that is to be looked up, and whom to tell.
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

    /// The calls that have waited longest and still do.
    fn take(&self) -> Vec<Waiting> {
        let mut waiting = self.lock();
        waiting.retain(|(_, caller)| !caller.is_closed());
        match waiting.len() > LOOKED_UP_AT_ONCE {
            true => waiting.drain(..LOOKED_UP_AT_ONCE).collect(),
            false => mem::take(&mut *waiting),
        }
    }
}

impl TokenCache {
    /// An empty cache.
    pub fn new(store: Store) -> Self {
        Self {
            cache: Arc::new(Cache::new(CAPACITY)),
            generation: Arc::default(),
            at_once: Lookups::new(LOOKUPS, Duration::ZERO),
            after_others: Lookups::new(1, GATHERING),
            used: Arc::default(),
            store,
        }
    }

    /// A token by its id, revoked or not, as of a moment after the call began.
    pub async fn get(&self, id: TokenId) -> Result<Option<Arc<CachedToken>>, Arc<StoreError>> {
        match self.held(id) {
            Some(held) => Ok(Some(held)),
            None => self.look_up(id, Turn::AtOnce).await,
        }
    }

    /// A token that is held.
    pub fn held(&self, id: TokenId) -> Option<Arc<CachedToken>> {
        self.cache.get(&id)
    }

    /// A token that is not held, from the database, as of a moment after the call began; or
    /// [`StoreError::NoAnswer`] after ten seconds.
    pub async fn look_up(
        &self,
        id: TokenId,
        turn: Turn,
    ) -> Result<Option<Arc<CachedToken>>, Arc<StoreError>> {
        // In a box: most calls find their token held, and are to have a small future.
        let found = tokio::time::timeout(LOOKUP_TIMEOUT, self.look_up_in_turn(id, turn));
        let found = Box::pin(found).await;
        found.unwrap_or_else(|_| Err(Arc::new(StoreError::NoAnswer)))
    }

    async fn look_up_in_turn(
        &self,
        id: TokenId,
        turn: Turn,
    ) -> Result<Option<Arc<CachedToken>>, Arc<StoreError>> {
        let lookups = match turn {
            Turn::AtOnce => &self.at_once,
            Turn::AfterOthers => &self.after_others,
        };
        loop {
            let (caller, mut answer) = oneshot::channel();
            lookups.lock().push((id, caller));
            // A caller that gets a permit runs the lookup for all that wait. The lookup ends early when that
            // caller goes away; those that it had taken then ask again.
            loop {
                tokio::select! {
                    biased;
                    found = &mut answer => match found {
                        Ok(found) => return found,
                        Err(_) => break,
                    },
                    permit = lookups.running.acquire() => {
                        let _permit = permit.expect("the semaphore is never closed");
                        match lookups.gathering.is_zero() {
                            // Those that come at the same time join.
                            true => tokio::task::yield_now().await,
                            false => tokio::time::sleep(lookups.gathering).await,
                        }
                        self.answer(lookups.take()).await;
                    }
                }
            }
        }
    }

    /// Looks ids up by as few statements as may be, and tells who asked.
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
            // A caller that has gone away needs no answer.
            let _ = caller.send(found);
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

    /// Forgets tokens that changed: calls that begin from now on see the change.
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
