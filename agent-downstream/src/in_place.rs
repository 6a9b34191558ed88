//! Writes into the hosts file itself, where it can't be replaced (a file that a container mounts).
//!
//! A kill or a power cut may leave it half old, half new. So a journal with both contents lies in the
//! state folder before the first byte is written, and [`recover`] finishes the work in the next run. An
//! error is rolled back at once.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::metadata::Identity;
use crate::replace::Snapshot;
use crate::state::{Journal, LockedState, StateError};

/// Why nothing was written in place.
#[derive(Debug, Error)]
pub(crate) enum InPlaceError {
    /// A step failed and was undone.
    #[error("{}: cannot write in place: {cause}; the file is as it was", .path.display())]
    Undone {
        /// The hosts file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// A step failed, and so did undoing it.
    #[error("{}: cannot write in place: {cause}; undoing that failed too: {undo}. Both contents are in the state folder {}, and the next run finishes the work", .path.display(), .state.display())]
    Torn {
        /// The hosts file.
        path: PathBuf,
        /// The state folder.
        state: PathBuf,
        /// What the system said at first.
        cause: io::Error,
        /// What it said to undoing.
        undo: io::Error,
    },
    /// Finishing the work of an earlier run failed.
    #[error("{}: a run that wrote in place was cut off, and finishing its work failed: {cause}", .path.display())]
    Unrecovered {
        /// The hosts file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The state folder is no help.
    #[error(transparent)]
    State(#[from] StateError),
}

/// Writes `new` into the file; `false`, with nothing written, when it is no longer what was read.
pub(crate) fn write(
    path: &Path,
    state: &LockedState,
    old: &Snapshot,
    new: &[u8],
) -> Result<bool, InPlaceError> {
    let undone = |cause| InPlaceError::Undone {
        path: path.to_owned(),
        cause,
    };
    let journal = Journal {
        old: old.bytes.clone(),
        new: new.to_vec(),
    };
    state.write_journal(path, &journal)?;
    let opened = OpenOptions::new().read(true).write(true).open(path);
    let mut file = match opened.and_then(|file| Ok((is_unchanged(&file, old)?, file))) {
        Ok((true, file)) => file,
        Ok((false, _)) => {
            state.remove_journal(path)?;
            return Ok(false);
        }
        Err(cause) => {
            state.remove_journal(path)?;
            return Err(undone(cause));
        }
    };
    if let Err(cause) = overwrite(&mut file, old.bytes.len(), new) {
        // The old contents had room here before.
        if let Err(undo) = overwrite(&mut file, 0, &old.bytes) {
            return Err(InPlaceError::Torn {
                path: path.to_owned(),
                state: state.path().to_owned(),
                cause,
                undo,
            });
        }
        state.remove_journal(path)?;
        return Err(undone(cause));
    }
    state.remove_journal(path)?;
    Ok(true)
}

/// Finishes what a run that was cut off began. Answers whether there was something to finish.
pub(crate) fn recover(path: &Path, state: &LockedState) -> Result<bool, InPlaceError> {
    let Some(journal) = state.journal(path)? else {
        return Ok(false);
    };
    let unrecovered = |cause| InPlaceError::Unrecovered {
        path: path.to_owned(),
        cause,
    };
    let present = std::fs::read(path).map_err(unrecovered)?;
    match whole(&present, &journal) {
        Wreck::None => {}
        Wreck::Torn(rest) => {
            let whole = [journal.new.as_slice(), rest].concat();
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .open(path)
                .map_err(unrecovered)?;
            overwrite(&mut file, present.len(), &whole).map_err(unrecovered)?;
        }
        Wreck::Foreign => {
            tracing::warn!(
                "{}: a run that wrote in place was cut off, and another program has written the file since; it is kept as it is, its contents of before are in {}",
                path.display(),
                state.backup_path(path).display()
            );
            state.put_backup(path, &journal.old)?;
        }
    }
    state.remove_journal(path)?;
    Ok(true)
}

/// What a cut-off write left.
#[derive(Debug, PartialEq, Eq)]
enum Wreck<'a> {
    /// The old or the new contents, perhaps with something behind them: all is well.
    None,
    /// A mixture of both; behind it what another program appended since.
    Torn(&'a [u8]),
    /// Neither: another program made the file anew.
    Foreign,
}

/// Tells what became of the file. [`overwrite`] leaves at each place a byte of the old or of the new
/// contents, in whatever order the disk got them.
fn whole<'a>(present: &'a [u8], journal: &Journal) -> Wreck<'a> {
    let Journal { old, new } = journal;
    if present == *old || present == *new {
        return Wreck::None;
    }
    let (longest, shortest) = (old.len().max(new.len()), old.len().min(new.len()));
    let (ours, rest) = present.split_at(present.len().min(longest));
    let is_mixture = ours.len() >= shortest
        && ours
            .iter()
            .enumerate()
            .all(|(at, byte)| old.get(at) == Some(byte) || new.get(at) == Some(byte));
    if is_mixture {
        Wreck::Torn(rest)
    } else if present.starts_with(old) {
        Wreck::None
    } else {
        Wreck::Foreign
    }
}

/// Whether the opened file is the one that was read, and as it was read.
fn is_unchanged(mut file: &File, old: &Snapshot) -> io::Result<bool> {
    if Identity::of(&file.metadata()?) != old.identity {
        return Ok(false);
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes == old.bytes)
}

/// Makes `new` the contents of a file of `length` bytes. What goes beyond that is written first: if
/// the disk is full, that fails while the old contents are untouched.
fn overwrite(file: &mut File, length: usize, new: &[u8]) -> io::Result<()> {
    let (head, tail) = new.split_at(length.min(new.len()));
    if !tail.is_empty() {
        file.seek(SeekFrom::Start(head.len() as u64))?;
        file.write_all(tail)?;
        file.sync_all()?;
    }
    file.seek(SeekFrom::Start(0))?;
    file.write_all(head)?;
    file.set_len(new.len() as u64)?;
    file.sync_all()?;
    let mut written = Vec::with_capacity(new.len());
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut written)?;
    if written != new {
        return Err(io::Error::other(
            "what was read back is not what was written",
        ));
    }
    Ok(())
}

#[cfg(test)]
#[path = "in_place_tests.rs"]
mod tests;
