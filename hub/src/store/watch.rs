//! Notices that somebody committed, each database in the way that costs it least.

use std::time::Duration;

use sqlx::postgres::PgListener;
use sqlx::{Executor, Row};

use super::dialect::Dialect;
use super::pool::Lease;
use super::{Store, StoreError};

/// How often SQLite is asked for its version, and MariaDB for its revision.
const POLL: Duration = Duration::from_millis(200);
/// How often PostgreSQL is asked although it did not call, as behind a pooler that swallows calls.
const SLOW_POLL: Duration = Duration::from_secs(1);

/// Notices commits of any connection and program.
#[derive(Debug)]
pub struct CommitWatch(Kind);

#[derive(Debug)]
enum Kind {
    /// SQLite has a number that differs once another connection has committed. The connection stays one of
    /// the pool's: what closes the pool waits for it, and the last one to close removes the log.
    Version {
        connection: Lease,
        seen: Option<i64>,
    },
    /// PostgreSQL calls whoever listens.
    Listen(Box<PgListener>),
    /// MariaDB has neither: whoever wants to know reads the counters.
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
                Kind::Listen(Box::new(listener))
            }
            Dialect::MariaDb => Kind::Ask,
        }))
    }

    /// Returns when something may have been committed since the last call, at once the first time on
    /// SQLite; an early return costs the caller a look at the counters, nothing else.
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
            Kind::Listen(listener) => {
                // The time being over is news as well: calls can be lost.
                match tokio::time::timeout(SLOW_POLL, listener.try_recv()).await {
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
