//! The state folder: data about each record, kept between runs. Without one, a run still reports addresses, but removes
//! none and prints ongoing failures every time.
//!
//! One file for each hub, silo and hostname, mode 0600, replaced atomically.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use silo_shared::config::ConfigError;
use silo_shared::outage::ReportedFailures;
use silo_shared::private_file;
use silo_shared::silo::{Addresses, Family, Hostname, SiloId};
use thiserror::Error;

/// Why the state folder can't be used.
#[derive(Debug, Error)]
pub(crate) enum StateError {
    /// The folder or a file in it can't be created, read or written.
    #[error("state folder: {}: cannot {doing}: {cause}", .path.display())]
    Io {
        /// The folder or file.
        path: PathBuf,
        /// The failed operation.
        doing: &'static str,
        /// The system's error.
        cause: io::Error,
    },
    /// Other users than root decide about it, where root runs this.
    #[error("state folder: {0}")]
    NotTrusted(#[from] ConfigError),
    /// Other users could make this agent remove addresses.
    #[cfg(unix)]
    #[error("state folder: {}: {why}: choose another with --state-dir", .path.display())]
    Open {
        /// The folder.
        path: PathBuf,
        /// The reason.
        why: &'static str,
    },
}

/// The state of one record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Memory {
    hub: String,
    silo: String,
    hostname: String,
    /// The addresses that this agent was the last to set, by the number of their family.
    set: BTreeMap<i16, std::net::IpAddr>,
    /// The families that every run since then found missing.
    missing: BTreeMap<i16, Missing>,
    /// The failures reported since the first one.
    told: ReportedFailures,
}

/// How long a family has been missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Missing {
    /// At least this long, in milliseconds: the sum of the times between runs that each found it missing.
    for_ms: u64,
    /// When a run last found it missing.
    at_ms: u64,
}

impl Missing {
    /// Records that a run found the family missing. The time between two runs counts for at most half of `limit`, so
    /// that at least three runs must see it. If the clock went back, by a restart or a step, it does not count.
    fn again(before: Option<Self>, at_ms: u64, limit: Duration) -> Self {
        let Some(before) = before else {
            return Self { for_ms: 0, at_ms };
        };
        let half = u64::try_from(limit.as_millis() / 2).unwrap_or(u64::MAX);
        let gap = at_ms.saturating_sub(before.at_ms).min(half);
        Self {
            for_ms: before.for_ms.saturating_add(gap),
            at_ms,
        }
    }
}

/// Milliseconds of a clock that ignores steps of the wall clock and stops while the machine sleeps (clock_gettime(2),
/// `CLOCK_MONOTONIC`). It starts at boot, so the difference between two readings never exceeds the time between them.
#[cfg(unix)]
pub(crate) fn monotonic_ms() -> u64 {
    let at = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(at.tv_sec).unwrap_or_default();
    let nanoseconds = u64::try_from(at.tv_nsec).unwrap_or_default();
    seconds * 1000 + nanoseconds / 1_000_000
}

/// The wall clock in milliseconds: no other known clock continues between runs. [`Missing::again`] limits the effect of
/// a step.
#[cfg(not(unix))]
#[expect(
    clippy::disallowed_methods,
    reason = "the time between runs, of which a step of the clock may add only a part"
)]
pub(crate) fn monotonic_ms() -> u64 {
    let now = jiff::Timestamp::now();
    u64::try_from(now.as_millisecond()).unwrap_or_default()
}

impl Memory {
    /// The state of an unknown record.
    fn new(hub: &str, silo: &SiloId, hostname: &Hostname) -> Self {
        Self {
            hub: hub.to_owned(),
            silo: silo.to_string(),
            hostname: hostname.to_string(),
            ..Self::default()
        }
    }

    /// Records that this agent has set these addresses; keeps those that it set of other families.
    pub(crate) fn note_set(&mut self, addresses: &Addresses) {
        for ip in addresses.iter() {
            self.set.insert(Family::of(ip).number(), ip);
        }
    }

    /// Records that a run found this family missing. Returns whether that is new.
    pub(crate) fn note_missing(&mut self, family: Family, at_ms: u64, limit: Duration) -> bool {
        let before = self.missing.get(&family.number()).copied();
        let missing = Missing::again(before, at_ms, limit);
        self.missing.insert(family.number(), missing);
        before.is_none()
    }

    /// Records that a run found this family, or can't decide. Returns whether it was missing before.
    pub(crate) fn note_found(&mut self, family: Family) -> bool {
        self.missing.remove(&family.number()).is_some()
    }

    /// Whether this agent set the record's address of this family.
    pub(crate) fn has_set(&self, family: Family, held: &Addresses) -> bool {
        let set = self.set.get(&family.number()).copied();
        set.is_some() && set == held.get(family)
    }

    /// Whether every run during the time `limit` found this family missing.
    pub(crate) fn is_gone(&self, family: Family, limit: Duration) -> bool {
        self.missing
            .get(&family.number())
            .is_some_and(|missing| u128::from(missing.for_ms) >= limit.as_millis())
    }

    /// Records that the family was removed from the record.
    pub(crate) fn note_removed(&mut self, family: Family) {
        self.set.remove(&family.number());
        self.missing.remove(&family.number());
    }

    /// Records a failed run. Returns whether this kind of failure was not reported yet.
    pub(crate) fn note_failure(&mut self, kind: &str) -> bool {
        self.told.is_new(kind)
    }

    /// Records a successful run. Returns whether something had failed before.
    pub(crate) fn note_success(&mut self) -> bool {
        self.told.clear()
    }
}

/// The state folder, checked.
#[derive(Clone, Debug)]
pub(crate) struct StateDir {
    path: PathBuf,
}

impl StateDir {
    /// Opens the folder, creates it (mode 0700) if it does not exist, and tests whether files can be created in it.
    pub(crate) fn open(path: &Path) -> Result<Self, StateError> {
        let dir = Self::at(path)?;
        if !exists(&dir.path)? {
            let mut builder = fs::DirBuilder::new();
            builder.recursive(true);
            #[cfg(unix)]
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
            builder
                .create(&dir.path)
                .map_err(|cause| failure(&dir.path, "create it", cause))?;
        }
        dir.check()?;
        Ok(dir)
    }

    /// Whether [`StateDir::open`] would succeed, as far as this can be known; creates nothing.
    pub(crate) fn probe(path: &Path) -> Result<Self, StateError> {
        let dir = Self::at(path)?;
        if exists(&dir.path)? {
            dir.check()?;
            return Ok(dir);
        }
        // The nearest existing folder must allow creating a new one.
        for parent in dir.path.ancestors().skip(1) {
            if exists(parent)? {
                writable(parent).map_err(|cause| failure(&dir.path, "create it", cause))?;
                break;
            }
        }
        Ok(dir)
    }

    fn at(path: &Path) -> Result<Self, StateError> {
        let path = std::path::absolute(path).map_err(|cause| failure(path, "find it", cause))?;
        Ok(Self { path })
    }

    fn check(&self) -> Result<(), StateError> {
        let path = &self.path;
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            let metadata =
                fs::metadata(path).map_err(|cause| failure(path, "inspect it", cause))?;
            let me = rustix::process::geteuid().as_raw();
            let refused = |why| {
                let path = path.clone();
                Err(StateError::Open { path, why })
            };
            if metadata.mode() & 0o022 != 0 {
                return refused("other users can write in it");
            }
            // Whom root trusts is judged by the settings.
            if me != 0 && metadata.uid() != me && metadata.uid() != 0 {
                return refused("it belongs to another user");
            }
        }
        writable(path).map_err(|cause| failure(path, "write in it", cause))
    }

    /// The folder's path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn file(&self, hub: &str, silo: &SiloId, hostname: &Hostname) -> PathBuf {
        // None of the three contains a newline.
        let key = format!("{hub}\n{silo}\n{hostname}");
        let digest = ring::digest::digest(&ring::digest::SHA256, key.as_bytes());
        let digest: String = digest
            .as_ref()
            .iter()
            .take(12)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        self.path.join(format!("record-{digest}.json"))
    }

    /// The state of a record. An invalid file counts as missing.
    pub(crate) fn recall(
        &self,
        hub: &str,
        silo: &SiloId,
        hostname: &Hostname,
    ) -> Result<Memory, StateError> {
        let path = self.file(hub, silo, hostname);
        let nothing = Memory::new(hub, silo, hostname);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(nothing),
            Err(cause) => return Err(failure(&path, "read it", cause)),
        };
        Ok(serde_json::from_slice(&bytes)
            .ok()
            .filter(|found: &Memory| {
                (&found.hub, &found.silo, &found.hostname)
                    == (&nothing.hub, &nothing.silo, &nothing.hostname)
            })
            .unwrap_or(nothing))
    }

    /// Saves the state; the file is replaced atomically.
    pub(crate) fn remember(
        &self,
        silo: &SiloId,
        hostname: &Hostname,
        memory: &Memory,
    ) -> Result<(), StateError> {
        let path = self.file(&memory.hub, silo, hostname);
        let fail = |cause| failure(&path, "write it", cause);
        let json = serde_json::to_vec(memory).map_err(|cause| fail(cause.into()))?;
        // A separate file, since another schedule may run at the same time.
        let temp = path.with_extension(format!("{}.tmp", std::process::id()));
        private_file::replace(&path, &temp, &json).map_err(fail)
    }
}

fn failure(path: &Path, doing: &'static str, cause: io::Error) -> StateError {
    StateError::Io {
        path: path.to_owned(),
        doing,
        cause,
    }
}

fn exists(path: &Path) -> Result<bool, StateError> {
    path.try_exists()
        .map_err(|cause| failure(path, "inspect it", cause))
}

/// Whether this user may create files in a folder (access(2) with the effective user).
#[cfg(unix)]
fn writable(folder: &Path) -> io::Result<()> {
    use rustix::fs::{Access, AtFlags, CWD, accessat};
    let access = Access::WRITE_OK | Access::EXEC_OK;
    Ok(accessat(CWD, folder, access, AtFlags::EACCESS)?)
}

#[cfg(not(unix))]
fn writable(folder: &Path) -> io::Result<()> {
    match fs::metadata(folder)?.is_dir() {
        true => Ok(()),
        false => Err(io::ErrorKind::NotADirectory.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(3600);
    const MINUTE: u64 = 60_000;

    /// Whether IPv6 counts as missing long enough after runs at these minutes.
    fn is_gone(minutes: &[u64]) -> bool {
        let mut memory = Memory::default();
        for at in minutes {
            memory.note_missing(Family::V6, at * MINUTE, LIMIT);
        }
        memory.is_gone(Family::V6, LIMIT)
    }

    #[test]
    fn only_time_between_runs_that_found_it_missing_counts() {
        let every_five: Vec<u64> = (0..=60).step_by(5).map(|minute| 1000 + minute).collect();
        let cases: [(&[u64], bool); 10] = [
            (&every_five, true),
            (&every_five[1..], false),
            (&[1000], false),
            // Two runs do not observe the time between them.
            (&[1000, 1060], false),
            (&[1000, 11_000], false),
            (&[1000, 1030, 1060], true),
            (&[1000, 2000, 3000], true),
            // Restarted, or the wall clock was set back: the time between does not count.
            (&[1000, 1030, 10, 39], false),
            (&[1000, 1030, 10, 40], true),
            // The stored time is ahead of now.
            (&[u64::MAX / MINUTE, 1000, 1029], false),
        ];
        for (minutes, gone) in cases {
            assert_eq!(is_gone(minutes), gone, "{minutes:?}");
        }
    }

    #[test]
    fn a_family_that_is_found_again_counts_from_the_beginning() {
        let mut memory = Memory::default();
        assert!(memory.note_missing(Family::V6, 0, LIMIT));
        assert!(!memory.note_missing(Family::V6, 30 * MINUTE, LIMIT));
        assert!(memory.note_found(Family::V6));
        assert!(!memory.note_found(Family::V6));
        assert!(memory.note_missing(Family::V6, 60 * MINUTE, LIMIT));
        assert!(!memory.is_gone(Family::V6, LIMIT));
        assert!(!memory.is_gone(Family::V4, LIMIT));
    }

    #[test]
    fn only_an_address_set_by_this_agent_may_be_removed() {
        let addresses = |text: &str| -> Addresses {
            text.split(' ')
                .map(|ip| ip.parse::<std::net::IpAddr>().unwrap())
                .collect()
        };
        let mut memory = Memory::default();
        assert!(!memory.has_set(Family::V6, &addresses("fd00::5")));
        assert!(!memory.has_set(Family::V6, &Addresses::default()));
        memory.note_set(&addresses("10.0.0.5 fd00::5"));
        memory.note_set(&addresses("10.0.0.6"));
        assert!(memory.has_set(Family::V6, &addresses("10.0.0.5 fd00::5")));
        assert!(!memory.has_set(Family::V6, &addresses("fd00::6")));
        assert!(!memory.has_set(Family::V6, &addresses("10.0.0.5")));
        assert!(!memory.has_set(Family::V4, &addresses("10.0.0.5")));
        memory.note_removed(Family::V6);
        assert!(!memory.has_set(Family::V6, &addresses("fd00::5")));
    }

    #[cfg(unix)]
    #[test]
    fn the_state_is_private_and_read_back() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/state");
        assert!(StateDir::probe(&path).is_ok() && !path.exists());
        let state = StateDir::open(&path).unwrap();
        let (silo, name) = (
            SiloId::parse("office").unwrap(),
            Hostname::parse("db").unwrap(),
        );
        let mut memory = state.recall("http://hub", &silo, &name).unwrap();
        memory.note_failure("down");
        memory.note_missing(Family::V6, 7, LIMIT);
        state.remember(&silo, &name, &memory).unwrap();
        assert_eq!(state.recall("http://hub", &silo, &name).unwrap(), memory);
        assert_ne!(state.recall("http://other", &silo, &name).unwrap(), memory);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o700);
        let files: Vec<PathBuf> = fs::read_dir(&path)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert_eq!(files.len(), 1, "{files:?}");
        assert_eq!(mode(&files[0]), 0o600);
        fs::write(&files[0], "{").unwrap();
        let forgotten = state.recall("http://hub", &silo, &name).unwrap();
        assert_eq!(forgotten, Memory::new("http://hub", &silo, &name));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(StateDir::open(&path).is_err() && StateDir::probe(&path).is_err());
    }
}
