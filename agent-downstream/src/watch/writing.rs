//! Decides when the hosts file is written, and what the end of a write means.

use std::collections::BTreeMap;
use std::time::Instant;

use silo_shared::fact::Fact;
use silo_shared::silo::SiloId;

use super::hosts_watch::FileEvent;
use super::poller::Reply;
use super::repairs::AT_ONCE;
use super::write_job::{WriteEnd, WriteJob};
use super::{Cause, RunningWrite, STILL, Watch};
use crate::agent_error::AgentError;
use crate::progress::Progress;
use crate::run_time::run_time;
use crate::settle::Stillness;
use crate::writer::Written;

impl Watch {
    /// The file may have changed.
    pub(super) fn file_event(&mut self, event: FileEvent) {
        let now = self.hosts.look();
        let known = self.file.known.as_ref().map(|known| &known.identity);
        if let Some(is_closed) = event.is_closed {
            self.file.is_closed = is_closed;
        }
        // Its own writes are compared when they have ended.
        if self.write.is_some() || now.as_ref() == known {
            return;
        }
        self.file.changed_at = Some(Instant::now());
        self.file_changed();
    }

    /// Another program changed the file: it is repaired at once, unless that happens all the time.
    pub(super) fn file_changed(&mut self) {
        match self.repairs.next_at(Instant::now()) {
            None => self.want(Cause::File),
            Some(at) => self.repair_at = Some(at),
        }
    }

    /// Starts the write that is wanted, unless one is running.
    pub(super) fn start_write(&mut self) {
        if self.write.is_some() {
            return;
        }
        let Some(cause) = self.wanted.take() else {
            return;
        };
        if self.pulls.iter().all(|pull| pull.fresh.is_none()) {
            return;
        }
        let is_still = |at: Instant| at.elapsed() >= STILL;
        let is_still = self.file.changed_at.is_none_or(is_still);
        let known = self.file.known.as_ref().filter(|_| is_still);
        let stillness = match (&self.file.changed_at, self.file.is_closed) {
            (None, _) => Stillness::FOUND,
            (Some(_), true) => Stillness::CLOSED,
            (Some(_), false) => Stillness::WATCHED,
        };
        let progress = Progress::default();
        let job = WriteJob {
            writer: self.writer.clone(),
            pulls: self.pulls.clone(),
            status: self.status.clone(),
            stillness,
            still: known.map(|known| known.mark.clone()),
            progress: progress.clone(),
        };
        (self.retry_at, self.repair_at) = (None, None);
        self.write = Some(RunningWrite {
            task: job.spawn(),
            cause,
            generation: self.generation,
            progress,
        });
    }

    /// A running write has put the file in place.
    pub(super) fn in_place(&mut self, applied: BTreeMap<SiloId, String>) {
        let running = self.write.as_ref();
        if running.is_some_and(|write| write.generation == self.generation) {
            self.applied.extend(applied);
            self.reply_to_waiting();
        }
    }

    /// Lets the pollers ask again, except those whose news are written next.
    fn reply_to_waiting(&mut self) {
        let is_next = self.wanted == Some(Cause::News);
        for (silo, reply) in std::mem::take(&mut self.waiting) {
            let applied = self.applied.get(&silo).cloned();
            let pull = self.pulls.iter().find(|pull| pull.silo == silo);
            let tag = pull.and_then(|pull| pull.fresh.as_ref()?.tag.clone());
            if is_next && tag != applied {
                self.waiting.push((silo, reply));
                continue;
            }
            // The poller may have been ended.
            let _ = reply.send(Reply { applied });
        }
    }

    /// A write has ended.
    pub(super) fn written(&mut self, (end, cause, generation): (WriteEnd, Cause, u64)) {
        let WriteEnd {
            result,
            pulls,
            status,
            known,
        } = end;
        if generation == self.generation {
            // What the hub said meanwhile is newer.
            for (pull, after) in self.pulls.iter_mut().zip(pulls) {
                pull.known = after.known;
            }
            for (id, silo) in status.silos {
                if let Some(status) = self.status.silos.get_mut(&id) {
                    status.wrote(silo);
                }
            }
        }
        match result {
            Ok(written) => {
                if generation == self.generation {
                    self.applied.extend(written.applied.clone());
                }
                self.write_succeeded(&written, cause);
            }
            Err(AgentError::Ending(_)) => {}
            Err(error) => self.write_failed(&error),
        }
        self.file.known = known;
        self.end_run(run_time().wall_ms);
        self.reply_to_waiting();
        // Another program wrote it meanwhile, unless it is missing, which the failure says.
        if self.file.known.is_none() && self.trouble.is_none() {
            self.file.changed_at = Some(Instant::now());
            self.file_changed();
        }
        self.start_hook();
    }

    pub(super) fn write_succeeded(&mut self, written: &Written, cause: Cause) {
        self.is_complete = written.is_complete;
        self.backoff.succeeded();
        if self.trouble.take().is_some() {
            let path = self.writer.settings.hosts_file.display().to_string();
            let text = format!("{path}: the hosts file is up to date again");
            self.output
                .tell(&Fact::new("recovered", text).with("file", path));
        }
        if written.is_replaced && cause == Cause::File && self.repairs.repaired(Instant::now()) {
            let path = self.writer.settings.hosts_file.display();
            let text = format!(
                "{path}: another program changed it {AT_ONCE} times within a minute; from now on it is repaired once a minute: find that program"
            );
            self.output
                .tell_failure(&Fact::error(text).with("kind", "fight"));
        }
    }

    /// Prints a failure to write once, and tries again later.
    pub(super) fn write_failed(&mut self, error: &AgentError) {
        let text = error.to_string();
        self.status.ended(Err(text.clone()), run_time().wall_ms);
        if self.trouble.as_ref() != Some(&text) {
            self.output
                .tell_failure(&Fact::error(&text).with("kind", "write"));
            self.trouble = Some(text);
        }
        self.retry_at = Some(Instant::now() + self.backoff.failed());
    }
}
