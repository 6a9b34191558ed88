//! Replaces the hosts file as a whole: at any moment, whatever fails, it holds the old or the new bytes.
//!
//! Read, render, write a temp file beside it, copy what belongs to the file (owner, mode, extended
//! attributes), fsync, look whether somebody else wrote meanwhile, rename, fsync the folder, read back.
//! Where no rename is possible, and the user allowed it, [`crate::in_place`] writes into the file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::in_place::{self, InPlaceError};
use crate::metadata::{self, Identity};
use crate::staged::{Staged, temp_path};
use crate::state::{LockedState, StateDir, StateError, sync_folder};

/// How often a run starts again because somebody else wrote meanwhile.
const ATTEMPTS: usize = 5;
/// Why the hosts file was not replaced. It is whole in every case, but for what
/// [`InPlaceError::Torn`] says.
#[derive(Debug, Error)]
pub(crate) enum ReplaceError {
    /// There is no hosts file.
    #[error("{}: there is no such file: make it, or name another with --hosts-file (`silo-downstream restore` brings back a deleted one)", .0.display())]
    Missing(PathBuf),
    /// It is a folder, a device or the like.
    #[error("{}: not a regular file", .0.display())]
    NotAFile(PathBuf),
    /// A step failed.
    #[error("{}: cannot {step}: {cause}; the file is as it was", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was to be done.
        step: &'static str,
        /// What the system said.
        cause: io::Error,
    },
    /// The rename is done, what makes it last through a power cut is not.
    #[error("{}: replaced, but {step} failed: {cause}", .path.display())]
    Unsynced {
        /// The file or folder.
        path: PathBuf,
        /// What failed.
        step: &'static str,
        /// What the system said.
        cause: io::Error,
    },
    /// No rename is possible here, writing in place would be.
    #[error("{}: cannot {step}: {cause}. The file is as it was; where it can't be replaced, as one that a container mounts, `in_place: true` or --in-place allows writing into it", .path.display())]
    NeedsInPlace {
        /// The hosts file.
        path: PathBuf,
        /// What was to be done.
        step: &'static str,
        /// What the system said.
        cause: io::Error,
    },
    /// Neither replacing nor writing in place is possible.
    #[error("{}: cannot {step}: {cause}; nor may the file itself be written: does the agent run as root, is the file immutable (lsattr) or the disk mounted read-only? It is as it was", .path.display())]
    Protected {
        /// The hosts file.
        path: PathBuf,
        /// What was to be done.
        step: &'static str,
        /// What the system said.
        cause: io::Error,
    },
    /// A deleted hosts file could not be made again.
    #[error("{}: cannot make it: {cause}", .path.display())]
    NotMade {
        /// The hosts file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// Somebody else writes all the time.
    #[error("{}: another program changed it {ATTEMPTS} times while it was to be replaced; given up until the next run", .0.display())]
    Busy(PathBuf),
    /// The state folder is no help.
    #[error(transparent)]
    State(#[from] StateError),
    /// Writing in place failed.
    #[error(transparent)]
    InPlace(#[from] InPlaceError),
}

/// A hosts file that is there, symlinks resolved.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    path: PathBuf,
}

/// What was read, and how to see whether it still is what lies there.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) bytes: Vec<u8>,
    pub(crate) identity: Identity,
}

impl Target {
    /// Resolves the path.
    pub(crate) fn find(path: &Path) -> Result<Self, ReplaceError> {
        let path = fs::canonicalize(path).map_err(|cause| match cause.kind() {
            ErrorKind::NotFound => ReplaceError::Missing(path.to_owned()),
            _ => fail(path, "find it", cause),
        })?;
        if !path.is_file() {
            return Err(ReplaceError::NotAFile(path));
        }
        Ok(Self { path })
    }

    /// The file itself, behind any symlink.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file.
    pub(crate) fn read(&self) -> Result<Snapshot, ReplaceError> {
        Snapshot::take(&self.path).map_err(|cause| match cause.kind() {
            ErrorKind::NotFound => ReplaceError::Missing(self.path.clone()),
            _ => fail(&self.path, "read it", cause),
        })
    }

    pub(crate) fn folder(&self) -> &Path {
        // A file that was found lies in a folder.
        self.path.parent().unwrap_or(Path::new("/"))
    }

    /// The temp file's path: always the same one of this state folder, so that the next run finds it.
    fn temp_path(&self, state: &StateDir) -> PathBuf {
        temp_path(&self.path, state)
    }
}

impl Snapshot {
    pub(crate) fn take(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        // Taken before the first byte is read, so that a write meanwhile shows.
        let identity = Identity::of(&file.metadata()?);
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut file, &mut bytes)?;
        Ok(Self { bytes, identity })
    }

    /// Whether the file at `path` still is what was read.
    pub(crate) fn still_there(&self, path: &Path) -> io::Result<bool> {
        let now = Self::take(path)?;
        // A clock tick holds several writes: the bytes are compared too.
        Ok(now.identity == self.identity && now.bytes == self.bytes)
    }
}

/// Reads, renders and replaces, again if another program writes meanwhile. Answers whether the file
/// was replaced; when `render` gives back the bytes it got, nothing is written.
pub(crate) fn update<E: From<ReplaceError>>(
    target: &Target,
    state: &LockedState,
    in_place: bool,
    mut render: impl FnMut(&[u8]) -> Result<Vec<u8>, E>,
) -> Result<bool, E> {
    remove_leftover(&target.temp_path(state))?;
    for _ in 0..ATTEMPTS {
        let old = target.read()?;
        let new = render(&old.bytes)?;
        if new == old.bytes {
            return Ok(false);
        }
        state
            .keep_backup(&target.path, &old.bytes, &new)
            .map_err(ReplaceError::from)?;
        if put(target, state, in_place, &old, &new)? {
            return Ok(true);
        }
        tracing::info!(path = %target.path.display(), "another program changed the hosts file meanwhile; reading it again");
    }
    Err(ReplaceError::Busy(target.path.clone()).into())
}

/// Makes a hosts file that was deleted; fails if there is one.
pub(crate) fn create(path: &Path, state: &LockedState, bytes: &[u8]) -> Result<(), ReplaceError> {
    let not_made = |cause| ReplaceError::NotMade {
        path: path.to_owned(),
        cause,
    };
    let temp = temp_path(path, state);
    remove_leftover(&temp)?;
    let staged = Staged::write(&temp, bytes).map_err(|(_, cause)| not_made(cause))?;
    metadata::set_default_mode(&staged.file).map_err(not_made)?;
    staged.file.sync_all().map_err(not_made)?;
    // Unlike a rename, a link does not replace what somebody else puts there meanwhile.
    fs::hard_link(&temp, path).map_err(not_made)?;
    drop(staged);
    let folder = path.parent().unwrap_or(Path::new("/"));
    sync_folder(folder).map_err(|cause| unsynced(folder, "syncing the folder", cause))
}

/// One attempt; `false` when another program wrote meanwhile.
fn put(
    target: &Target,
    state: &LockedState,
    in_place: bool,
    old: &Snapshot,
    new: &[u8],
) -> Result<bool, ReplaceError> {
    let (step, cause) = match rename_over(target, state, old, new) {
        Ok(done) => return Ok(done),
        Err(Refused::Final(error)) => return Err(error),
        Err(Refused::NoRename(step, cause)) => (step, cause),
    };
    // Opening for writing changes nothing, and tells a mount point from a file that nobody may write.
    if let Err(write_error) = OpenOptions::new().write(true).open(&target.path) {
        tracing::debug!("not writable in place either: {write_error}");
        let path = target.path.clone();
        return Err(ReplaceError::Protected { path, step, cause });
    }
    if !in_place {
        let path = target.path.clone();
        return Err(ReplaceError::NeedsInPlace { path, step, cause });
    }
    Ok(in_place::write(&target.path, state, old, new)?)
}

/// Why one attempt to rename failed.
enum Refused {
    /// Nothing more can be done.
    Final(ReplaceError),
    /// Renaming is impossible here; writing in place may be possible.
    NoRename(&'static str, io::Error),
}

fn rename_over(
    target: &Target,
    state: &LockedState,
    old: &Snapshot,
    new: &[u8],
) -> Result<bool, Refused> {
    let path = &target.path;
    let finally = |step, cause| Refused::Final(fail(path, step, cause));
    let staged = Staged::write(&target.temp_path(state), new).map_err(|(step, cause)| {
        if takes_no_file(&cause) {
            Refused::NoRename(step, cause)
        } else {
            finally(step, cause)
        }
    })?;
    metadata::copy(path, &staged.file).map_err(|(step, cause)| {
        if cause.kind() == ErrorKind::PermissionDenied {
            Refused::NoRename(step, cause)
        } else {
            finally(step, cause)
        }
    })?;
    staged
        .file
        .sync_all()
        .map_err(|cause| finally("sync the new file", cause))?;
    match old.still_there(path) {
        Ok(true) => {}
        Ok(false) => return Ok(false),
        Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(false),
        Err(cause) => return Err(finally("look at it again", cause)),
    }
    staged.rename(path).map_err(|cause| {
        if takes_no_file(&cause)
            || matches!(
                cause.kind(),
                ErrorKind::ResourceBusy | ErrorKind::CrossesDevices
            )
        {
            Refused::NoRename("rename the new file over it", cause)
        } else {
            finally("rename the new file over it", cause)
        }
    })?;
    let unsynced = |step, cause| Refused::Final(unsynced(path, step, cause));
    sync_folder(target.folder()).map_err(|cause| unsynced("syncing the folder", cause))?;
    // Something else than what was written means that another program was quicker: look again.
    fs::read(path)
        .map(|read| read == new)
        .map_err(|cause| unsynced("reading it back", cause))
}

/// Errors with which a folder takes no new file: read-only, or not ours.
fn takes_no_file(cause: &io::Error) -> bool {
    matches!(
        cause.kind(),
        ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied
    )
}

/// Removes the temp file of a run that was killed.
fn remove_leftover(temp: &Path) -> Result<(), ReplaceError> {
    match fs::remove_file(temp) {
        Ok(()) => {
            tracing::info!(
                "{}: left by a run that was cut off; removed",
                temp.display()
            );
            Ok(())
        }
        Err(cause) if cause.kind() == ErrorKind::NotFound || takes_no_file(&cause) => Ok(()),
        Err(cause) => Err(fail(temp, "remove what a killed run left", cause)),
    }
}

fn fail(path: &Path, step: &'static str, cause: io::Error) -> ReplaceError {
    let path = path.to_owned();
    ReplaceError::Io { path, step, cause }
}

fn unsynced(path: &Path, step: &'static str, cause: io::Error) -> ReplaceError {
    let path = path.to_owned();
    ReplaceError::Unsynced { path, step, cause }
}
