//! All SQL of the hub's own database, in one set of queries that every supported database understands.
//!
//! Reads go through [`Store`], which has separate connections for them. Writes go through one
//! [`WriteTransaction`] at a time, which locks the revision counter before it reads anything,
//! assigns revisions, and collects what the rest of the hub must be notified of once it is durable.

mod agent_states;
mod agents;
mod audit;
mod backup;
mod census;
mod changed_tokens;
mod connection;
mod database_file;
mod dialect;
mod dynahost;
mod error;
mod failure;
mod failures;
mod foreign;
mod history;
mod interests;
mod invitations;
mod links;
mod marks;
mod migrations;
mod open;
mod outbox;
mod pool;
mod position;
mod purge;
mod queries;
mod record_pages;
mod records;
mod refused_connection;
mod replayed;
mod restored;
mod rows;
mod server_identity;
mod sessions;
mod sign_in_links;
mod signed_writes;
mod silos;
mod snapshot;
#[cfg(test)]
pub(crate) mod statement_count;
mod statements;
mod summaries;
mod tokens;
mod transaction;
mod transfer;
mod transferred;
mod unwritten;
mod update_keys;
mod watch;

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::Executor;
use sqlx::any::AnyRow;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::config::database_url::DatabaseUrl;
use crate::domain::time::{Clock, ServerTime};

pub use agent_states::{AgentOfSilo, Missed};
pub use audit::{AuditEvent, AuditPart, AuditRow};
pub use census::{AgentCount, Census, CensusTimes, EndingToken, NamedAgent};
use database_file::DatabaseFile;
use dialect::Dialect;
pub use error::StoreError;
pub use failure::{Failure, Phase};
pub use foreign::{
    DynahostChange, DynahostDatabase, DynahostHost, PyddnsSilo, is_sqlite, read_dynahost,
    read_pyddns,
};
pub use history::{HistoryContext, HistoryCursor, HistoryRow, Via};
use interests::Interests;
pub use invitations::{KnownInvitation, PendingToken};
pub use links::{HistoryNode, NodePlace};
pub use marks::Mark;
pub use open::Schema;
pub use outbox::{
    Activity, COMPARING, DeliveryCount, DeliveryKind, DeliveryRow, DeliveryState, DueName,
    EventDelivery, IdCursor, Interest, KnownSink, Later, LedgerRow, LedgerState, NEVER, NameRow,
    NamesDelivery, NextAttempt, PendingEvent, PendingName, PendingPage, QuietRecord, SinkTrouble,
};
use pool::Pool;
use position::read_counter;
pub use position::{ChangedSilo, Position};
pub use purge::{OldRows, OldSearch};
pub use queries::Queries;
use queries::{Question, Source};
pub use record_pages::{RecordPlace, RecordStep};
pub use replayed::{ReplayReads, Replayed};
use rows::{hostname, optional, optional_time, silo_id, time};
use server_identity::Servers;
pub use signed_writes::WriteScope;
pub use silos::{SiloHead, StoredRecord, StoredSilo};
pub use snapshot::Snapshot;
use statements::{ROWS_AT_ONCE, Statements, insert_rows, padded_chunks, statement_chunks};
pub use summaries::SiloSummary;
pub use tokens::{FormerSecret, KnownToken, SealedKey};
pub use transaction::{CommitError, CommittedChange, Effects, WriteTransaction};
pub use transfer::HistoryAdded;
pub use transferred::{TransferredBinding, TransferredRow, TransferredSilo, TransferredUpdateKey};
pub use watch::CommitWatch;

const SET_COUNTER: &str = "UPDATE counters SET value = ? WHERE name = ?";
/// The counter of the highest revision of a purged tombstone.
const FEED_FLOOR: &str = "feed_floor";
/// The counter of the time from which signatures are valid, in Unix milliseconds; absent: all are.
const SIGNED_NOT_BEFORE: &str = "signed_not_before";
/// The counter of the last delivery.
const DELIVERIES: &str = "deliveries";
/// The counter of changes to the failed attempts that hubs count jointly.
const FAILURES: &str = "failures";
/// Time limit for opening a write transaction on a server: connection, `BEGIN` and the counter's lock.
pub const BEGIN_TIMEOUT: Duration = Duration::from_secs(5);
/// How often idle connections are looked at.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// How long a read waits for a connection before the database counts as unavailable.
const READER_PATIENCE: Duration = Duration::from_secs(2);

/// The database.
#[derive(Clone, Debug)]
pub struct Store {
    url: DatabaseUrl,
    dialect: Dialect,
    writer: Pool,
    readers: Pool,
    servers: Servers,
    server_time: Arc<ServerTime>,
    /// The file of an embedded database.
    file: Option<Arc<DatabaseFile>>,
    interests: Interests,
    /// Number of queries of [`Store::changed_since`].
    change_reads: Arc<AtomicU64>,
    reads: Arc<ReadCounters>,
    scanners: Arc<Semaphore>,
}

/// How much the lists, the history and the token look-ups have read since the store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// Statements.
    pub statements: u64,
    /// Rows that they returned.
    pub rows: u64,
}

#[derive(Debug, Default)]
struct ReadCounters {
    statements: AtomicU64,
    rows: AtomicU64,
}

impl Store {
    /// The clock by which this database's hubs compare stored times: the server's instead of the
    /// machine's. A clock set by a test, and that of an embedded database, remains.
    pub fn clock(&self, clock: Clock) -> Clock {
        match clock {
            Clock::System if self.dialect.is_remote() => {
                Clock::Server(Arc::clone(&self.server_time))
            }
            clock => clock,
        }
    }

    /// Notes the time that a server has added to a row of its counters.
    fn note_time(&self, row: Option<&AnyRow>) -> Result<(), StoreError> {
        if let Some(row) = row.filter(|_| self.dialect.is_remote()) {
            self.server_time.note(time(row, 2)?);
        }
        Ok(())
    }

    /// Closes every connection.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// Keeps idle connections to a server alive, forever.
    pub async fn keep_alive(&self) {
        if !self.dialect.is_remote() {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(KEEP_ALIVE).await;
            tokio::join!(self.writer.keep_alive(), self.readers.keep_alive());
        }
    }

    /// The connection for writes; fails if an embedded database's file was moved.
    async fn acquire_writer(&self) -> Result<pool::Lease, sqlx::Error> {
        if let Some(file) = &self.file {
            file.check()?;
        }
        self.writer.acquire().await
    }

    /// Whether an embedded database's file is still where it was opened; always true for a server.
    pub fn is_file_in_place(&self) -> bool {
        self.file.as_ref().is_none_or(|file| file.is_in_place())
    }

    /// The database's URL without a password.
    pub fn address(&self) -> String {
        self.url.to_string()
    }

    /// How often the connections were found to lead to another server.
    pub fn server_moves(&self) -> u64 {
        self.servers.moves()
    }

    /// Checks again which server one of the connections leads to.
    pub async fn look_at_server(&self) -> Result<(), StoreError> {
        let mut connection = self.readers.acquire().await?;
        let looked = connection.look_at_server().await;
        if looked.is_err() {
            connection.discard();
        }
        Ok(looked?)
    }

    /// How much was read by statements whose number and size depend on client requests.
    pub fn reads(&self) -> Reads {
        Reads {
            statements: self.reads.statements.load(Ordering::Relaxed),
            rows: self.reads.rows.load(Ordering::Relaxed),
        }
    }

    /// Runs a statement on a reader, and counts the statement and its rows.
    async fn read(&self, query: Question) -> Result<Vec<AnyRow>, StoreError> {
        let rows = query.fetch_all(&self.readers).await?;
        self.reads.statements.fetch_add(1, Ordering::Relaxed);
        self.reads
            .rows
            .fetch_add(rows.len() as u64, Ordering::Relaxed);
        Ok(rows)
    }

    /// Waits until another scan may run, for as long as a read waits for a connection.
    async fn scan(&self) -> Result<SemaphorePermit<'_>, StoreError> {
        match tokio::time::timeout(READER_PATIENCE, self.scanners.acquire()).await {
            Ok(permit) => Ok(permit.expect("the semaphore is never closed")),
            Err(_) => Err(StoreError::NoAnswer),
        }
    }

    /// A watch for commits of any program.
    pub async fn watch_commits(&self) -> Result<CommitWatch, StoreError> {
        CommitWatch::start(self).await
    }

    /// Checks that the database responds.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.readers.acquire().await?.execute("SELECT 1").await?;
        Ok(())
    }
}

impl Source for &Store {
    fn query(&self, sql: impl Into<Cow<'static, str>>) -> Question {
        self.dialect.query(sql)
    }

    async fn fetch_all(&mut self, query: Question) -> Result<Vec<AnyRow>, sqlx::Error> {
        query.fetch_all(&self.readers).await
    }

    async fn fetch_optional(&mut self, query: Question) -> Result<Option<AnyRow>, sqlx::Error> {
        query.fetch_optional(&self.readers).await
    }
}
