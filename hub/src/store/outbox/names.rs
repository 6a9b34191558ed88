//! The progress of a state sink with each hostname.

use std::collections::BTreeMap;

use silo_shared::silo::{Hostname, SiloId};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{DONE, FAILED, NEVER, PENDING};
use crate::domain::backoff::LONGEST_MS;
use crate::domain::sink::SinkName;
use crate::domain::time::Time;
use crate::store::{
    Statements, Store, StoreError, WriteTransaction, hostname, padded_chunks, silo_id,
};

/// A record that is pending for a state sink.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DueName {
    /// Its silo.
    pub silo: SiloId,
    /// Its hostname.
    pub hostname: Hostname,
}

/// When a record is due again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Later {
    /// Shown as failed until then.
    pub failed: bool,
    /// Number of failed attempts.
    pub attempts: i64,
    /// The time, in milliseconds since the epoch.
    pub next_at: i64,
    /// The reason; `None`: no failure.
    pub why: Option<String>,
}

impl Later {
    /// Due at a time, without a failure.
    pub fn soon(attempts: i64, next_at: i64) -> Self {
        Self {
            failed: false,
            attempts,
            next_at,
            why: None,
        }
    }
}

/// What is pending of one record for a sink.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PendingName {
    /// Number of failed attempts.
    pub attempts: i64,
    /// Whether it failed and has not succeeded since.
    pub is_failing: bool,
    /// Its deliveries.
    deliveries: Vec<i64>,
}

/// The condition that a row belongs to one of `names` records of a sink, with values bound by
/// [`bind_names`]. `table`: the prefix of its columns, such as `n.`.
pub(super) fn any_of(table: &str, names: usize) -> String {
    let one = format!("({table}sink = ? AND {table}silo = ? AND {table}hostname = ?)");
    vec![one; names].join(" OR ")
}

/// Binds the values of [`any_of`].
pub(super) fn bind_names(statements: &mut Statements, sink: &SinkName, names: &[&DueName]) {
    for name in names {
        statements
            .bind(sink.as_str())
            .bind(name.silo.as_str())
            .bind(name.hostname.as_str());
    }
}

/// The record whose silo and hostname are in a column and the next one.
pub(super) fn due_name(row: &AnyRow, column: usize) -> Result<DueName, StoreError> {
    Ok(DueName {
        silo: silo_id(row, column)?,
        hostname: hostname(row, column + 1)?,
    })
}

impl Store {
    /// Due records, each once, longest wait first; at most about `limit`.
    pub async fn due_names(
        &self,
        sink: &SinkName,
        now: Time,
        limit: usize,
    ) -> Result<Vec<DueName>, StoreError> {
        let mut due: Vec<DueName> = Vec::new();
        // One state at a time, so that an index gives the order. A record that changes often has many rows.
        let past = (i64::MIN, now.as_millis());
        // Waits set by a clock that was ahead.
        let far = (now.as_millis().saturating_add(LONGEST_MS + 1), NEVER - 1);
        let turns = [past, far].map(|span| [PENDING, FAILED].map(|state| (state, span)));
        for (state, (from, to)) in turns.into_iter().flatten() {
            if due.len() == limit {
                break;
            }
            let rows = self
                .dialect
                .query(
                    "SELECT silo, hostname FROM delivery_names WHERE sink = ? AND state = ? \
                     AND next_at >= ? AND next_at <= ? ORDER BY next_at, delivery, hostname LIMIT ?",
                )
                .bind(sink.as_str())
                .bind(state)
                .bind(from)
                .bind(to)
                .bind(i64::try_from(limit * 8).unwrap_or(i64::MAX))
                .fetch_all(&self.readers)
                .await?;
            for row in &rows {
                let name = due_name(row, 0)?;
                if due.len() < limit && !due.contains(&name) {
                    due.push(name);
                }
            }
        }
        Ok(due)
    }

    /// When the next record is due; `None`: nothing is pending.
    pub async fn next_name(&self, sink: &SinkName) -> Result<Option<i64>, StoreError> {
        let mut earliest: Option<i64> = None;
        // One state at a time, so that an index gives the first row of each.
        for state in [PENDING, FAILED] {
            let row = self
                .dialect
                .query(
                    "SELECT next_at FROM delivery_names WHERE sink = ? AND state = ? \
                     AND next_at < ? ORDER BY next_at LIMIT 1",
                )
                .bind(sink.as_str())
                .bind(state)
                .bind(NEVER)
                .fetch_optional(&self.readers)
                .await?;
            if let Some(row) = row {
                let at = row.try_get(0)?;
                earliest = Some(earliest.map_or(at, |known| known.min(at)));
            }
        }
        Ok(earliest)
    }

    /// Why the receiver permanently refuses a record, unless something newer is pending.
    pub async fn refusal(
        &self,
        sink: &SinkName,
        silo: &SiloId,
        hostname: &Hostname,
    ) -> Result<Option<String>, StoreError> {
        let newest = self
            .dialect
            .query(
                "SELECT state, next_at, why FROM delivery_names WHERE sink = ? AND silo = ? \
                 AND hostname = ? AND state IN (?, ?) ORDER BY delivery DESC LIMIT 1",
            )
            .bind(sink.as_str())
            .bind(silo.as_str())
            .bind(hostname.as_str())
            .bind(PENDING)
            .bind(FAILED)
            .fetch_optional(&self.readers)
            .await?;
        let Some(row) = newest else { return Ok(None) };
        let is_refused =
            row.try_get::<i64, _>(0)? == i64::from(FAILED) && row.try_get::<i64, _>(1)? == NEVER;
        let why: Option<String> = row.try_get(2)?;
        Ok(is_refused.then(|| why.unwrap_or_default()))
    }

    /// How many records are pending for a state sink without a failure, and with one.
    pub async fn pending_counts(&self, sink: &SinkName) -> Result<(i64, i64), StoreError> {
        let count = async |failure: &str| {
            let row = self
                .dialect
                .query(format!(
                    "SELECT count(*) FROM delivery_names \
                     WHERE sink = ? AND state IN (?, ?) AND why IS {failure}"
                ))
                .bind(sink.as_str())
                .bind(PENDING)
                .bind(FAILED)
                .fetch_one(&self.readers)
                .await?;
            Ok::<i64, StoreError>(row.try_get(0)?)
        };
        Ok((count("NULL").await?, count("NOT NULL").await?))
    }

    /// The hostnames of a silo that are pending for a sink, including refused ones.
    pub async fn pending_names(
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
    /// What is pending of these records up to a delivery; a record with nothing pending has no entry.
    pub async fn pending_of(
        &mut self,
        sink: &SinkName,
        names: &[DueName],
        through: i64,
    ) -> Result<BTreeMap<DueName, PendingName>, StoreError> {
        let mut statements = Statements::new(self.dialect);
        let names: Vec<&DueName> = names.iter().collect();
        for chunk in padded_chunks(&names) {
            let any = any_of("", chunk.len());
            statements.add(format!(
                "SELECT silo, hostname, attempts, delivery, failing_since FROM delivery_names \
                 WHERE ({any}) AND state IN (?, ?) AND delivery <= ?"
            ));
            bind_names(&mut statements, sink, &chunk);
            statements.bind(PENDING).bind(FAILED).bind(through);
        }
        let mut pending: BTreeMap<DueName, PendingName> = BTreeMap::new();
        for row in statements.fetch(&mut self.inner).await?.iter().flatten() {
            let of_name = pending.entry(due_name(row, 0)?).or_default();
            of_name.attempts = of_name.attempts.max(row.try_get(2)?);
            of_name.deliveries.push(row.try_get(3)?);
            of_name.is_failing |= row.try_get::<Option<i64>, _>(4)?.is_some();
        }
        Ok(pending)
    }

    /// Marks everything pending of these records up to a delivery as done, with a remark.
    pub async fn finish_names(
        &mut self,
        sink: &SinkName,
        names: &[(DueName, PendingName)],
        through: i64,
        why: Option<&str>,
        now: Time,
    ) -> Result<(), StoreError> {
        self.update_names(
            sink,
            names,
            through,
            now,
            "state = ?, why = ?, failing_since = NULL",
            |statements| {
                statements.bind(DONE).bind(why);
            },
        )
        .await
    }

    /// Sets when these records are due again.
    pub async fn postpone_names(
        &mut self,
        sink: &SinkName,
        names: &[(DueName, PendingName)],
        through: i64,
        later: &Later,
        now: Time,
    ) -> Result<(), StoreError> {
        self.update_names(
            sink,
            names,
            through,
            now,
            "state = ?, attempts = ?, next_at = ?, why = ?, failing_since = \
             CASE WHEN ? = 0 THEN failing_since ELSE coalesce(failing_since, ?) END",
            |statements| {
                statements
                    .bind(if later.failed { FAILED } else { PENDING })
                    .bind(later.attempts)
                    .bind(later.next_at)
                    .bind(later.why.as_deref())
                    .bind(i64::from(later.why.is_some()))
                    .bind(now.as_millis());
            },
        )
        .await
    }

    /// Makes records that failed and wait for another attempt due now, since the receiver accepts
    /// updates again.
    pub async fn hurry_names(&mut self, sink: &SinkName, now: Time) -> Result<(), StoreError> {
        self.must_commit = true;
        for state in [PENDING, FAILED] {
            self.dialect
                .query(
                    "UPDATE delivery_names SET next_at = ? WHERE sink = ? AND state = ? \
                     AND next_at > ? AND next_at < ? AND failing_since IS NOT NULL",
                )
                .bind(now.as_millis())
                .bind(sink.as_str())
                .bind(state)
                .bind(now.as_millis())
                .bind(NEVER)
                .execute(&mut *self.inner)
                .await?;
        }
        Ok(())
    }

    /// Updates the pending rows of these records up to a delivery, and notes the deliveries whose
    /// state depends on them.
    async fn update_names(
        &mut self,
        sink: &SinkName,
        names: &[(DueName, PendingName)],
        through: i64,
        now: Time,
        changes: &str,
        bind: impl Fn(&mut Statements),
    ) -> Result<(), StoreError> {
        let mut statements = Statements::new(self.dialect);
        for (_, pending) in names {
            for delivery in &pending.deliveries {
                self.unwritten.settle(*delivery, now);
            }
        }
        let names: Vec<&DueName> = names.iter().map(|(name, _)| name).collect();
        for chunk in padded_chunks(&names) {
            let any = any_of("", chunk.len());
            statements.add(format!(
                "UPDATE delivery_names SET {changes} \
                 WHERE ({any}) AND state IN (?, ?) AND delivery <= ?"
            ));
            bind(&mut statements);
            bind_names(&mut statements, sink, &chunk);
            statements.bind(PENDING).bind(FAILED).bind(through);
            self.must_commit = true;
        }
        statements.execute(&mut self.inner).await
    }

    /// Updates deliveries according to their hostnames: done when all are, failed when the rest has failed.
    pub(in crate::store) async fn settle_deliveries(
        &mut self,
        ids: impl IntoIterator<Item = (i64, Time)>,
    ) -> Result<(), StoreError> {
        const OPEN: &str = "EXISTS (SELECT 1 FROM delivery_names n \
             WHERE n.delivery = deliveries.id AND n.state = ?)";
        let mut by_time: BTreeMap<Time, Vec<i64>> = BTreeMap::new();
        for (id, now) in ids {
            by_time.entry(now).or_default().push(id);
        }
        let mut statements = Statements::new(self.dialect);
        for (now, ids) in by_time {
            for chunk in padded_chunks(&ids) {
                let marks = vec!["?"; chunk.len()].join(", ");
                statements.add(format!(
                    "UPDATE deliveries SET why = NULL, \
                     done_at = CASE WHEN {OPEN} OR {OPEN} THEN NULL ELSE ? END, \
                     state = CASE WHEN {OPEN} THEN 0 WHEN {OPEN} THEN 2 ELSE 1 END \
                     WHERE id IN ({marks})"
                ));
                statements
                    .bind(PENDING)
                    .bind(FAILED)
                    .bind(now.as_millis())
                    .bind(PENDING)
                    .bind(FAILED);
                for id in chunk {
                    statements.bind(id);
                }
            }
        }
        statements.execute(&mut self.inner).await
    }

    /// Makes everything that a state sink refused or failed due again.
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

    /// Gives up a sink's pending deliveries, since no hub serves it any more; returns how many were
    /// pending. Deliveries that failed before keep their reason.
    pub async fn give_up(&mut self, sink: &SinkName, why: &str) -> Result<u64, StoreError> {
        self.must_commit = true;
        let mut given_up = 0;
        for table in ["delivery_names", "deliveries"] {
            self.dialect
                .query(format!(
                    "UPDATE {table} SET next_at = ? WHERE sink = ? AND state = ?"
                ))
                .bind(NEVER)
                .bind(sink.as_str())
                .bind(FAILED)
                .execute(&mut *self.inner)
                .await?;
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
