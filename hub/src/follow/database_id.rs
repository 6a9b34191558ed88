//! The id of the database, as this hub sends it with each answer.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use axum::http::HeaderValue;

use crate::domain::database_id::DatabaseId;

/// The id of the database that this hub knows of; the feed and the writer update it.
///
/// An answer has the id from when its request arrived: what it holds may have been read before the id changed, and
/// under the new id a client would take it for content that was never there.
#[derive(Clone, Debug)]
pub struct KnownDatabaseId(Arc<RwLock<Known>>);

#[derive(Debug)]
struct Known {
    id: DatabaseId,
    header: HeaderValue,
}

impl KnownDatabaseId {
    /// The id at start.
    pub fn new(id: DatabaseId) -> Self {
        Self(Arc::new(RwLock::new(known(id))))
    }

    /// Stores another id, once nothing of the earlier content is cached.
    pub(crate) fn set(&self, id: DatabaseId) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = known(id);
    }

    /// The value of `Silo-Database`: a String (RFC 9651 section 3.3.3).
    pub fn header(&self) -> HeaderValue {
        self.held().header.clone()
    }

    /// The id itself.
    pub fn id(&self) -> DatabaseId {
        self.held().id
    }

    fn held(&self) -> RwLockReadGuard<'_, Known> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn known(id: DatabaseId) -> Known {
    let header = HeaderValue::from_str(&format!("\"{id}\""));
    let header = header.expect("an id has hexadecimal digits only");
    Known { id, header }
}
