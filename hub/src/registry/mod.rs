//! The one door for writes.
//!
//! [`Registry::apply`] hands a command to the writer task. The writer takes every command that is
//! waiting, runs them one after another in one transaction and commits once: one sync of the disk
//! serves them all (group commit). Nobody is answered before the commit is durable and this hub's own
//! view has taken it in. If the database refuses a batch before its `COMMIT` was sent, its commands run
//! again one by one, so that a failing command never takes its batch down; but a transaction that can't
//! even begin is no command's fault, and then all that wait are answered at once.
//!
//! Once `COMMIT` was sent, only its answer says that the batch is committed, and nothing but the batch's
//! mark says that it is not: without an answer the next transaction reads the mark, and the batch is either
//! answered as committed or run again. Until then its commands are neither. A caller waits
//! [`ANSWER_TIMEOUT`] at most, whatever the database does.

mod audit;
mod change;
mod dynahost;
mod failed_try;
mod failing;
mod failures;
mod import;
mod job;
mod link;
mod moved;
pub mod new_token;
mod pending_last_seen;
mod publishing;
mod purge;
mod purge_ended;
mod restored;
mod revert;
mod signed;
mod silos;
mod sinks;
#[cfg(test)]
mod statement_tests;
mod telling;
mod tokens;
mod update_keys;
mod verdict;
mod write_health;

use std::collections::VecDeque;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use silo_shared::credential::TokenId;
use silo_shared::silo::{Hostname, SiloId};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::auth::secrets::{NoRandomness, random_number, random_u128};
use crate::auth::token_cache::TokenCache;
use crate::domain::time::{Clock, Time};
use crate::follow::feed::WriteProbe;
use crate::follow::invalidation::Invalidation;
use crate::follow::revision::Revision;
use crate::store::{CommitError, Effects, Failure, Mark, Store, StoreError, Via, WriteTransaction};

use moved::{Moves, Recovered};

pub use audit::{Audited, OnToken, WriteDownRefused};
pub use dynahost::{GivenLogin, OpenDynahost, Opened, SetByDynahost, SetOutcome, Shown};
pub use failures::{ForgetFailures, ShareFailures};
pub use import::{BeginImport, CloseImported, EndImport, ImportPart, PartWritten};
use job::{Job, Stopped, job};
pub use link::{
    BeginLinking, EndLinking, Followed, LastRevisions, LinkFormerNames, LinkRows, Linking, follow,
};
pub use pending_last_seen::PendingLastSeen;
pub use publishing::{
    AdoptName, BeginPublishing, BeginReconciling, EndPublishing, EndReconciling, EnqueueDifference,
    MERGED_TOGETHER, MergeDeliveries, NamedRecord, Publishing, TakenUp,
};
pub use purge::{PurgeFormerSecrets, PurgeMarks, PurgeOld};
pub use purge_ended::{PurgeEnded, PurgeTokens};
pub use restored::NoteRestored;
pub use revert::{RevertSilo, Reverted};
pub use signed::{ForgetSigned, Signed, SignedWrite, SpendNonceOnly};
pub use silos::{
    DeleteSilo, ExpireRecord, RemoveRecord, ReplaceSilo, SetRecord, WrittenRecord, WrittenSilo,
};
pub use sinks::{
    BeginCleaning, BeginSinks, ConfiguredSink, EndCleaning, KeepSinks, OweRemoval, RetryDelivery,
    SinksBegun,
};
pub use telling::{BeginTelling, EndTelling, ReportUnseen, is_seen_since};
pub use tokens::{
    AdoptKey, CreateFirstToken, CreateToken, KEY_FINGERPRINT, NoteNewSecretUsed, NoteTokenMade,
    ProveWritable, ResetKey, RevokeToken, RotateToken, WriteDownUse,
};
pub use update_keys::{AddUpdateKey, RevokeUpdateKey, SetByUpdateKey};
use verdict::{Verdict, verdict};
pub use write_health::WriteHealth;

/// The most commands that share one transaction.
const BATCH: usize = 256;
/// How often the runtime looks at its sockets before a batch begins: what has come in meanwhile joins it
/// and shares its sync. It takes microseconds when nothing has.
const GATHERING: usize = 10;
/// The most commands that wait; further callers wait to be let in.
const QUEUE: usize = 1024;
/// How long a caller waits for its answer.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a write of the hub's own may take before the database counts as taking none.
const PROBE_TIMEOUT: Duration = Duration::from_secs(6);
/// How often the writer asks for the mark of a batch whose outcome is not known.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Who asks for a change, and by which way.
#[derive(Clone, Copy, Debug)]
pub struct Actor {
    /// Which way.
    pub via: Via,
    /// The token that was shown.
    pub token: Option<TokenId>,
    /// Where the request came from.
    pub client_ip: Option<IpAddr>,
}

/// Why a command was refused; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// There is no such silo.
    #[error("there is no such silo")]
    NoSilo,
    /// There is no such record, or none of this family.
    #[error("there is no such record")]
    NoRecord,
    /// There is no such token.
    #[error("there is no such token")]
    NoToken,
    /// `If-Match`, `If-None-Match` or the body's `revision` does not hold.
    #[error(
        "the stored state is not the one that If-Match, If-None-Match or the body's revision asks for"
    )]
    Precondition {
        /// The revision of what is stored; `None`: there is nothing.
        present: Option<i64>,
        /// Whether `If-Match` names it as a proxy has changed its tag.
        is_weakened: bool,
    },
    /// The token was rotated by this secret already, and the new one is used.
    #[error(
        "this secret has been rotated already, and the new one was used: only the new one may rotate the token"
    )]
    RotatedAlready,
    /// There is no such update key.
    #[error("there is no such update key")]
    NoUpdateKey,
    /// Another update key is the same.
    #[error("this update key is there already: choose another")]
    KeyTaken,
    /// The hostname is bound to another secid, or has a record that nobody may bind.
    #[error("this secid may not set this host")]
    WrongSecid,
    /// As many hostnames are bound by a first use alone as may be.
    #[error(
        "{} hosts are waiting to be confirmed: an admin must confirm or revoke some first",
        crate::domain::dynahost::MAX_UNCONFIRMED
    )]
    TooManyUnconfirmed,
    /// The hostname's secid is not the one that it was when the caller's was looked at.
    #[error("the host was bound, or its secid revoked, just now: try again")]
    BoundMeanwhile,
    /// There is no such sink.
    #[error("there is no such sink")]
    NoSink,
    /// Nobody works for the sink.
    #[error("no hub has this sink any more")]
    SinkGone,
    /// There is no such delivery.
    #[error("there is no such delivery")]
    NoDelivery,
    /// The silo would hold more records than it may.
    #[error("a silo holds at most {} records", silo_shared::silo::MAX_RECORDS)]
    TooManyRecords,
    /// The hub's key was reset while this hub ran.
    #[error("the hub's key was reset while this hub ran: restart it")]
    OtherKey,
    /// The nonce of a signed write was spent before.
    #[error("this request was received before: a retry is signed anew")]
    Replayed,
    /// A signed write is older than another one that it would undo.
    #[error("a newer signed write to the same place was accepted before")]
    Order,
    /// A signature is older than the moment at which the database was put back.
    #[error(
        "this was signed before the hub's database was put back from a copy: sign it again; if this goes on for more than a second, the clock is behind"
    )]
    SignedBeforeRestore,
    /// A new hostname without any address.
    #[error("a new hostname needs an address")]
    NoAddress,
}

/// Why a command had no outcome.
#[derive(Clone, Debug, Error)]
pub enum ApplyError {
    /// The command was refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The database failed. Nothing was written.
    #[error(transparent)]
    Store(#[from] Arc<StoreError>),
    /// The database took too long. Nothing was written, and nothing will be.
    #[error("the database did not take the write in time")]
    TimedOut,
    /// It was not found out in time whether the command was carried out.
    #[error("this may have been carried out; read before you repeat")]
    Unknown,
    /// The command panicked. Nothing was written.
    #[error("the hub failed at this command")]
    Panicked,
    /// The database's file is no longer where it was opened: what is written would be lost with it.
    #[error("the database's file was moved or removed while the hub serves it")]
    FileGone,
    /// The hub is stopping.
    #[error("the hub is stopping")]
    Stopping,
}

impl From<StoreError> for ApplyError {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

/// One change, which may be run again when its batch failed.
pub trait Command: Send + Sync + 'static {
    /// What the caller learns.
    type Outcome: Send + 'static;

    /// The record that the command begins by reading, if it is one: the writer fetches those of all the
    /// commands of a batch at once.
    fn reads(&self) -> Option<(&SiloId, &Hostname)> {
        None
    }

    /// How long the caller waits for the answer; `None`: as long as it takes.
    fn patience(&self) -> Option<Duration> {
        Some(ANSWER_TIMEOUT)
    }

    /// Reads, decides and writes, all inside the transaction. A refused command has written nothing.
    fn run(
        &self,
        transaction: &mut WriteTransaction,
        now: Time,
    ) -> impl Future<Output = Result<Self::Outcome, ApplyError>> + Send;
}

/// The one door for writes.
#[derive(Clone, Debug)]
pub struct Registry {
    queue: mpsc::Sender<Entry>,
    seen: Arc<PendingLastSeen>,
    write_health: Arc<WriteHealth>,
}

/// The parts of the hub that learn of every commit of this hub.
#[derive(Debug)]
pub struct Listeners {
    /// Forgets the rendered silos that changed.
    pub invalidation: Invalidation,
    /// The known tokens.
    pub tokens: TokenCache,
    /// The announced revision.
    pub revision: Revision,
}

enum Entry {
    Job(Box<dyn Job>),
    Stop,
}

impl WriteProbe for Registry {
    type Error = ApplyError;

    async fn prove_writable(&self) -> Result<(), ApplyError> {
        self.apply(ProveWritable).await.map(|_| ())
    }
}

impl Registry {
    /// Starts the writer task. It ends after [`Registry::stop`], or when every registry is dropped.
    pub fn start(
        store: Store,
        listeners: Listeners,
        clock: Clock,
    ) -> Result<(Self, JoinHandle<()>), NoRandomness> {
        let (queue, entries) = mpsc::channel(QUEUE);
        let seen = Arc::new(PendingLastSeen::default());
        let write_health = Arc::new(WriteHealth::default());
        let writer = Writer {
            moves: Moves::new(store.clone(), listeners.revision.clone()),
            store,
            listeners,
            clock,
            seen: Arc::clone(&seen),
            write_health: Arc::clone(&write_health),
            hub: random_u128()?,
            batches: 0,
            unknown: None,
        };
        let registry = Self {
            queue,
            seen,
            write_health,
        };
        Ok((registry, tokio::spawn(writer.work(entries))))
    }

    /// Runs a command; answers once its outcome is durable and this hub's reads show it, or after
    /// [`Command::patience`].
    pub async fn apply<C: Command>(&self, command: C) -> Result<C::Outcome, ApplyError> {
        if self.write_health.is_file_gone() {
            return Err(ApplyError::FileGone);
        }
        let patience = command.patience();
        let (job, mut caller) = job(command);
        let progress = Arc::clone(&caller.progress);
        let answered = async {
            let queued = self.queue.send(Entry::Job(job)).await;
            queued.map_err(|_| ApplyError::Stopping)?;
            caller.answer().await
        };
        match patience {
            None => answered.await,
            Some(patience) => {
                let answered = tokio::time::timeout(patience, answered).await;
                answered.unwrap_or_else(|_| {
                    self.write_health.note_failure();
                    Err(progress.give_up())
                })
            }
        }
    }

    /// Completes when the writer has ended: after [`Registry::stop`], or by a panic.
    pub async fn ended(&self) {
        self.queue.closed().await;
    }

    /// The records that were named without being changed, which only this hub's memory knows yet.
    pub fn seen(&self) -> &PendingLastSeen {
        &self.seen
    }

    /// Whether the database takes writes.
    pub fn write_health(&self) -> &WriteHealth {
        &self.write_health
    }

    /// Whether the database takes writes: what the commits of the last second say, else what a write of the
    /// hub's own says. The hub makes such a write once a second at most, however many ask.
    pub async fn is_writable(&self) -> bool {
        if self.write_health.is_file_gone() {
            return false;
        }
        let _probing = self.write_health.probing.lock().await;
        if let Some(known) = self.write_health.known_lately() {
            return known;
        }
        let proved = tokio::time::timeout(PROBE_TIMEOUT, self.apply(ProveWritable)).await;
        let writable = matches!(proved, Ok(Ok(())));
        if !writable {
            self.write_health.note_failure();
        }
        writable
    }

    /// Lets the writer finish what is waiting and end.
    pub async fn stop(&self) {
        // An error means that the writer has ended already.
        let _ = self.queue.send(Entry::Stop).await;
    }
}

struct Writer {
    store: Store,
    moves: Moves,
    listeners: Listeners,
    clock: Clock,
    seen: Arc<PendingLastSeen>,
    write_health: Arc<WriteHealth>,
    /// This hub in its marks.
    hub: u128,
    /// How many batches were to be committed.
    batches: u64,
    /// The batch of which is not known whether it was committed. No other begins before it is.
    unknown: Option<Unknown>,
}

/// Commands that run in one transaction.
struct Batch {
    jobs: Vec<Box<dyn Job>>,
    attempt: u32,
}

/// A batch whose `COMMIT` was sent and not answered as it should be.
struct Unknown {
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
    async fn work(mut self, mut entries: mpsc::Receiver<Entry>) {
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
