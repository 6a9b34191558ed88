//! A command with the caller that waits for its outcome, and its progress.

use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use futures_util::FutureExt;
use silo_shared::request_id::{self, RequestId, RequestScope};
use silo_shared::silo::{Hostname, SiloId};
use tokio::sync::oneshot;

use super::{ApplyError, Command};
use crate::domain::time::Time;
use crate::store::{StoreError, WriteTransaction};

type JobFuture<'a> = Pin<Box<dyn Future<Output = Result<(), Stopped>> + Send + 'a>>;

/// Why a transaction can't go on.
#[derive(Debug)]
pub(super) enum Stopped {
    /// The database failed.
    Store(Arc<StoreError>),
    /// The command panicked.
    Panicked,
}

/// A command with the caller that waits for its outcome.
pub(super) trait Job: Send {
    /// See [`Command::reads`].
    fn reads(&self) -> Option<(&SiloId, &Hostname)>;
    /// Starts the job; false when its caller has given up, in which case it must not run.
    fn begin(&self) -> bool;
    /// Resets the job after its effects were certainly not committed; false when its caller has given up.
    fn begin_over(&mut self) -> bool;
    /// Runs the command and keeps its outcome.
    fn run<'a>(&'a mut self, transaction: &'a mut WriteTransaction, now: Time) -> JobFuture<'a>;
    /// Sends the committed outcome to the caller.
    fn answer(self: Box<Self>);
    /// Sends the caller an error: nothing was executed.
    fn refuse(self: Box<Self>, error: ApplyError);
}

/// The progress of a command, shared by its caller and the writer. The caller reads it only when
/// its patience is over; the value read decides which error it may report.
#[derive(Debug, Default)]
pub(super) struct Progress(AtomicU8);

const WAITING: u8 = 0;
const RUNNING: u8 = 1;
const GIVEN_UP: u8 = 2;

impl Progress {
    /// The caller stops waiting. Unless the command is running now, it will not run.
    pub(super) fn give_up(&self) -> ApplyError {
        match self.0.swap(GIVEN_UP, Ordering::AcqRel) {
            RUNNING => ApplyError::Unknown,
            _ => ApplyError::TimedOut,
        }
    }

    /// The error for the caller when the writer ended without an outcome.
    fn ended(&self) -> ApplyError {
        match self.0.load(Ordering::Acquire) {
            RUNNING => ApplyError::Unknown,
            _ => ApplyError::Stopping,
        }
    }

    fn moves(&self, from: u8, to: u8) -> bool {
        let moved = self
            .0
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
        moved.is_ok()
    }
}

struct Waiting<C: Command> {
    command: C,
    outcome: Option<Result<C::Outcome, ApplyError>>,
    caller: oneshot::Sender<Result<C::Outcome, ApplyError>>,
    progress: Arc<Progress>,
    /// The request that it is part of.
    request: Option<RequestId>,
}

/// The caller's side of a job.
pub(super) struct Caller<C: Command> {
    answer: oneshot::Receiver<Result<C::Outcome, ApplyError>>,
    pub(super) progress: Arc<Progress>,
}

/// Creates a job and its caller.
pub(super) fn job<C: Command>(command: C) -> (Box<dyn Job>, Caller<C>) {
    let (caller, answer) = oneshot::channel();
    let progress = Arc::new(Progress::default());
    let job = Waiting {
        command,
        outcome: None,
        caller,
        progress: Arc::clone(&progress),
        request: request_id::current(),
    };
    (Box::new(job), Caller { answer, progress })
}

impl<C: Command> Caller<C> {
    /// Waits for the outcome, without limit.
    pub(super) async fn answer(&mut self) -> Result<C::Outcome, ApplyError> {
        let answer = (&mut self.answer).await;
        answer.unwrap_or_else(|_| Err(self.progress.ended()))
    }
}

impl<C: Command> Job for Waiting<C> {
    fn reads(&self) -> Option<(&SiloId, &Hostname)> {
        self.command.reads()
    }

    fn begin(&self) -> bool {
        self.progress.moves(WAITING, RUNNING)
    }

    fn begin_over(&mut self) -> bool {
        self.outcome = None;
        // A job that was not started yet still waits.
        self.progress.moves(RUNNING, WAITING) || self.progress.0.load(Ordering::Acquire) == WAITING
    }

    fn run<'a>(&'a mut self, transaction: &'a mut WriteTransaction, now: Time) -> JobFuture<'a> {
        Box::pin(async move {
            // Partial effects are rolled back with the transaction.
            let run = AssertUnwindSafe(self.command.run(transaction, now)).catch_unwind();
            let (mut run, mut scope) = (pin!(run), RequestScope::of(self.request));
            let run = poll_fn(|context| scope.enter(|| run.as_mut().poll(context)));
            match run.await {
                Err(_) => {
                    // Its location was logged when it happened.
                    RequestScope::of(self.request)
                        .enter(|| tracing::error!("a command panicked; it is answered 500"));
                    Err(Stopped::Panicked)
                }
                Ok(Err(ApplyError::Store(error))) => Err(Stopped::Store(error)),
                Ok(outcome) => {
                    self.outcome = Some(outcome);
                    Ok(())
                }
            }
        })
    }

    fn answer(self: Box<Self>) {
        let answer = self.outcome.unwrap_or(Err(ApplyError::Stopping));
        // The caller may have been dropped.
        let _ = self.caller.send(answer);
    }

    fn refuse(self: Box<Self>, error: ApplyError) {
        let _ = self.caller.send(Err(error));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timed_out_command_reports_that_it_may_have_run() {
        let waiting = Progress::default();
        assert!(matches!(waiting.give_up(), ApplyError::TimedOut));
        assert!(!waiting.moves(WAITING, RUNNING), "it must not run any more");

        let running = Progress::default();
        assert!(running.moves(WAITING, RUNNING));
        assert!(matches!(running.ended(), ApplyError::Unknown));
        assert!(matches!(running.give_up(), ApplyError::Unknown));
        assert!(!running.moves(RUNNING, WAITING), "nor run again");

        let again = Progress::default();
        assert!(again.moves(WAITING, RUNNING) && again.moves(RUNNING, WAITING));
        assert!(matches!(again.ended(), ApplyError::Stopping));
        assert!(matches!(again.give_up(), ApplyError::TimedOut));
    }
}
