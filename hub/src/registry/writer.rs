//! The writer: takes the commands that are waiting, runs them in one transaction, and answers them once it is durable.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::job::{Job, Stopped};
use super::moved::{Moves, Recovered};
use super::verdict::{self, Verdict, verdict};
use super::{ApplyError, Listeners, PendingLastSeen, WriteHealth};
use crate::auth::secrets::random_number;
use crate::domain::time::{Clock, Time};
use crate::store::{CommitError, Effects, Failure, Mark, Store, StoreError};

/// The most commands that share one transaction.
const BATCH: usize = 256;
/// How often the runtime looks at its sockets before a batch begins: what has come in meanwhile joins it
/// and shares its sync. It takes microseconds when nothing has.
const GATHERING: usize = 10;
/// How often the writer asks for the mark of a batch whose outcome is not known.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// What reaches the writer.
pub(super) enum Entry {
    /// A command.
    Job(Box<dyn Job>),
    /// Finish what is waiting, and end.
    Stop,
}

/// The task that carries commands out.
pub(super) struct Writer {
    pub(super) store: Store,
    pub(super) moves: Moves,
    pub(super) listeners: Listeners,
    pub(super) clock: Clock,
    pub(super) seen: Arc<PendingLastSeen>,
    pub(super) write_health: Arc<WriteHealth>,
    /// This hub in its marks.
    pub(super) hub: u128,
    /// How many batches were to be committed.
    pub(super) batches: u64,
    /// The batch of which is not known whether it was committed. No other begins before it is.
    pub(super) unknown: Option<Unknown>,
}

/// Commands that run in one transaction.
struct Batch {
    jobs: Vec<Box<dyn Job>>,
    attempt: u32,
}

/// A batch whose `COMMIT` was sent and not answered as it should be.
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
    /// Committed and answered.
    Answered,
    /// No transaction could be opened: no other batch need try.
    NotBegun(Batch, Arc<StoreError>),
    /// Certainly not committed.
    NotCommitted(Batch, Arc<StoreError>),
    /// Certainly not committed, without the command that panicked.
    Panicked(Batch),
    /// Nobody knows yet.
    Unknown(Unknown),
}

impl Batch {
    fn first(jobs: Vec<Box<dyn Job>>) -> Self {
        Self { jobs, attempt: 1 }
    }

    /// Tells every caller that nothing was carried out.
    fn refuse(self, error: &Arc<StoreError>) {
        for job in self.jobs {
            job.refuse(ApplyError::Store(Arc::clone(error)));
        }
    }

    /// Answers every caller by its outcome.
    fn answer(self) {
        for job in self.jobs {
            job.answer();
        }
    }

    /// Puts what is to run again at the head of what is to run.
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
                tracing::debug!(commands, "a batch failed, one by one now: {error}");
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
                // Its callers wait, or this hub's reads do not show it yet.
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
                        self.publish(unknown.effects, unknown.recovered, unknown.ran_at);
                        unknown.batch.answer();
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
                    let cause = self.failed(unknown.cause);
                    tracing::warn!("whether a batch was committed is to be found out: {cause}");
                    self.unknown = Some(Unknown { cause, ..unknown });
                }
            }
        }
    }

    /// Whether a batch was committed: its own session has ended when this one has the counter's lock.
    async fn is_committed(store: &Store, mark: Mark) -> Result<bool, StoreError> {
        store.begin_write(&[]).await?.holds_mark(mark).await
    }

    async fn run(&mut self, mut batch: Batch) -> Ended {
        if batch.jobs.is_empty() {
            return Ended::Answered;
        }
        let reads: Vec<_> = batch.jobs.iter().filter_map(|job| job.reads()).collect();
        let begun = self.store.begin_write(&reads).await;
        drop(reads);
        let mut transaction = match begun {
            Ok(transaction) => transaction,
            // The database is there: it had only ended this session.
            Err(error) if error.failure() == Failure::Lost && batch.attempt < verdict::ATTEMPTS => {
                return Ended::NotCommitted(batch, Arc::new(error));
            }
            Err(error) => return Ended::NotBegun(batch, Arc::new(error)),
        };
        let now = self.clock.now();
        let recovered = match self.moves.look_at(&mut transaction, now).await {
            Ok(recovered) => recovered,
            Err(error) => return Ended::NotCommitted(batch, Arc::new(error)),
        };
        batch.jobs.retain(|job| job.begin());
        for index in 0..batch.jobs.len() {
            match batch.jobs[index].run(&mut transaction, now).await {
                Ok(()) => {}
                Err(Stopped::Store(error)) => return Ended::NotCommitted(batch, error),
                Err(Stopped::Panicked) => {
                    // The transaction ends with its connection, and the panic's place is logged.
                    tracing::error!("a command panicked; it is answered 500");
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
            // The count keeps it unique in this hub should the system give no randomness.
            batch: u128::from(random_number()) << 64 | u128::from(self.batches),
        };
        match transaction.commit(mark, now).await {
            Ok(effects) => {
                self.publish(effects, recovered, now);
                batch.answer();
                Ended::Answered
            }
            Err(CommitError::NotCommitted(error)) => Ended::NotCommitted(batch, Arc::new(error)),
            Err(CommitError::Unknown { cause, effects }) => Ended::Unknown(Unknown {
                batch,
                mark,
                effects,
                recovered,
                ran_at: now,
                cause: Arc::new(cause),
            }),
        }
    }

    /// Notes that the database took no write, and says why as well as it can.
    fn failed(&self, error: Arc<StoreError>) -> Arc<StoreError> {
        self.write_health.note_failure();
        self.store.explain(error)
    }

    /// Makes this hub's own reads show a commit, and wakes those who wait for what changed.
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
        self.seen.note(effects.seen, now);
        if effects.is_durable {
            self.write_health.note_commit(now);
        }
        if let Some(revision) = effects.revision {
            self.listeners.revision.announce(revision);
        }
        if effects.deliveries_owed {
            self.listeners.revision.announce_deliveries();
        }
    }
}
