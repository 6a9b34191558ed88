//! The id of the database, as this hub sends it with each answer.

use std::sync::{Arc, PoisonError, RwLock};

use axum::http::HeaderValue;

use crate::domain::database_id::DatabaseId;

/// The id of the database that this hub knows of; the feed and the writer update it.
///
/// An answer has the id from when its request arrived: what it holds may have been read before the id changed, and
/// under the new id a client would take it for content that was never there.
#[derive(Clone, Debug)]
pub struct KnownDatabaseId(Arc<RwLock<HeaderValue>>);

impl KnownDatabaseId {
    /// The id at start.
    pub fn new(id: DatabaseId) -> Self {
        Self(Arc::new(RwLock::new(header(id))))
    }

    /// Stores another id, once nothing of the earlier content is cached.
    pub(crate) fn set(&self, id: DatabaseId) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = header(id);
    }

    /// The value of `Silo-Database`: a String (RFC 9651 section 3.3.3).
    pub fn header(&self) -> HeaderValue {
        let held = self.0.read().unwrap_or_else(PoisonError::into_inner);
        held.clone()
    }
}

fn header(id: DatabaseId) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{id}\"")).expect("an id has hexadecimal digits only")
}
