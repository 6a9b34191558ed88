//! The previous hosts file after a replacement. Programs that have it open continue to write into it, so it is checked
//! before it is removed.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use silo_shared::held;

use crate::clock::Monotonic;
use crate::settle::{self, Stillness, WaitResult};
use crate::snapshot::{Mark, Snapshot};

/// The delay of the second check.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// The previous file, kept open while programs may write into it.
#[derive(Debug)]
pub(crate) struct OldFile {
    /// `None` on Windows, where an open file can't be replaced.
    file: Option<File>,
    /// Its current path, if it has a name.
    path: Option<PathBuf>,
}

impl OldFile {
    /// The file that an exchange has put at `path`. A first error may be temporary, and has worse consequences here
    /// than elsewhere.
    pub(crate) fn exchanged(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: Some(File::open(path).or_else(|_| File::open(path))?),
            path: Some(path.to_owned()),
        })
    }

    /// The file whose name a rename will take over.
    pub(crate) fn hold(path: &Path) -> io::Result<Self> {
        let file = if cfg!(windows) {
            None
        } else {
            Some(File::open(path)?)
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

    /// Waits until it is stable; `None` if its contents are at most a part of the complete ones.
    pub(crate) fn settle(&mut self, before: &Mark, limit: Duration) -> io::Result<Option<Vec<u8>>> {
        Ok(
            match settle::wait(
                &Monotonic,
                || self.look(),
                Some(before),
                Stillness::FOUND,
                limit,
            )? {
                WaitResult::Stable(found) | WaitResult::Growing(found) => Some(found.bytes),
                WaitResult::Unstable(found) if before.is_cut_to(&found.bytes) => None,
                WaitResult::Unstable(found) => Some(found.bytes),
            },
        )
    }

    /// Removes its name; the file stays open.
    pub(crate) fn remove(&mut self) -> io::Result<()> {
        match self.path.take() {
            Some(path) => held::remove(&path),
            None => Ok(()),
        }
    }
}
