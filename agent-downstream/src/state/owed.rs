//! The owed hook and the status of the last runs, as the state folder holds them.

use std::io;
use std::path::Path;
use std::time::Duration;

use silo_shared::held;

use super::files::{StateError, error, read_if_there, write_whole};
use super::{LockedState, StateDir};
use crate::owed_hook::OwedHook;
use crate::run_status::RunStatus;

impl StateDir {
    /// The owed hook. An invalid file counts as one of which nothing more is known.
    pub(crate) fn owed_hook(&self, hosts: &Path) -> Result<Option<OwedHook>, StateError> {
        let bytes = read_if_there(&self.file("hook", hosts))?;
        Ok(bytes.map(|bytes| {
            serde_json::from_slice(&bytes).unwrap_or_else(|_| OwedHook {
                file: hosts.to_owned(),
                silos: Vec::new(),
            })
        }))
    }

    /// The status of the last runs. An invalid file counts as missing.
    pub(crate) fn status(&self, hosts: &Path) -> Result<RunStatus, StateError> {
        let bytes = read_if_there(&self.file("status", hosts))?.unwrap_or_default();
        Ok(serde_json::from_slice(&bytes).unwrap_or_default())
    }

    /// Saves the status under the lock, for which it waits at most this long. Returns whether it was saved: otherwise
    /// another run is writing, which saves its own.
    pub(crate) fn save_status(
        &self,
        hosts: &Path,
        status: &RunStatus,
        patience: Duration,
    ) -> Result<bool, StateError> {
        let _locked = match self.lock_within(patience) {
            Ok(locked) => locked,
            Err(StateError::Locked(..)) => return Ok(false),
            Err(error) => return Err(error),
        };
        let path = self.file("status", hosts);
        let json =
            serde_json::to_vec(status).map_err(|cause| error(&path, "write", cause.into()))?;
        write_whole(&path, &json)?;
        Ok(true)
    }
}

impl LockedState {
    /// Saves which hook is owed; `None`: none is.
    pub(crate) fn owe_hook(&self, hosts: &Path, owed: Option<&OwedHook>) -> Result<(), StateError> {
        let path = self.file("hook", hosts);
        match owed {
            Some(owed) => {
                let json = serde_json::to_vec(owed)
                    .map_err(|cause| error(&path, "write", cause.into()))?;
                write_whole(&path, &json)
            }
            None => match held::remove(&path) {
                Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                    Err(error(&path, "remove", cause))
                }
                _ => Ok(()),
            },
        }
    }
}
