//! The file that was in the hosts file's place before the last replacement. Programs that have it open go on
//! writing into it, so it is looked at before it goes.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock::Monotonic;
use crate::settle::{self, WaitResult};
use crate::snapshot::{Mark, Snapshot};

/// After which time it is looked at once more.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// The old file, open as long as someone may write into it.
#[derive(Debug)]
pub(crate) struct OldFile {
    /// `None` on Windows, where an open file can't be replaced.
    file: Option<File>,
    /// Where it lies now, if it has a name.
    path: Option<PathBuf>,
}

impl OldFile {
    /// The file that an exchange has put at `path`. An error of a first try may pass, and costs more here
    /// than elsewhere.
    pub(crate) fn exchanged(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: Some(File::open(path).or_else(|_| File::open(path))?),
            path: Some(path.to_owned()),
        })
    }

    /// The file that a rename will take the name of.
    pub(crate) fn hold(path: &Path) -> io::Result<Self> {
        let file = match cfg!(windows) {
            true => None,
            false => Some(File::open(path)?),
        };
        Ok(Self { file, path: None })
    }

    /// Reads it.
    pub(crate) fn look(&mut self) -> io::Result<Option<Snapshot>> {
        let Some(file) = &mut self.file else {
            return Ok(None);
        };
        let read = |file: &mut File| {
            file.seek(SeekFrom::Start(0))?;
            Snapshot::of(file)
        };
        match read(file) {
            Ok(snapshot) => Ok(Some(snapshot)),
            Err(_) => read(file).map(Some),
        }
    }

    /// Waits until it is written no more; `None` if what is there is at most a part of what it should be.
    pub(crate) fn settle(&mut self, before: &Mark, limit: Duration) -> io::Result<Option<Vec<u8>>> {
        Ok(
            match settle::wait(&Monotonic, || self.look(), Some(before), limit)? {
                WaitResult::Stable(found) | WaitResult::Growing(found) => Some(found.bytes),
                WaitResult::Unstable(found) if before.is_cut_to(&found.bytes) => None,
                WaitResult::Unstable(found) => Some(found.bytes),
            },
        )
    }

    /// Removes it; it stays open.
    pub(crate) fn remove(&mut self) -> io::Result<()> {
        match self.path.take() {
            Some(path) => fs::remove_file(path),
            None => Ok(()),
        }
    }
}
