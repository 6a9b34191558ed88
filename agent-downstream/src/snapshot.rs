//! A file as it was at one moment: its bytes, and how to tell later whether it has changed.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::Path;

use crate::digest::digest;
use crate::metadata::Identity;

/// What was read, and how to see whether it still is what lies there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) bytes: Vec<u8>,
    pub(crate) identity: Identity,
}

/// A file as it was at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    size: usize,
    digest: String,
    identity: String,
}

impl Mark {
    /// The mark of a file that was read.
    pub(crate) fn of(snapshot: &Snapshot) -> Self {
        Self {
            identity: snapshot.identity.to_string(),
            ..Self::of_bytes(&snapshot.bytes)
        }
    }

    /// The mark of whatever file holds these bytes: one that grows from them is known, none is the same.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Self {
        Self {
            size: bytes.len(),
            digest: digest(bytes),
            identity: String::new(),
        }
    }

    /// One line of text, for the state folder.
    pub(crate) fn to_line(&self) -> String {
        format!("{} {} {}\n", self.size, self.digest, self.identity)
    }

    /// Reads [`Self::to_line`]; anything else is no mark.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let mut parts = line.trim_end().splitn(3, ' ');
        Some(Self {
            size: parts.next()?.parse().ok()?,
            digest: parts.next()?.to_owned(),
            identity: parts.next()?.to_owned(),
        })
    }

    /// Whether `bytes` begin with all that the file held.
    pub(crate) fn is_beginning_of(&self, bytes: &[u8]) -> bool {
        bytes
            .get(..self.size)
            .is_some_and(|beginning| digest(beginning) == self.digest)
    }

    /// Whether `bytes` are so few that a writer may not have written the rest yet.
    pub(crate) fn is_cut_to(&self, bytes: &[u8]) -> bool {
        bytes.is_empty() || bytes.len() * 2 <= self.size
    }
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
