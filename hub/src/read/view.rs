//! The read path: rendered silos in bounded memory.
//!
//! A silo is loaded and rendered on its first read, and then served without SQL. When the hub
//! learns of a change (from the registry, before it returns the result; from the feed, for changes
//! by other programs), the view drops the silo, and those waiting for it are woken
//! ([`crate::follow::invalidation`]).
//!
//! Each cached value has the generation of its key at the start of its load, and invalidation
//! increments the generation: a read never returns a value whose load began before the last
//! invalidation that preceded the read, regardless of how the cache treats loads in progress.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::HeaderValue;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use silo_shared::silo::SiloId;

use crate::domain::counting::Counter;
use crate::domain::revision::Revision;
use crate::read::render::{Format, render};
use crate::store::{Store, StoreError, StoredSilo};

/// A silo in one representation.
#[derive(Debug)]
pub struct Rendered {
    /// The silo's revision.
    pub revision: Revision,
    /// The opaque part of the entity tag.
    pub tag: String,
    /// The whole `ETag` header.
    pub etag: HeaderValue,
    /// The body.
    pub body: Bytes,
}

impl Rendered {
    /// Renders a silo.
    pub fn new(silo: &StoredSilo, format: Format) -> Self {
        let tag = format.tag(silo.revision);
        let etag = HeaderValue::try_from(format!("\"{tag}\""))
            .expect("a tag of digits, letters and '-' is a valid header");
        Self {
            revision: silo.revision,
            tag,
            etag,
            body: render(silo, format).into(),
        }
    }
}

/// How long a read may wait for a silo that is not cached: if the database fails, concurrent reads
/// of the same silo try to load it one after another.
const LOAD_TIMEOUT: Duration = Duration::from_secs(10);

type Key = (SiloId, Format);

/// Number of generation counters. Keys share them to bound memory: a change also reloads the other
/// silos with its counter, one in thousands.
const GENERATIONS: usize = 1 << 14;

#[derive(Clone, Debug)]
struct Held {
    /// The key's generation when the load began.
    generation: u64,
    rendered: Arc<Rendered>,
}

#[derive(Clone, Debug)]
struct Weight;

impl Weighter<Key, Held> for Weight {
    fn weight(&self, key: &Key, value: &Held) -> u64 {
        // The fixed part covers the overhead of the map and the allocations.
        (value.rendered.body.len() + key.0.as_str().len() + 400) as u64
    }
}

/// The cache, with the generations of its keys.
#[derive(Debug)]
struct Shelf {
    cache: Cache<Key, Held, Weight>,
    generations: Box<[AtomicU64]>,
    hasher: DefaultHashBuilder,
    hits: Counter,
    misses: Counter,
}

impl Shelf {
    fn new(capacity_bytes: u64) -> Self {
        let options = OptionsBuilder::new()
            .estimated_items_capacity(usize::try_from(capacity_bytes / 1000).unwrap_or(usize::MAX))
            .weight_capacity(capacity_bytes)
            // Few shards, so that one large silo fits into a shard.
            .shards(4)
            .build()
            .expect("both capacities are given");
        let hasher = DefaultHashBuilder::default();
        Self {
            cache: Cache::with_options(
                options,
                Weight,
                hasher.clone(),
                DefaultLifecycle::default(),
            ),
            generations: (0..GENERATIONS).map(|_| AtomicU64::new(0)).collect(),
            hasher,
            hits: Counter::default(),
            misses: Counter::default(),
        }
    }

    fn generation(&self, key: &Key) -> &AtomicU64 {
        let hash = usize::try_from(self.hasher.hash_one(key) % GENERATIONS as u64);
        &self.generations[hash.expect("it is below their number")]
    }

    /// The cached value, or the result of `load`; of several concurrent callers, one loads.
    async fn get<E>(
        &self,
        key: &Key,
        load: impl Future<Output = Result<Option<Rendered>, E>>,
    ) -> Result<Option<Arc<Rendered>>, E> {
        let asked = self.generation(key).load(Ordering::Acquire);
        loop {
            match self.cache.get_value_or_guard_async(key).await {
                Ok(held) if held.generation >= asked => return Ok(Some(held.rendered)),
                // Its load started before the key was invalidated.
                Ok(_) => self.remove_older(key, asked),
                Err(guard) => {
                    let generation = self.generation(key).load(Ordering::Acquire);
                    let Some(rendered) = load.await? else {
                        return Ok(None);
                    };
                    let rendered = Arc::new(rendered);
                    // A value that the cache rejects costs another load.
                    let _ = guard.insert(Held {
                        generation,
                        rendered: Arc::clone(&rendered),
                    });
                    return Ok(Some(rendered));
                }
            }
        }
    }

    fn remove_older(&self, key: &Key, generation: u64) {
        let is_older = |held: &Held| held.generation < generation;
        self.cache.remove_if(key, is_older);
    }

    fn forget(&self, key: &Key) {
        let generation = self.generation(key).fetch_add(1, Ordering::AcqRel) + 1;
        self.remove_older(key, generation);
    }

    fn forget_all(&self) {
        for generation in &self.generations {
            generation.fetch_add(1, Ordering::AcqRel);
        }
        self.cache.clear();
    }

    /// The cached value, if it is valid.
    fn held(&self, key: &Key) -> Option<Arc<Rendered>> {
        let generation = self.generation(key).load(Ordering::Acquire);
        let held = self.cache.get(key)?;
        (held.generation >= generation).then_some(held.rendered)
    }

    /// The revision of the cached value. Does not count as a use of it.
    fn revision(&self, key: &Key) -> Option<Revision> {
        let generation = self.generation(key).load(Ordering::Acquire);
        let held = self.cache.peek(key)?;
        (held.generation >= generation).then(|| held.rendered.revision)
    }
}

/// What a view holds and how often it was of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ViewUsage {
    /// The memory of the rendered silos, in bytes.
    pub bytes: u64,
    /// Reads served from memory.
    pub hits: u64,
    /// Reads that needed the database.
    pub misses: u64,
}

/// Rendered silos.
#[derive(Clone, Debug)]
pub struct View {
    shelf: Arc<Shelf>,
    store: Store,
}

impl View {
    /// An empty view with a limit in bytes.
    pub fn new(store: Store, capacity_bytes: u64) -> Self {
        Self {
            shelf: Arc::new(Shelf::new(capacity_bytes)),
            store,
        }
    }

    /// A silo in its state after the call began; `None` if it does not exist. Takes at most ten
    /// seconds, then fails with [`StoreError::NoAnswer`].
    pub async fn get(
        &self,
        id: SiloId,
        format: Format,
    ) -> Result<Option<Arc<Rendered>>, StoreError> {
        let key = (id, format);
        match self.shelf.held(&key) {
            Some(rendered) => {
                self.shelf.hits.add_one();
                Ok(Some(rendered))
            }
            // Boxed: the future of a load is large, and most reads and waiting tasks need none.
            None => {
                self.shelf.misses.add_one();
                Box::pin(self.load(key)).await
            }
        }
    }

    /// The same at this revision or a newer one, which the caller has read in the database: another program may have
    /// committed it, and this hub not learned of it yet.
    pub async fn get_at_least(
        &self,
        id: &SiloId,
        format: Format,
        revision: Revision,
    ) -> Result<Option<Arc<Rendered>>, StoreError> {
        let silo = self.get(id.clone(), format).await?;
        if silo.as_ref().is_none_or(|held| held.revision >= revision) {
            return Ok(silo);
        }
        self.forget_older(id, revision);
        self.get(id.clone(), format).await
    }

    /// What the view holds and how often it was of use.
    pub fn usage(&self) -> ViewUsage {
        ViewUsage {
            bytes: self.shelf.cache.weight(),
            hits: self.shelf.hits.get(),
            misses: self.shelf.misses.get(),
        }
    }

    async fn load(&self, key: Key) -> Result<Option<Arc<Rendered>>, StoreError> {
        let load = async {
            let silo = self.store.silo(&key.0).await?;
            Ok(silo.map(|silo| Rendered::new(&silo, key.1)))
        };
        let loaded = tokio::time::timeout(LOAD_TIMEOUT, self.shelf.get(&key, load)).await;
        loaded.unwrap_or(Err(StoreError::NoAnswer))
    }

    /// Invalidates a silo: later reads load it again.
    pub(crate) fn forget(&self, id: &SiloId) {
        for format in Format::ALL {
            self.shelf.forget(&(id.clone(), format));
        }
    }

    /// Invalidates everything.
    pub(crate) fn forget_all(&self) {
        self.shelf.forget_all();
    }

    /// Invalidates a silo unless it is cached at this revision or a newer one; for reads that learn
    /// of a change before the feed does.
    pub fn forget_older(&self, id: &SiloId, revision: Revision) {
        for format in Format::ALL {
            let key = (id.clone(), format);
            if self.shelf.revision(&key).is_none_or(|held| held < revision) {
                self.shelf.forget(&key);
            }
        }
    }
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
