//! The only SQL. What is stored, in one set of queries that every supported database understands.
//!
//! Reads go through [`Store`], which has connections of its own for them. Writes go through one
//! [`WriteTransaction`] at a time, which locks the revision counter before it reads anything, hands
//! out revisions, and gathers what must be told to the rest of the hub once it is durable.

mod backup;
mod dialect;
mod history;
mod interests;
mod migrations;
mod outbox;
mod purge;
mod records;
mod silos;
mod snapshot;
mod statements;
mod tokens;
mod transfer;
mod unwritten;
mod update_keys;
mod watch;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use silo_shared::silo::{Hostname, SiloId};
use sqlx::any::{AnyConnectOptions, AnyPoolOptions, AnyRow};
use sqlx::{Any, AnyConnection, AnyPool, ConnectOptions, Connection, Executor, Row, Transaction};
use thiserror::Error;

use crate::domain::time::Time;

use dialect::{Dialect, is_full};
pub use history::{HistoryContext, HistoryCursor, HistoryRow, Via};
use interests::Interests;
pub use outbox::{
    Activity, DeliveryCount, DeliveryCursor, DeliveryRow, DeliveryState, DueName, Happening,
    Interest, KnownSink, Later, LedgerRow, NEVER, NameRow, Ours, OwedEvent, PendingEvent,
    QuietRecord, SinkTrouble,
};
pub use silos::{SiloHead, StoredRecord, StoredSilo};
pub use snapshot::{Snapshot, TransferredRow, TransferredSilo, TransferredToken};
use statements::{ROWS_AT_ONCE, Statements, insert_rows, padded_chunks, statement_chunks};
pub use tokens::{KnownToken, SealedKey};
use unwritten::Unwritten;
pub use update_keys::KeyHash;
pub use watch::CommitWatch;

/// Locks the revision counter and changes nothing.
const TOUCH_COUNTER: &str = "UPDATE counters SET value = value WHERE name = 'revision'";
const SET_COUNTER: &str = "UPDATE counters SET value = ? WHERE name = ?";
/// The counter of the highest revision of a tombstone that was purged.
const FEED_FLOOR: &str = "feed_floor";
/// The counter of the last delivery.
const DELIVERIES: &str = "deliveries";
/// How many connections serve reads.
const READERS: u32 = 4;
/// How long a write waits for the connection before the database counts as away.
const WRITER_PATIENCE: Duration = Duration::from_secs(5);
/// How long a read does.
const READER_PATIENCE: Duration = Duration::from_secs(2);

/// Why the database did not do what was asked.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The database can't be reached or refused the statement.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// The disk that the database lies on takes no more.
    #[error(
        "the disk of the database {url} is full, nothing is written until there is room: {cause}"
    )]
    Full {
        /// The URL, without secrets.
        url: String,
        /// What the driver says.
        cause: String,
    },
    /// The database does not answer in time.
    #[error("the database does not answer")]
    Silent,
    /// The database can't be opened at all.
    #[error("cannot open the database {url}: {cause}")]
    Open {
        /// The URL, without secrets.
        url: String,
        /// What the driver says.
        cause: String,
    },
    /// The schema can't be brought to, or is not at, the version of this program.
    #[error("{0}")]
    Schema(String),
    /// A row holds what this program never writes.
    #[error("the database holds an unreadable {0}")]
    Corrupt(&'static str),
}

impl StoreError {
    /// Whether the connection failed, rather than a statement.
    pub fn is_connection(&self) -> bool {
        use sqlx::Error as E;
        matches!(
            self,
            Self::Database(
                E::Io(_)
                    | E::Tls(_)
                    | E::Protocol(_)
                    | E::PoolTimedOut
                    | E::PoolClosed
                    | E::WorkerCrashed
            )
        )
    }
}

/// Which database, as a URL: `sqlite:PATH`, `postgres://…` or `mysql://…`. Printed without its password.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl {
    url: String,
    dialect: Dialect,
}

/// A URL of no database that is supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "the database is given as sqlite:PATH, postgres://USER:PASSWORD@HOST/NAME or mysql://USER:PASSWORD@HOST/NAME"
)]
pub struct InvalidDatabaseUrl;

impl DatabaseUrl {
    /// The SQLite file at a path.
    pub fn sqlite_file(path: &Path) -> Self {
        let path = path.to_string_lossy();
        let encoded = percent_encoding::utf8_percent_encode(&path, dialect::SQLITE_PATH);
        Self {
            url: format!("sqlite:{encoded}"),
            dialect: Dialect::Sqlite,
        }
    }

    /// The file of an embedded database.
    pub fn file(&self) -> Option<PathBuf> {
        let path = match self.dialect {
            Dialect::Sqlite => self.url.strip_prefix("sqlite:")?,
            Dialect::Postgres | Dialect::MariaDb => return None,
        };
        let path = path.strip_prefix("//").unwrap_or(path);
        let path = path.split('?').next().unwrap_or(path);
        let path = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
        Some(PathBuf::from(&*path))
    }
}

impl std::str::FromStr for DatabaseUrl {
    type Err = InvalidDatabaseUrl;

    fn from_str(text: &str) -> Result<Self, InvalidDatabaseUrl> {
        let dialect = Dialect::of(text).ok_or(InvalidDatabaseUrl)?;
        let url = match text.strip_prefix("mariadb:") {
            // The driver knows the protocol by its first name only.
            Some(rest) => format!("mysql:{rest}"),
            None => text.to_owned(),
        };
        if dialect != Dialect::Sqlite {
            url::Url::parse(&url).map_err(|_| InvalidDatabaseUrl)?;
        }
        Ok(Self { url, dialect })
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.dialect {
            Dialect::Sqlite => f.write_str(&self.url),
            Dialect::Postgres | Dialect::MariaDb => {
                let url = url::Url::parse(&self.url).map_err(|_| fmt::Error)?;
                let host = url.host_str().unwrap_or("");
                write!(f, "{}://{host}", url.scheme())?;
                if let Some(port) = url.port() {
                    write!(f, ":{port}")?;
                }
                f.write_str(url.path())
            }
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The database.
#[derive(Clone, Debug)]
pub struct Store {
    url: DatabaseUrl,
    dialect: Dialect,
    writer: AnyPool,
    readers: AnyPool,
    interests: Interests,
}

impl Store {
    /// Connects, and with `migrate` brings the schema to this program's version; without it, a
    /// schema of another version is an error.
    pub async fn open(url: &DatabaseUrl, migrate: bool, now: Time) -> Result<Self, StoreError> {
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
        let pool = |connections: u32, patience: Duration, setup: &'static str| {
            AnyPoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(patience)
                .idle_timeout(None)
                .max_lifetime(None)
                .test_before_acquire(url.dialect.is_remote())
                .after_connect(move |connection, _| {
                    Box::pin(async move { connection.execute(setup).await.map(|_| ()) })
                })
                .after_release(|connection, _| Box::pin(is_at_rest(connection)))
                .connect_with(options.clone())
        };
        // A pool only says that it waited in vain; a first connection of its own says why.
        let mut first = options.connect().await.map_err(refused)?;
        first
            .execute(url.dialect.writer_setup())
            .await
            .map_err(refused)?;
        first.close().await.map_err(refused)?;
        let writer = pool(1, WRITER_PATIENCE, url.dialect.writer_setup())
            .await
            .map_err(refused)?;
        if migrate {
            migrations::run(&writer, url.dialect).await?;
        } else {
            migrations::check(&writer).await?;
        }
        let readers = pool(READERS, READER_PATIENCE, url.dialect.reader_setup())
            .await
            .map_err(refused)?;
        let store = Self {
            url: url.clone(),
            dialect: url.dialect,
            writer,
            readers,
            interests: Interests::default(),
        };
        store.begin_revisions(now).await?;
        Ok(store)
    }

    /// A new database's revisions begin at the time in microseconds, so that a hub begun anew never
    /// hands out a revision that somebody holds for something else.
    async fn begin_revisions(&self, now: Time) -> Result<(), StoreError> {
        self.dialect
            .query("UPDATE counters SET value = ? WHERE name = 'revision' AND value = 0")
            .bind(now.as_micros())
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// Says of an error which disk is full, if that is what it comes from.
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

    /// Starts the one kind of transaction that writes, and reads the records that it will begin with.
    pub async fn begin_write(
        &self,
        reads: &[(&SiloId, &Hostname)],
    ) -> Result<WriteTransaction, StoreError> {
        let mut inner = self.writer.begin_with(self.dialect.begin_write()).await?;
        if self.dialect.is_remote() {
            // Whoever holds the counter's lock is the only writer; SQLite has one anyway.
            inner.execute(TOUCH_COUNTER).await?;
        }
        let mut statements = Statements::new(self.dialect);
        statements.add("SELECT name, value FROM counters WHERE name IN ('revision', 'sinks')");
        let mut unwritten = Unwritten::default();
        let question = unwritten.question(&[], reads);
        question.ask(&mut statements);
        let mut answers = statements.fetch(&mut inner).await?.into_iter();
        let (mut revision, mut sinks_version) = (0, 0);
        for row in answers.next().unwrap_or_default() {
            match row.try_get::<&str, _>(0)? {
                "revision" => revision = row.try_get(1)?,
                _ => sinks_version = row.try_get(1)?,
            }
        }
        unwritten.learn(question, answers)?;
        Ok(WriteTransaction {
            dialect: self.dialect,
            inner,
            interests: self.interests.clone(),
            unwritten,
            sinks_version,
            sinks_changed: false,
            first_revision: revision,
            revision,
            delivery: None,
            must_commit: false,
            effects: Effects::default(),
        })
    }

    /// The last committed revision and the state of the tokens.
    pub async fn position(&self) -> Result<Position, StoreError> {
        let mut connection = self.readers.acquire().await?;
        Ok(Position {
            tokens: read_counter(self.dialect, &mut connection, "tokens").await?,
            feed_floor: read_counter(self.dialect, &mut connection, FEED_FLOOR).await?,
            deliveries: read_counter(self.dialect, &mut connection, DELIVERIES).await?,
            revision: read_counter(self.dialect, &mut connection, "revision").await?,
        })
    }

    /// The silos, deleted ones too, that changed after a revision: id and revision in order.
    pub async fn changed_since(
        &self,
        revision: i64,
        limit: i64,
    ) -> Result<Vec<(SiloId, i64)>, StoreError> {
        self.dialect
            .query("SELECT id, revision FROM silos WHERE revision > ? ORDER BY revision LIMIT ?")
            .bind(revision)
            .bind(limit)
            .fetch_all(&self.readers)
            .await?
            .iter()
            .map(|row| Ok((silo_id(row, 0)?, row.try_get(1)?)))
            .collect()
    }

    /// Something that notices when anyone commits.
    pub async fn watch_commits(&self) -> Result<CommitWatch, StoreError> {
        CommitWatch::start(self).await
    }

    /// Whether the database answers.
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

/// How far the database has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The last committed revision.
    pub revision: i64,
    /// Grows with every change of a token.
    pub tokens: i64,
    /// Grows with every delivery that is owed or to be tried again.
    pub deliveries: i64,
    /// The highest revision of a deletion that is told no more.
    pub feed_floor: i64,
}

/// The only way to write. Dropped without [`WriteTransaction::commit`], it leaves no trace.
#[derive(Debug)]
pub struct WriteTransaction {
    dialect: Dialect,
    inner: Transaction<'static, Any>,
    interests: Interests,
    unwritten: Unwritten,
    /// The counter that moves with every change of the sinks.
    sinks_version: i64,
    sinks_changed: bool,
    first_revision: i64,
    revision: i64,
    /// The id of the last delivery, once it was asked for.
    delivery: Option<i64>,
    must_commit: bool,
    effects: Effects,
}

/// What the rest of the hub must learn of a transaction once it is over.
#[derive(Debug, Default)]
pub struct Effects {
    /// Whether anything was written, rather than rolled back.
    pub is_durable: bool,
    /// The last revision that was taken, if one was.
    pub revision: Option<i64>,
    /// The silos that changed.
    pub silos: Vec<SiloId>,
    /// Whether a token was made or revoked.
    pub tokens_changed: bool,
    /// Whether a sink is owed something that it was not owed before.
    pub deliveries_owed: bool,
    /// Records that were named by a write without being changed.
    pub seen: Vec<(SiloId, Hostname)>,
}

impl WriteTransaction {
    /// Takes the next revision for a changing command on a silo.
    pub fn take_revision(&mut self, silo: &SiloId) -> i64 {
        self.revision += 1;
        self.effects.silos.push(silo.clone());
        self.revision
    }

    /// Takes the next id of a delivery, and has the workers look what they owe.
    pub async fn take_delivery(&mut self) -> Result<i64, StoreError> {
        let next = self.last_delivery().await? + 1;
        self.delivery = Some(next);
        self.effects.deliveries_owed = true;
        Ok(next)
    }

    /// Has the workers look what they owe, in every hub.
    pub async fn wake_workers(&mut self) -> Result<(), StoreError> {
        self.take_delivery().await?;
        Ok(())
    }

    /// The id of the last delivery.
    pub async fn last_delivery(&mut self) -> Result<i64, StoreError> {
        match self.delivery {
            Some(last) => Ok(last),
            None => read_counter(self.dialect, &mut self.inner, DELIVERIES).await,
        }
    }

    /// Notes that a write named this record and changed nothing.
    pub fn note_seen(&mut self, silo: &SiloId, hostname: &Hostname) {
        self.effects.seen.push((silo.clone(), hostname.clone()));
    }

    /// Makes everything durable, or rolls back when there is nothing to keep.
    pub async fn commit(mut self) -> Result<Effects, StoreError> {
        self.settle().await?;
        let mut statements = Statements::new(self.dialect);
        self.unwritten.send(&mut statements);
        if self.revision != self.first_revision {
            statements
                .add(SET_COUNTER)
                .bind(self.revision)
                .bind("revision");
            self.effects.revision = Some(self.revision);
            self.must_commit = true;
        }
        if let Some(delivery) = self.delivery {
            statements.add(SET_COUNTER).bind(delivery).bind(DELIVERIES);
            self.must_commit = true;
        }
        statements.execute(&mut self.inner).await?;
        if self.must_commit {
            self.effects.is_durable = true;
            if let Some(announcement) = self.dialect.announcement() {
                self.inner.execute(announcement).await?;
            }
            self.inner.commit().await?;
        } else {
            self.inner.rollback().await?;
        }
        Ok(self.effects)
    }

    /// Asks for a commit that changes nothing, which shows whether the database takes writes.
    pub async fn prove_writable(&mut self) -> Result<(), StoreError> {
        self.must_commit = true;
        self.inner.execute(TOUCH_COUNTER).await?;
        Ok(())
    }

    /// A fact about this database.
    pub async fn fact(&mut self, name: &str) -> Result<Option<String>, StoreError> {
        read_fact(self.dialect, &mut self.inner, name).await
    }

    /// Sets a fact about this database.
    pub async fn set_fact(&mut self, name: &str, fact: &str) -> Result<(), StoreError> {
        self.must_commit = true;
        let updated = self
            .dialect
            .query("UPDATE facts SET fact = ? WHERE name = ?")
            .bind(fact)
            .bind(name)
            .execute(&mut *self.inner)
            .await?;
        if updated.rows_affected() == 0 {
            self.dialect
                .query("INSERT INTO facts (name, fact) VALUES (?, ?)")
                .bind(name)
                .bind(fact)
                .execute(&mut *self.inner)
                .await?;
        }
        Ok(())
    }
}

/// Whether a connection that is given back has no transaction left. SQLite ends a transaction by itself
/// when its disk is full; the driver's own end of it then fails, and the driver takes the next
/// transaction for a part of the old one, whose commit would keep nothing. Such a connection is closed.
async fn is_at_rest(connection: &mut AnyConnection) -> Result<bool, sqlx::Error> {
    if connection.is_in_transaction() {
        // A roll-back that is under way is over once the connection answers.
        connection.ping().await?;
    }
    Ok(!connection.is_in_transaction())
}

async fn read_counter(
    dialect: Dialect,
    connection: &mut AnyConnection,
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
    connection: &mut AnyConnection,
    name: &str,
) -> Result<Option<String>, StoreError> {
    let row = dialect
        .query("SELECT fact FROM facts WHERE name = ?")
        .bind(name)
        .fetch_optional(connection)
        .await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}

fn silo_id(row: &AnyRow, column: usize) -> Result<SiloId, StoreError> {
    SiloId::parse(row.try_get(column)?).map_err(|_| StoreError::Corrupt("silo id"))
}

fn hostname(row: &AnyRow, column: usize) -> Result<Hostname, StoreError> {
    Hostname::parse(row.try_get(column)?).map_err(|_| StoreError::Corrupt("hostname"))
}

fn time(row: &AnyRow, column: usize) -> Result<Time, StoreError> {
    Ok(Time::from_millis(row.try_get(column)?))
}

fn optional_time(row: &AnyRow, column: usize) -> Result<Option<Time>, StoreError> {
    Ok(row
        .try_get::<Option<i64>, _>(column)?
        .map(Time::from_millis))
}

/// Reads an optional text column as what it stands for.
fn optional<T: std::str::FromStr>(
    row: &AnyRow,
    column: usize,
    what: &'static str,
) -> Result<Option<T>, StoreError> {
    row.try_get::<Option<&str>, _>(column)?
        .map(|text| text.parse().map_err(|_| StoreError::Corrupt(what)))
        .transpose()
}
