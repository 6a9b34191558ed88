//! Runs the owed hook beside everything else: a slow one delays no report. Again with pauses if it failed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use silo_shared::fact::Fact;
use silo_shared::hook::Hook;
use silo_shared::output::Output;
use silo_shared::stay::Backoff;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, timeout};

use super::at;
use crate::HOOK_END;
use crate::hook::{Change, Owed, PayError};

/// The result of a run: what the program was told.
pub(super) type HookEnd = Result<Vec<Change>, PayError>;

/// At most one running hook.
#[derive(Debug, Default)]
pub(super) struct HookRun {
    task: Option<JoinHandle<HookEnd>>,
    stop: Arc<AtomicBool>,
    backoff: Backoff,
    retry_at: Option<Instant>,
    /// The failure that was printed.
    trouble: Option<String>,
}

impl HookRun {
    /// Starts the hook if it is owed, unless it runs or pauses.
    pub(super) fn start(&mut self, hook: Option<&Hook>, owed: &Owed) {
        let is_pausing = self.retry_at.is_some_and(|at| at > Instant::now());
        if self.task.is_some() || is_pausing {
            return;
        }
        self.retry_at = None;
        if let (Some(hook), Some(due)) = (hook, owed.due()) {
            let running = due.run(hook.clone(), Arc::clone(&self.stop));
            self.task = Some(tokio::spawn(running));
        }
    }

    /// Waits for the end of a run; `None`: a pause is over. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<HookEnd> {
        let Some(task) = &mut self.task else {
            at(self.retry_at).await;
            return None;
        };
        let ended = task.await;
        self.task = None;
        let panicked = |error: JoinError| Err(PayError::Thread(error.to_string()));
        Some(ended.unwrap_or_else(panicked))
    }

    /// Takes the end of a run in. A failure is printed once.
    pub(super) fn ended(&mut self, end: HookEnd, owed: &mut Owed, output: &Output) {
        let paid = end.and_then(|told| Ok(owed.paid(&told)?));
        match paid {
            Ok(()) => {
                self.backoff.succeeded();
                if self.trouble.take().is_some() {
                    output.tell(&Fact::new("hook", "on_change: it has succeeded"));
                }
            }
            Err(error) => {
                let text = error.to_string();
                if self.trouble.as_ref() != Some(&text) {
                    output.tell_failure(&Fact::error(&text).with("kind", "hook"));
                    self.trouble = Some(text);
                }
                self.retry_at = Some(Instant::now() + self.backoff.failed());
            }
        }
    }

    /// Kills a running hook, which stays owed.
    pub(super) async fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(task) = self.task.take() {
            // If it does not end now, the system ends its thread with this process.
            let _ = timeout(HOOK_END, task).await;
        }
    }
}
