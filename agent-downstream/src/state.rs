//! The state folder: the lock, what each hub last said, backups of the hosts file, the journal of a
//! write in place. Only the agent's own user may write in it, since what lies here gets into the hosts
//! file; every file in it is replaced whole.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use silo_shared::outage::Told;
use silo_shared::private_file;
use silo_shared::silo::SiloId;
use thiserror::Error;

use crate::digest::digest;
use crate::hosts::outside;
use crate::notes::Notes;
use crate::remembered::Remembered;
use crate::snapshot::Mark;

/// The most backups of one hosts file that are kept.
const MAX_BACKUPS: usize = 10;
/// How long another run is waited for.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
const LEAST_LOCK_TIMEOUT: Duration = Duration::from_secs(3);
const LOCK_RETRY: Duration = Duration::from_millis(50);

/// Why the state folder can't be used.
#[derive(Debug, Error)]
pub(crate) enum StateError {
    /// The folder or a file in it can't be made, read or written.
    #[error("{}: cannot {doing} in the state folder: {cause}", .path.display())]
    Io {
        /// The folder or file.
        path: PathBuf,
        /// What was to be done.
        doing: &'static str,
        /// What the system said.
        cause: io::Error,
    },
    /// Something else is there.
    #[error("{}: the state folder is not a folder: choose another with --state-dir", .0.display())]
    NotAFolder(PathBuf),
    /// The folder can't be made or looked at.
    #[error("{}: cannot {doing} the state folder: {cause}", .path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What was to be done.
        doing: &'static str,
        /// What the system said.
        cause: io::Error,
    },
    /// Others could put something into the folder.
    #[cfg(unix)]
    #[error("{}: the state folder {why}, so that others could change the hosts file through it: choose another with --state-dir, or {remedy}", .path.display())]
    Open {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        why: String,
        /// What to do.
        remedy: &'static str,
    },
    /// Another run took longer than this one may wait.
    #[error("{}: another run holds the lock since more than {} s", .0.display(), .1.as_secs())]
    Locked(PathBuf, Duration),
}

/// The state folder, checked.
#[derive(Clone, Debug)]
pub(crate) struct StateDir {
    path: PathBuf,
}

/// The state folder while no other run uses it.
#[derive(Debug)]
pub(crate) struct LockedState {
    dir: StateDir,
    /// Holds the lock until it is dropped; the system lets go of it when the process dies.
    lock: File,
}

/// A hosts file that was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Backup {
    /// Its contents.
    pub(crate) bytes: Vec<u8>,
    /// When it was kept.
    pub(crate) kept_at: SystemTime,
}

/// Old and new contents of a hosts file that is being written in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Journal {
    /// The contents before.
    pub(crate) old: Vec<u8>,
    /// The contents that are being written.
    pub(crate) new: Vec<u8>,
}

impl StateDir {
    /// Opens the folder, making it (mode 0700) if it is not there.
    pub(crate) fn open(path: &Path) -> Result<Self, StateError> {
        let path = std::path::absolute(path).map_err(|cause| of_folder(path, "find", cause))?;
        if !is_there(&path)? {
            let mut builder = fs::DirBuilder::new();
            builder.recursive(true);
            #[cfg(unix)]
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
            builder
                .create(&path)
                .map_err(|cause| of_folder(&path, "make", cause))?;
        }
        Self::check(&path)?;
        Ok(Self { path })
    }

    /// Opens the folder if it is there; makes nothing.
    pub(crate) fn existing(path: &Path) -> Result<Option<Self>, StateError> {
        if is_there(path)? {
            Self::open(path).map(Some)
        } else {
            Ok(None)
        }
    }

    #[cfg(unix)]
    fn check(path: &Path) -> Result<(), StateError> {
        use std::os::unix::fs::MetadataExt;
        let metadata = fs::metadata(path).map_err(|cause| of_folder(path, "look at", cause))?;
        let refuse = |why: String, remedy| {
            let path = path.to_owned();
            Err(StateError::Open { path, why, remedy })
        };
        if metadata.mode() & 0o022 != 0 {
            let why = format!("has mode {:04o}", metadata.mode() & 0o7777);
            return refuse(why, "make it private with `chmod 700`");
        }
        let me = rustix::process::geteuid().as_raw();
        // Whose folder root may use is decided where the settings are read.
        if me != 0 && metadata.uid() != me && metadata.uid() != 0 {
            let why = format!("belongs to user {}", metadata.uid());
            return refuse(why, "give it to the agent's user with `chown`");
        }
        Ok(())
    }

    #[cfg(not(unix))]
    fn check(_path: &Path) -> Result<(), StateError> {
        Ok(())
    }

    /// The folder's path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for the lock, at most [`LOCK_TIMEOUT`].
    pub(crate) fn lock(&self) -> Result<LockedState, StateError> {
        self.lock_within(LOCK_TIMEOUT)
    }

    /// Waits for the lock; a run that has `waited` for something else already waits less.
    pub(crate) fn lock_after(&self, waited: Duration) -> Result<LockedState, StateError> {
        self.lock_within(LOCK_TIMEOUT.saturating_sub(waited).max(LEAST_LOCK_TIMEOUT))
    }

    fn lock_within(&self, timeout: Duration) -> Result<LockedState, StateError> {
        let started = Instant::now();
        loop {
            if let Some(locked) = self.try_lock()? {
                return Ok(locked);
            }
            if started.elapsed() >= timeout {
                return Err(StateError::Locked(self.path.join("lock"), timeout));
            }
            std::thread::sleep(LOCK_RETRY);
        }
    }

    /// Takes the lock unless another run holds it.
    pub(crate) fn try_lock(&self) -> Result<Option<LockedState>, StateError> {
        let path = self.path.join("lock");
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).read(true).write(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options
            .open(&path)
            .map_err(|cause| error(&path, "open the lock", cause))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(LockedState {
                dir: self.clone(),
                lock: file,
            })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(cause)) => Err(error(&path, "lock", cause)),
        }
    }

    /// What this hub last said of this silo. What can't be read as such is as good as nothing.
    pub(crate) fn remembered(
        &self,
        hub: &str,
        silo: &SiloId,
    ) -> Result<Option<Remembered>, StateError> {
        let path = self.remembered_path(hub, silo);
        let Some(bytes) = read_if_there(&path)? else {
            return Ok(None);
        };
        match serde_json::from_slice::<Remembered>(&bytes) {
            Ok(found) if found.hub == hub && found.silo == silo.as_str() => Ok(Some(found)),
            Ok(_) => Ok(None),
            Err(cause) => {
                tracing::warn!(silo = %silo, "{}: not readable ({cause}); asking the hub afresh", path.display());
                Ok(None)
            }
        }
    }

    /// What our last write left of this hosts file; `None` where that is not known.
    pub(crate) fn left(&self, hosts: &Path) -> Result<Option<Mark>, StateError> {
        let noted = read_if_there(&self.file("left", hosts))?;
        Ok(noted.and_then(|line| Mark::parse(std::str::from_utf8(&line).ok()?)))
    }

    /// Whether a write in place of this hosts file was cut off.
    pub(crate) fn has_journal(&self, hosts: &Path) -> bool {
        self.file("journal", hosts).exists()
    }

    /// What the runs of this folder noted of a hosts file. What can't be read as such is as good as nothing.
    ///
    /// Version 0.1.0 kept no notes: what the hub last said, without what was skipped of it and what `wanted` does
    /// not select, then stands for what was written.
    pub(crate) fn notes(
        &self,
        hosts: &Path,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Notes, StateError> {
        let path = self.file("notes", hosts);
        match read_if_there(&path)? {
            Some(bytes) => Ok(serde_json::from_slice(&bytes).unwrap_or_else(|cause| {
                tracing::warn!(
                    "{}: not readable ({cause}); going on without these notes",
                    path.display()
                );
                Notes::default()
            })),
            None if self.file("written", hosts).exists() => {
                Ok(Notes::of_answers(&self.all_remembered()?, wanted))
            }
            None => Ok(Notes::default()),
        }
    }

    /// All that hubs last said; what can't be read is left out.
    fn all_remembered(&self) -> Result<Vec<Remembered>, StateError> {
        let fail = |cause| error(&self.path, "list what hubs said", cause);
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(fail)? {
            let path = entry.map_err(fail)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with("silo-") && name.ends_with(".json") {
                let bytes = read_if_there(&path)?.unwrap_or_default();
                found.extend(serde_json::from_slice::<Remembered>(&bytes).ok());
            }
        }
        Ok(found)
    }

    /// What quiet runs have said of this hub's silos that could not be pulled. What can't be read as such is as good
    /// as nothing.
    pub(crate) fn told(&self, hub: &str) -> Result<BTreeMap<String, Told>, StateError> {
        let bytes = read_if_there(&self.told_path(hub))?.unwrap_or_default();
        Ok(serde_json::from_slice(&bytes).unwrap_or_default())
    }

    /// Remembers what was said. Without the lock: a run that overlaps says a line too many, no more.
    pub(crate) fn note_told(
        &self,
        hub: &str,
        told: &BTreeMap<String, Told>,
    ) -> Result<(), StateError> {
        let path = self.told_path(hub);
        let json = serde_json::to_vec(told).map_err(|cause| error(&path, "write", cause.into()))?;
        write_whole(&path, &json)
    }

    fn told_path(&self, hub: &str) -> PathBuf {
        let hash = digest(hub.as_bytes());
        self.path.join(format!("outage-{}.json", &hash[..16]))
    }

    fn remembered_path(&self, hub: &str, silo: &SiloId) -> PathBuf {
        let hash = digest(hub.as_bytes());
        self.path.join(format!("silo-{silo}-{}.json", &hash[..16]))
    }

    /// The path of a kind of file that is kept for one hosts file.
    fn file(&self, kind: &str, hosts: &Path) -> PathBuf {
        let hash = digest(hosts.as_os_str().as_encoded_bytes());
        self.path.join(format!("{kind}-{}", &hash[..16]))
    }
}

impl std::ops::Deref for LockedState {
    type Target = StateDir;

    fn deref(&self) -> &StateDir {
        &self.dir
    }
}

impl LockedState {
    /// Remembers what a hub said.
    pub(crate) fn remember(&self, silo: &SiloId, said: &Remembered) -> Result<(), StateError> {
        let path = self.remembered_path(&said.hub, silo);
        let json = serde_json::to_vec(said).map_err(|cause| error(&path, "write", cause.into()))?;
        write_whole(&path, &json)
    }

    /// Keeps the notes on a hosts file.
    pub(crate) fn put_notes(&self, hosts: &Path, notes: &Notes) -> Result<(), StateError> {
        let path = self.file("notes", hosts);
        let json =
            serde_json::to_vec(notes).map_err(|cause| error(&path, "write", cause.into()))?;
        write_whole(&path, &json)
    }

    /// Called just before `old` gives way to `new`: keeps `old` as a backup unless we wrote it, or the newest
    /// backup has the same outside of our blocks; and notes `new` as written by us.
    pub(crate) fn keep_backup(
        &self,
        hosts: &Path,
        old: &[u8],
        new: &[u8],
    ) -> Result<(), StateError> {
        // Two digests are kept: after a kill nobody knows whether the newer one got there.
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

    /// Notes what our write left of the hosts file.
    pub(crate) fn note_left(&self, hosts: &Path, mark: &Mark) -> Result<(), StateError> {
        write_whole(&self.file("left", hosts), mark.to_line().as_bytes())
    }

    /// Whether a file with these bytes is one that is noted as written here, or kept as a backup.
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

    /// Lets go of the lock for as long as `wait` takes, then takes it again.
    pub(crate) fn without_lock<T>(&self, wait: impl FnOnce() -> T) -> Result<T, StateError> {
        let fail = |cause| error(&self.dir.path.join("lock"), "unlock", cause);
        self.lock.unlock().map_err(fail)?;
        let waited = wait();
        let started = Instant::now();
        loop {
            match self.lock.try_lock() {
                Ok(()) => return Ok(waited),
                Err(TryLockError::WouldBlock) if started.elapsed() < LOCK_TIMEOUT => {
                    std::thread::sleep(LOCK_RETRY);
                }
                Err(TryLockError::WouldBlock) => {
                    let path = self.dir.path.join("lock");
                    return Err(StateError::Locked(path, LOCK_TIMEOUT));
                }
                Err(TryLockError::Error(cause)) => return Err(fail(cause)),
            }
        }
    }

    /// Puts a backup in place; those before it, up to [`MAX_BACKUPS`], move up by one.
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
            match fs::rename(&from, &to) {
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
                other => other.map_err(|cause| error(&from, "keep an older backup", cause))?,
            }
        }
        write_whole(&newest, bytes)
    }

    /// The newest hosts file that was kept.
    pub(crate) fn backup(&self, hosts: &Path) -> Result<Option<Vec<u8>>, StateError> {
        read_if_there(&self.backup_path(hosts))
    }

    /// The hosts files that were kept, the newest first.
    pub(crate) fn backups(&self, hosts: &Path) -> Result<Vec<Backup>, StateError> {
        let mut found = Vec::new();
        for number in 1..=MAX_BACKUPS {
            let path = self.older_backup_path(hosts, number);
            if let Some(bytes) = read_if_there(&path)? {
                let modified = fs::metadata(&path).and_then(|metadata| metadata.modified());
                let kept_at = modified.map_err(|cause| error(&path, "look at", cause))?;
                found.push(Backup { bytes, kept_at });
            }
        }
        Ok(found)
    }

    /// Where the newest backup lies.
    pub(crate) fn backup_path(&self, hosts: &Path) -> PathBuf {
        self.file("backup", hosts)
    }

    /// Where the backup with this number lies: 1 is the newest.
    fn older_backup_path(&self, hosts: &Path, number: usize) -> PathBuf {
        let newest = self.backup_path(hosts);
        match number {
            1 => newest,
            // As version 0.1.0 named the one before the newest.
            2 => newest.with_extension("previous"),
            _ => newest.with_extension(number.to_string()),
        }
    }

    /// Where the journal lies.
    pub(crate) fn journal_path(&self, hosts: &Path) -> PathBuf {
        self.file("journal", hosts)
    }

    /// The journal of a write in place that was cut off.
    pub(crate) fn journal(&self, hosts: &Path) -> Result<Option<Journal>, StateError> {
        let path = self.file("journal", hosts);
        let Some(bytes) = read_if_there(&path)? else {
            return Ok(None);
        };
        match Journal::parse(&bytes) {
            Some(journal) => Ok(Some(journal)),
            None => {
                let cause = io::Error::other("it is no journal; move it away");
                Err(error(&path, "read the journal", cause))
            }
        }
    }

    /// Writes the journal, before the first byte of the hosts file is.
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

    /// A title line with both lengths, then the old and the new contents.
    fn to_bytes(&self) -> Vec<u8> {
        let title = format!("{} {} {}\n", Self::TITLE, self.old.len(), self.new.len());
        [title.as_bytes(), &self.old, &self.new].concat()
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
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

/// Whether two hosts files are the same outside our blocks, but for the newline that a new block needs before it.
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

/// Whether there is a folder; anything else in its place is an error.
fn is_there(path: &Path) -> Result<bool, StateError> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(true),
        Ok(_) => Err(StateError::NotAFolder(path.to_owned())),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(cause) => Err(of_folder(path, "look at", cause)),
    }
}

fn of_folder(path: &Path, doing: &'static str, cause: io::Error) -> StateError {
    let path = path.to_owned();
    StateError::Folder { path, doing, cause }
}

fn error(path: &Path, doing: &'static str, cause: io::Error) -> StateError {
    let path = path.to_owned();
    StateError::Io { path, doing, cause }
}

fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, StateError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(error(path, "read", cause)),
    }
}

/// Replaces a file of the state folder (mode 0600): it holds the old or the new bytes, whatever happens.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), StateError> {
    let fail = |cause| error(path, "write", cause);
    let temp = path.with_extension("tmp");
    private_file::replace(path, &temp, bytes).map_err(fail)?;
    path.parent().map_or(Ok(()), sync_folder).map_err(fail)
}

/// Makes renames and removals in a folder last through a power cut.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    #[cfg(unix)]
    match File::open(folder)?.sync_all() {
        // Some network and FUSE filesystems know no fsync of folders.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
        other => return other,
    }
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
