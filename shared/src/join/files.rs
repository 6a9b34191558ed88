//! The files of a join, all in the folder of the configuration, named after it: for `/etc/silo/upstream.yaml`
//!
//! - `upstream.token`: the token (0600).
//! - `upstream.join.pending`: what a join that was interrupted needs to go on (0600). Written before the hub is asked to
//!   make the token, and removed at the very end.
//! - `upstream.joined`: which token `join` made and what it wrote, for `leave`. It names no path, so that one who can
//!   change it can't make root remove other files.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::JoinError;
use super::terms::Terms;
use crate::credential::{Credential, TokenId};
use crate::held;
use crate::install::{Agent, disk};
use crate::invitation::Invitation;
use crate::private_file::{create_folder, replace};
use crate::silo::{Hostname, SiloId};

/// The format of both files.
const VERSION: u32 = 1;

/// The paths.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub(super) config: PathBuf,
    pub(super) token: PathBuf,
    pub(super) pending: PathBuf,
    pub(super) mark: PathBuf,
}

/// A join that was begun: the hub makes this token as soon as it is confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pending {
    pub(super) invitation: Invitation,
    pub(super) credential: Credential,
    pub(super) terms: Terms,
    /// Whether the folder of the configuration was made for it.
    pub(super) made_folder: bool,
}

/// As in the file. Without `Debug`: it has secrets.
#[derive(Serialize, Deserialize)]
struct StoredPending {
    version: u32,
    invitation: String,
    credential: String,
    role: String,
    silos: Vec<String>,
    hostnames: Vec<String>,
    made_folder: bool,
}

/// What `join` made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    version: u32,
    /// The id of the token.
    token: String,
    /// The id of the invitation.
    invitation: String,
    /// The SHA-256 of the configuration as it was written, in hexadecimal digits.
    configuration: String,
    /// Whether the folder was made for these files.
    pub(super) made_folder: bool,
    /// Whether `leave` has done all but to remove the files.
    #[serde(default)]
    pub(super) is_left: bool,
}

impl Places {
    pub(super) fn of(config: &Path) -> Self {
        Self {
            config: config.to_owned(),
            token: config.with_extension("token"),
            pending: config.with_extension("join.pending"),
            mark: config.with_extension("joined"),
        }
    }

    pub(super) fn folder(&self) -> &Path {
        self.config.parent().unwrap_or(Path::new("/"))
    }

    /// Whether the folder goes with the files in it: it is not there yet, or was made for those of the other agent, of
    /// which the last one removes it.
    pub(super) fn owns_folder(&self) -> bool {
        let folder = self.folder();
        let Ok(entries) = fs::read_dir(folder) else {
            return !folder.exists();
        };
        let mut marks = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|end| end == "joined"));
        marks.any(|path| {
            let mark = held::read(&path).ok();
            let mark: Option<Mark> = mark.and_then(|bytes| serde_json::from_slice(&bytes).ok());
            mark.is_some_and(|mark| mark.made_folder)
        })
    }

    /// Makes the folder with the mode that system folders have, since the upstream's user reads the configuration.
    pub(super) fn make_folder(&self) -> Result<(), JoinError> {
        let folder = self.folder();
        if cfg!(windows) {
            return create_folder(folder).map_err(JoinError::io(folder));
        }
        disk::make_folders(folder).map_err(JoinError::Install)
    }

    /// The earlier join that was interrupted.
    pub(super) fn pending(&self, agent: Agent) -> Result<Option<Pending>, JoinError> {
        let path = &self.pending;
        let Some(bytes) = read(path)? else {
            return Ok(None);
        };
        let wrong = || JoinError::Malformed(path.clone());
        let stored: StoredPending = serde_json::from_slice(&bytes).map_err(|_| wrong())?;
        if stored.version != VERSION {
            return Err(wrong());
        }
        let names = Some(&stored.hostnames[..]).filter(|names| !names.is_empty());
        Ok(Some(Pending {
            invitation: Invitation::parse(&stored.invitation).map_err(|_| wrong())?,
            credential: Credential::parse(&stored.credential).map_err(|_| wrong())?,
            terms: Terms::parse(agent, &stored.role, &stored.silos, names).map_err(|_| wrong())?,
            made_folder: stored.made_folder,
        }))
    }

    /// Writes it durably.
    pub(super) fn keep(&self, pending: &Pending, agent: Agent) -> Result<(), JoinError> {
        let stored = StoredPending {
            version: VERSION,
            invitation: pending.invitation.encode().expose().to_owned(),
            credential: pending.credential.expose().to_owned(),
            role: match agent {
                Agent::Upstream => "write".to_owned(),
                Agent::Downstream => "read".to_owned(),
            },
            silos: pending.terms.silos.iter().map(SiloId::to_string).collect(),
            hostnames: pending
                .terms
                .hostnames
                .iter()
                .map(Hostname::to_string)
                .collect(),
            made_folder: pending.made_folder,
        };
        let bytes = serde_json::to_vec(&stored).expect("it is plain data");
        write_private(&self.pending, &bytes)
    }

    /// Removes the pending join, unless another process has put its own there.
    pub(super) fn discard(&self, pending: &Pending, agent: Agent) -> Result<(), JoinError> {
        match self.pending(agent) {
            Ok(Some(found)) if found != *pending => Ok(()),
            _ => remove(&self.pending).map(drop),
        }
    }

    pub(super) fn write_token(&self, credential: &Credential) -> Result<(), JoinError> {
        let text = format!("{}\n", credential.expose());
        write_private(&self.token, text.as_bytes())
    }

    /// The credential in the token file; `None` if there is no file. One with something else is no token of ours.
    pub(super) fn credential(&self) -> Result<Option<Result<Credential, ()>>, JoinError> {
        let bytes = read(&self.token)?;
        Ok(bytes.map(|bytes| {
            let text = std::str::from_utf8(&bytes).map_err(drop)?;
            Credential::parse(text.trim()).map_err(drop)
        }))
    }

    pub(super) fn mark(&self) -> Result<Option<Mark>, JoinError> {
        let path = &self.mark;
        let Some(bytes) = read(path)? else {
            return Ok(None);
        };
        let mark: Option<Mark> = serde_json::from_slice(&bytes).ok();
        mark.filter(|mark| mark.version == VERSION)
            .map(Some)
            .ok_or_else(|| JoinError::Malformed(path.clone()))
    }

    pub(super) fn write_mark(&self, mark: &Mark) -> Result<(), JoinError> {
        let bytes = serde_json::to_vec(mark).expect("it is plain data");
        write_private(&self.mark, &bytes)
    }

    /// The configuration's bytes, if there is one.
    pub(super) fn configuration(&self) -> Result<Option<Vec<u8>>, JoinError> {
        read(&self.config)
    }

    /// All may read it: under systemd the upstream does not run as root, and no secret is in it.
    pub(super) fn write_configuration(&self, text: &str) -> Result<(), JoinError> {
        disk::write_file(&self.config, text.as_bytes())
            .and_then(|()| sync_folder(self.folder()))
            .map_err(JoinError::io(&self.config))
    }
}

impl Mark {
    pub(super) fn new(pending: &Pending, configuration: &str) -> Self {
        Self {
            version: VERSION,
            token: pending.credential.id().to_string(),
            invitation: pending.invitation.key().id().to_string(),
            configuration: hex(configuration.as_bytes()),
            made_folder: pending.made_folder,
            is_left: false,
        }
    }

    /// The same once `leave` has done all but to remove the files.
    pub(super) fn left(&self) -> Self {
        Self {
            is_left: true,
            ..self.clone()
        }
    }

    /// Whether it was made with this invitation.
    pub(super) fn is_of(&self, invitation: &Invitation) -> bool {
        self.invitation == invitation.key().id().as_str()
    }

    /// The id of the token that was made.
    pub(super) fn token(&self) -> Option<TokenId> {
        TokenId::parse(&self.token).ok()
    }

    /// Whether a configuration is as it was written.
    pub(super) fn wrote(&self, configuration: &[u8]) -> bool {
        self.configuration == hex(configuration)
    }
}

fn hex(bytes: &[u8]) -> String {
    let digest = digest(&SHA256, bytes);
    digest
        .as_ref()
        .iter()
        .fold(String::new(), |mut text, byte| {
            text += &format!("{byte:02x}");
            text
        })
}

/// The bytes of a file; `None` if it is not there.
fn read(path: &Path) -> Result<Option<Vec<u8>>, JoinError> {
    match held::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(JoinError::io(path)(error)),
    }
}

/// Removes a file; returns whether it was there.
pub(super) fn remove(path: &Path) -> Result<bool, JoinError> {
    match held::remove(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(JoinError::io(path)(error)),
    }
}

fn write_private(path: &Path, bytes: &[u8]) -> Result<(), JoinError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temp = path.with_file_name(format!(".{name}.tmp"));
    replace(path, &temp, bytes)
        .and_then(|()| sync_folder(path.parent().unwrap_or(Path::new("/"))))
        .map_err(JoinError::io(path))
}

/// After it, the names in a folder survive a power cut. Windows has no such call.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(windows) {
        return Ok(());
    }
    fs::File::open(folder)?.sync_all()
}
