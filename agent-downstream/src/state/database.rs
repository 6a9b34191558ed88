//! The database that the hubs of a configuration served in the last run, so that a hub of another installation is noticed.
//! Only for configurations with several hubs: a single one may have been set up again.

use std::path::PathBuf;

use silo_shared::client::{Database, HubClient};

use super::files::{error, read_if_there, write_unlocked};
use super::{StateDir, StateError};
use crate::digest::digest;

impl StateDir {
    fn database_path(&self, client: &HubClient) -> PathBuf {
        let hash = digest(client.key().as_bytes());
        self.path.join(format!("database-{}.json", &hash[..16]))
    }

    fn known_database(&self, client: &HubClient) -> Result<Option<Database>, StateError> {
        let bytes = read_if_there(&self.database_path(client))?;
        // An invalid file counts as missing.
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// Lets a client of several hubs expect the database of the last run.
    pub(crate) fn expect_database(&self, client: &HubClient) -> Result<(), StateError> {
        if client.has_several_hubs()
            && let Some(known) = self.known_database(client)?
        {
            client.expect_database(known);
        }
        Ok(())
    }

    /// Saves the database of several hubs. Without the lock: of overlapping runs, any may be the last.
    pub(crate) fn keep_database(&self, client: &HubClient) -> Result<(), StateError> {
        match client.database() {
            Some(now) if client.has_several_hubs() => {
                if self.known_database(client)?.as_ref() == Some(&now) {
                    return Ok(());
                }
                let path = self.database_path(client);
                let json = serde_json::to_vec(&now)
                    .map_err(|cause| error(&path, "write", cause.into()))?;
                write_unlocked(&path, &json)
            }
            _ => Ok(()),
        }
    }
}
