//! The state folder: the lock, each hub's last responses, backups of the hosts file, the journal of a write in place.
//! Only the agent's own user may write to it, since its contents get into the hosts file; every file in it is replaced
//! atomically.

mod backup;
mod database;
mod files;
mod journal;
mod owed;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use silo_shared::outage::ReportedFailures;
use silo_shared::silo::SiloId;
use silo_shared::{held, private_file};

use crate::digest::digest;
use crate::notes::Notes;
use crate::remembered::Remembered;
use crate::snapshot::Mark;
use files::{error, read_if_there, write_unlocked, write_whole};

pub(crate) use backup::Backup;
pub(crate) use files::{StateError, sync_folder};
pub(crate) use journal::Journal;

/// How long to wait for another run.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
const LEAST_LOCK_TIMEOUT: Duration = Duration::from_secs(3);
const LOCK_RETRY: Duration = Duration::from_millis(50);

/// The state folder, checked.
#[derive(Clone, Debug)]
pub(crate) struct StateDir {
    path: PathBuf,
    /// Part of the names of responses that belong to one file of our own: what was printed about them differs by file.
    scope: Option<String>,
}

/// The state folder, locked against other runs.
#[derive(Debug)]
pub(crate) struct LockedState {
    dir: StateDir,
    /// Holds the lock until dropped; the system releases it when the process ends.
    lock: File,
}

impl StateDir {
    /// Opens the folder, and creates it for this user alone if it does not exist.
    pub(crate) fn open(path: &Path) -> Result<Self, StateError> {
        let path = std::path::absolute(path).map_err(|cause| of_folder(path, "find", cause))?;
        if !is_there(&path)? {
            private_file::create_folder(&path)
                .map_err(|cause| of_folder(&path, "create", cause))?;
        }
        Self::check(&path)?;
        Ok(Self { path, scope: None })
    }

    /// Opens the folder if it exists; creates nothing.
    pub(crate) fn existing(path: &Path) -> Result<Option<Self>, StateError> {
        if is_there(path)? {
            Self::open(path).map(Some)
        } else {
            Ok(None)
        }
    }

    /// The same folder, with the responses for one file of our own.
    pub(crate) fn scoped_to(self, file: &Path) -> Self {
        let hash = digest(file.as_os_str().as_encoded_bytes());
        Self {
            scope: Some(hash[..16].to_owned()),
            ..self
        }
    }

    #[cfg(unix)]
    fn check(path: &Path) -> Result<(), StateError> {
        use std::os::unix::fs::MetadataExt;
        let metadata = fs::metadata(path).map_err(|cause| of_folder(path, "inspect", cause))?;
        let refuse = |why: String, remedy| {
            let path = path.to_owned();
            Err(StateError::Open { path, why, remedy })
        };
        if metadata.mode() & 0o022 != 0 {
            let why = format!("has mode {:04o}", metadata.mode() & 0o7777);
            return refuse(why, "make it private with `chmod 700`");
        }
        let me = rustix::process::geteuid().as_raw();
        // Whose folder root may use is checked where the settings are read.
        if me != 0 && metadata.uid() != me && metadata.uid() != 0 {
            let why = format!("belongs to user {}", metadata.uid());
            return refuse(why, "give it to the agent's user with `chown`");
        }
        Ok(())
    }

    /// On Windows, the settings check it for every user.
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

    /// Waits for the lock; a run that has already `waited` for something else waits less.
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
        let file = held::retry(|| options.open(&path))
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

    /// This hub's last response for this silo. An invalid file counts as missing.
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
                tracing::warn!(silo = %silo, "{}: invalid ({cause}); asking the hub for the whole silo", path.display());
                Ok(None)
            }
        }
    }

    /// The state of this hosts file after our last write; `None` if unknown.
    pub(crate) fn left(&self, hosts: &Path) -> Result<Option<Mark>, StateError> {
        let noted = read_if_there(&self.file("left", hosts))?;
        Ok(noted.and_then(|line| Mark::parse(std::str::from_utf8(&line).ok()?)))
    }

    /// Whether a write in place of this hosts file was interrupted.
    pub(crate) fn has_journal(&self, hosts: &Path) -> bool {
        self.file("journal", hosts).exists()
    }

    /// The notes of this folder's runs on a hosts file. An invalid file counts as missing.
    ///
    /// Version 0.1.0 stored no notes: then the hub's last response, without the skipped records and those that `wanted`
    /// does not select, is taken as what was written.
    pub(crate) fn notes(
        &self,
        hosts: &Path,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Notes, StateError> {
        let path = self.file("notes", hosts);
        match read_if_there(&path)? {
            Some(bytes) => Ok(serde_json::from_slice(&bytes).unwrap_or_else(|cause| {
                tracing::warn!(
                    "{}: invalid ({cause}); continuing without these notes",
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

    /// All last responses of hubs, except invalid files.
    fn all_remembered(&self) -> Result<Vec<Remembered>, StateError> {
        let fail = |cause| error(&self.path, "list the answers of hubs", cause);
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

    /// The failed pulls of this hub's silos that quiet runs have reported. An invalid file counts as missing.
    pub(crate) fn reported(
        &self,
        hub: &str,
    ) -> Result<BTreeMap<String, ReportedFailures>, StateError> {
        let bytes = read_if_there(&self.reported_path(hub))?.unwrap_or_default();
        Ok(serde_json::from_slice(&bytes).unwrap_or_default())
    }

    /// Saves what was reported. Without the lock: an overlapping run may at most print a line twice.
    pub(crate) fn save_reported(
        &self,
        hub: &str,
        reported: &BTreeMap<String, ReportedFailures>,
    ) -> Result<(), StateError> {
        let path = self.reported_path(hub);
        let json =
            serde_json::to_vec(reported).map_err(|cause| error(&path, "write", cause.into()))?;
        write_unlocked(&path, &json)
    }

    fn reported_path(&self, hub: &str) -> PathBuf {
        let hash = digest(hub.as_bytes());
        self.path.join(format!("outage-{}.json", &hash[..16]))
    }

    fn remembered_path(&self, hub: &str, silo: &SiloId) -> PathBuf {
        let hash = digest(hub.as_bytes());
        match &self.scope {
            None => self.path.join(format!("silo-{silo}-{}.json", &hash[..16])),
            Some(scope) => {
                let name = format!("own-{scope}-{silo}-{}.json", &hash[..16]);
                self.path.join(name)
            }
        }
    }

    /// The path of a file of this kind for one hosts file.
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
    /// Saves a hub's response.
    pub(crate) fn remember(&self, silo: &SiloId, said: &Remembered) -> Result<(), StateError> {
        let path = self.remembered_path(&said.hub, silo);
        let json = serde_json::to_vec(said).map_err(|cause| error(&path, "write", cause.into()))?;
        write_whole(&path, &json)
    }

    /// Saves the notes on a hosts file.
    pub(crate) fn put_notes(&self, hosts: &Path, notes: &Notes) -> Result<(), StateError> {
        let path = self.file("notes", hosts);
        let json =
            serde_json::to_vec(notes).map_err(|cause| error(&path, "write", cause.into()))?;
        write_whole(&path, &json)
    }

    /// Saves the state of the hosts file after our write.
    pub(crate) fn note_left(&self, hosts: &Path, mark: &Mark) -> Result<(), StateError> {
        write_whole(&self.file("left", hosts), mark.to_line().as_bytes())
    }

    /// Writes a file for another program to check (mode 0600), and returns its path.
    pub(crate) fn put_candidate(&self, bytes: &[u8]) -> Result<PathBuf, StateError> {
        let path = self.dir.path.join("candidate.conf");
        write_whole(&path, bytes)?;
        Ok(path)
    }

    /// Removes that file.
    pub(crate) fn remove_candidate(&self) -> Result<(), StateError> {
        let path = self.dir.path.join("candidate.conf");
        held::remove(&path).map_err(|cause| error(&path, "remove", cause))
    }

    /// Releases the lock while `wait` runs, then takes it again.
    pub(crate) fn without_lock<T>(&self, wait: impl FnOnce() -> T) -> Result<T, StateError> {
        let fail = |cause| error(&self.dir.path.join("lock"), "unlock", cause);
        unlock(&self.lock).map_err(fail)?;
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
                Err(TryLockError::Error(cause)) => {
                    return Err(error(&self.dir.path.join("lock"), "lock", cause));
                }
            }
        }
    }
}

/// Releases a lock. Windows has to be asked twice, and Wine answers the second time as if another program had the lock.
fn unlock(lock: &File) -> io::Result<()> {
    match lock.unlock() {
        Err(cause) if held::is_held(&cause) => Ok(()),
        done => done,
    }
}

/// Whether the folder exists; anything else in its place is an error.
fn is_there(path: &Path) -> Result<bool, StateError> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(true),
        Ok(_) => Err(StateError::NotAFolder(path.to_owned())),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(cause) => Err(of_folder(path, "inspect", cause)),
    }
}

fn of_folder(path: &Path, doing: &'static str, cause: io::Error) -> StateError {
    let path = path.to_owned();
    StateError::Folder { path, doing, cause }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
