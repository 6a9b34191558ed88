//! All SQL of the hub's own database, in one set of queries that every supported database understands.
//!
//! Reads go through [`Store`], which has separate connections for them. Writes go through one
//! [`WriteTransaction`] at a time, which locks the revision counter before it reads anything,
//! assigns revisions, and collects what the rest of the hub must be notified of once it is durable.

mod audit;
mod backup;
mod connection;
mod database_file;
mod dialect;
mod dynahost;
mod failure;
mod failures;
mod foreign;
mod history;
mod interests;
mod links;
mod marks;
mod migrations;
mod outbox;
mod pool;
mod purge;
mod records;
mod restored;
mod rows;
mod server_identity;
mod signed_writes;
mod silos;
mod snapshot;
#[cfg(test)]
pub(crate) mod statement_count;
mod statements;
mod tokens;
mod transaction;
mod transfer;
mod transferred;
mod unwritten;
mod update_keys;
mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use silo_shared::silo::SiloId;
use sqlx::any::{AnyArguments, AnyConnectOptions, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, ConnectOptions, Connection, Executor, Row};
use thiserror::Error;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::config::database_url::DatabaseUrl;
use crate::domain::signed_not_before::SignedNotBefore;
use crate::domain::time::Time;

pub use audit::{AuditEvent, AuditRow};
use connection::{Connector, DbConnection};
use database_file::DatabaseFile;
use dialect::{Dialect, is_full};
pub use failure::{Failure, Phase};
pub use foreign::{
    DynahostChange, DynahostDatabase, DynahostHost, PyddnsSilo, is_sqlite, read_dynahost,
    read_pyddns,
};
pub use history::{HistoryContext, HistoryCursor, HistoryRow, Via};
use interests::Interests;
pub use links::{HistoryNode, NodePlace};
pub use marks::Mark;
pub use outbox::{
    Activity, DeliveryCount, DeliveryKind, DeliveryRow, DeliveryState, DueName, EventDelivery,
    IdCursor, Interest, KnownSink, Later, LedgerRow, LedgerState, NEVER, NameRow, NamesDelivery,
    NextAttempt, PendingEvent, PendingName, PendingPage, QuietRecord, SinkTrouble,
};
use pool::Pool;
pub use purge::{OldRows, OldSearch};
use rows::{hostname, optional, optional_time, silo_id, time};
use server_identity::Servers;
pub use signed_writes::WriteScope;
pub use silos::{SiloHead, StoredRecord, StoredSilo};
pub use snapshot::Snapshot;
use statements::{ROWS_AT_ONCE, Statements, insert_rows, padded_chunks, statement_chunks};
pub use tokens::{FormerSecret, KnownToken, SealedKey};
pub use transaction::{CommitError, Effects, WriteTransaction};
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
/// Number of connections for reads.
const READERS: u32 = 4;
/// How many of them may scan rows at the same time, so that one remains free for other reads.
const SCANNERS: usize = 2;
/// Time limit for opening a write transaction on a server: connection, `BEGIN` and the counter's lock.
pub const BEGIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Time limit of a statement of a write transaction on a server, including `COMMIT`.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time limit of a read on a server.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a read waits for a connection before the database counts as unavailable.
const READER_PATIENCE: Duration = Duration::from_secs(2);
/// How long the first connection may take before the server counts as unavailable.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the database did not execute a request.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The database can't be reached or refused the statement.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// The database's disk is full.
    #[error(
        "the disk of the database {url} is full, nothing is written until there is room: {cause}"
    )]
    Full {
        /// The URL, without secrets.
        url: String,
        /// The driver's error.
        cause: String,
    },
    /// The database did not respond in time.
    #[error("the database does not answer")]
    NoAnswer,
    /// The database can't be opened.
    #[error("cannot open the database {url}: {cause}")]
    Open {
        /// The URL, without secrets.
        url: String,
        /// The driver's error.
        cause: String,
    },
    /// The database has no schema of a hub.
    #[error(
        "{url}: no hub database here: check --database and --data-dir, or create a new hub with --init"
    )]
    NoHub {
        /// The database, without its password.
        url: String,
    },
    /// The schema does not have this program's version, or can't be brought to it.
    #[error("{0}")]
    Schema(String),
    /// A row holds a value that this program never writes.
    #[error("the database holds an unreadable {0}")]
    Corrupt(&'static str),
}

impl StoreError {
    /// Another program takes too long to change the schema.
    pub(crate) fn migrated_elsewhere() -> Self {
        Self::Schema("another program has been migrating the database for a minute".to_owned())
    }
}

/// The database.
#[derive(Clone, Debug)]
pub struct Store {
    url: DatabaseUrl,
    dialect: Dialect,
    writer: Pool,
    readers: Pool,
    servers: Servers,
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

/// How to handle the database's schema when it is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schema {
    /// Create it if missing, and bring it up to date.
    Make,
    /// Bring it up to date; [`StoreError::NoHub`] if missing.
    Update,
    /// Require this program's version.
    Check,
}

impl Store {
    /// Connects, and handles the schema according to `schema`.
    pub async fn open(url: &DatabaseUrl, schema: Schema, now: Time) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let refused = |error: sqlx::Error| {
            let (url, cause) = (url.to_string(), error.to_string());
            match is_full(&error) {
                true => StoreError::Full { url, cause },
                false => StoreError::Open { url, cause },
            }
        };
        let options: AnyConnectOptions =
            url.dialect.connect_url(&url.url).parse().map_err(refused)?;
        let options = options.disable_statement_logging();
        let file = url.file().map(|file| Arc::new(DatabaseFile::new(file)));
        let servers = Servers::new(url.dialect);
        // Migrations and the first connection have no statement deadline.
        let first = tokio::time::timeout(CONNECT_TIMEOUT, async {
            let mut first = options.connect().await?;
            first.execute(url.dialect.writer_setup()).await?;
            servers.look_at(&mut first).await?;
            if let Some(file) = &file {
                file.note_opened();
            }
            Ok(first)
        });
        let mut first = match first.await {
            Ok(first) => first.map_err(refused)?,
            Err(_) => {
                return Err(StoreError::Open {
                    url: url.to_string(),
                    cause: format!(
                        "no database answered within {} s",
                        CONNECT_TIMEOUT.as_secs()
                    ),
                });
            }
        };
        if schema == Schema::Update && !migrations::are_there(&mut first).await? {
            return Err(StoreError::NoHub {
                url: url.to_string(),
            });
        }
        let migrated = match schema {
            Schema::Make | Schema::Update => migrations::run(&mut first, url.dialect).await,
            Schema::Check => migrations::check(&mut first).await,
        };
        migrated?;
        first.close().await.map_err(refused)?;
        // The file exists from now on.
        let options = url.dialect.reconnect_url(&url.url);
        let options: AnyConnectOptions = options.parse().map_err(refused)?;
        let writer = Connector::new(&options, &servers, url.dialect.writer_setup())
            .bound_to(file.clone())
            .wishing(url.dialect.writer_wishes())
            .within(WRITE_TIMEOUT);
        let reader = Connector::new(&options, &servers, url.dialect.reader_setup())
            .bound_to(file.clone())
            .wishing(url.dialect.reader_wishes())
            .within(READ_TIMEOUT);
        // SQLite's commit watch occupies one.
        let readers = READERS + u32::from(!url.dialect.is_remote());
        let store = Self {
            url: url.clone(),
            dialect: url.dialect,
            writer: Pool::new(writer, 1, BEGIN_TIMEOUT),
            readers: Pool::new(reader, readers, READER_PATIENCE),
            servers,
            file,
            interests: Interests::default(),
            change_reads: Arc::default(),
            reads: Arc::default(),
            scanners: Arc::new(Semaphore::new(SCANNERS)),
        };
        store.begin_revisions(now).await?;
        Ok(store)
    }

    /// A new database's revisions begin at the time in microseconds, so that a reinstalled hub
    /// never reuses a revision that a client already holds.
    async fn begin_revisions(&self, now: Time) -> Result<(), StoreError> {
        self.dialect
            .query("UPDATE counters SET value = ? WHERE name = 'revision' AND value = 0")
            .bind(now.as_micros())
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// Replaces an error caused by a full disk with one that names the disk.
    pub fn explain(&self, error: Arc<StoreError>) -> Arc<StoreError> {
        match &*error {
            StoreError::Database(cause) if is_full(cause) => Arc::new(StoreError::Full {
                url: self.url.to_string(),
                cause: cause.to_string(),
            }),
            _ => error,
        }
    }

    /// Closes every connection.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
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

    /// The current position of the database.
    pub async fn position(&self) -> Result<Position, StoreError> {
        let mut position = Position::default();
        let mut connection = self.readers.acquire().await?;
        for row in connection
            .fetch_all("SELECT name, value FROM counters")
            .await?
        {
            let value = row.try_get(1)?;
            match row.try_get(0)? {
                "revision" => position.revision = value,
                "tokens" => position.tokens = value,
                FEED_FLOOR => position.feed_floor = value,
                DELIVERIES => position.deliveries = value,
                FAILURES => position.failures = value,
                SIGNED_NOT_BEFORE => {
                    position.signed_not_before = SignedNotBefore(Time::from_millis(value));
                }
                _ => {}
            }
        }
        Ok(position)
    }

    /// The silos, including deleted ones, that changed after a revision, ordered by revision.
    pub async fn changed_since(
        &self,
        revision: i64,
        limit: i64,
    ) -> Result<Vec<ChangedSilo>, StoreError> {
        self.change_reads.fetch_add(1, Ordering::Relaxed);
        self.dialect
            .query(
                "SELECT id, revision, deleted FROM silos WHERE revision > ? \
                 ORDER BY revision LIMIT ?",
            )
            .bind(revision)
            .bind(limit)
            .fetch_all(&self.readers)
            .await?
            .iter()
            .map(|row| {
                Ok(ChangedSilo {
                    id: silo_id(row, 0)?,
                    revision: row.try_get(1)?,
                    deleted: row.try_get::<i64, _>(2)? != 0,
                })
            })
            .collect()
    }

    /// Number of queries of [`Store::changed_since`] since the hub was opened.
    pub fn change_reads(&self) -> u64 {
        self.change_reads.load(Ordering::Relaxed)
    }

    /// How much was read by statements whose number and size depend on client requests.
    pub fn reads(&self) -> Reads {
        Reads {
            statements: self.reads.statements.load(Ordering::Relaxed),
            rows: self.reads.rows.load(Ordering::Relaxed),
        }
    }

    /// Runs a statement on a reader, and counts the statement and its rows.
    async fn read(
        &self,
        query: Query<'static, Any, AnyArguments>,
    ) -> Result<Vec<AnyRow>, StoreError> {
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

    /// A fact about this database, such as the fingerprint of the hub's key.
    pub async fn fact(&self, name: &str) -> Result<Option<String>, StoreError> {
        let mut connection = self.readers.acquire().await?;
        read_fact(self.dialect, &mut connection, name).await
    }
}

/// A changed silo, as reported by the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedSilo {
    /// The silo.
    pub id: SiloId,
    /// The revision of the last change.
    pub revision: i64,
    /// Whether that change was its deletion.
    pub deleted: bool,
}

/// The position of the database: its counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The last committed revision.
    pub revision: i64,
    /// Increases with every change of a token.
    pub tokens: i64,
    /// Increases with every delivery that becomes pending or due again.
    pub deliveries: i64,
    /// Increases with every change of the failed attempts that hubs count jointly.
    pub failures: i64,
    /// The highest revision of a deletion that the feed no longer reports.
    pub feed_floor: i64,
    /// From when signatures are valid.
    pub signed_not_before: SignedNotBefore,
}

async fn read_counter(
    dialect: Dialect,
    connection: &mut DbConnection,
    name: &str,
) -> Result<i64, StoreError> {
    let row = dialect
        .query("SELECT value FROM counters WHERE name = ?")
        .bind(name)
        .fetch_one(connection)
        .await?;
    Ok(row.try_get(0)?)
}

async fn read_fact(
    dialect: Dialect,
    connection: &mut DbConnection,
    name: &str,
) -> Result<Option<String>, StoreError> {
    let row = dialect
        .query("SELECT fact FROM facts WHERE name = ?")
        .bind(name)
        .fetch_optional(connection)
        .await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}
