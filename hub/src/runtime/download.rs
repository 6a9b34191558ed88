//! Copies of the running hub's embedded database for a download, and the note of when a backup was made last.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::data_dir::{beside, make_private_file, real_file};
use crate::config::database_url::DatabaseUrl;
use crate::domain::time::{Clock, Time};
use crate::http::database_copy::{CopyError, CopyMaker, DatabaseCopy};

/// The end of the name of a copy on its way. There is one at a time, so that a killed hub leaves at most one.
const COPY: &str = ".download";
/// The end of the name of the file with the time of the newest backup.
const NOTE: &str = ".backed-up";

/// Makes the copies.
#[derive(Debug)]
pub(crate) struct Downloads {
    url: DatabaseUrl,
    /// The database's own file.
    file: PathBuf,
    clock: Clock,
    one: Arc<Semaphore>,
}

impl Downloads {
    /// Of a database; `None`: it is on a server. Removes what a killed hub left.
    pub(crate) fn of(url: DatabaseUrl, clock: Clock) -> Option<Self> {
        let file = url.file()?;
        let file = real_file(&file).unwrap_or(file);
        let left = beside(&file, COPY);
        if left.exists()
            && let Err(error) = std::fs::remove_file(&left)
        {
            tracing::warn!("{}: cannot remove it: {error}", left.display());
        }
        Some(Self {
            url,
            file,
            clock,
            one: Arc::new(Semaphore::new(1)),
        })
    }

    async fn make(&self, permit: OwnedSemaphorePermit) -> Result<DatabaseCopy, CopyError> {
        let path = beside(&self.file, COPY);
        let failed = |error: &dyn std::fmt::Display| CopyError::Failed(error.to_string());
        // If an earlier one could not be removed.
        let _ = std::fs::remove_file(&path);
        make_private_file(&path).map_err(|error| failed(&error))?;
        let mut copy = DatabaseCopy::begin(path.clone(), permit);
        let copied = self.url.copy_into(&path).await;
        copied.map_err(|error| failed(&error))?;
        copy.open().map_err(|error| failed(&error))?;
        Ok(copy)
    }
}

impl CopyMaker for Downloads {
    fn copy(&self) -> BoxFuture<'_, Result<DatabaseCopy, CopyError>> {
        let permit = Arc::clone(&self.one).try_acquire_owned();
        async move {
            let permit = permit.map_err(|_| CopyError::Busy)?;
            self.make(permit).await
        }
        .boxed()
    }

    fn newest_backup(&self) -> Option<Time> {
        newest_backup(&self.file)
    }

    fn note_backup(&self) {
        note_backup(&self.file, self.clock.now());
    }
}

/// When a backup of the database in this file was noted last.
fn newest_backup(database: &Path) -> Option<Time> {
    let text = std::fs::read_to_string(beside(database, NOTE)).ok()?;
    Time::parse(text.trim())
}

/// Notes the time of a backup beside the database: it is for people, so a failure is only logged.
pub(crate) fn note_backup(database: &Path, at: Time) {
    let database = real_file(database).unwrap_or_else(|_| database.to_owned());
    let (note, new) = (beside(&database, NOTE), beside(&database, ".backed-up.new"));
    let write = || {
        std::fs::write(&new, format!("{at}\n"))?;
        // Root may run the command, and the hub is another user.
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(&new, PermissionsExt::from_mode(0o644))?;
        }
        std::fs::rename(&new, &note)
    };
    if let Err(error) = write() {
        tracing::warn!(
            "{}: the time of the backup is not noted: {error}",
            note.display()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_backup_is_the_one_that_was_noted_last() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("hub.db");
        assert_eq!(newest_backup(&database), None);
        for millis in [1_767_323_045_678, 1_767_323_045_000] {
            let at = Time::from_millis(millis);
            note_backup(&database, at);
            assert_eq!(newest_backup(&database), Some(at));
        }
        std::fs::write(beside(&database, NOTE), "soon").unwrap();
        assert_eq!(newest_backup(&database), None);
    }
}
