//! The read path: rendered silos in bounded memory.
//!
//! A silo is loaded and rendered when it is first read and then served without SQL. Whoever learns
//! that a silo changed (the registry, before it answers; the feed, for other programs' changes) makes
//! the view forget it. A load that was under way at that moment is answered to those who waited for
//! it, all of whom asked before, but is not kept.

use std::sync::Arc;

use axum::body::Bytes;
use axum::http::HeaderValue;
use quick_cache::{OptionsBuilder, Weighter, sync::Cache};
use silo_shared::silo::SiloId;

use crate::render::{Format, render};
use crate::store::{Store, StoreError, StoredSilo};

/// A silo in one representation.
#[derive(Debug)]
pub struct Rendered {
    /// The silo's revision.
    pub revision: i64,
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

type Key = (SiloId, Format);

#[derive(Clone, Debug)]
struct Weight;

impl Weighter<Key, Arc<Rendered>> for Weight {
    fn weight(&self, key: &Key, value: &Arc<Rendered>) -> u64 {
        // The fixed part stands for the map's and the allocations' own needs.
        (value.body.len() + key.0.as_str().len() + 400) as u64
    }
}

/// Rendered silos.
#[derive(Clone, Debug)]
pub struct View {
    cache: Arc<Cache<Key, Arc<Rendered>, Weight>>,
    store: Store,
}

impl View {
    /// An empty view that holds at most so many bytes.
    pub fn new(store: Store, capacity_bytes: u64) -> Self {
        let options = OptionsBuilder::new()
            .estimated_items_capacity(usize::try_from(capacity_bytes / 1000).unwrap_or(usize::MAX))
            .weight_capacity(capacity_bytes)
            // Few shards, so that one large silo still fits into one.
            .shards(4)
            .build()
            .expect("both capacities are given");
        let cache = Cache::with_options(
            options,
            Weight,
            quick_cache::DefaultHashBuilder::default(),
            quick_cache::sync::DefaultLifecycle::default(),
        );
        Self {
            cache: Arc::new(cache),
            store,
        }
    }

    /// A silo as of a moment after the call began; `None` when there is none.
    pub async fn get(
        &self,
        id: SiloId,
        format: Format,
    ) -> Result<Option<Arc<Rendered>>, StoreError> {
        let key = (id, format);
        match self.cache.get_value_or_guard_async(&key).await {
            Ok(rendered) => Ok(Some(rendered)),
            Err(guard) => {
                let Some(silo) = self.store.silo(&key.0).await? else {
                    return Ok(None);
                };
                let rendered = Arc::new(Rendered::new(&silo, format));
                // Refused when the silo was forgotten meanwhile: then it is not kept.
                let _ = guard.insert(Arc::clone(&rendered));
                Ok(Some(rendered))
            }
        }
    }

    /// Forgets a silo that changed: reads that begin from now on see the change.
    pub fn forget(&self, id: &SiloId) {
        for format in Format::ALL {
            self.cache.remove(&(id.clone(), format));
        }
    }

    /// Forgets everything.
    pub fn forget_all(&self) {
        self.cache.clear();
    }

    /// Forgets a silo unless it is held at this revision or a newer one.
    pub fn forget_older(&self, id: &SiloId, revision: i64) {
        for format in Format::ALL {
            let key = (id.clone(), format);
            if self
                .cache
                .peek(&key)
                .is_none_or(|held| held.revision < revision)
            {
                self.cache.remove(&key);
            }
        }
    }
}
