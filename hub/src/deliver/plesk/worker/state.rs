//! The worker's persistent state: the finished and the started changes of each name.

use std::fs::TryLockError;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use rustix::process::Uid;
use serde::{Deserialize, Serialize};
use silo_shared::silo::Addresses;
use tracing::warn;

use super::super::job::{JobId, MAX_BYTES, stored_address, texts};
use super::super::zone_name::ZoneName;
use super::folder::{Folder, FolderError};

/// File extension of a name's file.
const NAME: &str = ".name";
/// The file that a running worker locks.
const LOCK: &str = "lock";
/// Maximum number of names read from the state folder.
const MAX_NAMES: usize = 1_000_000;
/// Format version of the files.
const VERSION: u32 = 1;

/// A change of a name, finished or started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The name.
    pub(super) zone_name: ZoneName,
    /// The addresses to remove; informational, for manual repair.
    pub(super) old: Vec<IpAddr>,
    /// The addresses that we want there.
    pub(super) new: Addresses,
    /// Other addresses of ours that may be there until the change is finished.
    pub(super) earlier: Vec<IpAddr>,
    /// Whether the change is finished.
    pub(super) finished: bool,
}

impl Entry {
    /// The addresses there that may be ours.
    pub(super) fn ours(&self) -> impl Iterator<Item = IpAddr> {
        self.new.iter().chain(self.earlier.iter().copied())
    }

    /// The same entry, finished.
    pub(super) fn finish(self) -> Self {
        Self {
            old: Vec::new(),
            earlier: Vec::new(),
            finished: true,
            ..self
        }
    }

    /// Whether the name may be missing at Plesk because we removed it, permanently or temporarily.
    pub(super) fn explains_absence(&self) -> bool {
        !self.finished || self.new.is_empty()
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryFile {
    version: u32,
    zone: String,
    label: String,
    old: Vec<String>,
    new: Vec<String>,
    earlier: Vec<String>,
    finished: bool,
}

/// The folder with one entry per name.
#[derive(Debug)]
pub(super) struct State {
    folder: Folder,
    me: Uid,
}

/// Held by a running worker, until the process ends.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "held, not used")] std::fs::File);

impl State {
    /// Opens the folder, which only root and `me` may change.
    pub(super) fn open(path: &Path, me: Uid) -> Result<Self, FolderError> {
        Ok(Self {
            folder: Folder::open(path, me)?,
            me,
        })
    }

    /// Locks the folder; `None`: another worker holds the lock.
    pub(super) fn lock(&self) -> io::Result<Option<Lock>> {
        let file = self.folder.lock_file(LOCK)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Its path, for messages.
    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The entry of a name. A broken file is logged and counts as none.
    pub(super) fn read(&self, id: &JobId) -> Option<Entry> {
        let name = format!("{id}{NAME}");
        let c_name = std::ffi::CString::new(name.as_str()).ok()?;
        let words = match self.folder.read(&c_name, self.me, MAX_BYTES) {
            Ok(None) => return None,
            Ok(Some(bytes)) => match parse(id, &bytes) {
                Ok(entry) => return Some(entry),
                Err(why) => why,
            },
            Err(error) => error.to_string(),
        };
        warn!("{}: {name}: skipped: {words}", self.path().display());
        None
    }

    /// Writes the entry of a name, durably.
    pub(super) fn write(&self, entry: &Entry) -> io::Result<()> {
        let file = EntryFile {
            version: VERSION,
            zone: entry.zone_name.zone().to_string(),
            label: entry.zone_name.label().to_owned(),
            old: texts(entry.old.iter().copied()),
            new: texts(entry.new.iter()),
            earlier: texts(entry.earlier.iter().copied()),
            finished: entry.finished,
        };
        let name = format!("{}{NAME}", JobId::of(&entry.zone_name));
        let bytes = serde_json::to_vec(&file).map_err(io::Error::from)?;
        self.folder.replace(&name, 0o600, &bytes)
    }

    /// Removes the entry of a name.
    pub(super) fn forget(&self, id: &JobId) -> io::Result<()> {
        self.folder.remove(&format!("{id}{NAME}"))
    }

    /// The names with a started but unfinished change.
    pub(super) fn unfinished(&self) -> io::Result<Vec<JobId>> {
        let mut ids = Vec::new();
        for name in self.folder.names(MAX_NAMES)? {
            let id = name
                .to_str()
                .ok()
                .and_then(|name| JobId::parse(name.strip_suffix(NAME)?));
            if let Some(id) = id
                && self.read(&id).is_some_and(|entry| !entry.finished)
            {
                ids.push(id);
            }
        }
        Ok(ids)
    }
}

fn parse(id: &JobId, bytes: &[u8]) -> Result<Entry, String> {
    let file: EntryFile = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if file.version != VERSION {
        return Err(format!("unknown version {}", file.version));
    }
    let zone_name = ZoneName::parse(&file.zone, &file.label).map_err(|error| error.to_string())?;
    if JobId::of(&zone_name) != *id {
        return Err(format!("is not of {zone_name}"));
    }
    // Plesk may show addresses that a record can't hold.
    let list = |texts: &[String]| {
        let ips = texts.iter().map(|text| text.parse::<IpAddr>());
        ips.collect::<Result<Vec<_>, _>>()
            .map_err(|error| error.to_string())
    };
    let new = file.new.iter().map(|text| stored_address(text));
    Ok(Entry {
        old: list(&file.old)?,
        new: new.collect::<Result<_, _>>()?,
        earlier: list(&file.earlier)?,
        finished: file.finished,
        zone_name,
    })
}
