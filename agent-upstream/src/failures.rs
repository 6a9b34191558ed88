//! Prints failures. With `--quiet`, each kind of failure is printed when it begins, and its end once; without a state
//! folder, it is printed in every run.

use std::collections::BTreeSet;

use silo_shared::outage::PendingFailures;
use silo_shared::output::Output;
use silo_shared::silo::{Family, Hostname};

use crate::settings::Settings;
use crate::state::{Memory, StateDir, StateError};

/// The state of all hostnames in a run, and the failures to print.
#[derive(Debug)]
pub(crate) struct Notes<'a> {
    settings: &'a Settings,
    output: &'a Output,
    dir: Option<StateDir>,
    records: Vec<Note<'a>>,
    pending: PendingFailures,
    is_ok: bool,
}

#[derive(Debug)]
struct Note<'a> {
    hostname: &'a Hostname,
    memory: Memory,
    before: Memory,
    is_ok: bool,
}

impl<'a> Notes<'a> {
    /// Loads the state of earlier runs. Reports a configured state folder that can't be used.
    pub(crate) fn recall(settings: &'a Settings, output: &'a Output) -> Self {
        let mut notes = Self {
            settings,
            output,
            dir: None,
            records: Vec::new(),
            pending: PendingFailures::default(),
            is_ok: true,
        };
        match notes.read() {
            Ok((dir, records)) => {
                notes.dir = Some(dir);
                notes.records = records;
            }
            Err(error) => {
                tracing::debug!("{error}");
                if settings.needs_state {
                    notes.is_ok = false;
                    output.print_error(format_args!("{}: {error}", settings.silo));
                }
                let blank = |hostname| Note::new(hostname, Memory::default());
                notes.records = settings.hostnames.iter().map(blank).collect();
            }
        }
        notes
    }

    fn read(&self) -> Result<(StateDir, Vec<Note<'a>>), StateError> {
        let settings = self.settings;
        settings.check_state_folder()?;
        let dir = StateDir::open(&settings.state_dir)?;
        let hub = settings.connection.hub.as_str();
        let mut records = Vec::new();
        for hostname in &settings.hostnames {
            let memory = dir.recall(hub, &settings.silo, hostname)?;
            records.push(Note::new(hostname, memory));
        }
        Ok((dir, records))
    }

    /// The state of a record; `None` without a state folder.
    pub(crate) fn memory(&mut self, hostname: &Hostname) -> Option<&mut Memory> {
        self.dir.as_ref()?;
        let mut records = self.records.iter_mut();
        let note = records.find(|note| note.hostname == hostname)?;
        Some(&mut note.memory)
    }

    /// Records a failure before it is known which families this machine has: none counts as missing in this run.
    pub(crate) fn fail_before_discovery(&mut self, kind: &str, words: &str) {
        for note in &mut self.records {
            for family in [Family::V4, Family::V6] {
                note.memory.note_found(family);
            }
        }
        self.fail_all(kind, words);
    }

    /// Records a failure of all names.
    pub(crate) fn fail_all(&mut self, kind: &str, words: &str) {
        let all: Vec<&Hostname> = self.settings.hostnames.iter().collect();
        self.fail(&all, kind, words);
    }

    /// Records a failure of these names, and prints it, unless an earlier `--quiet` run has printed it.
    pub(crate) fn fail(&mut self, names: &[&'a Hostname], kind: &str, words: &str) {
        self.is_ok = false;
        let mut is_new = self.dir.is_none();
        for note in &mut self.records {
            if names.contains(&note.hostname) {
                note.is_ok = false;
                is_new |= note.memory.note_failure(kind);
            }
        }
        if !self.output.is_quiet() {
            self.print_error(&list(names), words);
        } else if is_new {
            self.pending.add(names, words);
        }
    }

    fn print_error(&self, names: &str, words: &str) {
        let silo = &self.settings.silo;
        self.output
            .print_error(format_args!("{silo}: {names}: {words}"));
    }

    /// Prints the pending failures and saves the state. Returns whether nothing failed.
    pub(crate) fn finish(mut self) -> bool {
        for (names, words) in std::mem::take(&mut self.pending).into_lines() {
            self.print_error(&names, &words);
        }
        let mut over = Vec::new();
        for note in &mut self.records {
            if note.is_ok && note.memory.note_success() {
                over.push(note.hostname);
            }
        }
        let silo = &self.settings.silo;
        if !over.is_empty() && self.output.is_quiet() {
            self.output
                .print(format_args!("{silo}: {}: recovered", list(&over)));
        }
        let Some(dir) = &self.dir else {
            return self.is_ok;
        };
        let changed = self
            .records
            .iter()
            .filter(|note| note.memory != note.before);
        let failures: BTreeSet<String> = changed
            .filter_map(|note| dir.remember(silo, note.hostname, &note.memory).err())
            .map(|error| error.to_string())
            .collect();
        for error in &failures {
            self.output.print_error(format_args!("{silo}: {error}"));
        }
        self.is_ok && failures.is_empty()
    }
}

impl<'a> Note<'a> {
    fn new(hostname: &'a Hostname, memory: Memory) -> Self {
        Self {
            hostname,
            before: memory.clone(),
            memory,
            is_ok: true,
        }
    }
}

/// The names in one line.
fn list(names: &[&Hostname]) -> String {
    let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
    names.join(", ")
}
