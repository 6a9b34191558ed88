//! Says which silos could not be pulled. With `--quiet` that is said when it begins and when it is over, and silos with
//! the same trouble share a line.

use std::collections::BTreeMap;

use silo_shared::outage::Told;
use silo_shared::output::Output;
use silo_shared::silo::SiloId;

use crate::pull::PullError;
use crate::state::StateDir;
use crate::state_error::StateError;

/// The pulls of a run, and what earlier runs said of them.
#[derive(Debug)]
pub(crate) struct Outage<'a> {
    output: &'a Output,
    told: BTreeMap<String, Told>,
    before: BTreeMap<String, Told>,
    failed: Vec<(Vec<String>, String)>,
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
            failed: Vec::new(),
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
            match self.failed.iter_mut().find(|(_, said)| *said == words) {
                Some((silos, _)) => silos.push(silo.to_string()),
                None => self.failed.push((vec![silo.to_string()], words)),
            }
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
        for (silos, words) in &self.failed {
            let silos = silos.join(", ");
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
