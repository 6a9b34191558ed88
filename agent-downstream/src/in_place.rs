//! Writes into the hosts file itself, if it can't be replaced (a file mounted into a container).
//!
//! A kill or a power failure may leave a mixture of old and new contents. So before the first byte is written, a
//! journal with both contents is stored in the state folder, and [`recover`] completes the write in the next run. An
//! error is rolled back at once.

use std::collections::BTreeSet;
use std::collections::HashSet;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use silo_shared::held;
use thiserror::Error;

use crate::hosts::HostsFile;
use crate::metadata::Identity;
use crate::own_text::is_ours;
use crate::read_only;
use crate::snapshot::{Mark, Snapshot};
use crate::state::{Journal, LockedState, StateError};

/// Whether the hosts file is written in place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum InPlace {
    /// It is only replaced.
    #[default]
    Never,
    /// It is written in place if it can't be replaced.
    Allowed,
    /// It is never replaced: the file itself is mounted, for example into a container.
    Always,
}

/// The text is not true, false or always.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("expected true, false or always")]
pub(crate) struct InvalidInPlace;

impl InPlace {
    /// Whether writing in place is permitted.
    pub(crate) fn is_allowed(self) -> bool {
        self != Self::Never
    }
}

impl From<bool> for InPlace {
    fn from(is_allowed: bool) -> Self {
        if is_allowed {
            Self::Allowed
        } else {
            Self::Never
        }
    }
}

impl FromStr for InPlace {
    type Err = InvalidInPlace;

    /// Accepts boolean values like clap does for other flags, and `always`.
    fn from_str(text: &str) -> Result<Self, InvalidInPlace> {
        match text.to_lowercase().as_str() {
            "always" => Ok(Self::Always),
            "true" | "t" | "yes" | "y" | "on" | "1" => Ok(Self::Allowed),
            "false" | "f" | "no" | "n" | "off" | "0" => Ok(Self::Never),
            _ => Err(InvalidInPlace),
        }
    }
}

impl<'de> Deserialize<'de> for InPlace {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;

        impl Visitor<'_> for Words {
            type Value = InPlace;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false or always")
            }

            fn visit_bool<E>(self, is_allowed: bool) -> Result<InPlace, E> {
                Ok(is_allowed.into())
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<InPlace, E> {
                match text {
                    "always" => Ok(InPlace::Always),
                    _ => Err(E::custom(InvalidInPlace)),
                }
            }
        }

        deserializer.deserialize_any(Words)
    }
}

/// Why writing in place failed.
#[derive(Debug, Error)]
pub(crate) enum InPlaceError {
    /// A step failed and was undone.
    #[error("{}: cannot write in place: {cause}{}; the file was not changed", .path.display(), held::advice(.cause))]
    Undone {
        /// The hosts file.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// A step failed, and so did undoing it.
    #[error("{}: cannot write in place: {cause}; undoing that failed too: {undo}. Both versions are in the state folder {}, and the next run finishes the write", .path.display(), .state.display())]
    Torn {
        /// The hosts file.
        path: PathBuf,
        /// The state folder.
        state: PathBuf,
        /// The system's first error.
        cause: io::Error,
        /// The system's error when undoing.
        undo: io::Error,
    },
    /// Completing the write of an earlier run failed.
    #[error("{}: a write in place was interrupted, and finishing it failed: {cause}", .path.display())]
    Unrecovered {
        /// The hosts file.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// A write was interrupted, and completing it requires a permission that is not given now.
    #[error("{}: a write in place was interrupted and left it half old, half new. Allow it with --in-place (`in_place: true`), and the next run finishes the write; or remove {} to keep the file as it is", .path.display(), .journal.display())]
    NotAllowed {
        /// The hosts file.
        path: PathBuf,
        /// The journal.
        journal: PathBuf,
    },
    /// The journal was not written by this program.
    #[error("{}: this journal would change more of {} than the blocks of silos, which this program never does, so it is not applied. Find out who wrote it, and remove it: the hosts file stays as it is", .journal.display(), .path.display())]
    NotOurs {
        /// The hosts file.
        path: PathBuf,
        /// The journal.
        journal: PathBuf,
    },
    /// The state folder can't be used.
    #[error(transparent)]
    State(#[from] StateError),
}

/// The result of a write in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// Everything was written. Another program may have written since.
    Done,
    /// Nothing was written: the file has changed since it was read.
    Changed,
}

/// Writes `new` into the file.
pub(crate) fn write(
    path: &Path,
    state: &LockedState,
    old: &Snapshot,
    new: &[u8],
) -> Result<Written, InPlaceError> {
    let journal = Journal {
        old: old.bytes.clone(),
        new: new.to_vec(),
    };
    state.write_journal(path, &journal)?;
    let written =
        clear_read_only(path, state).and_then(|()| write_with_journal(path, state, old, new));
    read_only::restore(path, state)?;
    written
}

/// The same, with the journal written and the file writable; removes the journal.
fn write_with_journal(
    path: &Path,
    state: &LockedState,
    old: &Snapshot,
    new: &[u8],
) -> Result<Written, InPlaceError> {
    let undone = |cause| InPlaceError::Undone {
        path: path.to_owned(),
        cause,
    };
    let opened = open(path);
    let mut file = match opened.and_then(|file| Ok((is_unchanged(&file, old)?, file))) {
        Ok((true, file)) => file,
        Ok((false, _)) => {
            state.remove_journal(path)?;
            return Ok(Written::Changed);
        }
        Err(cause) => {
            state.remove_journal(path)?;
            return Err(undone(cause));
        }
    };
    if let Err(cause) = overwrite(&mut file, old.bytes.len(), new) {
        // The old contents fitted here before.
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
    Ok(Written::Done)
}

/// Clears "read-only" for a write. If that fails, the file is unchanged, and the journal is removed.
fn clear_read_only(path: &Path, state: &LockedState) -> Result<(), InPlaceError> {
    match read_only::clear_for_write(path, state) {
        Ok(()) => Ok(()),
        Err(read_only::Failed::State(error)) => Err(error.into()),
        Err(read_only::Failed::File(cause)) => {
            state.remove_journal(path)?;
            let path = path.to_owned();
            Err(InPlaceError::Undone { path, cause })
        }
    }
}

/// Completes an interrupted write, if permitted and if it is a change that this program makes to a hosts file. Returns
/// whether there was one.
pub(crate) fn recover(
    path: &Path,
    state: &LockedState,
    in_place: InPlace,
) -> Result<bool, InPlaceError> {
    let completed = complete(path, state, in_place)?;
    read_only::restore(path, state)?;
    Ok(completed)
}

fn complete(path: &Path, state: &LockedState, in_place: InPlace) -> Result<bool, InPlaceError> {
    let Some(journal) = state.journal(path)? else {
        return Ok(false);
    };
    let unrecovered = |cause| InPlaceError::Unrecovered {
        path: path.to_owned(),
        cause,
    };
    let present = held::read(path).map_err(unrecovered)?;
    match whole(&present, &journal) {
        InterruptedWrite::None => {}
        InterruptedWrite::Torn(_)
            if !is_own_change(&journal) && !is_backup(state, path, &journal)? =>
        {
            return Err(InPlaceError::NotOurs {
                path: path.to_owned(),
                journal: state.journal_path(path),
            });
        }
        InterruptedWrite::Torn(_) if !in_place.is_allowed() => {
            return Err(InPlaceError::NotAllowed {
                path: path.to_owned(),
                journal: state.journal_path(path),
            });
        }
        InterruptedWrite::Torn(rest) => {
            let whole = [journal.new.as_slice(), rest].concat();
            read_only::clear_for_write(path, state).map_err(|failed| match failed {
                read_only::Failed::State(error) => error.into(),
                read_only::Failed::File(cause) => unrecovered(cause),
            })?;
            let mut file = open(path).map_err(unrecovered)?;
            overwrite(&mut file, present.len(), &whole).map_err(unrecovered)?;
            let now = Snapshot::take(path).map_err(unrecovered)?;
            if now.bytes == whole {
                state.note_left(path, &Mark::of(&now))?;
            }
        }
        InterruptedWrite::Foreign => {
            tracing::warn!(
                "{}: a write in place was interrupted, and another program has written the file since; it is not changed, and its former contents are in {}",
                path.display(),
                state.backup_path(path).display()
            );
            state.put_backup(path, &journal.old)?;
        }
    }
    state.remove_journal(path)?;
    Ok(true)
}

/// Whether the journal changes only our blocks: lines outside are unchanged and in the same order, except for lines
/// that a block has adopted, and for the newline of a last line that had none. All of a file of our own is ours.
fn is_own_change(journal: &Journal) -> bool {
    if is_ours(&journal.old) && is_ours(&journal.new) {
        return true;
    }
    let outside = |bytes: &[u8]| {
        Some(
            HostsFile::parse(bytes)
                .ok()?
                .without(|_| true, &BTreeSet::new()),
        )
    };
    let (Some(old), Some(new)) = (outside(&journal.old), outside(&journal.new)) else {
        return false;
    };
    let taken: HashSet<String> = lines(&journal.new).map(entry).collect();
    let mut new = lines(&new).peekable();
    lines(&old).all(|line| new.next_if_eq(&line).is_some() || taken.contains(&entry(line)))
        && new.next().is_none()
}

/// Whether the journal was written by `restore`.
fn is_backup(state: &LockedState, path: &Path, journal: &Journal) -> Result<bool, StateError> {
    Ok(state.backup(path)?.is_some_and(|kept| kept == journal.new))
}

/// The lines without their endings; there is no empty line after a final line ending.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes
        .split_inclusive(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\n").unwrap_or(line))
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

/// Normalizes a line, so that lines with the same entry are equal.
fn entry(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line).to_lowercase();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The state after an interrupted write.
#[derive(Debug, PartialEq, Eq)]
enum InterruptedWrite<'a> {
    /// The old or the new contents, perhaps followed by other bytes: nothing to repair.
    None,
    /// A mixture of both, followed by what another program has appended since.
    Torn(&'a [u8]),
    /// Neither: another program replaced the file.
    Foreign,
}

/// Classifies the file's state. [`overwrite`] leaves at each position a byte of the old or of the new contents, in any
/// order that the disk wrote them.
fn whole<'a>(present: &'a [u8], journal: &Journal) -> InterruptedWrite<'a> {
    let Journal { old, new } = journal;
    if present == *old || present == *new {
        return InterruptedWrite::None;
    }
    let (longest, shortest) = (old.len().max(new.len()), old.len().min(new.len()));
    let (ours, rest) = present.split_at(present.len().min(longest));
    let is_mixture = ours.len() >= shortest
        && ours
            .iter()
            .enumerate()
            .all(|(at, byte)| old.get(at) == Some(byte) || new.get(at) == Some(byte));
    if is_mixture {
        InterruptedWrite::Torn(rest)
    } else if present.starts_with(old) {
        InterruptedWrite::None
    } else {
        InterruptedWrite::Foreign
    }
}

/// Whether the file can be opened for writing, which changes nothing. One that is read-only is opened for reading: that is
/// cleared only for the write itself.
pub(crate) fn probe(path: &Path) -> io::Result<File> {
    let is_read_only = read_only::is_set(path);
    held::retry(|| {
        OpenOptions::new()
            .read(is_read_only)
            .write(!is_read_only)
            .open(path)
    })
}

/// Opens the file, again while another program holds it.
fn open(path: &Path) -> io::Result<File> {
    held::retry(|| OpenOptions::new().read(true).write(true).open(path))
}

/// Whether the opened file is the one that was read, and unchanged.
fn is_unchanged(mut file: &File, old: &Snapshot) -> io::Result<bool> {
    if Identity::of(&file.metadata()?) != old.identity {
        return Ok(false);
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes == old.bytes)
}

/// Makes `new` the contents of a file of `length` bytes. Writes the part beyond the length first: if the disk is full,
/// that fails while the old contents are untouched.
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
    Ok(())
}

#[cfg(test)]
#[path = "in_place_tests.rs"]
mod tests;
