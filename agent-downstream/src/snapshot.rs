//! A file's bytes at one moment.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::Path;

use crate::metadata::Identity;

/// What was read, and how to see whether it still is what lies there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) bytes: Vec<u8>,
    pub(crate) identity: Identity,
}

impl Snapshot {
    pub(crate) fn take(path: &Path) -> io::Result<Self> {
        Self::of(&mut File::open(path)?)
    }

    /// Reads an open file from its beginning.
    pub(crate) fn of(file: &mut File) -> io::Result<Self> {
        // Taken before the first byte is read, so that a write meanwhile shows.
        let identity = Identity::of(&file.metadata()?);
        let mut bytes = Vec::new();
        io::Read::read_to_end(file, &mut bytes)?;
        Ok(Self { bytes, identity })
    }

    pub(crate) fn look(path: &Path) -> io::Result<Option<Self>> {
        match Self::take(path) {
            Ok(snapshot) => Ok(Some(snapshot)),
            Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(cause),
        }
    }

    /// Whether the file at `path` still is what was read; of one that grows, whether it has only grown.
    pub(crate) fn still_there(&self, path: &Path, is_growing: bool) -> io::Result<bool> {
        let now = Self::take(path)?;
        // A clock tick holds several writes: the bytes are compared too.
        Ok(now == *self || (is_growing && now.bytes.starts_with(&self.bytes)))
    }
}
