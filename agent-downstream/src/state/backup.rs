//! Backups of the hosts file, and the versions of it that this program wrote.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use silo_shared::held;

use super::LockedState;
use super::files::{StateError, error, read_if_there, write_whole};
use crate::digest::digest;
use crate::hosts::outside;
use crate::snapshot::{Mark, Snapshot};

/// The maximum number of backups of one hosts file.
pub(super) const MAX_BACKUPS: usize = 10;

/// A backup of a hosts file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Backup {
    /// Its contents.
    pub(crate) bytes: Vec<u8>,
    /// When the backup was made.
    pub(crate) kept_at: SystemTime,
}

impl LockedState {
    /// Called just before `new` replaces `old`: keeps `old` as a backup, unless we wrote it or the newest backup is the
    /// same outside of our blocks; and records `new` as written by us.
    pub(crate) fn keep_backup(
        &self,
        hosts: &Path,
        old: &[u8],
        new: &[u8],
    ) -> Result<(), StateError> {
        // Two digests are kept: after a kill it is unknown whether the newer version was put in place.
        let written_path = self.file("written", hosts);
        let written = read_if_there(&written_path)?.unwrap_or_default();
        let old_digest = digest(old);
        let ours = String::from_utf8_lossy(&written)
            .lines()
            .any(|line| line == old_digest);
        if !ours {
            let newest = self.backup(hosts)?;
            if newest.is_none_or(|newest| !has_same_outside(&newest, old)) {
                self.put_backup(hosts, old)?;
            }
        }
        let kept = if ours { old_digest } else { String::new() };
        write_whole(
            &written_path,
            format!("{kept}\n{}\n", digest(new)).as_bytes(),
        )
    }

    /// Records a file that was created with these bytes.
    pub(crate) fn note_created(&self, hosts: &Path, bytes: &[u8]) -> Result<(), StateError> {
        let written = format!("\n{}\n", digest(bytes));
        write_whole(&self.file("written", hosts), written.as_bytes())?;
        match Snapshot::look(hosts) {
            Ok(Some(now)) if now.bytes == bytes => self.note_left(hosts, &Mark::of(&now)),
            // Another program was faster: the next read waits for it.
            _ => Ok(()),
        }
    }

    /// Whether these bytes are recorded as written here, or kept as a backup.
    pub(crate) fn knows(&self, hosts: &Path, bytes: &[u8]) -> Result<bool, StateError> {
        let written = read_if_there(&self.file("written", hosts))?.unwrap_or_default();
        let of_bytes = digest(bytes);
        Ok(String::from_utf8_lossy(&written)
            .lines()
            .any(|line| line == of_bytes)
            || self
                .backups(hosts)?
                .iter()
                .any(|backup| backup.bytes == bytes))
    }

    /// Adds a backup; the previous ones, up to [`MAX_BACKUPS`], move up by one.
    pub(crate) fn put_backup(&self, hosts: &Path, bytes: &[u8]) -> Result<(), StateError> {
        let newest = self.backup_path(hosts);
        match read_if_there(&newest)? {
            Some(present) if present == bytes => return Ok(()),
            None => return write_whole(&newest, bytes),
            Some(_) => {}
        }
        for number in (1..MAX_BACKUPS).rev() {
            let (from, to) = (
                self.older_backup_path(hosts, number),
                self.older_backup_path(hosts, number + 1),
            );
            match held::rename(&from, &to) {
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
                other => other.map_err(|cause| error(&from, "keep an older backup", cause))?,
            }
        }
        write_whole(&newest, bytes)
    }

    /// The newest backup.
    pub(crate) fn backup(&self, hosts: &Path) -> Result<Option<Vec<u8>>, StateError> {
        read_if_there(&self.backup_path(hosts))
    }

    /// The backups, newest first.
    pub(crate) fn backups(&self, hosts: &Path) -> Result<Vec<Backup>, StateError> {
        let mut found = Vec::new();
        for number in 1..=MAX_BACKUPS {
            let path = self.older_backup_path(hosts, number);
            if let Some(bytes) = read_if_there(&path)? {
                let modified = fs::metadata(&path).and_then(|metadata| metadata.modified());
                let kept_at = modified.map_err(|cause| error(&path, "inspect", cause))?;
                found.push(Backup { bytes, kept_at });
            }
        }
        Ok(found)
    }

    /// The path of the newest backup.
    pub(crate) fn backup_path(&self, hosts: &Path) -> PathBuf {
        self.file("backup", hosts)
    }

    /// The path of the backup with this number: 1 is the newest.
    fn older_backup_path(&self, hosts: &Path, number: usize) -> PathBuf {
        let newest = self.backup_path(hosts);
        match number {
            1 => newest,
            // The name that version 0.1.0 uses for the one before the newest.
            2 => newest.with_extension("previous"),
            _ => newest.with_extension(number.to_string()),
        }
    }
}

/// Whether two hosts files are the same outside our blocks, except for the newline that a new block requires before it.
fn has_same_outside(one: &[u8], other: &[u8]) -> bool {
    let trimmed = |bytes| {
        let mut outside = outside(bytes);
        while outside
            .pop_if(|last| matches!(last, b'\r' | b'\n'))
            .is_some()
        {}
        outside
    };
    trimmed(one) == trimmed(other)
}
