//! What `watch` says about itself: the saved status, and the line for the service manager.

use std::time::Duration;

use silo_shared::stay::service_manager;

use super::Watch;
use crate::own;

impl Watch {
    /// Judges the present state as the end of a run.
    pub(super) fn end_run(&mut self, now_ms: i64) {
        let is_heard = self
            .pulls
            .iter()
            .all(|pull| self.heard.contains(&pull.silo));
        let is_failing =
            !self.failing.is_empty() || !self.is_complete || self.hook.trouble.is_some();
        // Before the hub has answered, nothing is known to fail.
        if self.trouble.is_none() && (is_heard || is_failing) {
            self.status.ended(Ok(is_heard && !is_failing), now_ms);
        }
        self.save_status();
        self.show_status();
    }

    pub(super) fn save_status(&mut self) {
        if !self.status.needs_saving(&self.saved_status) {
            return;
        }
        let Ok(target) = own::find(&self.writer.settings) else {
            return;
        };
        let (state, status) = (&self.writer.state, &self.status);
        match state.save_status(target.path(), status, Duration::ZERO) {
            Ok(true) => self.saved_status = self.status.clone(),
            // The next answer saves it.
            Ok(false) => {}
            // The failure to write that this usually goes with is printed.
            Err(error) => tracing::info!("cannot save the status: {error}"),
        }
    }

    /// Tells the service manager what this waits for.
    pub(super) fn show_status(&mut self) {
        let silos = self.pulls.iter().map(|pull| {
            let silo = &pull.silo;
            let heard = pull.fresh.as_ref().filter(|_| self.heard.contains(silo));
            let revision = heard.map(|fresh| fresh.document.revision);
            match (self.failing.get(silo), revision) {
                (Some(kind), _) => format!("{silo} ({kind})"),
                (None, Some(revision)) => format!("{silo} (revision {revision})"),
                (None, None) => format!("{silo} (not asked yet)"),
            }
        });
        let silos: Vec<String> = silos.collect();
        let line = match &self.trouble {
            Some(trouble) => trouble.clone(),
            None => format!("waiting for changes of {}", silos.join(", ")),
        };
        if line != self.status_line {
            service_manager::status(&line);
            self.status_line = line;
        }
    }
}
