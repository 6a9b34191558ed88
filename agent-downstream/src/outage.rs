//! Prints which silos could not be pulled, with `--quiet` only when it begins and when it ends; silos with the same
//! failure share a line.

use std::collections::BTreeMap;

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
            self.output
                .print_error(format_args!("{silo}: {words}; the block is kept"));
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
            self.output
                .print_error(format_args!("{silos}: {words}; the block is kept"));
        }
        if !self.over.is_empty() && self.output.is_quiet() {
            let silos = self.over.join(", ");
            self.output
                .print(format_args!("{silos}: the hub answers again"));
        }
        if self.reported != self.before {
            state.save_reported(hub, &self.reported)?;
        }
        Ok(())
    }
}
