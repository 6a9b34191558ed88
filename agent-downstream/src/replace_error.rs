//! Why the hosts file was not replaced.

use std::io;
use std::path::{Path, PathBuf};

use silo_shared::held;
use thiserror::Error;

use crate::in_place::InPlaceError;
use crate::settle::{self, ATTEMPTS};
use crate::state::StateError;

/// What to do if a file can't be written.
const PROTECTED: &str = if cfg!(windows) {
    "Run the agent as an administrator or SYSTEM, and check that no other program has the file open, and that Defender's controlled folder access allows silo-downstream.exe"
} else {
    "Run the agent as root, and check that the file is not immutable (lsattr) and the disk not mounted read-only"
};

/// Why the hosts file was not replaced. The file is intact in every case, except for [`InPlaceError::Torn`].
#[derive(Debug, Error)]
pub(crate) enum ReplaceError {
    /// The hosts file does not exist.
    #[error("{}: there is no such file: create it, choose another with --hosts-file, or restore a deleted one with `silo-downstream restore`", .0.display())]
    Missing(PathBuf),
    /// It is a folder, a device or the like.
    #[error("{}: not a regular file", .0.display())]
    NotAFile(PathBuf),
    /// A step failed.
    #[error("{}: cannot {step}: {cause}{}; the file was not changed", .path.display(), held::advice(.cause))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The failed operation.
        step: &'static str,
        /// The system's error.
        cause: io::Error,
    },
    /// The rename is done, but making it durable failed.
    #[error("{}: replaced, but {step} failed: {cause}{}", .path.display(), held::advice(.cause))]
    Unsynced {
        /// The file or folder.
        path: PathBuf,
        /// The failed operation.
        step: &'static str,
        /// The system's error.
        cause: io::Error,
    },
    /// Renaming is not possible here, but writing in place is.
    #[error("{}: cannot {step}: {cause}{}. The file was not changed. If it can't be replaced, such as a file mounted into a container, allow writing into it with --in-place (`in_place: true`)", .path.display(), held::advice(.cause))]
    NeedsInPlace {
        /// The hosts file.
        path: PathBuf,
        /// The failed operation.
        step: &'static str,
        /// The system's error.
        cause: io::Error,
    },
    /// Neither replacing nor writing in place is possible.
    #[error("{}: cannot {step}: {cause}; and the file itself can't be written. It was not changed. {PROTECTED}", .path.display())]
    Protected {
        /// The hosts file.
        path: PathBuf,
        /// The failed operation.
        step: &'static str,
        /// The system's error.
        cause: io::Error,
    },
    /// A deleted hosts file could not be created.
    #[error("{}: cannot create it: {cause}{}", .path.display(), held::advice(.cause))]
    NotMade {
        /// The hosts file.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// Another program keeps writing.
    #[error("{}: another program changed it {ATTEMPTS} times while it was being replaced; the next run tries again", .0.display())]
    Busy(PathBuf),
    /// Another program is writing, and the contents may be incomplete.
    #[error("{}: another program has been writing it for {} s, so it may be incomplete; nothing was written, the next run tries again", .0.display(), settle::LIMIT.as_secs())]
    Unstable(PathBuf),
    /// Another run wrote the file while this one waited, perhaps with a newer response.
    #[error("{}: another run wrote it while this one waited for other programs; the next run tries again", .0.display())]
    Overtaken(PathBuf),
    /// A program truncated the file at the moment of its replacement, and has not written the rest yet.
    #[error("{}: replaced, but another program is still writing the file that was there before: look at {} once it is done", .path.display(), .temp.display())]
    StillWritten {
        /// The hosts file.
        path: PathBuf,
        /// The replaced file.
        temp: PathBuf,
    },
    /// The bytes are not text.
    #[error("{}: {why}; resolvers can't read it. It was not changed: save it as UTF-8, or restore the last good one with `silo-downstream restore`", .path.display())]
    NotText {
        /// The hosts file.
        path: PathBuf,
        /// The reason.
        why: &'static str,
    },
    /// NixOS generates the file.
    #[error("{}: leads to {}, and nothing in /nix/store can be changed: set `environment.etc.hosts.mode = \"0644\";` in the NixOS configuration, which makes it a regular file", .path.display(), .target.display())]
    Nix {
        /// The path that was given.
        path: PathBuf,
        /// The target of the path.
        target: PathBuf,
    },
    /// The state folder can't be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// Writing in place failed.
    #[error(transparent)]
    InPlace(#[from] InPlaceError),
}

/// The error of a step before the file was changed.
pub(crate) fn fail(path: &Path, step: &'static str, cause: io::Error) -> ReplaceError {
    let path = path.to_owned();
    ReplaceError::Io { path, step, cause }
}

/// The error of a step after the file was replaced.
pub(crate) fn unsynced(path: &Path, step: &'static str, cause: io::Error) -> ReplaceError {
    let path = path.to_owned();
    ReplaceError::Unsynced { path, step, cause }
}
