//! The journal of a write in place, from which the next run recovers.

use std::io;
use std::path::{Path, PathBuf};

use silo_shared::held;

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
        self.remove_durably(&self.file("journal", hosts), "remove the journal")
    }

    /// Notes that the hosts file was read-only, before that is cleared for a write in place.
    pub(crate) fn note_read_only(&self, hosts: &Path) -> Result<(), StateError> {
        write_whole(&self.file("read-only", hosts), b"")
    }

    /// Whether the hosts file was read-only before a write in place, and is to be so again.
    pub(crate) fn was_read_only(&self, hosts: &Path) -> bool {
        self.file("read-only", hosts).exists()
    }

    /// Removes that note.
    pub(crate) fn forget_read_only(&self, hosts: &Path) -> Result<(), StateError> {
        self.remove_durably(&self.file("read-only", hosts), "remove a note")
    }

    fn remove_durably(&self, path: &Path, doing: &'static str) -> Result<(), StateError> {
        match held::remove(path) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(error(path, doing, cause)),
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
