//! The only way to write.

use std::collections::BTreeSet;
use std::ops::{Deref, DerefMut};

use silo_shared::credential::TokenId;
use silo_shared::silo::{Hostname, SiloId};
use sqlx::{Executor, Row};

use super::connection::DbConnection;
use super::dialect::Dialect;
use super::interests::Interests;
use super::pool::Lease;
use super::unwritten::Unwritten;
use super::{
    BEGIN_TIMEOUT, DELIVERIES, Mark, SET_COUNTER, Statements, Store, StoreError, read_counter,
    read_fact,
};
use crate::domain::sink::SinkName;
use crate::domain::time::Time;

/// The writer's connection while a transaction is open.
///
/// The statements that begin and end it go together with others. So the driver does not know of it,
/// which is as well: SQLite ends a transaction by itself when its disk is full, and the driver, whose
/// own end of it then failed, took the next transaction for a part of the old one.
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
            // Whatever the transaction did ends with its connection.
            self.connection.discard();
        }
    }
}

impl Store {
    /// Starts a transaction, and reads the records that it will begin with. On a server this takes
    /// [`BEGIN_TIMEOUT`] at most. Whatever the error, nothing is written.
    pub async fn begin_write(
        &self,
        reads: &[(&SiloId, &Hostname)],
    ) -> Result<WriteTransaction, StoreError> {
        let begun = self.begin_unlimited(reads);
        if !self.dialect.is_remote() {
            return begun.await;
        }
        let begun = tokio::time::timeout(BEGIN_TIMEOUT, begun).await;
        begun.unwrap_or(Err(StoreError::NoAnswer))
    }

    async fn begin_unlimited(
        &self,
        reads: &[(&SiloId, &Hostname)],
    ) -> Result<WriteTransaction, StoreError> {
        let mut inner = Session {
            connection: self.writer.acquire().await?,
            is_finished: false,
        };
        let mut statements = Statements::new(self.dialect);
        let begin = self.dialect.begin_write();
        if self.dialect.is_remote() {
            inner.execute(begin).await?;
        } else {
            statements.add(begin);
        }
        statements.add("SELECT name, value FROM counters WHERE name IN ('revision', 'sinks')");
        let mut unwritten = Unwritten::default();
        let question = unwritten.question(&[], reads);
        question.ask(&mut statements);
        let mut answers = statements.fetch(&mut inner).await?.into_iter();
        if !self.dialect.is_remote() {
            // The beginning has no rows.
            answers.next();
        }
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
            owed_to: BTreeSet::new(),
        })
    }
}

/// The only way to write. Dropped without [`WriteTransaction::commit`], it leaves no trace.
#[derive(Debug)]
pub struct WriteTransaction {
    pub(super) dialect: Dialect,
    pub(super) inner: Session,
    pub(super) interests: Interests,
    pub(super) unwritten: Unwritten,
    /// The counter that moves with every change of the sinks.
    pub(super) sinks_version: i64,
    pub(super) sinks_changed: bool,
    first_revision: i64,
    pub(super) revision: i64,
    /// The id of the last delivery, once it was asked for.
    pub(super) delivery: Option<i64>,
    pub(super) must_commit: bool,
    pub(super) effects: Effects,
    /// The sinks that are owed something new.
    pub(super) owed_to: BTreeSet<SinkName>,
}

/// Why a transaction has not certainly ended with a commit.
#[derive(Debug)]
pub enum CommitError {
    /// Nothing was committed, and nothing of it will be.
    NotCommitted(StoreError),
    /// `COMMIT` was sent and not answered as it should be: [`WriteTransaction::holds_mark`] tells.
    Unknown {
        /// What went wrong.
        cause: StoreError,
        /// What the rest of the hub must learn if it was committed.
        effects: Effects,
    },
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
    /// The tokens that were made, revoked or rotated.
    pub tokens: Vec<TokenId>,
    /// Whether something changed that concerns all tokens.
    pub all_tokens_changed: bool,
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

    /// Makes everything durable together with a mark, or rolls back when there is nothing to keep.
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
                Ok(self.effects)
            }
            Err((phase, cause)) if phase.may_have_committed(cause.failure()) => {
                let effects = self.effects;
                Err(CommitError::Unknown { cause, effects })
            }
            Err((_, cause)) => Err(CommitError::NotCommitted(cause)),
        }
    }

    /// Asks for a commit that changes nothing, which shows whether the database takes writes.
    pub async fn prove_writable(&mut self) -> Result<(), StoreError> {
        self.must_commit = true;
        self.inner.execute(Dialect::TOUCH_COUNTER).await?;
        Ok(())
    }

    /// Moves a counter on by one; answers where it is then.
    pub(super) async fn advance(&mut self, counter: &'static str) -> Result<i64, StoreError> {
        self.must_commit = true;
        self.dialect
            .query("UPDATE counters SET value = value + 1 WHERE name = ?")
            .bind(counter)
            .execute(&mut *self.inner)
            .await?;
        read_counter(self.dialect, &mut self.inner, counter).await
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
