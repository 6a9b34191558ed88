//! The only way to write to the database.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::{Deref, DerefMut};

use silo_shared::credential::TokenId;
use silo_shared::request_id::RequestId;
use silo_shared::silo::{Hostname, SiloId};
use sqlx::any::AnyRow;
use sqlx::{Executor, Row};

use super::connection::DbConnection;
use super::dialect::Dialect;
use super::interests::Interests;
use super::pool::Lease;
use super::queries::{Question, Source};
use super::unwritten::Unwritten;
use super::{
    BEGIN_TIMEOUT, DELIVERIES, Mark, SET_COUNTER, Statements, Store, StoreError, Via, read_counter,
};
use crate::domain::database_id::DatabaseId;
use crate::domain::revision::Revision;
use crate::domain::sink::SinkName;
use crate::domain::time::Time;

/// The writer's connection while a transaction is open.
///
/// The statements that begin and end the transaction are sent with others, so the driver does not
/// know of it. That is intended: SQLite rolls back on its own when its disk is full; the driver's
/// rollback then failed, and it treated the next transaction as part of the old one.
#[derive(Debug)]
pub(super) struct Session {
    connection: Lease,
    is_finished: bool,
}

impl Deref for Session {
    type Target = DbConnection;

    fn deref(&self) -> &DbConnection {
        &self.connection
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut DbConnection {
        &mut self.connection
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.is_finished {
            // Dropping the connection ends the transaction.
            self.connection.discard();
        }
    }
}

impl Store {
    /// Starts a transaction, and reads the records that its commands read first. On a server this
    /// takes at most [`BEGIN_TIMEOUT`]. On error, nothing is written.
    pub async fn begin_write(
        &self,
        reads: &[(&SiloId, &Hostname)],
    ) -> Result<WriteTransaction, StoreError> {
        let transaction = self.begin_unlimited(reads);
        if !self.dialect.is_remote() {
            return transaction.await;
        }
        let transaction = tokio::time::timeout(BEGIN_TIMEOUT, transaction).await;
        transaction.unwrap_or(Err(StoreError::NoAnswer))
    }

    async fn begin_unlimited(
        &self,
        reads: &[(&SiloId, &Hostname)],
    ) -> Result<WriteTransaction, StoreError> {
        let mut inner = Session {
            connection: self.acquire_writer().await?,
            is_finished: false,
        };
        let mut statements = Statements::new(self.dialect);
        let begin = self.dialect.begin_write();
        if self.dialect.is_remote() {
            inner.execute(begin).await?;
        } else {
            statements.add(begin);
        }
        statements.add(format!(
            "{} WHERE name IN ('revision', 'sinks')",
            self.dialect.counters_question()
        ));
        let mut unwritten = Unwritten::default();
        let question = unwritten.question(&[], reads);
        question.ask(&mut statements);
        let mut answers = statements.fetch(&mut inner).await?.into_iter();
        if !self.dialect.is_remote() {
            // `BEGIN` returns no rows.
            answers.next();
        }
        let (mut revision, mut sinks_version) = (Revision::NONE, 0);
        let counters = answers.next().unwrap_or_default();
        // Before a command asks for the time.
        self.note_time(counters.first())?;
        for row in counters {
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
            floor: Revision::NONE,
            delivery: None,
            must_commit: false,
            effects: Effects::default(),
            enqueued_for: BTreeSet::new(),
        })
    }
}

/// The only way to write to the database. Dropped without [`WriteTransaction::commit`], it changes nothing.
#[derive(Debug)]
pub struct WriteTransaction {
    pub(super) dialect: Dialect,
    pub(super) inner: Session,
    pub(super) interests: Interests,
    pub(super) unwritten: Unwritten,
    /// The counter that increases with every change of the sinks.
    pub(super) sinks_version: i64,
    pub(super) sinks_changed: bool,
    first_revision: Revision,
    pub(super) revision: Revision,
    /// The next revision taken is above this one.
    floor: Revision,
    /// The id of the last delivery, once requested.
    pub(super) delivery: Option<i64>,
    pub(super) must_commit: bool,
    pub(super) effects: Effects,
    /// The sinks with new pending deliveries.
    pub(super) enqueued_for: BTreeSet<SinkName>,
}

/// Why a transaction has not certainly been committed.
#[derive(Debug)]
pub enum CommitError {
    /// Nothing was committed, nor will it be.
    NotCommitted(StoreError),
    /// `COMMIT` was sent without the expected response: check [`WriteTransaction::holds_mark`].
    Unknown {
        /// The error.
        cause: StoreError,
        /// What the rest of the hub must be notified of if it was committed.
        effects: Effects,
    },
}

/// What the rest of the hub must be notified of once a transaction has ended.
#[derive(Debug, Default)]
pub struct Effects {
    /// Whether anything was written, rather than rolled back.
    pub is_durable: bool,
    /// The last revision taken, if any.
    pub revision: Option<Revision>,
    /// The silos that changed.
    pub silos: Vec<SiloId>,
    /// The tokens that were created, revoked, rotated or changed.
    pub tokens: Vec<TokenId>,
    /// Whether a change affected all tokens.
    pub all_tokens_changed: bool,
    /// Whether there are new pending deliveries.
    pub deliveries_enqueued: bool,
    /// Records that a write named without changing them.
    pub seen: Vec<(SiloId, Hostname)>,
    /// The new id of the database, if it got one.
    pub database_id: Option<DatabaseId>,
    /// The changes to log.
    pub changes: Vec<CommittedChange>,
}

/// A change of a silo or a token, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedChange {
    /// The silo and its new revision.
    pub silo: Option<(SiloId, Revision)>,
    /// The interface.
    pub via: Via,
    /// The token that requested it.
    pub token: Option<TokenId>,
    /// The request that it was part of.
    pub request: Option<RequestId>,
    /// What changed, without secrets and mail addresses.
    pub words: String,
}

impl Source for &mut WriteTransaction {
    fn query(&self, sql: impl Into<Cow<'static, str>>) -> Question {
        self.dialect.query(sql)
    }

    async fn flush(&mut self) -> Result<(), StoreError> {
        WriteTransaction::flush(self).await
    }

    async fn fetch_all(&mut self, query: Question) -> Result<Vec<AnyRow>, sqlx::Error> {
        query.fetch_all(&mut *self.inner).await
    }

    async fn fetch_optional(&mut self, query: Question) -> Result<Option<AnyRow>, sqlx::Error> {
        query.fetch_optional(&mut *self.inner).await
    }
}

impl WriteTransaction {
    /// Has revisions continue above the present time in microseconds, until a transaction on this
    /// connection has committed one. The server may have lost revisions that this hub never heard
    /// of, such as those that it handed out itself before it was restarted. They are below the time
    /// of their commit, unless more than a million were taken in each second since the database was
    /// created. Nothing is written for it unless a command takes a revision.
    pub fn continue_at(&mut self, now: Time) {
        if !self.inner.has_taken_revisions() {
            self.floor = Revision::at(now);
        }
    }

    /// Takes the next revision for a changing command on a silo.
    pub fn take_revision(&mut self, silo: &SiloId) -> Revision {
        self.revision = self.revision.max(self.floor).next();
        self.effects.silos.push(silo.clone());
        self.revision
    }

    /// Takes the next delivery id, and wakes the workers.
    pub async fn take_delivery(&mut self) -> Result<i64, StoreError> {
        let next = self.last_delivery().await? + 1;
        self.delivery = Some(next);
        self.effects.deliveries_enqueued = true;
        Ok(next)
    }

    /// Wakes the workers of every hub.
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

    /// Notes that a write named this record without changing it.
    pub fn note_seen(&mut self, silo: &SiloId, hostname: &Hostname) {
        self.effects.seen.push((silo.clone(), hostname.clone()));
    }

    /// Notes a change, to be logged once it is committed.
    pub fn note_committed(&mut self, change: CommittedChange) {
        self.effects.changes.push(change);
    }

    /// Commits everything together with a mark, or rolls back if there is nothing to commit.
    pub async fn commit(mut self, mark: Mark, now: Time) -> Result<Effects, CommitError> {
        self.settle().await.map_err(CommitError::NotCommitted)?;
        let linked = self.link_new().await;
        linked.map_err(CommitError::NotCommitted)?;
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
        self.hurry_sinks(&mut statements, now);
        if let Some(delivery) = self.delivery {
            statements.add(SET_COUNTER).bind(delivery).bind(DELIVERIES);
            self.must_commit = true;
        }
        if !self.must_commit {
            statements.add("ROLLBACK");
            let over = statements.execute(&mut self.inner).await;
            over.map_err(CommitError::NotCommitted)?;
            self.inner.is_finished = true;
            return Ok(self.effects);
        }
        self.effects.is_durable = true;
        statements.end_with(mark.statement(self.dialect, now));
        if let Some(announcement) = self.dialect.announcement() {
            statements.end_with(announcement);
        }
        statements.end_with("COMMIT");
        match statements.commit(&mut self.inner).await {
            Ok(()) => {
                self.inner.is_finished = true;
                if self.effects.revision.is_some() {
                    self.inner.note_taken_revisions();
                }
                Ok(self.effects)
            }
            Err((phase, cause)) if phase.may_have_committed(cause.failure()) => {
                let effects = self.effects;
                Err(CommitError::Unknown { cause, effects })
            }
            Err((_, cause)) => Err(CommitError::NotCommitted(cause)),
        }
    }

    /// Requests a commit without changes, which tests whether the database accepts writes.
    pub async fn prove_writable(&mut self) -> Result<(), StoreError> {
        self.must_commit = true;
        self.inner.execute(Dialect::TOUCH_COUNTER).await?;
        Ok(())
    }

    /// Increments a counter; returns its new value.
    pub(super) async fn advance(&mut self, counter: &'static str) -> Result<i64, StoreError> {
        self.must_commit = true;
        self.dialect
            .query("UPDATE counters SET value = value + 1 WHERE name = ?")
            .bind(counter)
            .execute(&mut *self.inner)
            .await?;
        read_counter(self.dialect, &mut self.inner, counter).await
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
