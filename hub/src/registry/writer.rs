//! The writer: runs the waiting commands in one transaction, and reports their results once it is durable.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::job::{Job, Stopped};
use super::moved::{Moves, Recovered};
use super::verdict::{self, Verdict, verdict};
use super::{ApplyError, CommitStats, Listeners, PendingLastSeen, WriteHealth, logged};
use crate::auth::secrets::random_number;
use crate::domain::time::{Clock, Time};
use crate::store::{CommitError, Effects, Failure, Mark, Store, StoreError};

/// Maximum number of commands per transaction.
const BATCH: usize = 256;
/// How often the writer yields to the runtime before a batch begins: commands that arrive meanwhile
/// join the batch and share its sync. Takes microseconds if none arrive.
const GATHERING: usize = 10;
/// How often the writer checks the mark of a batch with unknown outcome.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// A message to the writer.
pub(super) enum Entry {
    /// A command.
    Job(Box<dyn Job>),
    /// Finish the waiting commands, then end.
    Stop,
}

/// The task that executes commands.
pub(super) struct Writer {
    pub(super) store: Store,
    pub(super) moves: Moves,
    pub(super) listeners: Listeners,
    pub(super) clock: Clock,
    pub(super) seen: Arc<PendingLastSeen>,
    pub(super) write_health: Arc<WriteHealth>,
    pub(super) commits: Arc<CommitStats>,
    /// Identifies this hub in its marks.
    pub(super) hub: u128,
    /// The number of batches sent to commit.
    pub(super) batches: u64,
    /// The batch with an unknown outcome. No other batch begins before it is resolved.
    pub(super) unknown: Option<Unknown>,
}

/// Commands that run in one transaction.
struct Batch {
    jobs: Vec<Box<dyn Job>>,
    attempt: u32,
}

/// A batch whose `COMMIT` was sent without the expected response.
pub(super) struct Unknown {
    batch: Batch,
    mark: Mark,
    effects: Effects,
    recovered: Option<Recovered>,
    ran_at: Time,
    cause: Arc<StoreError>,
}

/// How a batch ended.
enum Ended {
    /// Committed, and results sent.
    Answered,
    /// No transaction could begin: other batches need not try.
    NotBegun(Batch, Arc<StoreError>),
    /// Certainly not committed.
    NotCommitted(Batch, Arc<StoreError>),
    /// Certainly not committed; the command that panicked is removed.
    Panicked(Batch),
    /// Not known yet.
    Unknown(Box<Unknown>),
}

impl Batch {
    fn first(jobs: Vec<Box<dyn Job>>) -> Self {
        Self { jobs, attempt: 1 }
    }

    /// Reports to every caller that nothing was executed.
    fn refuse(self, error: &Arc<StoreError>) {
        for job in self.jobs {
            job.refuse(ApplyError::Store(Arc::clone(error)));
        }
    }

    /// Sends every caller its result.
    fn answer(self) {
        for job in self.jobs {
            job.answer();
        }
    }

    /// Puts the jobs to run again at the front of the queue.
    fn not_committed(mut self, error: &Arc<StoreError>, batches: &mut VecDeque<Self>) {
        self.jobs.retain_mut(|job| job.begin_over());
        match verdict(error.failure(), self.jobs.len(), self.attempt) {
            Verdict::Refuse => self.refuse(error),
            Verdict::Again => {
                self.attempt += 1;
                batches.push_front(self);
            }
            Verdict::OneByOne => {
                let commands = self.jobs.len();
                tracing::debug!(
                    commands,
                    "a batch failed, retrying its commands one by one: {error}"
                );
                for job in self.jobs.into_iter().rev() {
                    batches.push_front(Self::first(vec![job]));
                }
            }
        }
    }
}

impl Writer {
    /// Works until there are no more commands.
    pub(super) async fn work(mut self, mut entries: mpsc::Receiver<Entry>) {
        let mut waiting = Vec::with_capacity(BATCH);
        loop {
            let received = entries.recv_many(&mut waiting, BATCH);
            let received = match self.unknown {
                None => received.await,
                // Its callers are waiting, or this hub's reads do not show it yet.
                Some(_) => match tokio::time::timeout(ASK_AGAIN, received).await {
                    Ok(received) => received,
                    Err(_) => {
                        self.run_batches(VecDeque::new()).await;
                        continue;
                    }
                },
            };
            if received == 0 {
                return;
            }
            for _ in 0..GATHERING {
                tokio::task::yield_now().await;
            }
            while waiting.len() < BATCH
                && let Ok(entry) = entries.try_recv()
            {
                waiting.push(entry);
            }
            let mut jobs = Vec::with_capacity(waiting.len());
            for entry in waiting.drain(..) {
                match entry {
                    Entry::Job(job) => jobs.push(job),
                    Entry::Stop => entries.close(),
                }
            }
            self.run_batches(VecDeque::from([Batch::first(jobs)])).await;
        }
    }

    async fn run_batches(&mut self, mut batches: VecDeque<Batch>) {
        loop {
            if let Some(unknown) = self.unknown.take() {
                match Self::is_committed(&self.store, unknown.mark).await {
                    Ok(true) => {
                        let mut unknown = unknown;
                        let changes = std::mem::take(&mut unknown.effects.changes);
                        self.publish(unknown.effects, unknown.recovered, unknown.ran_at);
                        unknown.batch.answer();
                        logged::log(changes);
                    }
                    Ok(false) => unknown.batch.not_committed(&unknown.cause, &mut batches),
                    Err(error) => {
                        self.unknown = Some(unknown);
                        let error = self.failed(Arc::new(error));
                        return batches.into_iter().for_each(|batch| batch.refuse(&error));
                    }
                }
                continue;
            }
            let Some(batch) = batches.pop_front() else {
                return;
            };
            match self.run(batch).await {
                Ended::Answered => {}
                Ended::Panicked(batch) => batches.push_front(batch),
                Ended::NotCommitted(batch, error) => {
                    let error = self.failed(error);
                    batch.not_committed(&error, &mut batches);
                }
                Ended::NotBegun(batch, error) => {
                    let error = self.failed(error);
                    batch.refuse(&error);
                    return batches.into_iter().for_each(|batch| batch.refuse(&error));
                }
                Ended::Unknown(unknown) => {
                    let unknown = *unknown;
                    let cause = self.failed(unknown.cause);
                    tracing::warn!("finding out whether a batch was committed: {cause}");
                    self.unknown = Some(Unknown { cause, ..unknown });
                }
            }
        }
    }

    /// Whether a batch was committed. Its session has ended once this one holds the counter's lock.
    async fn is_committed(store: &Store, mark: Mark) -> Result<bool, StoreError> {
        store.begin_write(&[]).await?.holds_mark(mark).await
    }

    async fn run(&mut self, mut batch: Batch) -> Ended {
        if batch.jobs.is_empty() {
            return Ended::Answered;
        }
        let begun = Instant::now();
        let reads: Vec<_> = batch.jobs.iter().filter_map(|job| job.reads()).collect();
        let transaction = self.store.begin_write(&reads).await;
        drop(reads);
        let mut transaction = match transaction {
            Ok(transaction) => transaction,
            // The database is available; it had only closed this session.
            Err(error) if error.failure() == Failure::Lost && batch.attempt < verdict::ATTEMPTS => {
                return Ended::NotCommitted(batch, Arc::new(error));
            }
            Err(error) => return Ended::NotBegun(batch, Arc::new(error)),
        };
        // On a server, as it has just told the transaction.
        let now = self.clock.now();
        let latest = now.max(self.clock.of_machine().now());
        let looked = self.moves.look_at(&mut transaction, now, latest).await;
        let recovered = match looked {
            Ok(recovered) => recovered,
            Err(error) => return Ended::NotCommitted(batch, Arc::new(error)),
        };
        batch.jobs.retain(|job| job.begin());
        for index in 0..batch.jobs.len() {
            match batch.jobs[index].run(&mut transaction, now).await {
                Ok(()) => {}
                Err(Stopped::Store(error)) => return Ended::NotCommitted(batch, error),
                Err(Stopped::Panicked) => {
                    // The transaction ends with its connection; the panic is logged.
                    let culprit = batch.jobs.remove(index);
                    culprit.refuse(ApplyError::Panicked);
                    batch.jobs.retain_mut(|job| job.begin_over());
                    return Ended::Panicked(batch);
                }
            }
        }
        self.batches += 1;
        let mark = Mark {
            hub: self.hub,
            // The counter keeps it unique within this hub if the system returns no randomness.
            batch: u128::from(random_number()) << 64 | u128::from(self.batches),
        };
        match transaction.commit(mark, now).await {
            Ok(mut effects) => {
                let changes = std::mem::take(&mut effects.changes);
                if effects.is_durable {
                    self.commits.note(batch.jobs.len(), begun.elapsed());
                }
                self.publish(effects, recovered, now);
                batch.answer();
                logged::log(changes);
                Ended::Answered
            }
            Err(CommitError::NotCommitted(error)) => Ended::NotCommitted(batch, Arc::new(error)),
            Err(CommitError::Unknown { cause, effects }) => Ended::Unknown(Box::new(Unknown {
                batch,
                mark,
                effects,
                recovered,
                ran_at: now,
                cause: Arc::new(cause),
            })),
        }
    }

    /// Records a failed write, and returns the error with the best available explanation.
    fn failed(&self, error: Arc<StoreError>) -> Arc<StoreError> {
        self.write_health.note_failure();
        self.store.explain(error)
    }

    /// Makes this hub's own reads show a commit, and wakes the waiting tasks.
    fn publish(&self, effects: Effects, recovered: Option<Recovered>, now: Time) {
        if let Some(recovered) = recovered {
            self.listeners.tokens.forget_all();
            self.listeners.invalidation.anything_changed();
            self.moves.note(recovered);
        }
        for id in &effects.silos {
            self.listeners
                .invalidation
                .silo_changed(id, effects.revision);
        }
        if effects.all_tokens_changed {
            self.listeners.tokens.forget_all();
        }
        self.listeners.tokens.forget(&effects.tokens);
        if let Some(id) = effects.database_id {
            // What is cached is of the former id.
            self.listeners.invalidation.anything_changed();
            self.listeners.database_id.set(id);
        }
        self.seen.note(effects.seen, now);
        if effects.is_durable {
            self.write_health.note_commit(now);
        }
        if let Some(revision) = effects.revision {
            self.listeners.bus.announce(revision);
        }
        if effects.deliveries_enqueued {
            self.listeners.bus.announce_deliveries();
        }
    }
}
