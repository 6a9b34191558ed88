//! What the worker must not forget: what it made of each name, and what it was about to make of it.

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

/// How the file of a name ends.
const NAME: &str = ".name";
/// The file that is locked while a worker is at work.
const LOCK: &str = "lock";
/// The most names of the state folder that are looked at.
const MAX_NAMES: usize = 1_000_000;
/// The form of the files.
const VERSION: u32 = 1;

/// What was made of a name, or begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Which name.
    pub(super) zone_name: ZoneName,
    /// What goes; for whoever has to look after it by hand.
    pub(super) old: Vec<IpAddr>,
    /// What shall stand there, by our hand.
    pub(super) new: Addresses,
    /// What else may stand there by our hand as long as this is not finished.
    pub(super) earlier: Vec<IpAddr>,
    /// Whether it was seen to the end.
    pub(super) finished: bool,
}

impl Entry {
    /// What may stand there by our hand.
    pub(super) fn ours(&self) -> impl Iterator<Item = IpAddr> {
        self.new.iter().chain(self.earlier.iter().copied())
    }

    /// The same, seen to the end.
    pub(super) fn finish(self) -> Self {
        Self {
            old: Vec::new(),
            earlier: Vec::new(),
            finished: true,
            ..self
        }
    }

    /// Whether the name may be missing at Plesk because we took it away, for good or for a moment.
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

/// The folder with an entry a name.
#[derive(Debug)]
pub(super) struct State {
    folder: Folder,
    me: Uid,
}

/// Held while a worker is at work; the end of the program ends it.
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

    /// Locks the folder; `None`: another worker has it.
    pub(super) fn lock(&self) -> io::Result<Option<Lock>> {
        let file = self.folder.lock_file(LOCK)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Where it lies, for messages.
    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// What is known of a name. A broken file is told and counts as none.
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
        warn!("{}: {name}: passed over: {words}", self.path().display());
        None
    }

    /// Writes down what is known of a name, on the disk.
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

    /// Forgets a name.
    pub(super) fn forget(&self, id: &JobId) -> io::Result<()> {
        self.folder.remove(&format!("{id}{NAME}"))
    }

    /// The names of which something was begun and not seen to the end.
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
        return Err(format!("version {} is not known here", file.version));
    }
    let zone_name = ZoneName::parse(&file.zone, &file.label).map_err(|error| error.to_string())?;
    if JobId::of(&zone_name) != *id {
        return Err(format!("is not of {zone_name}"));
    }
    // What Plesk showed need not be an address that a record of ours can hold.
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
