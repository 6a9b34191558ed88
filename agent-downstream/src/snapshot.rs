//! A file at one moment: its bytes, and how to detect a later change.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::Path;

use silo_shared::held;

use crate::digest::digest;
use crate::metadata::Identity;

/// Identifies contents that were read, to detect whether they are still current.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) bytes: Vec<u8>,
    pub(crate) identity: Identity,
}

/// A file at one moment.
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

    /// The mark of any file with these bytes: it recognizes one that grows from them, but equals none.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Self {
        Self {
            size: bytes.len(),
            digest: digest(bytes),
            identity: String::new(),
        }
    }

    /// Formats it as one line of text, for the state folder.
    pub(crate) fn to_line(&self) -> String {
        format!("{} {} {}\n", self.size, self.digest, self.identity)
    }

    /// Parses the output of [`Self::to_line`]; `None` for anything else.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let mut parts = line.trim_end().splitn(3, ' ');
        Some(Self {
            size: parts.next()?.parse().ok()?,
            digest: parts.next()?.to_owned(),
            identity: parts.next()?.to_owned(),
        })
    }

    /// Whether `bytes` begin with the file's whole contents.
    pub(crate) fn is_beginning_of(&self, bytes: &[u8]) -> bool {
        bytes
            .get(..self.size)
            .is_some_and(|beginning| digest(beginning) == self.digest)
    }

    /// Whether `bytes` are so short that a writer may not have written the rest yet.
    pub(crate) fn is_cut_to(&self, bytes: &[u8]) -> bool {
        bytes.is_empty() || bytes.len() * 2 <= self.size
    }
}

impl Snapshot {
    pub(crate) fn take(path: &Path) -> io::Result<Self> {
        held::retry(|| Self::of(&mut File::open(path)?))
    }

    /// Reads an open file from its beginning.
    pub(crate) fn of(file: &mut File) -> io::Result<Self> {
        // Taken before the first byte is read, so that a concurrent write is detected.
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

    /// Whether the file at `path` is still the one that was read; for a growing one, whether it has only grown.
    pub(crate) fn still_there(&self, path: &Path, is_growing: bool) -> io::Result<bool> {
        let now = Self::take(path)?;
        // Several writes can fall into one clock tick: the bytes are compared too.
        Ok(now == *self || (is_growing && now.bytes.starts_with(&self.bytes)))
    }
}
