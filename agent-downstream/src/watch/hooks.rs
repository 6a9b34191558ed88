//! Runs the owed hook beside everything else, and again if it failed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use super::Watch;
use crate::hook::{self, OwedHookError};
use crate::owed_hook::OwedHook;
use crate::own;
use crate::run_time::run_time;

impl Watch {
    /// Runs the owed hook, unless it is running. Not during a write, which owes it before its change is in place; the end
    /// of the write calls this again.
    pub(super) fn start_hook(&mut self) {
        if self.write.is_some() {
            return;
        }
        let Ok(target) = own::find(&self.writer.settings) else {
            return;
        };
        let (hosts, state): (PathBuf, _) = (target.path().to_owned(), self.writer.state.clone());
        let is_owed = state.owed_hook(&hosts).is_ok_and(|owed| owed.is_some());
        if !is_owed || self.hook.task.is_some() {
            return;
        }
        self.hook.retry_at = None;
        let hook = self.writer.settings.on_change.clone();
        let stop = Arc::clone(&self.hook.stop);
        self.hook.task = Some(tokio::task::spawn_blocking(move || {
            hook::run_owed(hook.as_ref(), &state, &hosts, &stop)
        }));
    }

    pub(super) fn hook_ended(&mut self, result: Result<Vec<OwedHook>, OwedHookError>) {
        match result {
            Ok(done) => {
                self.hook.backoff.succeeded();
                if self.hook.trouble.take().is_some() {
                    for owed in &done {
                        self.output.tell(&hook::succeeded(owed));
                    }
                }
                // What changed while it ended.
                self.start_hook();
            }
            Err(error) => {
                let text = error.to_string();
                if self.hook.trouble.as_ref() != Some(&text) {
                    self.output.tell_failure(&hook::failed(&error));
                    self.hook.trouble = Some(text);
                }
                self.hook.retry_at = Some(Instant::now() + self.hook.backoff.failed());
            }
        }
        self.end_run(run_time().wall_ms);
    }
}
