//! A copy of an embedded database before its schema is changed: the way back to the version that made it.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use crate::config::database_url::DatabaseUrl;
use crate::runtime::data_dir::{
    DataDirError, beside, make_private_file, real_file, sync_folder_of, try_lock_file,
};
use crate::store::StoreError;

/// How many copies are kept.
const KEPT: usize = 3;
/// How long another program may take to migrate the same file.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often to look whether it has ended.
const POLL: Duration = Duration::from_millis(50);

/// Why a database can't be made ready to be migrated.
#[derive(Debug, Error)]
pub enum CopyError {
    /// The lock can't be had.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The database can't be read, or another program takes too long to migrate it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No copy of the database can be made, without which its schema is not changed.
    #[error(
        "{}: the database can't be copied before its schema is changed: {cause}. Nothing was changed: make room in that folder and start again", file.display()
    )]
    Copy {
        /// The copy.
        file: PathBuf,
        /// Why not.
        cause: String,
    },
}

/// Copies the database into `<file>.before-<version>`, the first version that it lacks, if it lacks one and
/// is not new. Answers a lock that is to be held until the schema is changed, so that no other program
/// changes it meanwhile.
pub(crate) async fn copy(url: &DatabaseUrl, file: &Path) -> Result<Option<File>, CopyError> {
    if url.next_migration().await?.is_none() {
        return Ok(None);
    }
    let real = real_file(file)?;
    let lock = wait_for_lock(&beside(&real, ".migrating")).await?;
    // Looked at once more: another program may have done it meanwhile.
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
        "copied the database into {} before its schema is changed",
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

/// Writes the copy, which has its name once it is whole.
async fn copy_into(url: &DatabaseUrl, copy: &Path) -> Result<(), String> {
    let part = beside(copy, ".part");
    let failed = |error: std::io::Error| error.to_string();
    // What a killed start left; whoever writes one has the lock.
    remove_if_there(&part).map_err(failed)?;
    make_private_file(&part).map_err(|error| error.to_string())?;
    let copied = async {
        url.copy_into(&part)
            .await
            .map_err(|error| error.to_string())?;
        let put = || {
            File::options().write(true).open(&part)?.sync_all()?;
            std::fs::rename(&part, copy)?;
            sync_folder_of(copy)
        };
        put().map_err(failed)
    };
    let copied = copied.await;
    // Gone already where it was renamed.
    let removed = remove_if_there(&part).map_err(failed);
    copied.and(removed)
}

fn remove_if_there(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes all but the copies of the highest versions.
fn remove_old(real: &Path) -> std::io::Result<()> {
    let mut copies: Vec<(u64, PathBuf)> = Vec::new();
    let prefix = beside(real, ".before-");
    let prefix = prefix.as_os_str().as_encoded_bytes();
    for entry in std::fs::read_dir(real.parent().unwrap_or(Path::new("/")))? {
        let path = entry?.path();
        let version = path.as_os_str().as_encoded_bytes().strip_prefix(prefix);
        // What `restore` puts aside has a time there.
        let version = version
            .filter(|digits| digits.len() >= 4 && digits.iter().all(u8::is_ascii_digit))
            .and_then(|digits| str::from_utf8(digits).ok()?.parse().ok());
        copies.extend(version.map(|version| (version, path)));
    }
    copies.sort();
    for (_, path) in copies.iter().rev().skip(KEPT) {
        std::fs::remove_file(path)?;
    }
    Ok(())
}
