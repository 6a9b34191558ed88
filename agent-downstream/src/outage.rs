//! Prints which silos could not be pulled, with `--quiet` only when it begins and when it ends; silos with the same
//! failure share a line.

use std::collections::BTreeMap;

use silo_shared::fact::Fact;
use silo_shared::outage::{PendingFailures, ReportedFailures};
use silo_shared::output::Output;
use silo_shared::silo::SiloId;

use crate::pull::PullError;
use crate::state::{StateDir, StateError};

/// The pulls of a run, and the failures that earlier runs reported.
#[derive(Debug)]
pub(crate) struct Outage<'a> {
    output: &'a Output,
    reported: BTreeMap<String, ReportedFailures>,
    before: BTreeMap<String, ReportedFailures>,
    pending: PendingFailures,
    over: Vec<String>,
}

impl<'a> Outage<'a> {
    /// Reads which failures of this hub were reported.
    pub(crate) fn recall(
        state: &StateDir,
        hub: &str,
        output: &'a Output,
    ) -> Result<Self, StateError> {
        let reported = state.reported(hub)?;
        Ok(Self {
            output,
            before: reported.clone(),
            reported,
            pending: PendingFailures::default(),
            over: Vec::new(),
        })
    }

    /// Records that a silo could not be pulled.
    pub(crate) fn failed(&mut self, silo: &SiloId, error: &PullError) {
        let is_new = self
            .reported
            .entry(silo.to_string())
            .or_default()
            .is_new(&error.kind());
        let words = error.to_string();
        if !self.output.is_quiet() {
            let text = format!("{silo}: {words}; the block is kept");
            let fact = Fact::error(text).about(silo).with("kind", error.kind());
            self.output.tell_failure(&fact);
        } else if is_new {
            self.pending.add([silo], &words);
        }
    }

    /// Records that a silo was pulled.
    pub(crate) fn pulled(&mut self, silo: &SiloId) {
        let reported = self.reported.remove(silo.as_str());
        if reported.is_some_and(|mut reported| reported.clear()) {
            self.over.push(silo.to_string());
        }
    }

    /// Prints the pending failures, and saves what was reported.
    pub(crate) fn finish(self, state: &StateDir, hub: &str) -> Result<(), StateError> {
        for (silos, words) in self.pending.into_lines() {
            let list: Vec<&str> = silos.split(", ").collect();
            let fact = Fact::error(format_args!("{silos}: {words}; the block is kept"))
                .with("silos", list);
            self.output.tell_failure(&fact);
        }
        if !self.over.is_empty() && self.output.is_quiet() {
            let silos = self.over.join(", ");
            let fact = Fact::new("recovered", format_args!("{silos}: the hub answers again"))
                .with("silos", &self.over);
            self.output.tell(&fact);
        }
        if self.reported != self.before {
            state.save_reported(hub, &self.reported)?;
        }
        Ok(())
    }
}
