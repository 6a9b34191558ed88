//! By what a file is known again: its size, digest and identity.

use crate::digest::digest;
use crate::snapshot::Snapshot;

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

    /// Whether `bytes` are so few that a writer may still owe the rest.
    pub(crate) fn is_cut_to(&self, bytes: &[u8]) -> bool {
        bytes.is_empty() || bytes.len() * 2 <= self.size
    }
}
