//! The one door for writes.
//!
//! [`Registry::apply`] hands a command to the writer task. The writer takes every command that is
//! waiting, runs them one after another in one transaction and commits once: one sync of the disk
//! serves them all (group commit). Nobody is answered before the commit is durable and this hub's own
//! view has taken it in. If a batch fails, its commands run again one by one, so that a failing
//! command never takes its batch down; but a transaction that can't even begin is no command's fault,
//! and then all that wait are answered at once.

mod audit;
mod change;
mod dynahost;
mod failures;
mod hearing;
mod import;
mod moved;
mod publishing;
mod purge;
mod revert;
mod seen;
mod signed;
mod silos;
mod sinks;
mod telling;
mod tokens;
mod update_keys;

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use silo_shared::credential::TokenId;
use silo_shared::silo::{Hostname, SiloId};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::domain::time::{Clock, Time};
use crate::revision::Revision;
use crate::store::{Effects, Store, StoreError, Via, WriteTransaction};
use crate::token_cache::TokenCache;
use crate::view::View;

use moved::Moves;

pub use audit::{Audited, OnToken, WriteDownRefused};
pub use dynahost::{GivenLogin, OpenDynahost, Opened, SetByDynahost, SetOutcome, Shown};
pub use failures::{ForgetFailures, ShareFailures};
pub use hearing::Hearing;
pub use import::{BeginImport, EndImport, ImportPart, PartWritten, RaiseRevision};
pub use publishing::{
    AdoptName, BeginPublishing, BeginReconciling, EndPublishing, EndReconciling, NamedRecord,
    OweDifference, Publishing, TakenUp,
};
pub use purge::PurgeOld;
pub use revert::{RevertSilo, Reverted};
pub use seen::Seen;
pub use signed::{ForgetSigned, Nothing, Signed, SignedWrite};
pub use silos::{
    DeleteSilo, ExpireRecord, RemoveRecord, ReplaceSilo, SetRecord, WrittenRecord, WrittenSilo,
};
pub use sinks::{
    BeginCleaning, BeginSinks, ConfiguredSink, DoubtLedger, EndCleaning, KeepSinks, OweRemoval,
    RetryDelivery, SinksBegun,
};
pub use telling::{BeginTelling, EndTelling, NoteQuiet};
pub use tokens::{
    AdoptKey, CreateFirstToken, CreateToken, KEY_FINGERPRINT, ProveWritable, ResetKey, RevokeToken,
    RotateToken, WriteDownUse,
};
pub use update_keys::{AddUpdateKey, RevokeUpdateKey, SetByUpdateKey};

/// The most commands that share one transaction.
const BATCH: usize = 256;
/// How often the runtime looks at its sockets before a batch begins: what has come in meanwhile joins it
/// and shares its sync. It takes microseconds when nothing has.
const GATHERING: usize = 10;
/// The most commands that wait; further callers wait to be let in.
const QUEUE: usize = 1024;

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
    /// `If-Match` or `If-None-Match` does not hold.
    #[error("the stored state is not the one that If-Match or If-None-Match asks for")]
    Precondition,
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
    /// The database failed. Nothing was written, unless the connection broke at the commit itself.
    #[error(transparent)]
    Store(#[from] Arc<StoreError>),
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
    seen: Arc<Seen>,
    hearing: Arc<Hearing>,
}

/// The parts of the hub that learn of every commit of this hub.
#[derive(Debug)]
pub struct Listeners {
    /// The rendered silos.
    pub view: View,
    /// The known tokens.
    pub tokens: TokenCache,
    /// The announced revision.
    pub revision: Revision,
}

enum Entry {
    Job(Box<dyn Job>),
    Stop,
}

type JobFuture<'a> = Pin<Box<dyn Future<Output = Result<(), Arc<StoreError>>> + Send + 'a>>;

/// A command together with whoever waits for its outcome.
trait Job: Send {
    /// See [`Command::reads`].
    fn reads(&self) -> Option<(&SiloId, &Hostname)>;
    /// Runs the command and keeps its outcome; fails only when the transaction must not go on.
    fn run<'a>(&'a mut self, transaction: &'a mut WriteTransaction, now: Time) -> JobFuture<'a>;
    /// Answers the caller, now that the transaction is committed or has failed.
    fn answer(self: Box<Self>, committed: Result<(), Arc<StoreError>>);
}

struct Waiting<C: Command> {
    command: C,
    outcome: Option<Result<C::Outcome, ApplyError>>,
    caller: oneshot::Sender<Result<C::Outcome, ApplyError>>,
}

impl<C: Command> Job for Waiting<C> {
    fn reads(&self) -> Option<(&SiloId, &Hostname)> {
        self.command.reads()
    }

    fn run<'a>(&'a mut self, transaction: &'a mut WriteTransaction, now: Time) -> JobFuture<'a> {
        Box::pin(async move {
            match self.command.run(transaction, now).await {
                Err(ApplyError::Store(error)) => Err(error),
                outcome => {
                    self.outcome = Some(outcome);
                    Ok(())
                }
            }
        })
    }

    fn answer(self: Box<Self>, committed: Result<(), Arc<StoreError>>) {
        let answer = match committed {
            Ok(()) => self.outcome.unwrap_or(Err(ApplyError::Stopping)),
            Err(error) => Err(ApplyError::Store(error)),
        };
        // A caller that has gone away needs no answer.
        let _ = self.caller.send(answer);
    }
}

impl Registry {
    /// Starts the writer task. It ends after [`Registry::stop`], or when every registry is dropped.
    pub fn start(store: Store, listeners: Listeners, clock: Clock) -> (Self, JoinHandle<()>) {
        let (queue, entries) = mpsc::channel(QUEUE);
        let seen = Arc::new(Seen::default());
        let hearing = Arc::new(Hearing::default());
        let writer = Writer {
            moves: Moves::new(store.clone(), listeners.revision.clone()),
            store,
            listeners,
            clock,
            seen: Arc::clone(&seen),
            hearing: Arc::clone(&hearing),
        };
        (
            Self {
                queue,
                seen,
                hearing,
            },
            tokio::spawn(writer.work(entries)),
        )
    }

    /// Runs a command; answers once its outcome is durable and this hub's reads show it.
    pub async fn apply<C: Command>(&self, command: C) -> Result<C::Outcome, ApplyError> {
        let (caller, answer) = oneshot::channel();
        let job = Waiting {
            command,
            outcome: None,
            caller,
        };
        self.queue
            .send(Entry::Job(Box::new(job)))
            .await
            .map_err(|_| ApplyError::Stopping)?;
        answer.await.unwrap_or(Err(ApplyError::Stopping))
    }

    /// The records that were named without being changed, which only this hub's memory knows yet.
    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Whether the database takes writes.
    pub fn hearing(&self) -> &Hearing {
        &self.hearing
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
    seen: Arc<Seen>,
    hearing: Arc<Hearing>,
}

impl Writer {
    async fn work(self, mut entries: mpsc::Receiver<Entry>) {
        let mut waiting = Vec::with_capacity(BATCH);
        while entries.recv_many(&mut waiting, BATCH).await > 0 {
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
            self.run_batch(jobs).await;
        }
    }

    async fn run_batch(&self, mut jobs: Vec<Box<dyn Job>>) {
        let reads: Vec<_> = jobs.iter().filter_map(|job| job.reads()).collect();
        let transaction = match self.store.begin_write(&reads).await {
            Ok(transaction) => transaction,
            Err(error) => return answer_all(jobs, Err(self.failed(Arc::new(error)))),
        };
        match self.run_together(transaction, &mut jobs).await {
            // A broken connection is no command's fault, and what it committed is not to be run again.
            Err(error) if jobs.len() > 1 && !error.is_connection() => {
                tracing::debug!(
                    commands = jobs.len(),
                    "a batch failed, one by one now: {error}"
                );
                self.run_one_by_one(jobs).await;
            }
            done => answer_all(jobs, done),
        }
    }

    async fn run_one_by_one(&self, jobs: Vec<Box<dyn Job>>) {
        let mut jobs = jobs.into_iter();
        while let Some(mut job) = jobs.next() {
            match self.store.begin_write(job.reads().as_slice()).await {
                Ok(transaction) => {
                    let only = std::slice::from_mut(&mut job);
                    let done = self.run_together(transaction, only).await;
                    job.answer(done);
                }
                Err(error) => {
                    let error = self.failed(Arc::new(error));
                    return answer_all([job].into_iter().chain(jobs), Err(error));
                }
            }
        }
    }

    async fn run_together(
        &self,
        mut transaction: WriteTransaction,
        jobs: &mut [Box<dyn Job>],
    ) -> Result<(), Arc<StoreError>> {
        let now = self.clock.now();
        let committed = async {
            let recovered = match self.moves.look_at(&mut transaction, now).await {
                Err(ApplyError::Store(error)) => return Err(error),
                looked => looked.unwrap_or(None),
            };
            for job in jobs {
                job.run(&mut transaction, now).await?;
            }
            let effects = transaction.commit().await.map_err(Arc::new)?;
            Ok((effects, recovered))
        };
        match committed.await {
            Ok((effects, recovered)) => {
                if let Some(recovered) = recovered {
                    self.listeners.view.forget_all();
                    self.listeners.tokens.forget_all();
                    self.moves.note(recovered);
                }
                self.publish(effects, now);
                Ok(())
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Notes that the database took no write, and says why as well as it can.
    fn failed(&self, error: Arc<StoreError>) -> Arc<StoreError> {
        self.hearing.note_failure();
        self.store.explain(error)
    }

    /// Makes this hub's own reads show a commit, then tells everybody who waits for changes.
    fn publish(&self, effects: Effects, now: Time) {
        for id in &effects.silos {
            self.listeners.view.forget(id);
        }
        if effects.tokens_changed {
            self.listeners.tokens.forget_all();
        }
        self.seen.note(effects.seen, now);
        if effects.is_durable {
            self.hearing.note_commit(now);
        }
        if let Some(revision) = effects.revision {
            self.listeners.revision.announce(revision);
        }
        if effects.deliveries_owed {
            self.listeners.revision.announce_deliveries();
        }
    }
}

fn answer_all(jobs: impl IntoIterator<Item = Box<dyn Job>>, done: Result<(), Arc<StoreError>>) {
    for job in jobs {
        job.answer(done.clone());
    }
}
