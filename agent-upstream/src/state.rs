//! The state folder: data about each record, kept between runs. Without one, a run still reports addresses, but removes
//! none and prints ongoing failures every time.
//!
//! One file for each hub, silo and hostname, and one for what a hook is owed of it; mode 0600, replaced atomically.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use silo_shared::client::{Database, HubClient};
use silo_shared::config::ConfigError;
use silo_shared::fact::seconds;
use silo_shared::outage::ReportedFailures;
use silo_shared::silo::{Addresses, Family, Hostname, SiloId};
use silo_shared::{held, private_file};
use thiserror::Error;

/// Why the state folder can't be used.
#[derive(Debug, Error)]
pub(crate) enum StateError {
    /// The folder or a file in it can't be created, read or written.
    #[error("state folder: {}: cannot {doing}: {cause}{}", .path.display(), held::advice(.cause))]
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
    /// The hub's addresses after the last successful run.
    reported: Vec<std::net::IpAddr>,
    /// When that was (RFC 3339).
    last_success: Option<String>,
    /// What has failed in every run since then.
    failing: Option<Failing>,
}

/// An ongoing failure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failing {
    /// When a run first failed (RFC 3339).
    pub(crate) since: String,
    /// What the last run printed about it.
    pub(crate) words: String,
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
    silo_shared::clock::monotonic_ms()
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
    pub(crate) fn note_failure(&mut self, kind: &str, words: &str, now: Timestamp) -> bool {
        let failing = self.failing.get_or_insert_with(|| Failing {
            since: seconds(now),
            words: String::new(),
        });
        words.clone_into(&mut failing.words);
        self.told.is_new(kind)
    }

    /// Records a successful run, after which the hub has these addresses. Returns whether something had failed before.
    pub(crate) fn note_success(&mut self, addresses: &Addresses, now: Timestamp) -> bool {
        self.failing = None;
        self.reported = addresses.iter().collect();
        self.last_success = Some(seconds(now));
        self.told.clear()
    }

    /// The hub's addresses after the last successful run.
    pub(crate) fn reported(&self) -> &[std::net::IpAddr] {
        &self.reported
    }

    /// When the last successful run was.
    pub(crate) fn last_success(&self) -> Option<Timestamp> {
        self.last_success.as_ref()?.parse().ok()
    }

    /// What has failed in every run since then.
    pub(crate) fn failing(&self) -> Option<&Failing> {
        self.failing.as_ref()
    }
}

/// The state folder, checked.
#[derive(Clone, Debug)]
pub(crate) struct StateDir {
    path: PathBuf,
}

impl StateDir {
    /// Opens the folder, creates it for this user alone if it does not exist, and tests whether files can be created in it.
    pub(crate) fn open(path: &Path) -> Result<Self, StateError> {
        let dir = Self::at(path)?;
        if !exists(&dir.path)? {
            private_file::create_folder(&dir.path)
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

    /// The folder, not checked.
    pub(crate) fn at(path: &Path) -> Result<Self, StateError> {
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

    fn file(&self, kind: &str, hub: &str, silo: &str, hostname: &str) -> PathBuf {
        // None of the three contains a newline.
        let key = format!("{hub}\n{silo}\n{hostname}");
        self.path.join(format!("{kind}-{}.json", digest(&key)))
    }

    /// The file with the changes of a record of which a hook was not told yet.
    pub(crate) fn hook_file(
        &self,
        hub: &str,
        silo: impl AsRef<str>,
        hostname: impl AsRef<str>,
    ) -> PathBuf {
        self.file("hook", hub, silo.as_ref(), hostname.as_ref())
    }

    /// The file with the database of several hubs.
    fn database_file(&self, client: &HubClient) -> PathBuf {
        let name = format!("database-{}.json", digest(client.key()));
        self.path.join(name)
    }

    /// Lets a client of several hubs expect the database of the last run. An invalid file counts as missing.
    pub(crate) fn expect_database(&self, client: &HubClient) -> Result<(), StateError> {
        if client.has_several_hubs()
            && let Some(known) = self.read_json(&self.database_file(client))?
        {
            client.expect_database(known);
        }
        Ok(())
    }

    /// Saves the database of several hubs for the next run.
    pub(crate) fn keep_database(&self, client: &HubClient) -> Result<(), StateError> {
        let path = self.database_file(client);
        match client.database() {
            Some(now) if client.has_several_hubs() => {
                let known: Option<Database> = self.read_json(&path)?;
                if known.as_ref() == Some(&now) {
                    return Ok(());
                }
                self.write_json(&path, &now)
            }
            _ => Ok(()),
        }
    }

    /// The state of a record. An invalid file counts as missing.
    pub(crate) fn recall(
        &self,
        hub: &str,
        silo: &SiloId,
        hostname: &Hostname,
    ) -> Result<Memory, StateError> {
        let path = self.file("record", hub, silo.as_str(), hostname.as_str());
        let nothing = Memory::new(hub, silo, hostname);
        let is_its = |found: &Memory| {
            (&found.hub, &found.silo, &found.hostname)
                == (&nothing.hub, &nothing.silo, &nothing.hostname)
        };
        let found = self.read_json(&path)?.filter(is_its);
        Ok(found.unwrap_or(nothing))
    }

    /// Saves the state; the file is replaced atomically.
    pub(crate) fn remember(
        &self,
        silo: &SiloId,
        hostname: &Hostname,
        memory: &Memory,
    ) -> Result<(), StateError> {
        let (silo, hostname) = (silo.as_str(), hostname.as_str());
        self.write_json(&self.file("record", &memory.hub, silo, hostname), memory)
    }

    /// Deletes the state of a record.
    pub(crate) fn forget(
        &self,
        hub: &str,
        silo: &SiloId,
        hostname: &Hostname,
    ) -> Result<(), StateError> {
        self.delete(&self.file("record", hub, silo.as_str(), hostname.as_str()))
    }

    /// Reads a file of the folder; `None` if there is none, or an invalid one.
    pub(crate) fn read_json<T: DeserializeOwned>(
        &self,
        path: &Path,
    ) -> Result<Option<T>, StateError> {
        match held::read(path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(failure(path, "read it", cause)),
        }
    }

    /// Replaces a file of the folder atomically.
    pub(crate) fn write_json(&self, path: &Path, value: &impl Serialize) -> Result<(), StateError> {
        let fail = |cause| failure(path, "write it", cause);
        let json = serde_json::to_vec(value).map_err(|cause| fail(cause.into()))?;
        // A separate file, since another schedule may run at the same time.
        let temp = path.with_extension(format!("{}.tmp", std::process::id()));
        private_file::replace(path, &temp, &json).map_err(fail)
    }

    /// Deletes a file of the folder, if it exists.
    pub(crate) fn delete(&self, path: &Path) -> Result<(), StateError> {
        match held::remove(path) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                Err(failure(path, "delete it", cause))
            }
            _ => Ok(()),
        }
    }
}

/// The part of a file's name that identifies what is in it.
fn digest(key: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, key.as_bytes());
    let bytes = digest.as_ref().iter().take(12);
    bytes.map(|byte| format!("{byte:02x}")).collect()
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
    if fs::metadata(folder)?.is_dir() {
        Ok(())
    } else {
        Err(io::ErrorKind::NotADirectory.into())
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
