//! Why the state folder can't be used.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

/// Why the state folder can't be used.
#[derive(Debug, Error)]
pub(crate) enum StateError {
    /// The folder or a file in it can't be made, read or written.
    #[error("{}: cannot {doing} in the state folder: {cause}", .path.display())]
    Io {
        /// The folder or file.
        path: PathBuf,
        /// What was to be done.
        doing: &'static str,
        /// What the system said.
        cause: io::Error,
    },
    /// Something else is there.
    #[error("{}: the state folder is not a folder: choose another with --state-dir", .0.display())]
    NotAFolder(PathBuf),
    /// The folder can't be made or looked at.
    #[error("{}: cannot {doing} the state folder: {cause}", .path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What was to be done.
        doing: &'static str,
        /// What the system said.
        cause: io::Error,
    },
    /// Others could put something into the folder.
    #[cfg(unix)]
    #[error("{}: the state folder {why}, so that others could change the hosts file through it: choose another with --state-dir, or {remedy}", .path.display())]
    Open {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        why: String,
        /// What to do.
        remedy: &'static str,
    },
    /// Another run took longer than this one may wait.
    #[error("{}: another run holds the lock since more than {} s", .0.display(), .1.as_secs())]
    Locked(PathBuf, Duration),
}

/// An error at the folder itself.
pub(crate) fn of_folder(path: &Path, doing: &'static str, cause: io::Error) -> StateError {
    let path = path.to_owned();
    StateError::Folder { path, doing, cause }
}

/// An error at a file of the folder.
pub(crate) fn error(path: &Path, doing: &'static str, cause: io::Error) -> StateError {
    let path = path.to_owned();
    StateError::Io { path, doing, cause }
}
