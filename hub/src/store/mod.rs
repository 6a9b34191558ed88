//! The only SQL. What is stored, in one set of queries that every supported database understands.
//!
//! Reads go through [`Store`], which has connections of its own for them. Writes go through one
//! [`WriteTransaction`] at a time, which locks the revision counter before it reads anything, hands
//! out revisions, and gathers what must be told to the rest of the hub once it is durable.

mod audit;
mod backup;
mod dialect;
mod dynahost;
mod failures;
mod history;
mod interests;
mod migrations;
mod outbox;
mod purge;
mod records;
mod server_identity;
mod signed_writes;
mod silos;
mod snapshot;
mod statements;
mod tokens;
mod transaction;
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
use sqlx::{AnyConnection, AnyPool, ConnectOptions, Connection, Executor, Row};
use thiserror::Error;

use crate::domain::time::Time;

pub use audit::{AuditEvent, AuditRow, REFUSED_KEPT};
use dialect::{Dialect, is_full};
pub use history::{HistoryContext, HistoryCursor, HistoryRow, Via};
use interests::Interests;
pub use outbox::{
    Activity, DeliveryCount, DeliveryRow, DeliveryState, DueName, Happening, IdCursor, Interest,
    KnownSink, Later, LedgerRow, NEVER, NameRow, Ours, OwedEvent, PendingEvent, QuietRecord,
    SinkTrouble,
};
use server_identity::Servers;
pub use signed_writes::Place;
pub use silos::{SiloHead, StoredRecord, StoredSilo};
pub use snapshot::{
    Snapshot, TransferredBinding, TransferredRow, TransferredSilo, TransferredUpdateKey,
};
use statements::{ROWS_AT_ONCE, Statements, insert_rows, padded_chunks, statement_chunks};
pub use tokens::{FormerSecret, KnownToken, SealedKey};
pub use transaction::{Effects, WriteTransaction};
pub use update_keys::KeyHash;
pub use watch::CommitWatch;

const SET_COUNTER: &str = "UPDATE counters SET value = ? WHERE name = ?";
/// The counter of the highest revision of a tombstone that was purged.
const FEED_FLOOR: &str = "feed_floor";
/// The counter of the last delivery.
const DELIVERIES: &str = "deliveries";
/// The counter of changes to what hubs count together.
const FAILURES: &str = "failures";
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
    /// Another program takes too long to change the schema.
    pub(crate) fn migrated_elsewhere() -> Self {
        Self::Schema("another program has been migrating the database for a minute".to_owned())
    }

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
    servers: Servers,
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
        let servers = Servers::new(url.dialect);
        let pool = |connections: u32, patience: Duration, setup: &'static str| {
            let (new, lent) = (servers.clone(), servers.clone());
            AnyPoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(patience)
                .idle_timeout(None)
                .max_lifetime(None)
                // What is asked of each instead is a sign of life as well.
                .test_before_acquire(false)
                .before_acquire(move |connection, facts| {
                    let servers = lent.clone();
                    Box::pin(async move { servers.is_usable(connection, facts.age).await })
                })
                .after_connect(move |connection, _| {
                    let servers = new.clone();
                    Box::pin(async move {
                        connection.execute(setup).await?;
                        servers.look_at(connection).await
                    })
                })
                .connect_with(options.clone())
        };
        // A pool only says that it waited in vain; a first connection of its own says why. Migrating takes
        // locks that last as long as the connection.
        let mut first = options.connect().await.map_err(refused)?;
        first
            .execute(url.dialect.writer_setup())
            .await
            .map_err(refused)?;
        servers.look_at(&mut first).await.map_err(refused)?;
        if migrate {
            migrations::run(&mut first, url.dialect).await?;
        } else {
            migrations::check(&mut first).await?;
        }
        first.close().await.map_err(refused)?;
        let writer = pool(1, WRITER_PATIENCE, url.dialect.writer_setup())
            .await
            .map_err(refused)?;
        // SQLite's watch of commits holds one.
        let readers = READERS + u32::from(!url.dialect.is_remote());
        let readers = pool(readers, READER_PATIENCE, url.dialect.reader_setup())
            .await
            .map_err(refused)?;
        let store = Self {
            url: url.clone(),
            dialect: url.dialect,
            writer,
            readers,
            servers,
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

    /// How often the connections turned out to lead to another server.
    pub fn server_moves(&self) -> u64 {
        self.servers.moves()
    }

    /// Looks once more at which server one of the connections leads to.
    pub async fn look_at_server(&self) -> Result<(), StoreError> {
        let mut connection = self.readers.acquire().await?;
        let looked = self.servers.look_at(&mut connection).await;
        if looked.is_err() {
            connection.close_on_drop();
        }
        Ok(looked?)
    }

    /// How far the database is.
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
                _ => {}
            }
        }
        Ok(position)
    }

    /// The silos, deleted ones too, that changed after a revision, in the order of theirs.
    pub async fn changed_since(
        &self,
        revision: i64,
        limit: i64,
    ) -> Result<Vec<ChangedSilo>, StoreError> {
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

/// A silo that changed, as the feed tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedSilo {
    /// Which.
    pub id: SiloId,
    /// The revision of the last change.
    pub revision: i64,
    /// Whether that was its deletion.
    pub deleted: bool,
}

/// How far the database has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The last committed revision.
    pub revision: i64,
    /// Grows with every change of a token.
    pub tokens: i64,
    /// Grows with every delivery that is owed or to be tried again.
    pub deliveries: i64,
    /// Grows with every change of the wrong credentials that hubs count together.
    pub failures: i64,
    /// The highest revision of a deletion that is told no more.
    pub feed_floor: i64,
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
