//! `run.json` in the data directory: where the running hub is found, and a credential for its status that this process
//! alone accepts. It is readable by its owner only, and removed when the hub stops.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use silo_shared::credential::Credential;
use silo_shared::{held, private_file};

use super::data_dir::{DataDirError, beside};
use crate::domain::time::Time;

/// The file's name.
const NAME: &str = "run.json";

/// The content of the file.
#[derive(Serialize, Deserialize)]
pub(crate) struct RunDocument {
    /// The process.
    pub(crate) pid: u32,
    /// When it started.
    pub(crate) started_at: Time,
    /// Its version.
    pub(crate) version: String,
    /// The URL at which this machine reaches it.
    pub(crate) url: String,
    /// All addresses that it listens at, as URLs.
    pub(crate) listen: Vec<String>,
    /// The pin of its certificate's key.
    pub(crate) pin_sha256: Option<String>,
    /// The credential for `/status`.
    credential: String,
}

impl RunDocument {
    /// The credential for `/status`; `None`: the file is not one of a hub.
    pub(crate) fn credential(&self) -> Option<Credential> {
        Credential::parse(&self.credential).ok()
    }
}

/// Facts of a running hub for the file.
#[derive(Clone, Debug)]
pub(crate) struct Running {
    pub(crate) started_at: Time,
    pub(crate) url: String,
    pub(crate) listen: Vec<String>,
    pub(crate) pin_sha256: Option<String>,
}

/// The file of this process. Dropping it removes the file.
#[derive(Debug)]
pub(crate) struct RunFile {
    path: PathBuf,
}

/// The URL at which this machine reaches a listener: one on all addresses is on the loopback too.
pub(crate) fn reachable(url: &str) -> String {
    url.replace("://0.0.0.0:", "://127.0.0.1:")
        .replace("://[::]:", "://[::1]:")
}

/// The path of the file in a data directory.
pub(crate) fn path_in(data_dir: &Path) -> PathBuf {
    data_dir.join(NAME)
}

/// Reads the file; `None`: there is none.
pub(crate) fn read(data_dir: &Path) -> Result<Option<RunDocument>, DataDirError> {
    let path = path_in(data_dir);
    let text = match held::read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        text => text.map_err(DataDirError::file(&path))?,
    };
    let document = serde_json::from_slice(&text).map_err(|error| not_json(&path, &error))?;
    Ok(Some(document))
}

/// Without an excerpt, which might have the credential in it.
fn not_json(path: &Path, error: &serde_json::Error) -> DataDirError {
    let why = format!("not what a hub writes, at line {}", error.line());
    DataDirError::file(path)(std::io::Error::new(ErrorKind::InvalidData, why))
}

impl RunFile {
    /// Writes the file, in place of one that a killed hub left.
    pub(crate) fn write(
        data_dir: &Path,
        running: Running,
        credential: &Credential,
    ) -> Result<Self, DataDirError> {
        let path = path_in(data_dir);
        let document = RunDocument {
            pid: std::process::id(),
            started_at: running.started_at,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            url: running.url,
            listen: running.listen,
            pin_sha256: running.pin_sha256,
            credential: credential.expose().to_owned(),
        };
        let text = serde_json::to_vec_pretty(&document).map_err(|error| not_json(&path, &error))?;
        private_file::replace(&path, &beside(&path, ".new"), &text)
            .map_err(DataDirError::file(&path))?;
        Ok(Self { path })
    }
}

impl Drop for RunFile {
    fn drop(&mut self) {
        // Another hub with the same data directory, on a database server, may have replaced it.
        let mine = std::fs::read(&self.path).ok().and_then(|text| {
            let document: RunDocument = serde_json::from_slice(&text).ok()?;
            (document.pid == std::process::id()).then_some(())
        });
        if mine.is_some()
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!("{}: {error}", self.path.display());
        }
    }
}
