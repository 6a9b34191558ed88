//! Says which silos could not be pulled. With `--quiet` that is said when it begins and when it is over, and silos with
//! the same trouble share a line.

use std::collections::BTreeMap;

use silo_shared::outage::{PendingFailures, Told};
use silo_shared::output::Output;
use silo_shared::silo::SiloId;

use crate::pull::PullError;
use crate::state::{StateDir, StateError};

/// The pulls of a run, and what earlier runs said of them.
#[derive(Debug)]
pub(crate) struct Outage<'a> {
    output: &'a Output,
    told: BTreeMap<String, Told>,
    before: BTreeMap<String, Told>,
    pending: PendingFailures,
    over: Vec<String>,
}

impl<'a> Outage<'a> {
    /// Recalls what was said of this hub.
    pub(crate) fn recall(
        state: &StateDir,
        hub: &str,
        output: &'a Output,
    ) -> Result<Self, StateError> {
        let told = state.told(hub)?;
        Ok(Self {
            output,
            before: told.clone(),
            told,
            pending: PendingFailures::default(),
            over: Vec::new(),
        })
    }

    /// A silo was not pulled.
    pub(crate) fn failed(&mut self, silo: &SiloId, error: &PullError) {
        let is_new = self
            .told
            .entry(silo.to_string())
            .or_default()
            .begins(&error.kind());
        let words = error.to_string();
        if !self.output.is_quiet() {
            self.output
                .complain(format_args!("{silo}: {words}; the block is kept"));
        } else if is_new {
            self.pending.add([silo], &words);
        }
    }

    /// A silo was pulled.
    pub(crate) fn pulled(&mut self, silo: &SiloId) {
        let told = self.told.remove(silo.as_str());
        if told.is_some_and(|mut told| told.ends()) {
            self.over.push(silo.to_string());
        }
    }

    /// Says what is left, and remembers.
    pub(crate) fn finish(self, state: &StateDir, hub: &str) -> Result<(), StateError> {
        for (silos, words) in self.pending.into_lines() {
            self.output
                .complain(format_args!("{silos}: {words}; the block is kept"));
        }
        if !self.over.is_empty() && self.output.is_quiet() {
            let silos = self.over.join(", ");
            self.output
                .say(format_args!("{silos}: the hub answers again"));
        }
        if self.told != self.before {
            state.note_told(hub, &self.told)?;
        }
        Ok(())
    }
}
