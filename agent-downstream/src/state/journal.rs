//! The journal of a write in place, from which the next run recovers.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::LockedState;
use super::files::{StateError, error, read_if_there, sync_folder, write_whole};

/// Old and new contents of a hosts file that is being written in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Journal {
    /// The contents before.
    pub(crate) old: Vec<u8>,
    /// The contents to write.
    pub(crate) new: Vec<u8>,
}

impl LockedState {
    /// The path of the journal.
    pub(crate) fn journal_path(&self, hosts: &Path) -> PathBuf {
        self.file("journal", hosts)
    }

    /// The journal of an interrupted write in place.
    pub(crate) fn journal(&self, hosts: &Path) -> Result<Option<Journal>, StateError> {
        let path = self.file("journal", hosts);
        let Some(bytes) = read_if_there(&path)? else {
            return Ok(None);
        };
        match Journal::parse(&bytes) {
            Some(journal) => Ok(Some(journal)),
            None => {
                let cause = io::Error::other("not a valid journal: move it away");
                Err(error(&path, "read the journal", cause))
            }
        }
    }

    /// Writes the journal, before the first byte of the hosts file is written.
    pub(crate) fn write_journal(&self, hosts: &Path, journal: &Journal) -> Result<(), StateError> {
        write_whole(&self.file("journal", hosts), &journal.to_bytes())
    }

    /// Removes the journal, after the last byte of the hosts file is on disk.
    pub(crate) fn remove_journal(&self, hosts: &Path) -> Result<(), StateError> {
        let path = self.file("journal", hosts);
        match fs::remove_file(&path) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                Err(error(&path, "remove the journal", cause))
            }
            _ => sync_folder(&self.path).map_err(|cause| error(&self.path, "sync", cause)),
        }
    }
}

impl Journal {
    const TITLE: &str = "silo-downstream journal 1";

    /// A header line with both lengths, then the old and the new contents.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let title = format!("{} {} {}\n", Self::TITLE, self.old.len(), self.new.len());
        [title.as_bytes(), &self.old, &self.new].concat()
    }

    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let title = std::str::from_utf8(&bytes[..end]).ok()?;
        let (old, new) = title.strip_prefix(Self::TITLE)?.trim().split_once(' ')?;
        let (old, new): (usize, usize) = (old.parse().ok()?, new.parse().ok()?);
        let contents = &bytes[end + 1..];
        (contents.len() == old.checked_add(new)?).then(|| Self {
            old: contents[..old].to_vec(),
            new: contents[old..].to_vec(),
        })
    }
}
