//! A small pool of connections, lent out one at a time.
//!
//! The driver's own pool checks a returned connection and waits for the response without limit: a
//! server that stops responding then blocks one place after another. This pool drops a connection
//! with an unfinished statement without contacting the server, which frees its place at once.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryFutureExt, TryStreamExt};
use sqlx::any::{AnyQueryResult, AnyRow, AnyStatement, AnyTypeInfo};
use sqlx::{Any, Either, Execute, Executor, SqlStr};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use super::connection::{Connector, DbConnection};
use super::refused_connection::{NO_SLOT, has_no_slot};
use crate::domain::once_a_minute::OnceAMinute;

/// Wait before retrying a server that refuses connections, such as one that is starting.
pub(super) const RETRY: Duration = Duration::from_millis(100);
/// How long lent connections may take to be returned, and all of them to be closed, when the pool closes.
const CLOSING: Duration = Duration::from_secs(1);

/// How long an idle connection is left alone. A firewall or a router between hub and server may
/// forget a connection without telling either side; the shortest time in use is about a minute.
const IDLE: Duration = Duration::from_secs(20);
/// How long an idle connection may take to respond when it is lent out, before another one is created.
const IDLE_CHECK: Duration = Duration::from_secs(1);

/// A pool of connections.
#[derive(Clone, Debug)]
pub(super) struct Pool(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    connector: Connector,
    idle: Mutex<Vec<DbConnection>>,
    permits: Arc<Semaphore>,
    size: u32,
    patience: Duration,
    made: Instant,
    /// Reports that the server has no connection left.
    reports: OnceAMinute,
}

impl Pool {
    /// At most `size` connections, created on demand; waiting for one takes at most `patience`.
    pub(super) fn new(connector: Connector, size: u32, patience: Duration) -> Self {
        let permits = usize::try_from(size).expect("there are few connections");
        Self(Arc::new(Inner {
            connector,
            idle: Mutex::default(),
            permits: Arc::new(Semaphore::new(permits)),
            size,
            patience,
            made: Instant::now(),
            reports: OnceAMinute::default(),
        }))
    }

    /// Lends a connection whose server has just responded.
    pub(super) async fn acquire(&self) -> Result<Lease, sqlx::Error> {
        let end = Instant::now() + self.0.patience;
        let permit = timeout_at(end, Arc::clone(&self.0.permits).acquire_owned());
        let permit = permit.await.map_err(|_| sqlx::Error::PoolTimedOut)?;
        let permit = permit.map_err(|_| sqlx::Error::PoolClosed)?;
        let connection = match self.take_idle().await {
            Some(connection) => connection,
            None => timeout_at(end, self.connect())
                .await
                .map_err(|_| sqlx::Error::PoolTimedOut)??,
        };
        Ok(Lease {
            connection: Some(connection),
            permit: Some(permit),
            pool: self.clone(),
        })
    }

    async fn take_idle(&self) -> Option<DbConnection> {
        let mut connection = self.lock_idle().pop()?;
        if !self.0.connector.dialect.is_remote() || Self::responds(&mut connection).await {
            return Some(connection);
        }
        // The others were connected to the same server, and idle for at least as long.
        self.lock_idle().clear();
        None
    }

    /// Whether an idle connection responds in time, and leads to the right server.
    async fn responds(connection: &mut DbConnection) -> bool {
        matches!(
            timeout(IDLE_CHECK, connection.is_usable()).await,
            Ok(Ok(true))
        )
    }

    /// Sends something over the connections that were idle for a while, so that nothing between hub
    /// and server forgets them, and drops those that do not respond.
    pub(super) async fn keep_alive(&self) {
        // A connection is checked in the place of a lent one. If all are lent, none is idle.
        while let Ok(permit) = Arc::clone(&self.0.permits).try_acquire_owned() {
            let connection = {
                let mut idle = self.lock_idle();
                // The last one was used last.
                let longest = idle.first().filter(|first| first.idle_for() >= IDLE);
                longest.is_some().then(|| idle.remove(0))
            };
            let Some(connection) = connection else {
                return;
            };
            let mut lease = Lease {
                connection: Some(connection),
                permit: Some(permit),
                pool: self.clone(),
            };
            if !Self::responds(&mut lease).await {
                lease.discard();
            }
        }
    }

    async fn connect(&self) -> Result<DbConnection, sqlx::Error> {
        loop {
            match self.0.connector.connect().await {
                Err(error) if has_no_slot(&error) => {
                    if self.0.reports.is_due(self.0.made.elapsed()) {
                        tracing::warn!("{NO_SLOT}; trying again ({error})");
                    }
                    tokio::time::sleep(RETRY).await;
                }
                Err(error) if is_starting(&error) => tokio::time::sleep(RETRY).await,
                done => return done,
            }
        }
    }

    /// Closes every connection, and stops lending.
    pub(super) async fn close(&self) {
        // A connection not returned in time ends with the program.
        let _ = timeout(CLOSING, self.0.permits.acquire_many(self.0.size)).await;
        self.0.permits.close();
        let idle = std::mem::take(&mut *self.lock_idle());
        let closing = futures_util::future::join_all(idle.into_iter().map(DbConnection::close));
        let _ = timeout(CLOSING, closing).await;
    }

    fn lock_idle(&self) -> MutexGuard<'_, Vec<DbConnection>> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the server is not listening yet, or reports that it is starting.
fn is_starting(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
        sqlx::Error::Database(error) => error.is_transient_in_connect_phase(),
        _ => false,
    }
}

/// A lent connection. When dropped, it is returned, unless a statement on it is unfinished.
#[derive(Debug)]
pub(super) struct Lease {
    connection: Option<DbConnection>,
    permit: Option<OwnedSemaphorePermit>,
    pool: Pool,
}

impl Lease {
    /// Drops the connection, whatever the state of its session.
    pub(super) fn discard(&mut self) {
        let (connection, permit) = (self.connection.take(), self.permit.take());
        if self.pool.0.connector.dialect.is_remote() {
            return;
        }
        // Work in SQLite's thread can't be cancelled: the place is free when that thread has ended.
        if let (Some(connection), Ok(runtime)) = (connection, tokio::runtime::Handle::try_current())
        {
            runtime.spawn(async move {
                // The connection is closed in either case.
                let _ = connection.close().await;
                drop(permit);
            });
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        match self.connection.take() {
            Some(mut connection) if connection.is_whole() && !self.pool.0.permits.is_closed() => {
                connection.note_used();
                self.pool.lock_idle().push(connection);
            }
            unfinished => {
                self.connection = unfinished;
                self.discard();
            }
        }
    }
}

impl Deref for Lease {
    type Target = DbConnection;

    fn deref(&self) -> &DbConnection {
        self.connection.as_ref().expect("only its end takes it")
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut DbConnection {
        self.connection.as_mut().expect("only its end takes it")
    }
}

/// Runs a query on any connection. Reads all rows before returning the first one.
impl<'p> Executor<'p> for &'p Pool {
    type Database = Any;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, Result<Either<AnyQueryResult, AnyRow>, sqlx::Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Any>,
    {
        let answers = async move {
            let mut lease = self.acquire().await?;
            let answers: Vec<_> = lease.fetch_many(query).try_collect().await?;
            Ok(stream::iter(answers).map(Ok))
        };
        answers.try_flatten_stream().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxFuture<'e, Result<Option<AnyRow>, sqlx::Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Any>,
    {
        Box::pin(async move { self.acquire().await?.fetch_optional(query).await })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [AnyTypeInfo],
    ) -> BoxFuture<'e, Result<AnyStatement, sqlx::Error>>
    where
        'p: 'e,
    {
        Box::pin(async move { self.acquire().await?.prepare_with(sql, parameters).await })
    }
}
