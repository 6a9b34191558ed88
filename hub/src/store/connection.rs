//! Creates connections, and gives each statement on them a deadline.

use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryFutureExt};
use sqlx::any::{AnyConnectOptions, AnyQueryResult, AnyRow, AnyStatement, AnyTypeInfo};
use sqlx::{Any, AnyConnection, ConnectOptions, Connection, Either, Execute, Executor, SqlStr};
use tokio::time::Instant;

use super::database_file::DatabaseFile;
use super::dialect::Dialect;
use super::failure::{Failure, failure};
use super::server_identity::Servers;

type Answer = Result<Either<AnyQueryResult, AnyRow>, sqlx::Error>;

/// Creates connections of one kind.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    options: AnyConnectOptions,
    pub(super) dialect: Dialect,
    /// The server of all connections.
    servers: Servers,
    /// The file of all connections to an embedded database.
    file: Option<Arc<DatabaseFile>>,
    /// Required settings of each connection.
    setup: &'static str,
    /// Optional settings. A server that refuses one is used without it.
    wishes: &'static [&'static str],
    /// The deadline of a statement, where the hub can stop waiting for it.
    deadline: Option<Duration>,
    /// The optional settings that the server refused; each refusal was logged.
    refused: Arc<Mutex<BTreeSet<&'static str>>>,
}

impl Connector {
    /// Creates connections without a statement deadline.
    pub(super) fn new(options: &AnyConnectOptions, servers: &Servers, setup: &'static str) -> Self {
        Self {
            options: options.clone().disable_statement_logging(),
            dialect: servers.dialect(),
            servers: servers.clone(),
            file: None,
            setup,
            wishes: &[],
            deadline: None,
            refused: Arc::default(),
        }
    }

    /// Refuses connections to another file.
    pub(super) fn bound_to(self, file: Option<Arc<DatabaseFile>>) -> Self {
        Self { file, ..self }
    }

    fn check_file(&self) -> Result<(), sqlx::Error> {
        self.file.as_ref().map_or(Ok(()), |file| file.check())
    }

    /// Adds optional settings for each session.
    pub(super) fn wishing(self, wishes: &'static [&'static str]) -> Self {
        Self { wishes, ..self }
    }

    /// Sets a deadline for each statement. SQLite's statements can't be abandoned: they have no deadline.
    pub(super) fn within(self, deadline: Duration) -> Self {
        let deadline = Some(deadline).filter(|_| self.dialect.is_remote());
        Self { deadline, ..self }
    }

    /// Creates a connection; refuses a standby. The caller limits the time.
    pub(super) async fn connect(&self) -> Result<DbConnection, sqlx::Error> {
        let made_at = Instant::now();
        self.check_file()?;
        let mut raw = self.options.connect().await?;
        raw.execute(self.setup).await?;
        // The file may have been moved meanwhile.
        self.check_file()?;
        self.servers.look_at(&mut raw).await?;
        let refused = self.lock_refused().clone();
        let wishes = self.wishes.iter().copied();
        let wishes: Vec<_> = wishes.filter(|wish| !refused.contains(wish)).collect();
        if !wishes.is_empty() {
            let together = sqlx::AssertSqlSafe(wishes.join("; "));
            match raw.execute(sqlx::raw_sql(together)).await {
                Ok(_) => {}
                Err(error) if failure(&error) != Failure::Answered => return Err(error),
                Err(_) => self.wish_one_by_one(&mut raw, &wishes).await?,
            }
        }
        Ok(DbConnection {
            raw,
            servers: self.servers.clone(),
            made_at,
            used_at: made_at,
            deadline: self.deadline,
            is_whole: true,
            has_taken_revisions: false,
        })
    }

    async fn wish_one_by_one(
        &self,
        raw: &mut AnyConnection,
        wishes: &[&'static str],
    ) -> Result<(), sqlx::Error> {
        for wish in wishes {
            match raw.execute(*wish).await {
                Ok(_) => {}
                Err(error) if failure(&error) != Failure::Answered => return Err(error),
                Err(error) => {
                    if self.lock_refused().insert(wish) {
                        tracing::warn!(
                            "the database does not support the setting `{wish}`: {error}"
                        );
                    }
                }
            }
        }
        Ok(())
    }

    fn lock_refused(&self) -> std::sync::MutexGuard<'_, BTreeSet<&'static str>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection on which each statement has a deadline.
///
/// It is not reused if a statement was left unfinished or its session has ended
/// ([`DbConnection::is_whole`]).
#[derive(Debug)]
pub(super) struct DbConnection {
    raw: AnyConnection,
    servers: Servers,
    made_at: Instant,
    /// When it was last returned to the pool, or created.
    used_at: Instant,
    deadline: Option<Duration>,
    is_whole: bool,
    /// Whether a transaction on it has committed revisions.
    has_taken_revisions: bool,
}

impl DbConnection {
    /// Whether the last statement was completed, so that the connection can be reused.
    pub(super) fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// How long it has not been used.
    pub(super) fn idle_for(&self) -> Duration {
        self.used_at.elapsed()
    }

    /// Notes that it was used.
    pub(super) fn note_used(&mut self) {
        self.used_at = Instant::now();
    }

    /// Whether a transaction on it has committed revisions.
    pub(super) fn has_taken_revisions(&self) -> bool {
        self.has_taken_revisions
    }

    /// Notes that a transaction on it has committed revisions.
    pub(super) fn note_taken_revisions(&mut self) {
        self.has_taken_revisions = true;
    }

    /// Removes the statement deadline, for exports.
    pub(super) fn without_deadline(&mut self) {
        self.deadline = None;
    }

    /// Whether the server responds, is not a standby, and is the same as that of the hub's other
    /// connections. The caller limits the time.
    pub(super) async fn is_usable(&mut self) -> Result<bool, sqlx::Error> {
        self.is_whole = false;
        let age = self.made_at.elapsed();
        let usable = self.servers.is_usable(&mut self.raw, age).await?;
        self.is_whole = true;
        Ok(usable)
    }

    /// Checks the server of this connection again, and refuses it like that of a new connection.
    /// The caller limits the time.
    pub(super) async fn look_at_server(&mut self) -> Result<(), sqlx::Error> {
        self.is_whole = false;
        self.servers.look_at(&mut self.raw).await?;
        self.is_whole = true;
        Ok(())
    }

    /// Closes it properly. The caller limits the time.
    pub(super) async fn close(self) -> Result<(), sqlx::Error> {
        self.raw.close().await
    }
}

fn silent(deadline: Option<Duration>) -> sqlx::Error {
    let seconds = deadline.unwrap_or_default().as_secs();
    let words = format!("no answer within {seconds} s");
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, words))
}

/// Waits until a time, or without limit.
async fn until<F: Future>(end: Option<Instant>, work: F) -> Option<F::Output> {
    match end {
        Some(end) => tokio::time::timeout_at(end, work).await.ok(),
        None => Some(work.await),
    }
}

impl<'c> Executor<'c> for &'c mut DbConnection {
    type Database = Any;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Answer>
    where
        'c: 'e,
        E: 'q + Execute<'q, Any>,
    {
        let DbConnection {
            raw,
            deadline,
            is_whole,
            ..
        } = self;
        *is_whole = false;
        let (deadline, end) = (*deadline, deadline.map(|limit| Instant::now() + limit));
        let answers = Some((raw.fetch_many(query), is_whole));
        Box::pin(stream::unfold(answers, move |state| async move {
            let (mut answers, is_whole) = state?;
            match until(end, answers.next()).await {
                Some(Some(Ok(answer))) => Some((Ok(answer), Some((answers, is_whole)))),
                Some(Some(Err(error))) => {
                    *is_whole = failure(&error) == Failure::Answered;
                    Some((Err(error), None))
                }
                Some(None) => {
                    *is_whole = true;
                    None
                }
                None => Some((Err(silent(deadline)), None)),
            }
        }))
    }

    fn fetch_optional<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxFuture<'e, Result<Option<AnyRow>, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Any>,
    {
        let DbConnection {
            raw,
            deadline,
            is_whole,
            ..
        } = self;
        *is_whole = false;
        let (deadline, end) = (*deadline, deadline.map(|limit| Instant::now() + limit));
        let answer = raw.fetch_optional(query);
        Box::pin(async move {
            let answer = until(end, answer).await;
            let answer = answer.unwrap_or_else(|| Err(silent(deadline)));
            *is_whole = match &answer {
                Ok(_) => true,
                Err(error) => failure(error) == Failure::Answered,
            };
            answer
        })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [AnyTypeInfo],
    ) -> BoxFuture<'e, Result<AnyStatement, sqlx::Error>>
    where
        'c: 'e,
    {
        self.is_whole = false;
        let is_whole = &mut self.is_whole;
        let prepared = self.raw.prepare_with(sql, parameters);
        Box::pin(prepared.inspect_ok(move |_| *is_whole = true))
    }
}
