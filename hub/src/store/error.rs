//! Why the database did not execute a request.

use std::sync::Arc;

use thiserror::Error;

use super::Store;
use super::dialect::{is_full, is_malformed};

/// Why the database did not execute a request.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The database can't be reached or refused the statement.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// The database's disk is full.
    #[error(
        "the disk of the database {url} is full, nothing is written until there is room: {cause}"
    )]
    Full {
        /// The URL, without secrets.
        url: String,
        /// The driver's error.
        cause: String,
    },
    /// The database did not respond in time.
    #[error("the database does not answer")]
    NoAnswer,
    /// The database can't be opened.
    #[error("cannot open the database {url}: {cause}")]
    Open {
        /// The URL, without secrets.
        url: String,
        /// The driver's error.
        cause: String,
    },
    /// An embedded database's file has content that makes no sense.
    #[error("cannot open the database {url}: {cause}")]
    Malformed {
        /// The URL, without secrets.
        url: String,
        /// The driver's error.
        cause: String,
    },
    /// The database has no schema of a hub.
    #[error(
        "{url}: no hub database here: check --database and --data-dir, or create a new hub with --init"
    )]
    NoHub {
        /// The database, without its password.
        url: String,
    },
    /// The schema does not have this program's version, or can't be brought to it.
    #[error("{0}")]
    Schema(String),
    /// A row holds a value that this program never writes.
    #[error("the database holds an unreadable {0}")]
    Corrupt(&'static str),
}

impl StoreError {
    /// Whether the content of an embedded database's file makes no sense.
    pub fn is_malformed(&self) -> bool {
        match self {
            Self::Malformed { .. } => true,
            Self::Database(error) => is_malformed(error),
            _ => false,
        }
    }

    /// Another program takes too long to change the schema.
    pub(crate) fn migrated_elsewhere() -> Self {
        Self::Schema("another program has been migrating the database for a minute".to_owned())
    }
}

impl Store {
    /// Replaces an error caused by a full disk with one that names the disk.
    pub fn explain(&self, error: Arc<StoreError>) -> Arc<StoreError> {
        match &*error {
            StoreError::Database(cause) if is_full(cause) => Arc::new(StoreError::Full {
                url: self.url.to_string(),
                cause: cause.to_string(),
            }),
            _ => error,
        }
    }
}
