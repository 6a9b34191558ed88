//! Watches for commits, in the cheapest way for each database.

use std::time::Duration;

use sqlx::postgres::PgListener;
use sqlx::{Executor, Row};
use tokio::time::{Instant, timeout};

use super::dialect::Dialect;
use super::pool::Lease;
use super::{Store, StoreError};

/// Polling interval of SQLite's version, and of MariaDB's revision.
const POLL: Duration = Duration::from_millis(200);
/// Polling interval of PostgreSQL without a notification, for example behind a pooler that drops them.
const SLOW_POLL: Duration = Duration::from_secs(1);

/// How often PostgreSQL's notifying session is asked whether it is still there.
const ASK: Duration = Duration::from_secs(20);
/// How long its answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Watches for commits of any connection and program.
#[derive(Debug)]
pub struct CommitWatch(Kind);

#[derive(Debug)]
enum Kind {
    /// SQLite has a number that changes when another connection has committed. The connection
    /// belongs to the pool: closing the pool waits for it, and the last connection to close removes
    /// the log.
    Version {
        connection: Lease,
        seen: Option<i64>,
    },
    /// PostgreSQL sends notifications.
    Listen {
        listener: Box<PgListener>,
        asked_at: Instant,
    },
    /// MariaDB has neither: the caller polls the counters.
    Ask,
}

impl CommitWatch {
    pub(super) async fn start(store: &Store) -> Result<Self, StoreError> {
        Ok(Self(match store.dialect {
            Dialect::Sqlite => {
                let connection = store.readers.acquire().await?;
                Kind::Version {
                    connection,
                    seen: None,
                }
            }
            Dialect::Postgres => {
                let mut listener = PgListener::connect(&store.url.url).await?;
                listener.listen("silo").await?;
                Kind::Listen {
                    listener: Box::new(listener),
                    asked_at: Instant::now(),
                }
            }
            Dialect::MariaDb => Kind::Ask,
        }))
    }

    /// Returns when something may have been committed since the last call, and immediately on the
    /// first call with SQLite; an early return costs the caller only a read of the counters.
    pub async fn news(&mut self) -> Result<(), StoreError> {
        match &mut self.0 {
            Kind::Version { connection, seen } => loop {
                let row = connection.fetch_one("PRAGMA data_version").await?;
                let version: i64 = row.try_get(0)?;
                if seen.replace(version) != Some(version) {
                    return Ok(());
                }
                tokio::time::sleep(POLL).await;
            },
            Kind::Listen { listener, asked_at } => {
                // A connection that only receives may be forgotten on the way unnoticed.
                if asked_at.elapsed() >= ASK {
                    let asked = timeout(PATIENCE, listener.execute("SELECT 1")).await;
                    asked.map_err(|_| StoreError::NoAnswer)??;
                    *asked_at = Instant::now();
                }
                // The timeout also counts as news: notifications can be lost.
                match timeout(SLOW_POLL, listener.try_recv()).await {
                    Ok(called) => called.map(|_| ()).map_err(StoreError::from),
                    Err(_) => Ok(()),
                }
            }
            Kind::Ask => {
                tokio::time::sleep(POLL).await;
                Ok(())
            }
        }
    }
}
