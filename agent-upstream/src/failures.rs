//! Prints failures. With `--quiet`, each kind of failure is printed when it begins, and its end once; without a state
//! folder, it is printed in every run.

use std::collections::BTreeSet;

use jiff::Timestamp;
use silo_shared::client::HubClient;
use silo_shared::fact::Fact;
use silo_shared::outage::PendingFailures;
use silo_shared::output::Output;
use silo_shared::silo::{Addresses, Family, SiloId};

use crate::hook::{Change, Owed};
use crate::record::Record;
use crate::settings::Settings;
use crate::state::{Memory, StateDir, StateError};

/// The state of all records in a run, and the failures to print.
#[derive(Debug)]
pub(crate) struct Notes<'a> {
    settings: &'a Settings,
    output: &'a Output,
    now: Timestamp,
    dir: Option<StateDir>,
    /// Whether what is noted is known to the next run.
    is_kept: bool,
    records: Vec<Note<'a>>,
    owed: Owed,
    pending: Vec<(&'a SiloId, PendingFailures)>,
    state_error: Option<String>,
    is_ok: bool,
    is_state_ok: bool,
}

#[derive(Debug)]
struct Note<'a> {
    record: &'a Record,
    memory: Memory,
    before: Memory,
    is_failed: bool,
    /// The hub's addresses, once they are known to be correct.
    succeeded: Option<Addresses>,
}

/// What a process that stays keeps between two passes, in case the state folder can't be used.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    memories: Vec<Memory>,
    /// The changes of which the hook was not told yet.
    pub(crate) owed: Owed,
    /// What was printed about the state folder.
    state_error: Option<String>,
}

/// The result of a run.
#[derive(Debug)]
pub(crate) struct Finished {
    /// Whether nothing failed.
    pub(crate) is_ok: bool,
    /// Whether the state folder could be used, if it is needed.
    pub(crate) is_state_ok: bool,
    /// What to keep for the next pass.
    pub(crate) kept: Kept,
}

impl<'a> Notes<'a> {
    /// Loads the state of earlier runs. Reports a configured state folder that can't be used.
    pub(crate) fn recall(settings: &'a Settings, output: &'a Output, now: Timestamp) -> Self {
        Self::load(settings, output, now, None)
    }

    /// The same in a process that stays.
    pub(crate) fn resume(
        settings: &'a Settings,
        output: &'a Output,
        now: Timestamp,
        kept: Kept,
    ) -> Self {
        Self::load(settings, output, now, Some(kept))
    }

    fn load(
        settings: &'a Settings,
        output: &'a Output,
        now: Timestamp,
        kept: Option<Kept>,
    ) -> Self {
        let mut notes = Self {
            settings,
            output,
            now,
            dir: None,
            is_kept: true,
            records: Vec::new(),
            owed: Owed::default(),
            pending: Vec::new(),
            state_error: None,
            is_ok: true,
            is_state_ok: true,
        };
        match notes.read() {
            Ok((dir, records, owed)) => {
                notes.dir = Some(dir);
                notes.records = records;
                notes.owed = owed;
                let kept = kept.unwrap_or_default().owed;
                let adopted = notes.owed.adopt(kept, &settings.records);
                notes.note_state_error(Some(adopted));
            }
            Err(error) => {
                tracing::debug!("{error}");
                let mut error = error.to_string();
                if settings.hook.is_some() {
                    error += "; a run of on_change that fails is not repeated by a later run";
                }
                notes.is_kept = kept.is_some();
                let mut kept = kept.unwrap_or_default();
                notes.owed = kept.owed;
                if settings.needs_state {
                    (notes.is_ok, notes.is_state_ok) = (false, false);
                    if kept.state_error.as_ref() != Some(&error) {
                        notes.print_state_error(&error);
                    }
                    notes.state_error = Some(error);
                }
                kept.memories
                    .resize_with(settings.records.len(), Memory::default);
                let records = settings.records.iter().zip(kept.memories);
                notes.records = records
                    .map(|(record, kept)| Note::new(record, kept))
                    .collect();
            }
        }
        notes
    }

    fn read(&self) -> Result<(StateDir, Vec<Note<'a>>, Owed), StateError> {
        let settings = self.settings;
        settings.check_state_folder()?;
        let dir = StateDir::open(&settings.state_dir)?;
        let hub = settings.connection.key().as_str();
        let mut records = Vec::new();
        for record in &settings.records {
            let memory = dir.recall(hub, &record.silo, &record.hostname)?;
            records.push(Note::new(record, memory));
        }
        let owed = Owed::recall(settings, &dir)?;
        Owed::forget_without_hook(settings, &dir)?;
        Ok((dir, records, owed))
    }

    /// Lets a client of several hubs expect the database of the last run.
    pub(crate) fn expect_database(&mut self, client: &HubClient) {
        let result = self.dir.as_ref().map(|dir| dir.expect_database(client));
        self.note_state_error(result);
    }

    /// Saves the database of several hubs for the next run.
    pub(crate) fn keep_database(&mut self, client: &HubClient) {
        let result = self.dir.as_ref().map(|dir| dir.keep_database(client));
        self.note_state_error(result);
    }

    fn note_state_error(&mut self, result: Option<Result<(), StateError>>) {
        if let Some(Err(error)) = result {
            (self.is_ok, self.is_state_ok) = (false, false);
            self.print_state_error(&error.to_string());
        }
    }

    /// The state of a record; `None` if the next run would not know it.
    pub(crate) fn memory(&mut self, record: &Record) -> Option<&mut Memory> {
        if !self.is_kept {
            return None;
        }
        let mut records = self.records.iter_mut();
        let note = records.find(|note| note.record == record)?;
        Some(&mut note.memory)
    }

    /// Records that it is unknown which families this machine has: none counts as missing in this run.
    pub(crate) fn note_undiscovered(&mut self, record: &Record) {
        if let Some(memory) = self.memory(record) {
            for family in [Family::V4, Family::V6] {
                memory.note_found(family);
            }
        }
    }

    /// Records a failure of these records, and prints it, unless an earlier `--quiet` run has printed it.
    pub(crate) fn fail(&mut self, records: &[&'a Record], kind: &str, words: &str) {
        self.is_ok = false;
        let mut is_new = !self.is_kept;
        for note in &mut self.records {
            if records.contains(&note.record) {
                note.is_failed = true;
                is_new |= note.memory.note_failure(kind, words, self.now);
            }
        }
        for (silo, names) in by_silo(records.iter().copied()) {
            if !self.output.is_quiet() {
                self.print_error(silo, &names.join(", "), words);
            } else if is_new {
                self.pending_of(silo).add(names, words);
            }
        }
    }

    /// Records that the hub has the right addresses of a record: these.
    pub(crate) fn succeed(&mut self, record: &Record, addresses: &Addresses) {
        let mut records = self.records.iter_mut();
        if let Some(note) = records.find(|note| note.record == record) {
            note.succeeded = Some(*addresses);
        }
    }

    /// Records that a change is about to be sent, of which the hook is told if there is one.
    pub(crate) fn owe(&mut self, record: &Record, change: Change) -> Result<(), StateError> {
        match self.settings.hook {
            Some(_) => self.owed.add(record, change),
            None => Ok(()),
        }
    }

    /// Records that the hub has the right addresses, by this change; `None`: it had them before.
    pub(crate) fn settle(
        &mut self,
        record: &Record,
        change: Option<Change>,
    ) -> Result<(), StateError> {
        match (change, &self.settings.hook) {
            (Some(change), Some(_)) => self.owed.add(record, change),
            (None, Some(_)) => self.owed.confirm(record),
            (_, None) => Ok(()),
        }
    }

    /// Records that the hub refused a change.
    pub(crate) fn cancel(&mut self, record: &Record) -> Result<(), StateError> {
        self.owed.cancel(record)
    }

    fn pending_of(&mut self, silo: &'a SiloId) -> &mut PendingFailures {
        let known = self.pending.iter().position(|(known, _)| *known == silo);
        let at = known.unwrap_or_else(|| {
            self.pending.push((silo, PendingFailures::default()));
            self.pending.len() - 1
        });
        &mut self.pending[at].1
    }

    fn print_error(&self, silo: &SiloId, names: &str, words: &str) {
        let fact = Fact::error(format_args!("{silo}: {names}: {words}")).about(silo);
        let names: Vec<&str> = names.split(", ").collect();
        self.output.tell_failure(&fact.with("hostnames", names));
    }

    /// An error of the state folder concerns all silos.
    fn print_state_error(&self, words: &str) {
        let silos = by_silo(&self.settings.records);
        let silos: Vec<&str> = silos.iter().map(|(silo, _)| silo.as_str()).collect();
        self.output
            .print_error(format_args!("{}: {words}", silos.join(", ")));
    }

    /// Prints the pending failures, and saves the state.
    pub(crate) fn finish(mut self) -> Finished {
        for (silo, pending) in std::mem::take(&mut self.pending) {
            for (names, words) in pending.into_lines() {
                self.print_error(silo, &names, &words);
            }
        }
        self.note_successes();
        self.save();
        let memories = self.records.into_iter().map(|note| note.memory);
        Finished {
            is_ok: self.is_ok,
            is_state_ok: self.is_state_ok,
            kept: Kept {
                memories: memories.collect(),
                owed: self.owed,
                state_error: self.state_error,
            },
        }
    }

    fn note_successes(&mut self) {
        let mut over = Vec::new();
        for note in &mut self.records {
            if let (Some(addresses), false) = (&note.succeeded, note.is_failed)
                && note.memory.note_success(addresses, self.now)
            {
                over.push(note.record);
            }
        }
        if self.output.is_quiet() {
            for (silo, names) in by_silo(over) {
                let text = format_args!("{}: recovered", names.join(", "));
                let fact = Fact::of_silo("recovered", silo, text);
                self.output.tell(&fact.with("hostnames", names));
            }
        }
    }

    fn save(&mut self) {
        let Some(dir) = &self.dir else {
            return;
        };
        let changed = self
            .records
            .iter()
            .filter(|note| note.memory != note.before);
        let failures: BTreeSet<String> = changed
            .filter_map(|note| {
                let Record { silo, hostname, .. } = note.record;
                dir.remember(silo, hostname, &note.memory).err()
            })
            .map(|error| error.to_string())
            .collect();
        for error in &failures {
            self.print_state_error(error);
        }
        self.is_ok &= failures.is_empty();
        self.is_state_ok &= failures.is_empty();
    }
}

impl<'a> Note<'a> {
    fn new(record: &'a Record, memory: Memory) -> Self {
        Self {
            record,
            before: memory.clone(),
            memory,
            is_failed: false,
            succeeded: None,
        }
    }
}

/// The names of these records, a list for each silo, in their order.
pub(crate) fn by_silo<'a>(
    records: impl IntoIterator<Item = &'a Record>,
) -> Vec<(&'a SiloId, Vec<&'a str>)> {
    let mut silos: Vec<(&SiloId, Vec<&str>)> = Vec::new();
    for record in records {
        let name = record.hostname.as_str();
        match silos.iter_mut().find(|(silo, _)| *silo == &record.silo) {
            Some((_, names)) => names.push(name),
            None => silos.push((&record.silo, vec![name])),
        }
    }
    silos
}
