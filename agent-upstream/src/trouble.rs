//! Says what is wrong. With `--quiet` each kind of trouble is said when it begins, and its end once; without a state
//! folder it is said at every run.

use std::collections::BTreeSet;

use silo_shared::outage::PendingFailures;
use silo_shared::output::Output;
use silo_shared::silo::{Family, Hostname};

use crate::settings::Settings;
use crate::state::{Memory, StateDir, StateError};

/// The state of every hostname of a run, and what is to be said of it.
#[derive(Debug)]
pub(crate) struct Notes<'a> {
    settings: &'a Settings,
    output: &'a Output,
    dir: Option<StateDir>,
    records: Vec<Note<'a>>,
    pending: PendingFailures,
    is_well: bool,
}

#[derive(Debug)]
struct Note<'a> {
    hostname: &'a Hostname,
    memory: Memory,
    before: Memory,
    is_well: bool,
}

impl<'a> Notes<'a> {
    /// Recalls what earlier runs noted. Where the state folder was chosen and can't be used, that is said.
    pub(crate) fn recall(settings: &'a Settings, output: &'a Output) -> Self {
        let mut notes = Self {
            settings,
            output,
            dir: None,
            records: Vec::new(),
            pending: PendingFailures::default(),
            is_well: true,
        };
        match notes.read() {
            Ok((dir, records)) => {
                notes.dir = Some(dir);
                notes.records = records;
            }
            Err(error) => {
                tracing::debug!("{error}");
                if settings.needs_state {
                    notes.is_well = false;
                    output.complain(format_args!("{}: {error}", settings.silo));
                }
                let blank = |hostname| Note::new(hostname, Memory::default());
                notes.records = settings.hostnames.iter().map(blank).collect();
            }
        }
        notes
    }

    fn read(&self) -> Result<(StateDir, Vec<Note<'a>>), StateError> {
        let settings = self.settings;
        let dir = StateDir::open(&settings.state_dir)?;
        let hub = settings.connection.hub.as_str();
        let mut records = Vec::new();
        for hostname in &settings.hostnames {
            let memory = dir.recall(hub, &settings.silo, hostname)?;
            records.push(Note::new(hostname, memory));
        }
        Ok((dir, records))
    }

    /// What is remembered of a record; `None` without a state folder.
    pub(crate) fn memory(&mut self, hostname: &Hostname) -> Option<&mut Memory> {
        self.dir.as_ref()?;
        let mut records = self.records.iter_mut();
        let note = records.find(|note| note.hostname == hostname)?;
        Some(&mut note.memory)
    }

    /// Something is wrong before it is known which families this machine has: none counts as missing in this run.
    pub(crate) fn trouble_before(&mut self, kind: &str, words: &str) {
        for note in &mut self.records {
            for family in [Family::V4, Family::V6] {
                note.memory.note_found(family);
            }
        }
        self.trouble_of_all(kind, words);
    }

    /// Something is wrong with all names.
    pub(crate) fn trouble_of_all(&mut self, kind: &str, words: &str) {
        let all: Vec<&Hostname> = self.settings.hostnames.iter().collect();
        self.trouble(&all, kind, words);
    }

    /// Something is wrong with these names: said, unless `--quiet` said it at an earlier run.
    pub(crate) fn trouble(&mut self, names: &[&'a Hostname], kind: &str, words: &str) {
        self.is_well = false;
        let mut is_new = self.dir.is_none();
        for note in &mut self.records {
            if names.contains(&note.hostname) {
                note.is_well = false;
                is_new |= note.memory.note_trouble(kind);
            }
        }
        if !self.output.is_quiet() {
            self.complain(&list(names), words);
        } else if is_new {
            self.pending.add(names, words);
        }
    }

    fn complain(&self, names: &str, words: &str) {
        let silo = &self.settings.silo;
        self.output
            .complain(format_args!("{silo}: {names}: {words}"));
    }

    /// Says what is left and remembers all. Answers whether nothing was wrong.
    pub(crate) fn finish(mut self) -> bool {
        for (names, words) in std::mem::take(&mut self.pending).into_lines() {
            self.complain(&names, &words);
        }
        let mut over = Vec::new();
        for note in &mut self.records {
            if note.is_well && note.memory.note_well() {
                over.push(note.hostname);
            }
        }
        let silo = &self.settings.silo;
        if !over.is_empty() && self.output.is_quiet() {
            self.output
                .say(format_args!("{silo}: {}: all is well again", list(&over)));
        }
        let Some(dir) = &self.dir else {
            return self.is_well;
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
            self.output.complain(format_args!("{silo}: {error}"));
        }
        self.is_well && failures.is_empty()
    }
}

impl<'a> Note<'a> {
    fn new(hostname: &'a Hostname, memory: Memory) -> Self {
        Self {
            hostname,
            before: memory.clone(),
            memory,
            is_well: true,
        }
    }
}

/// The names in one line.
fn list(names: &[&Hostname]) -> String {
    let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
    names.join(", ")
}
