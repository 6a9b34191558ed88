//! Reads files of the state folder and replaces them atomically, with their errors.

#[cfg(unix)]
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use silo_shared::{held, private_file};
use thiserror::Error;

/// Why the state folder can't be used.
#[derive(Debug, Error)]
pub(crate) enum StateError {
    /// The folder or a file in it can't be created, read or written.
    #[error("{}: cannot {doing} in the state folder: {cause}{}", .path.display(), held::advice(.cause))]
    Io {
        /// The folder or file.
        path: PathBuf,
        /// The failed operation.
        doing: &'static str,
        /// The system's error.
        cause: io::Error,
    },
    /// It exists, but is not a folder.
    #[error("{}: the state folder is not a folder: choose another with --state-dir", .0.display())]
    NotAFolder(PathBuf),
    /// The folder can't be created or examined.
    #[error("{}: cannot {doing} the state folder: {cause}{}", .path.display(), held::advice(.cause))]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The failed operation.
        doing: &'static str,
        /// The system's error.
        cause: io::Error,
    },
    /// Other users could put files into the folder.
    #[cfg(unix)]
    #[error("{}: the state folder {why}, so other users could change the hosts file through it: choose another with --state-dir, or {remedy}", .path.display())]
    Open {
        /// The folder.
        path: PathBuf,
        /// The reason.
        why: String,
        /// What to do.
        remedy: &'static str,
    },
    /// Another run took longer than this one may wait.
    #[error("{}: another run has held the lock for more than {} s; the next run tries again", .0.display(), .1.as_secs())]
    Locked(PathBuf, Duration),
}

/// The error of an operation on a file of the state folder.
pub(super) fn error(path: &Path, doing: &'static str, cause: io::Error) -> StateError {
    let path = path.to_owned();
    StateError::Io { path, doing, cause }
}

/// The bytes of a file; `None` if it does not exist.
pub(super) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, StateError> {
    match held::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(error(path, "read", cause)),
    }
}

/// Replaces a file of the state folder (mode 0600) atomically: it always contains the old or the new bytes.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), StateError> {
    let fail = |cause| error(path, "write", cause);
    let temp = path.with_extension("tmp");
    private_file::replace(path, &temp, bytes).map_err(fail)?;
    path.parent().map_or(Ok(()), sync_folder).map_err(fail)
}

/// The same for a file that is written without the lock: other processes may write it at the same time, so that each has a
/// temporary file of its own.
pub(super) fn write_unlocked(path: &Path, bytes: &[u8]) -> Result<(), StateError> {
    let fail = |cause| error(path, "write", cause);
    let mut random = [0; 8];
    SystemRandom::new()
        .fill(&mut random)
        .map_err(|_| fail(io::Error::other("the system gives no random numbers")))?;
    let own = u64::from_ne_bytes(random);
    let temp = path.with_extension(format!("{own:016x}.tmp"));
    private_file::replace(path, &temp, bytes).map_err(fail)?;
    path.parent().map_or(Ok(()), sync_folder).map_err(fail)
}

/// Makes renames and removals in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    #[cfg(unix)]
    match File::open(folder)?.sync_all() {
        // Some network and FUSE filesystems do not support fsync of folders.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
        other => return other,
    }
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}
