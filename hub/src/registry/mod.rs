//! The single entry point for writes.
//!
//! [`Registry::apply`] sends a command to the writer task. The writer takes all waiting commands,
//! runs them one after another in one transaction and commits once: one disk sync serves them all
//! (group commit). Callers get their results after the commit is durable and this hub's own view
//! includes it. If the database refuses a batch before its `COMMIT` was sent, its commands run
//! again one by one, so that a failing command does not fail its batch. A transaction that can't
//! begin, even over a new connection, is not the fault of a command; then all waiting commands fail.
//!
//! Once `COMMIT` was sent, only its response proves that the batch is committed, and only the
//! batch's mark proves that it is not: without a response, the next transaction reads the mark, and
//! the batch is either reported as committed or run again. Until then its commands are undecided. A
//! caller waits for at most [`Command::patience`], by default [`ANSWER_TIMEOUT`].

mod agents;
mod audit;
mod change;
mod command;
mod commit_stats;
mod dynahost;
mod failed_try;
mod failing;
mod failures;
mod import;
mod invitations;
mod job;
mod link;
mod logged;
mod moved;
pub mod new_invitation;
pub mod new_token;
mod noted_agents;
mod patch_records;
mod pending_last_seen;
mod publishing;
mod purge;
mod purge_ended;
mod restored;
mod revert;
mod sessions;
mod sign_in_links;
mod signed;
mod silos;
mod sinks;
#[cfg(test)]
mod statement_tests;
mod telling;
mod tokens;
mod undo;
mod update_keys;
mod verdict;
mod write_health;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::auth::secrets::{NoRandomness, random_u128};
use crate::auth::token_cache::TokenCache;
use crate::domain::time::Clock;
use crate::follow::bus::Bus;
use crate::follow::database_id::KnownDatabaseId;
use crate::follow::feed::WriteProbe;
use crate::follow::invalidation::Invalidation;
use crate::store::Store;

use moved::Moves;

pub use agents::{PurgeAgents, WriteAgents};
pub use audit::{Audited, OnToken, WriteDownRefused};
pub use command::{ANSWER_TIMEOUT, Actor, ApplyError, Command, Refusal};
pub use commit_stats::CommitStats;
pub use dynahost::{GivenLogin, OpenDynahost, Opened, SetByDynahost, SetOutcome, Shown};
pub use failures::{ForgetFailures, ShareFailures};
pub use import::{BeginImport, CloseImported, EndImport, ImportPart, PartWritten};
pub use invitations::{
    AddInvitation, ConfirmInvitation, PurgeInvitations, RedeemInvitation, RevokeInvitation,
};
use job::job;
pub use link::{
    BeginLinking, EndLinking, Followed, LastRevisions, LinkFormerNames, LinkRows, Linking, follow,
};
pub use noted_agents::NotedAgents;
pub use patch_records::{PatchRecords, PatchedRecords};
pub use pending_last_seen::PendingLastSeen;
pub use publishing::{
    AdoptName, BeginPublishing, BeginReconciling, EndPublishing, EndReconciling, EnqueueDifference,
    MERGED_TOGETHER, MergeDeliveries, NamedRecord, PublishAgain, PublishAll, Publishing, TakenUp,
};
pub use purge::{PurgeFormerSecrets, PurgeMarks, PurgeOld};
pub use purge_ended::{PurgeEnded, PurgeTokens};
pub use restored::{AdoptDatabaseId, NoteRestored};
pub use revert::{RevertSilo, RevertWhole, Reverted};
pub use sessions::{BeginSession, EndSession, EndSessionsOf, NoteSessionUsed, PurgeSessions};
pub use sign_in_links::{AddLink, UseLink};
pub use signed::{ForgetSigned, Signed, SignedWrite, SpendNonceOnly};
pub use silos::{
    DeleteSilo, ExpireRecord, RecordChange, RemoveRecord, ReplaceSilo, SetRecord, WrittenRecord,
    WrittenSilo,
};
pub use sinks::{
    BeginCleaning, BeginSinks, ConfiguredSink, EndCleaning, EnqueueRemoval, KeepSinks,
    RetryDelivery, SinksAtStart,
};
pub use telling::{BeginTelling, EndTelling, KeepLease, ReportUnseen, is_seen_since};
pub use tokens::{
    AdoptKey, ChangeToken, CreateFirstToken, CreateToken, KEY_FINGERPRINT, NoteNewSecretUsed,
    NoteTokenMade, ProveWritable, ResetKey, RevokeToken, RotateToken, WriteDownUse,
};
pub use undo::UndoChange;
pub use update_keys::{AddUpdateKey, RevokeUpdateKey, SetByUpdateKey};
pub use write_health::WriteHealth;
use writer::{Entry, Writer};

/// Capacity of the queue; further callers wait for a place in it.
const QUEUE: usize = 1024;
/// Time limit of a test write, after which the database counts as not writable.
const PROBE_TIMEOUT: Duration = Duration::from_secs(6);
/// The single entry point for writes.
#[derive(Clone, Debug)]
pub struct Registry {
    queue: mpsc::Sender<Entry>,
    seen: Arc<PendingLastSeen>,
    agents: Arc<NotedAgents>,
    write_health: Arc<WriteHealth>,
    commits: Arc<CommitStats>,
}

/// The parts of the hub that are notified of every commit of this hub.
#[derive(Debug)]
pub struct Listeners {
    /// Invalidates the rendered silos that changed.
    pub invalidation: Invalidation,
    /// The token cache.
    pub tokens: TokenCache,
    /// The announced revision.
    pub bus: Bus,
    /// The id of the database.
    pub database_id: KnownDatabaseId,
}

impl WriteProbe for Registry {
    type Error = ApplyError;

    async fn prove_writable(&self) -> Result<(), ApplyError> {
        self.apply(ProveWritable).await
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
        let commits = Arc::new(CommitStats::default());
        let writer = Writer {
            moves: Moves::new(store.clone(), listeners.bus.clone()),
            store,
            listeners,
            clock,
            seen: Arc::clone(&seen),
            write_health: Arc::clone(&write_health),
            commits: Arc::clone(&commits),
            hub: random_u128()?,
            batches: 0,
            unknown: None,
        };
        let registry = Self {
            queue,
            seen,
            agents: Arc::default(),
            write_health,
            commits,
        };
        Ok((registry, tokio::spawn(writer.work(entries))))
    }

    /// Runs a command; returns once its outcome is durable and visible to this hub's reads, or
    /// after [`Command::patience`].
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

    /// Last-seen times of records written without a change, so far only in this hub's memory.
    pub fn seen(&self) -> &PendingLastSeen {
        &self.seen
    }

    /// The agents that this hub has seen lately, so far only in its memory.
    pub fn agents(&self) -> &NotedAgents {
        &self.agents
    }

    /// Whether the database accepts writes.
    pub fn write_health(&self) -> &WriteHealth {
        &self.write_health
    }

    /// The commits that this hub has made.
    pub fn commits(&self) -> &CommitStats {
        &self.commits
    }

    /// Whether the database accepts writes: according to the commits of the last second, otherwise
    /// to a test write. The hub makes at most one test write per second, regardless of the number
    /// of callers.
    pub async fn is_writable(&self) -> bool {
        if self.write_health.is_file_gone() {
            return false;
        }
        let _probing = self.write_health.probing.lock().await;
        if let Some(known) = self.write_health.known_lately() {
            return known;
        }
        let proved = tokio::time::timeout(PROBE_TIMEOUT, self.prove_writable()).await;
        let writable = matches!(proved, Ok(Ok(())));
        if !writable {
            self.write_health.note_failure();
        }
        writable
    }

    /// Lets the writer finish the waiting commands and end.
    pub async fn stop(&self) {
        // Fails only if the writer has ended already.
        let _ = self.queue.send(Entry::Stop).await;
    }
}
