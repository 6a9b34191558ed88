//! The state folder: the lock, what each hub last said, backups of the hosts file, the journal of a
//! write in place. Only the agent's own user may write in it, since what lies here gets into the hosts
//! file; every file in it is replaced whole.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use silo_shared::api::SiloDocument;
use silo_shared::silo::SiloId;
use thiserror::Error;

/// How long another run is waited for.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
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
    #[error("{}: another run holds the lock since more than {} s", .0.display(), LOCK_TIMEOUT.as_secs())]
    Locked(PathBuf),
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
    _lock: File,
}

/// What a hub last said of a silo, and what was said to the user about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Remembered {
    /// The hub's URL; the tag goes to no other.
    pub(crate) hub: String,
    /// The silo.
    pub(crate) silo: String,
    /// The entity tag of the answer.
    pub(crate) tag: Option<String>,
    /// The answer, unjudged: the policy may change while the hub's answer does not.
    pub(crate) document: SiloDocument,
    /// The lines on skipped records that were last printed.
    pub(crate) skipped: Vec<String>,
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
        if metadata.uid() != me && metadata.uid() != 0 {
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
        let started = Instant::now();
        loop {
            if let Some(locked) = self.try_lock()? {
                return Ok(locked);
            }
            if started.elapsed() >= LOCK_TIMEOUT {
                return Err(StateError::Locked(self.path.join("lock")));
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
                _lock: file,
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

    /// Whether a write in place of this hosts file was cut off.
    pub(crate) fn has_journal(&self, hosts: &Path) -> bool {
        self.file("journal", hosts).exists()
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

    /// Called just before `old` gives way to `new`: keeps `old` as the backup unless we wrote it, and
    /// notes `new` as written by us.
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
            self.put_backup(hosts, old)?;
        }
        let kept = if ours { old_digest } else { String::new() };
        write_whole(
            &written_path,
            format!("{kept}\n{}\n", digest(new)).as_bytes(),
        )
    }

    /// Puts a backup in place; the one before it stays as `….previous`.
    pub(crate) fn put_backup(&self, hosts: &Path, bytes: &[u8]) -> Result<(), StateError> {
        let path = self.backup_path(hosts);
        match read_if_there(&path)? {
            Some(present) if present == bytes => return Ok(()),
            Some(present) => write_whole(&path.with_extension("previous"), &present)?,
            None => {}
        }
        write_whole(&path, bytes)
    }

    /// The last hosts file that we did not write.
    pub(crate) fn backup(&self, hosts: &Path) -> Result<Option<Vec<u8>>, StateError> {
        read_if_there(&self.backup_path(hosts))
    }

    /// Where the backup lies.
    pub(crate) fn backup_path(&self, hosts: &Path) -> PathBuf {
        self.file("backup", hosts)
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
    let mut options = OpenOptions::new();
    options.create(true).truncate(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(&temp).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    if let Err(cause) = written.and_then(|()| fs::rename(&temp, path)) {
        // The error that counts is the first one; a leftover is truncated by the next run.
        let _ = fs::remove_file(&temp);
        return Err(fail(cause));
    }
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

/// SHA-256 in hexadecimal.
pub(crate) fn digest(bytes: &[u8]) -> String {
    ring::digest::digest(&ring::digest::SHA256, bytes)
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
