//! Copies of an embedded database, for a download. The running hub makes them: nothing here knows where its files are.

use std::fmt;
use std::fs::File;
use std::path::PathBuf;

use futures_util::future::BoxFuture;
use thiserror::Error;
use tokio::sync::OwnedSemaphorePermit;

use crate::domain::time::Time;

/// Makes copies of the hub's database.
pub(crate) trait CopyMaker: fmt::Debug + Send + Sync {
    /// Makes a copy while others may write.
    fn copy(&self) -> BoxFuture<'_, Result<DatabaseCopy, CopyError>>;

    /// When the newest backup was made, as far as that is noted.
    fn newest_backup(&self) -> Option<Time>;

    /// Notes that a backup was made now.
    fn note_backup(&self);
}

/// Why there is no copy.
#[derive(Debug, Error)]
pub(crate) enum CopyError {
    /// Another one is being made or sent.
    #[error("another copy is being downloaded")]
    Busy,
    /// It can't be written, or the database can't be read.
    #[error("cannot copy the database: {0}")]
    Failed(String),
}

/// A copy in a temporary file, which dropping this removes.
#[derive(Debug)]
pub(crate) struct DatabaseCopy {
    /// Open for reading; dropped before the file is removed.
    file: Option<File>,
    /// Its size.
    pub(crate) bytes: u64,
    path: PathBuf,
    /// One copy at a time.
    _permit: OwnedSemaphorePermit,
}

impl DatabaseCopy {
    /// A file at this path that is still to be written, and is removed whatever happens.
    pub(crate) fn begin(path: PathBuf, permit: OwnedSemaphorePermit) -> Self {
        Self {
            file: None,
            bytes: 0,
            path,
            _permit: permit,
        }
    }

    /// Opens the complete file.
    pub(crate) fn open(&mut self) -> std::io::Result<()> {
        let file = File::open(&self.path)?;
        self.bytes = file.metadata()?.len();
        self.file = Some(file);
        Ok(())
    }

    /// The open file, once.
    pub(crate) fn take_file(&mut self) -> Option<File> {
        self.file.take()
    }
}

impl Drop for DatabaseCopy {
    fn drop(&mut self) {
        self.file = None;
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!("{}: cannot remove it: {error}", self.path.display());
        }
    }
}
