//! How far a state sink has come with each hostname.

use silo_shared::silo::{Hostname, SiloId};
use sqlx::Row;

use super::{DONE, FAILED, NEVER, PENDING};
use crate::domain::sink::SinkName;
use crate::domain::time::Time;
use crate::store::{Store, StoreError, WriteTransaction, hostname, silo_id};

/// A record that a state sink is to be brought up to date with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueName {
    /// Its silo.
    pub silo: SiloId,
    /// Its hostname.
    pub hostname: Hostname,
}

/// When a record's turn comes again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Later {
    /// Shown as failed until then.
    pub failed: bool,
    /// How often it was tried in vain.
    pub attempts: i64,
    /// When, in milliseconds since the epoch.
    pub next_at: i64,
    /// Why; `None`: nothing is wrong.
    pub why: Option<String>,
}

impl Later {
    /// At a time, with nothing wrong.
    pub fn soon(attempts: i64, next_at: i64) -> Self {
        Self {
            failed: false,
            attempts,
            next_at,
            why: None,
        }
    }
}

impl Store {
    /// Records whose turn it is, each once, those first that wait longest; at most about `limit`.
    pub async fn due_names(
        &self,
        sink: &SinkName,
        now: Time,
        limit: usize,
    ) -> Result<Vec<DueName>, StoreError> {
        let mut due: Vec<DueName> = Vec::new();
        // One state after the other, so that an index gives the order. A record that changes often
        // has many rows.
        for state in [PENDING, FAILED] {
            let rows = self
                .dialect
                .query(
                    "SELECT silo, hostname FROM delivery_names WHERE sink = ? AND state = ? \
                     AND next_at <= ? ORDER BY next_at, delivery, hostname LIMIT ?",
                )
                .bind(sink.as_str())
                .bind(state)
                .bind(now.as_millis())
                .bind(i64::try_from(limit * 8).unwrap_or(i64::MAX))
                .fetch_all(&self.readers)
                .await?;
            for row in &rows {
                let name = DueName {
                    silo: silo_id(row, 0)?,
                    hostname: hostname(row, 1)?,
                };
                if due.len() < limit && !due.contains(&name) {
                    due.push(name);
                }
            }
        }
        Ok(due)
    }

    /// When the next record's turn comes; `None`: nothing is owed.
    pub async fn next_name(&self, sink: &SinkName) -> Result<Option<i64>, StoreError> {
        let row = self
            .dialect
            .query(
                "SELECT min(next_at) FROM delivery_names WHERE sink = ? AND state IN (?, ?) \
                 AND next_at < ?",
            )
            .bind(sink.as_str())
            .bind(PENDING)
            .bind(FAILED)
            .bind(NEVER)
            .fetch_one(&self.readers)
            .await?;
        Ok(row.try_get(0)?)
    }

    /// The hostnames of a silo that a sink is owed something of, refused ones too.
    pub async fn owed_names(
        &self,
        sink: &SinkName,
        silo: &SiloId,
    ) -> Result<Vec<Hostname>, StoreError> {
        self.dialect
            .query(
                "SELECT DISTINCT hostname FROM delivery_names \
                 WHERE sink = ? AND silo = ? AND state IN (?, ?)",
            )
            .bind(sink.as_str())
            .bind(silo.as_str())
            .bind(PENDING)
            .bind(FAILED)
            .fetch_all(&self.readers)
            .await?
            .iter()
            .map(|row| hostname(row, 0))
            .collect()
    }
}

impl WriteTransaction {
    /// How often what is owed of a record up to a delivery was tried in vain; `None`: nothing is owed.
    pub async fn attempts_at(
        &mut self,
        sink: &SinkName,
        name: &DueName,
        through: i64,
    ) -> Result<Option<i64>, StoreError> {
        let row = self
            .dialect
            .query(
                "SELECT max(attempts) FROM delivery_names WHERE sink = ? AND silo = ? \
                 AND hostname = ? AND state IN (?, ?) AND delivery <= ?",
            )
            .bind(sink.as_str())
            .bind(name.silo.as_str())
            .bind(name.hostname.as_str())
            .bind(PENDING)
            .bind(FAILED)
            .bind(through)
            .fetch_one(&mut *self.inner)
            .await?;
        Ok(row.try_get(0)?)
    }

    /// Writes that everything owed of a record up to a delivery is done, and what is to be said of it.
    pub async fn finish_name(
        &mut self,
        sink: &SinkName,
        name: &DueName,
        through: i64,
        why: Option<&str>,
        now: Time,
    ) -> Result<(), StoreError> {
        self.note_unsettled(sink, name, through, now).await?;
        self.must_commit = true;
        self.dialect
            .query(
                "UPDATE delivery_names SET state = ?, why = ?, failing_since = NULL \
                 WHERE sink = ? AND silo = ? AND hostname = ? AND state IN (?, ?) AND delivery <= ?",
            )
            .bind(DONE)
            .bind(why)
            .bind(sink.as_str())
            .bind(name.silo.as_str())
            .bind(name.hostname.as_str())
            .bind(PENDING)
            .bind(FAILED)
            .bind(through)
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }

    /// Writes when a record's turn comes again.
    pub async fn postpone_name(
        &mut self,
        sink: &SinkName,
        name: &DueName,
        through: i64,
        later: &Later,
        now: Time,
    ) -> Result<(), StoreError> {
        self.note_unsettled(sink, name, through, now).await?;
        self.must_commit = true;
        self.dialect
            .query(
                "UPDATE delivery_names SET state = ?, attempts = ?, next_at = ?, why = ?, \
                 failing_since = CASE WHEN ? = 0 THEN failing_since \
                 ELSE coalesce(failing_since, ?) END \
                 WHERE sink = ? AND silo = ? AND hostname = ? AND state IN (?, ?) AND delivery <= ?",
            )
            .bind(if later.failed { FAILED } else { PENDING })
            .bind(later.attempts)
            .bind(later.next_at)
            .bind(later.why.as_deref())
            .bind(i64::from(later.why.is_some()))
            .bind(now.as_millis())
            .bind(sink.as_str())
            .bind(name.silo.as_str())
            .bind(name.hostname.as_str())
            .bind(PENDING)
            .bind(FAILED)
            .bind(through)
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }

    /// Notes the deliveries whose state may follow from what is about to become of a name.
    async fn note_unsettled(
        &mut self,
        sink: &SinkName,
        name: &DueName,
        through: i64,
        now: Time,
    ) -> Result<(), StoreError> {
        let rows = self
            .dialect
            .query(
                "SELECT delivery FROM delivery_names WHERE sink = ? AND silo = ? AND hostname = ? \
                 AND state IN (?, ?) AND delivery <= ?",
            )
            .bind(sink.as_str())
            .bind(name.silo.as_str())
            .bind(name.hostname.as_str())
            .bind(PENDING)
            .bind(FAILED)
            .bind(through)
            .fetch_all(&mut *self.inner)
            .await?;
        for row in &rows {
            self.unwritten.settle(row.try_get(0)?, now);
        }
        Ok(())
    }

    /// Brings deliveries to the state that their hostnames come to: done when all are, failed when
    /// what is not done has failed.
    pub(in crate::store) async fn settle_deliveries(
        &mut self,
        ids: impl IntoIterator<Item = (i64, Time)>,
    ) -> Result<(), StoreError> {
        for (id, now) in ids {
            let mut state = DONE;
            for open in [PENDING, FAILED] {
                let found = self
                    .dialect
                    .query("SELECT 1 FROM delivery_names WHERE delivery = ? AND state = ? LIMIT 1")
                    .bind(id)
                    .bind(open)
                    .fetch_optional(&mut *self.inner)
                    .await?;
                if found.is_some() {
                    state = open;
                    break;
                }
            }
            self.dialect
                .query("UPDATE deliveries SET state = ?, done_at = ?, why = NULL WHERE id = ?")
                .bind(state)
                .bind((state == DONE).then_some(now.as_millis()))
                .bind(id)
                .execute(&mut *self.inner)
                .await?;
        }
        Ok(())
    }

    /// Lets everything that a state sink refused or failed with be tried again at once.
    pub async fn revive_names(&mut self, sink: &SinkName) -> Result<(), StoreError> {
        self.must_commit = true;
        for table in ["delivery_names", "deliveries"] {
            self.dialect
                .query(format!(
                    "UPDATE {table} SET state = ?, next_at = 0, why = NULL, failing_since = NULL \
                     WHERE sink = ? AND state IN (?, ?)"
                ))
                .bind(PENDING)
                .bind(sink.as_str())
                .bind(PENDING)
                .bind(FAILED)
                .execute(&mut *self.inner)
                .await?;
        }
        Ok(())
    }

    /// Gives up what a sink is owed, since nobody works for it any more.
    pub async fn give_up(&mut self, sink: &SinkName, why: &str) -> Result<u64, StoreError> {
        self.must_commit = true;
        let mut given_up = 0;
        for table in ["delivery_names", "deliveries"] {
            let done = self
                .dialect
                .query(format!(
                    "UPDATE {table} SET state = ?, next_at = ?, why = ? WHERE sink = ? AND state = ?"
                ))
                .bind(FAILED)
                .bind(NEVER)
                .bind(why)
                .bind(sink.as_str())
                .bind(PENDING)
                .execute(&mut *self.inner)
                .await?;
            given_up = done.rows_affected();
        }
        Ok(given_up)
    }
}
