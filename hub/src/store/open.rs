//! Opens the database: its first connection, its schema, and its connections from then on.

use std::sync::Arc;
use std::time::Duration;

use sqlx::any::AnyConnectOptions;
use sqlx::{AnyConnection, ConnectOptions, Connection, Executor, Row};
use tokio::sync::Semaphore;

use super::connection::Connector;
use super::database_file::DatabaseFile;
use super::dialect::{is_full, is_malformed};
use super::interests::Interests;
use super::pool::{Pool, RETRY};
use super::refused_connection::{SHARED_SESSIONS, explained, has_no_slot};
use super::server_identity::Servers;
use super::{BEGIN_TIMEOUT, READER_PATIENCE, Store, StoreError, migrations};
use crate::config::database_url::DatabaseUrl;
use crate::domain::revision::Revision;
use crate::domain::time::{ServerTime, Time};

/// Number of connections for reads.
const READERS: u32 = 4;
/// How many of them may scan rows at the same time, so that one remains free for other reads.
const SCANNERS: usize = 2;
/// Time limit of a statement of a write transaction on a server, including `COMMIT`.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time limit of a read on a server.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the first connection may take before the server counts as unavailable.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

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

/// The error for a refused connection.
fn refused(url: &DatabaseUrl, error: &sqlx::Error) -> StoreError {
    let (url, cause) = (url.to_string(), explained(error));
    if is_full(error) {
        StoreError::Full { url, cause }
    } else if is_malformed(error) {
        StoreError::Malformed { url, cause }
    } else {
        StoreError::Open { url, cause }
    }
}

/// Makes the first connection, on which migrations run, and checks what it leads to.
async fn first_connection(
    options: &AnyConnectOptions,
    url: &DatabaseUrl,
    servers: &Servers,
    file: Option<&DatabaseFile>,
) -> Result<AnyConnection, StoreError> {
    let mut refusal = None;
    let first = tokio::time::timeout(CONNECT_TIMEOUT, async {
        let mut first = connect(options, &mut refusal).await?;
        first.execute(url.dialect.writer_setup()).await?;
        servers.look_at(&mut first).await?;
        if let Some(file) = file {
            file.note_opened();
        }
        let sessions = refuse_shared_sessions(&mut first, options, url, &mut refusal);
        Ok(sessions.await?.map(|()| first))
    });
    let first: Result<_, sqlx::Error> = match first.await {
        Ok(first) => first,
        Err(_) => match refusal {
            Some(refusal) => Err(refusal),
            None => {
                return Err(StoreError::Open {
                    url: url.to_string(),
                    cause: format!(
                        "no database answered within {} s",
                        CONNECT_TIMEOUT.as_secs()
                    ),
                });
            }
        },
    };
    first.map_err(|error| refused(url, &error))?
}

/// Makes a connection. While the server has no connection left, it tries again, until the
/// caller gives up; `refusal` then has the last error.
async fn connect(
    options: &AnyConnectOptions,
    refusal: &mut Option<sqlx::Error>,
) -> Result<AnyConnection, sqlx::Error> {
    loop {
        match options.connect().await {
            Err(error) if has_no_slot(&error) => {
                *refusal = Some(error);
                tokio::time::sleep(RETRY).await;
            }
            done => return done,
        }
    }
}

async fn session(of: &mut AnyConnection, question: &'static str) -> Result<i64, sqlx::Error> {
    of.fetch_one(question).await?.try_get(0)
}

/// Refuses a pooler that changes the session of a connection between transactions: the settings of a
/// session, its prepared statements and `LISTEN` would be those of another one. Such a pooler has
/// both connections share a session, or changes the first one's while the second has a transaction.
async fn refuse_shared_sessions(
    first: &mut AnyConnection,
    options: &AnyConnectOptions,
    url: &DatabaseUrl,
    refusal: &mut Option<sqlx::Error>,
) -> Result<Result<(), StoreError>, sqlx::Error> {
    let Some(question) = url.dialect.session_question() else {
        return Ok(Ok(()));
    };
    let mut second = connect(options, refusal).await?;
    let own = session(first, question).await?;
    let mut is_shared = session(&mut second, question).await? == own;
    if !is_shared {
        second.execute("BEGIN").await?;
        is_shared = session(first, question).await? != own;
        second.execute("ROLLBACK").await?;
    }
    second.close().await?;
    Ok(if is_shared {
        Err(StoreError::Open {
            url: url.to_string(),
            cause: SHARED_SESSIONS.to_owned(),
        })
    } else {
        Ok(())
    })
}

/// Refuses a database that can't hold every character. `SQL_ASCII` keeps bytes as they are.
async fn check_encoding(first: &mut AnyConnection, url: &DatabaseUrl) -> Result<(), StoreError> {
    let Some(question) = url.dialect.encoding_question() else {
        return Ok(());
    };
    let row = first.fetch_one(question).await?;
    match row.try_get::<&str, _>(0)? {
        "UTF8" | "SQL_ASCII" => Ok(()),
        encoding => Err(StoreError::Schema(format!(
            "{url}: the encoding of this database is {encoding}, which lacks characters that comments and names may have: create the database with ENCODING 'UTF8' TEMPLATE template0"
        ))),
    }
}

/// Creates, updates or checks the schema.
async fn handle_schema(
    first: &mut AnyConnection,
    url: &DatabaseUrl,
    schema: Schema,
) -> Result<(), StoreError> {
    if schema == Schema::Update && !migrations::are_there(first).await? {
        return Err(StoreError::NoHub {
            url: url.to_string(),
        });
    }
    match schema {
        Schema::Make | Schema::Update => migrations::run(first, url.dialect).await,
        Schema::Check => migrations::check(first).await,
    }
}

/// The server's time, if there is a server.
async fn server_time(
    first: &mut AnyConnection,
    url: &DatabaseUrl,
) -> Result<ServerTime, StoreError> {
    let time = ServerTime::default();
    if let Some(question) = url.dialect.time_question() {
        let row = first.fetch_one(question).await?;
        time.note(Time::from_millis(row.try_get(0)?));
    }
    Ok(time)
}

impl Store {
    /// Connects, and handles the schema according to `schema`.
    pub async fn open(url: &DatabaseUrl, schema: Schema, now: Time) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let refused = |error| refused(url, &error);
        for parameter in url.ignored() {
            tracing::warn!("the database URL's parameter {parameter} is not supported and ignored");
        }
        let options: AnyConnectOptions =
            url.dialect.connect_url(&url.url).parse().map_err(refused)?;
        let options = options.disable_statement_logging();
        let file = url.file().map(|file| Arc::new(DatabaseFile::new(file)));
        let servers = Servers::new(url.dialect);
        // Migrations and the first connection have no statement deadline.
        let mut first = first_connection(&options, url, &servers, file.as_deref()).await?;
        check_encoding(&mut first, url).await?;
        handle_schema(&mut first, url, schema).await?;
        let server_time = Arc::new(server_time(&mut first, url).await?);
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
            server_time,
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
            .bind(Revision::at(now))
            .execute(&self.writer)
            .await?;
        Ok(())
    }
}
