//! Copies an embedded database before a schema migration, so that the previous version can be restored.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use silo_shared::held;
use thiserror::Error;

use crate::config::database_url::DatabaseUrl;
use crate::runtime::data_dir::{
    DataDirError, beside, make_private_file, real_file, sync_folder_of, try_lock_file,
};
use crate::store::StoreError;

/// The number of copies to keep.
const KEPT: usize = 3;
/// How long to wait for another program that migrates the same file.
const PATIENCE: Duration = Duration::from_secs(60);
/// The interval for checking whether it has finished.
const POLL: Duration = Duration::from_millis(50);

/// Why a database can't be prepared for a migration.
#[derive(Debug, Error)]
pub enum CopyError {
    /// The lock can't be taken.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The database can't be read, or another program takes too long to migrate it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The database can't be copied, so its schema is not changed.
    #[error(
        "{}: the database can't be copied before its schema is changed: {cause}. Nothing was changed: make room in that folder and start again", file.display()
    )]
    Copy {
        /// The copy.
        file: PathBuf,
        /// The reason.
        cause: String,
    },
}

/// Copies the database into `<file>.before-<version>`, where the version is the first one that it lacks, unless the
/// schema is up to date or the database is new. Returns a lock to hold until the migration is done, so that no other
/// program migrates meanwhile.
pub(crate) async fn copy(url: &DatabaseUrl, file: &Path) -> Result<Option<File>, CopyError> {
    if url.next_migration().await?.is_none() {
        return Ok(None);
    }
    let real = real_file(file)?;
    let lock = wait_for_lock(&beside(&real, ".migrating")).await?;
    // Checked again: another program may have migrated meanwhile.
    let Some(version) = url.next_migration().await? else {
        return Ok(Some(lock));
    };
    let copy = beside(&real, &format!(".before-{version:04}"));
    copy_into(url, &copy)
        .await
        .map_err(|cause| CopyError::Copy {
            file: copy.clone(),
            cause,
        })?;
    tracing::info!(
        "copied the database to {} before changing its schema",
        copy.display()
    );
    if let Err(error) = remove_old(&real) {
        tracing::warn!("{}: old copies can't be removed: {error}", real.display());
    }
    Ok(Some(lock))
}

async fn wait_for_lock(path: &Path) -> Result<File, CopyError> {
    let wait = async {
        loop {
            if let Some(lock) = try_lock_file(path)? {
                return Ok::<_, DataDirError>(lock);
            }
            tokio::time::sleep(POLL).await;
        }
    };
    match tokio::time::timeout(PATIENCE, wait).await {
        Ok(lock) => Ok(lock?),
        Err(_) => Err(StoreError::migrated_elsewhere().into()),
    }
}

/// Writes the copy; it gets its name only when complete.
async fn copy_into(url: &DatabaseUrl, copy: &Path) -> Result<(), String> {
    let part = beside(copy, ".part");
    let failed = |error: std::io::Error| error.to_string();
    // Left over from a killed start; the lock prevents concurrent writers.
    remove_if_there(&part).map_err(failed)?;
    make_private_file(&part).map_err(|error| error.to_string())?;
    let copied = async {
        url.copy_into(&part)
            .await
            .map_err(|error| error.to_string())?;
        let put = || {
            File::options().write(true).open(&part)?.sync_all()?;
            held::rename(&part, copy)?;
            sync_folder_of(copy)
        };
        put().map_err(failed)
    };
    let copied = copied.await;
    // It is absent if it was renamed.
    let removed = remove_if_there(&part).map_err(failed);
    copied.and(removed)
}

fn remove_if_there(path: &Path) -> std::io::Result<()> {
    match held::remove(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Deletes all but the copies with the highest versions.
fn remove_old(real: &Path) -> std::io::Result<()> {
    let mut copies: Vec<(u64, PathBuf)> = Vec::new();
    let prefix = beside(real, ".before-");
    let prefix = prefix.as_os_str().as_encoded_bytes();
    for entry in std::fs::read_dir(real.parent().unwrap_or(Path::new("/")))? {
        let path = entry?.path();
        let version = path.as_os_str().as_encoded_bytes().strip_prefix(prefix);
        // Databases that `restore` put aside have a time there.
        let version = version
            .filter(|digits| digits.len() >= 4 && digits.iter().all(u8::is_ascii_digit))
            .and_then(|digits| str::from_utf8(digits).ok()?.parse().ok());
        copies.extend(version.map(|version| (version, path)));
    }
    copies.sort();
    for (_, path) in copies.iter().rev().skip(KEPT) {
        held::remove(path)?;
    }
    Ok(())
}
