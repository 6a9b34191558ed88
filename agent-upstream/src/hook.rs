//! The setting `on_change`: which changes its program was not told of yet, and the call of the program.
//!
//! The changes that are owed are in the state folder from before they are sent until the program has succeeded, so that
//! one that failed, or that a crash prevented, runs again. Each record has a file of its own, whatever program is
//! configured: neither another program nor another list of records loses a change.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde::{Deserialize, Serialize};
use silo_shared::hook::{Hook, HookError, HookInput};
use silo_shared::silo::Addresses;

use crate::record::Record;
use crate::settings::Settings;
use crate::state::{StateDir, StateError};

/// A change of a record by this agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Change {
    silo: String,
    hostname: String,
    /// The addresses before; empty if the record is new.
    before: Vec<IpAddr>,
    /// The addresses now, or those that were sent if the hub's answer was lost.
    addresses: Vec<IpAddr>,
    /// The hub's revision, if it said one.
    revision: Option<i64>,
    /// Whether it was made, as far as this agent knows.
    answered: bool,
}

impl Change {
    /// A change of this record that is about to be sent.
    pub(crate) fn planned(record: &Record, before: &Addresses, addresses: &Addresses) -> Self {
        Self {
            silo: record.silo.to_string(),
            hostname: record.hostname.to_string(),
            before: before.iter().collect(),
            addresses: addresses.iter().collect(),
            revision: None,
            answered: false,
        }
    }

    /// A change that the hub has answered.
    pub(crate) fn made(
        record: &Record,
        before: &Addresses,
        addresses: &Addresses,
        revision: Option<i64>,
    ) -> Self {
        Self {
            revision,
            answered: true,
            ..Self::planned(record, before, addresses)
        }
    }

    fn told(&self) -> Told<'_> {
        Told {
            silo: &self.silo,
            hostname: &self.hostname,
            before: &self.before,
            addresses: &self.addresses,
            revision: self.revision,
        }
    }

    fn is_of(&self, record: &Record) -> bool {
        self.silo == record.silo.as_str() && self.hostname == record.hostname.as_str()
    }
}

/// A change, as the program is told of it.
#[derive(Serialize)]
struct Told<'a> {
    silo: &'a str,
    hostname: &'a str,
    before: &'a [IpAddr],
    addresses: &'a [IpAddr],
    revision: Option<i64>,
}

/// The changes that the program was not told of yet: of each record at most one that was made, and after it one whose
/// answer is missing.
#[derive(Debug, Default)]
pub(crate) struct Owed {
    /// `None`: they are kept in memory only.
    dir: Option<StateDir>,
    hub: String,
    changes: Vec<Change>,
}

/// What the program is told next.
#[derive(Debug)]
pub(crate) struct Due {
    changes: Vec<Change>,
    input: HookInput,
}

impl Owed {
    /// What earlier runs left of these records. Nothing if there is no hook.
    pub(crate) fn recall(settings: &Settings, dir: &StateDir) -> Result<Self, StateError> {
        let hub = settings.connection.key().as_str();
        let mut owed = Self {
            dir: Some(dir.clone()),
            hub: hub.to_owned(),
            changes: Vec::new(),
        };
        if settings.hook.is_none() {
            return Ok(owed);
        }
        for record in &settings.records {
            let file = dir.hook_file(hub, &record.silo, &record.hostname);
            let left: Vec<Change> = dir.read_json(&file)?.unwrap_or_default();
            let its = left.into_iter().filter(|change| change.is_of(record));
            owed.changes.extend(its);
        }
        Ok(owed)
    }

    /// Forgets what is owed if there is no hook any more: a later one is not told of changes from before.
    pub(crate) fn forget_without_hook(
        settings: &Settings,
        dir: &StateDir,
    ) -> Result<(), StateError> {
        if settings.hook.is_some() {
            return Ok(());
        }
        let hub = settings.connection.key().as_str();
        let mut records = settings.records.iter();
        records
            .try_for_each(|record| dir.delete(&dir.hook_file(hub, &record.silo, &record.hostname)))
    }

    /// Takes over what was kept in memory while the state folder could not be used.
    pub(crate) fn adopt(&mut self, kept: Self, records: &[Record]) -> Result<(), StateError> {
        if kept.dir.is_some() {
            return Ok(());
        }
        for change in kept.changes {
            if let Some(record) = records.iter().find(|record| change.is_of(record)) {
                self.add(record, change)?;
            }
        }
        Ok(())
    }

    /// Whether the program was not told of a change that was made.
    pub(crate) fn is_owed(&self) -> bool {
        self.changes.iter().any(|change| change.answered)
    }

    fn take(&mut self, record: &Record, answered: bool) -> Option<Change> {
        let is_it = |change: &Change| change.is_of(record) && change.answered == answered;
        let at = self.changes.iter().position(is_it)?;
        Some(self.changes.remove(at))
    }

    /// Adds a change. It takes the place of an earlier one of the same record, whose addresses before it keeps; but one
    /// that is about to be sent takes no place of one that was made, which stays owed if the hub refuses this one.
    pub(crate) fn add(&mut self, record: &Record, change: Change) -> Result<(), StateError> {
        let planned = self.take(record, false);
        let made = if change.answered {
            self.take(record, true)
        } else {
            None
        };
        let before = made.or(planned).map(|earlier| earlier.before);
        self.changes.push(Change {
            before: before.unwrap_or(change.before),
            ..change
        });
        self.save(record)
    }

    /// The hub refused the change of this record.
    pub(crate) fn cancel(&mut self, record: &Record) -> Result<(), StateError> {
        match self.take(record, false) {
            Some(_) => self.save(record),
            None => Ok(()),
        }
    }

    /// The hub has the right addresses: a change of this record whose answer was lost was made.
    pub(crate) fn confirm(&mut self, record: &Record) -> Result<(), StateError> {
        match self.take(record, false) {
            Some(planned) => self.add(
                record,
                Change {
                    answered: true,
                    ..planned
                },
            ),
            None => Ok(()),
        }
    }

    fn save(&self, record: &Record) -> Result<(), StateError> {
        let of_record = self.changes.iter().filter(|change| change.is_of(record));
        let (silo, hostname) = (record.silo.as_str(), record.hostname.as_str());
        self.save_changes(silo, hostname, &of_record.collect::<Vec<_>>())
    }

    fn save_changes(
        &self,
        silo: &str,
        hostname: &str,
        changes: &[&Change],
    ) -> Result<(), StateError> {
        let Some(dir) = &self.dir else {
            return Ok(());
        };
        let file = dir.hook_file(&self.hub, silo, hostname);
        if changes.is_empty() {
            dir.delete(&file)
        } else {
            dir.write_json(&file, &changes)
        }
    }

    /// What the program is to be told; `None`: nothing.
    pub(crate) fn due(&self) -> Option<Due> {
        let made = self.changes.iter().filter(|change| change.answered);
        let changes: Vec<Change> = made.cloned().collect();
        (!changes.is_empty()).then(|| Due {
            input: input(&changes),
            changes,
        })
    }

    /// The program was told of these. What has changed since stays owed.
    pub(crate) fn paid(&mut self, told: &[Change]) -> Result<(), StateError> {
        for told in told {
            let is_its = |change: &Change| {
                change.answered && change.silo == told.silo && change.hostname == told.hostname
            };
            match self.changes.iter().position(is_its) {
                Some(at) if self.changes[at] == *told => {
                    self.changes.remove(at);
                }
                Some(at) => self.changes[at].before.clone_from(&told.addresses),
                None => {}
            }
            let left = self
                .changes
                .iter()
                .filter(|change| change.silo == told.silo && change.hostname == told.hostname);
            self.save_changes(&told.silo, &told.hostname, &left.collect::<Vec<_>>())?;
        }
        Ok(())
    }
}

impl Due {
    /// Runs the program, and returns what it was told. Killed once `stop` is true.
    pub(crate) async fn run(
        self,
        hook: Hook,
        stop: Arc<AtomicBool>,
    ) -> Result<Vec<Change>, PayError> {
        let Self { changes, input } = self;
        let running = tokio::task::spawn_blocking(move || hook.run(&input, &stop));
        running
            .await
            .map_err(|error| PayError::Thread(error.to_string()))??;
        Ok(changes)
    }
}

/// Runs the program if it is owed. If it fails, it stays owed.
pub(crate) async fn pay(
    owed: &mut Owed,
    hook: Option<&Hook>,
    stop: &Arc<AtomicBool>,
) -> Result<(), PayError> {
    let (Some(due), Some(hook)) = (owed.due(), hook) else {
        return Ok(());
    };
    let told = due.run(hook.clone(), Arc::clone(stop)).await?;
    Ok(owed.paid(&told)?)
}

/// What the program is told of these changes. One entry for each silo: its highest revision.
fn input(made: &[Change]) -> HookInput {
    let mut silos: Vec<(&str, i64)> = Vec::new();
    for change in made {
        let revision = change.revision.unwrap_or_default();
        match silos.iter_mut().find(|(silo, _)| *silo == change.silo) {
            Some((_, highest)) => *highest = revision.max(*highest),
            None => silos.push((&change.silo, revision)),
        }
    }
    let ids: Vec<&str> = silos.iter().map(|(silo, _)| *silo).collect();
    let revisions: Vec<String> = silos.iter().map(|(_, at)| at.to_string()).collect();
    let told: Vec<Told<'_>> = made.iter().map(Change::told).collect();
    let json = serde_json::json!({ "changes": told });
    HookInput {
        silo: ids.join(","),
        revision: revisions.join(","),
        file: None,
        json: format!("{json}\n").into_bytes(),
    }
}

/// Why the program is still owed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PayError {
    /// It failed.
    #[error(transparent)]
    Hook(#[from] HookError),
    /// It can't be noted that it succeeded.
    #[error(transparent)]
    State(#[from] StateError),
    /// It can't be waited for.
    #[error("on_change: {0}")]
    Thread(String),
}

#[cfg(test)]
#[path = "hook_tests.rs"]
mod tests;
