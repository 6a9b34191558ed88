//! The pending deliveries of state sinks: one open delivery per sink, silo and hostname, regardless
//! of the number of changes. A newer change replaces it under a new id, so that a worker that is
//! sending the older one does not mark the newer one as done.
//!
//! Version 0.1.0 wrote one delivery per change, with all its hostnames, and may still do so
//! alongside this version. Such rows are merged step by step.

use std::collections::BTreeMap;

use sqlx::Row;

use super::names::{any_of, bind_names, due_name};
use super::{DONE, DeliveryKind, DueName, FAILED, PENDING};
use crate::domain::revision::Revision;
use crate::domain::sink::SinkName;
use crate::domain::time::Time;
use crate::store::{
    Statements, Store, StoreError, WriteTransaction, insert_rows, padded_chunks, statement_chunks,
};

/// Maximum number of open rows of up to 64 names read at once: more than there are names, so that
/// if the limit is reached, some name has two rows.
const ROWS_READ: i64 = 200;
/// Number of deliveries checked at once for merging.
const PAGE: i64 = 200;
/// Number of hostnames after which the check ends early.
const PAGE_NAMES: usize = 2000;

/// Records to enqueue for a state sink.
#[derive(Clone, Copy, Debug)]
pub struct NamesDelivery<'a> {
    /// The sink.
    pub sink: &'a SinkName,
    /// What happened to the records.
    pub kind: DeliveryKind,
    /// The revision of the change.
    pub revision: Revision,
    /// The time of the change.
    pub at: Time,
}

/// A page of a state sink's pending deliveries, checked for merging.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingPage {
    /// The last delivery checked.
    pub last: i64,
    /// Records with more than one open delivery, or with one shared with other records. Empty:
    /// nothing to merge in this page.
    pub unmerged: Vec<DueName>,
}

/// An open row of `delivery_names`, with its delivery.
#[derive(Debug)]
struct OpenRow {
    name: DueName,
    delivery: i64,
    state: i16,
    attempts: i64,
    next_at: i64,
    failing_since: Option<i64>,
    why: Option<String>,
    event: String,
    revision: Revision,
    created_at: i64,
    /// Whether the delivery has no other hostname.
    is_alone: bool,
}

impl OpenRow {
    /// Keeps the failure data of an older row of the same record.
    fn take_over(&mut self, older: &Self) {
        self.attempts = self.attempts.max(older.attempts);
        self.failing_since = match (self.failing_since, older.failing_since) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        if self.why.is_none() {
            self.why.clone_from(&older.why);
        }
    }

    /// Merges several rows of a record, newest first, into one with this id.
    fn merged(rows: &[&Self], id: i64) -> Option<Self> {
        let content = rows.iter().max_by_key(|row| (row.revision, row.delivery))?;
        let is_pending = rows.iter().any(|row| row.state == PENDING);
        let state = if is_pending { PENDING } else { FAILED };
        let due = rows.iter().filter(|row| row.state == state);
        let mut merged = Self {
            name: content.name.clone(),
            delivery: id,
            state,
            attempts: 0,
            next_at: due.map(|row| row.next_at).min()?,
            failing_since: None,
            why: None,
            event: content.event.clone(),
            revision: content.revision,
            created_at: content.created_at,
            is_alone: true,
        };
        for row in rows {
            merged.take_over(row);
        }
        Some(merged)
    }
}

impl Store {
    /// Checks a state sink's pending deliveries after one; `None`: there are no more.
    pub async fn pending_page(
        &self,
        sink: &SinkName,
        after: i64,
    ) -> Result<Option<PendingPage>, StoreError> {
        let mut ids: Vec<i64> = Vec::new();
        for state in [PENDING, FAILED] {
            let rows = self
                .dialect
                .query(
                    "SELECT id FROM deliveries WHERE sink = ? AND state = ? AND id > ? \
                     ORDER BY id LIMIT ?",
                )
                .bind(sink.as_str())
                .bind(state)
                .bind(after)
                .bind(PAGE)
                .fetch_all(&self.readers)
                .await?;
            for row in &rows {
                ids.push(row.try_get(0)?);
            }
        }
        ids.sort_unstable();
        ids.truncate(usize::try_from(PAGE).unwrap_or(usize::MAX));
        let (mut last, mut read) = (None, 0);
        let mut names: BTreeMap<i64, Vec<(DueName, bool)>> = BTreeMap::new();
        for chunk in statement_chunks(&ids) {
            let marks = vec!["?"; chunk.len()].join(", ");
            let mut query = self.dialect.query(format!(
                "SELECT silo, hostname, delivery, state FROM delivery_names \
                 WHERE delivery IN ({marks})"
            ));
            for id in chunk {
                query = query.bind(*id);
            }
            for row in &query.fetch_all(&self.readers).await? {
                let is_open = row.try_get::<i64, _>(3)? != i64::from(DONE);
                let of_delivery = names.entry(row.try_get(2)?).or_default();
                of_delivery.push((due_name(row, 0)?, is_open));
                read += 1;
            }
            last = chunk.last().copied();
            if read >= PAGE_NAMES {
                break;
            }
        }
        let Some(last) = last else { return Ok(None) };
        let (mut alone, mut unmerged) = (Vec::new(), Vec::new());
        for of_delivery in names.into_values() {
            let found = if of_delivery.len() == 1 {
                &mut alone
            } else {
                &mut unmerged
            };
            let open = of_delivery.into_iter().filter(|(_, is_open)| *is_open);
            found.extend(open.map(|(name, _)| name));
        }
        for chunk in padded_chunks(&alone.iter().collect::<Vec<_>>()) {
            unmerged.extend(self.names_with_several(sink, &chunk).await?);
        }
        unmerged.sort_unstable();
        unmerged.dedup();
        Ok(Some(PendingPage { last, unmerged }))
    }

    /// Those of these records that have more than one open row; only some of them if many rows have
    /// to be read for that.
    async fn names_with_several(
        &self,
        sink: &SinkName,
        names: &[&DueName],
    ) -> Result<Vec<DueName>, StoreError> {
        let any = any_of("", names.len());
        let mut query = self.dialect.query(format!(
            "SELECT silo, hostname FROM delivery_names WHERE ({any}) AND state IN (?, ?) LIMIT ?"
        ));
        for name in names {
            query = query
                .bind(sink.as_str())
                .bind(name.silo.as_str())
                .bind(name.hostname.as_str());
        }
        let query = query.bind(PENDING).bind(FAILED).bind(ROWS_READ);
        let mut counts: BTreeMap<DueName, usize> = BTreeMap::new();
        for row in &query.fetch_all(&self.readers).await? {
            *counts.entry(due_name(row, 0)?).or_default() += 1;
        }
        let several = counts.into_iter().filter(|(_, rows)| *rows > 1);
        Ok(several.map(|(name, _)| name).collect())
    }
}

impl WriteTransaction {
    /// Enqueues these records for a state sink, each named once: each then has one open delivery,
    /// of this change, due immediately.
    pub async fn enqueue_names(
        &mut self,
        delivery: &NamesDelivery<'_>,
        names: &[DueName],
    ) -> Result<(), StoreError> {
        if !names.is_empty() {
            self.enqueued_for.insert(delivery.sink.clone());
        }
        let open = self.open_rows(delivery.sink, names).await?;
        let mut rows: BTreeMap<&DueName, OpenRow> = BTreeMap::new();
        for name in names {
            let row = OpenRow {
                name: name.clone(),
                delivery: self.take_delivery().await?,
                state: PENDING,
                attempts: 0,
                next_at: 0,
                failing_since: None,
                why: None,
                event: delivery.kind.as_str().to_owned(),
                revision: delivery.revision,
                created_at: delivery.at.as_millis(),
                is_alone: true,
            };
            rows.insert(name, row);
        }
        for older in &open {
            if let Some(row) = rows.get_mut(&older.name) {
                row.take_over(older);
            }
        }
        let rows: Vec<OpenRow> = rows.into_values().collect();
        self.replace(
            delivery.sink,
            &open.iter().collect::<Vec<_>>(),
            &rows,
            delivery.at,
        )
        .await
    }

    /// Merges the open deliveries of these records, at most 64, into one each; `true`: there may be more.
    pub async fn merge_names(
        &mut self,
        sink: &SinkName,
        names: &[DueName],
        now: Time,
    ) -> Result<bool, StoreError> {
        let open = self.open_rows(sink, names).await?;
        let mut by_name: BTreeMap<&DueName, Vec<&OpenRow>> = BTreeMap::new();
        for row in &open {
            by_name.entry(&row.name).or_default().push(row);
        }
        let (mut old, mut new) = (Vec::new(), Vec::new());
        for mut rows in by_name.into_values() {
            rows.sort_unstable_by_key(|row| std::cmp::Reverse(row.delivery));
            let id = match rows.as_slice() {
                [only] if only.is_alone => continue,
                // Keeps the id: a worker that is sending it may mark it as done.
                [last, ..] if last.is_alone => last.delivery,
                _ => self.take_delivery().await?,
            };
            new.extend(OpenRow::merged(&rows, id));
            old.extend(rows);
        }
        if old.is_empty() {
            return Ok(false);
        }
        self.replace(sink, &old, &new, now).await?;
        Ok(i64::try_from(open.len()).unwrap_or(i64::MAX) >= ROWS_READ)
    }

    /// The open rows of these records: per 64 records limited, but so that some record has more
    /// than one if the limit is reached.
    async fn open_rows(
        &mut self,
        sink: &SinkName,
        names: &[DueName],
    ) -> Result<Vec<OpenRow>, StoreError> {
        let mut statements = Statements::new(self.dialect);
        let names: Vec<&DueName> = names.iter().collect();
        for chunk in padded_chunks(&names) {
            let any = any_of("n.", chunk.len());
            statements.add(format!(
                "SELECT n.silo, n.hostname, n.delivery, n.state, n.attempts, n.next_at, \
                 n.failing_since, n.why, d.event, d.revision, d.created_at, \
                 CASE WHEN EXISTS (SELECT 1 FROM delivery_names o WHERE o.delivery = n.delivery \
                 AND o.hostname <> n.hostname) THEN 1 ELSE 0 END \
                 FROM delivery_names n JOIN deliveries d ON d.id = n.delivery \
                 WHERE ({any}) AND n.state IN (?, ?) LIMIT ?"
            ));
            bind_names(&mut statements, sink, &chunk);
            statements.bind(PENDING).bind(FAILED).bind(ROWS_READ);
        }
        let mut open = Vec::new();
        for row in statements.fetch(&mut self.inner).await?.iter().flatten() {
            let is_pending = row.try_get::<i64, _>(3)? == i64::from(PENDING);
            open.push(OpenRow {
                name: due_name(row, 0)?,
                delivery: row.try_get(2)?,
                state: if is_pending { PENDING } else { FAILED },
                attempts: row.try_get(4)?,
                next_at: row.try_get(5)?,
                failing_since: row.try_get(6)?,
                why: row.try_get(7)?,
                event: row.try_get(8)?,
                revision: row.try_get(9)?,
                created_at: row.try_get(10)?,
                is_alone: row.try_get::<i64, _>(11)? == 0,
            });
        }
        Ok(open)
    }

    /// Replaces open rows by others. Deletes the deliveries of the old rows unless they have other
    /// hostnames.
    async fn replace(
        &mut self,
        sink: &SinkName,
        old: &[&OpenRow],
        new: &[OpenRow],
        now: Time,
    ) -> Result<(), StoreError> {
        const DELIVERIES: &str = "INSERT INTO deliveries (id, sink, event, silo, revision, \
             created_at, state, attempts, next_at)";
        const NAMES: &str = "INSERT INTO delivery_names (delivery, hostname, sink, silo, state, \
             attempts, next_at, failing_since, why)";
        let mut statements = Statements::new(self.dialect);
        let (alone, others): (Vec<&OpenRow>, Vec<&OpenRow>) =
            old.iter().copied().partition(|row| row.is_alone);
        for chunk in padded_chunks(&alone) {
            let marks = vec!["?"; chunk.len()].join(", ");
            statements.add(format!(
                "DELETE FROM delivery_names WHERE delivery IN ({marks})"
            ));
            for row in chunk {
                statements.bind(row.delivery);
            }
        }
        for chunk in padded_chunks(&others) {
            let rows = vec!["(delivery = ? AND hostname = ?)"; chunk.len()].join(" OR ");
            statements.add(format!("DELETE FROM delivery_names WHERE {rows}"));
            for row in chunk {
                statements
                    .bind(row.delivery)
                    .bind(row.name.hostname.as_str());
            }
        }
        let mut ids: Vec<i64> = old.iter().map(|row| row.delivery).collect();
        ids.sort_unstable();
        ids.dedup();
        for chunk in padded_chunks(&ids) {
            let marks = vec!["?"; chunk.len()].join(", ");
            statements.add(format!(
                "DELETE FROM deliveries WHERE id IN ({marks}) AND NOT EXISTS \
                 (SELECT 1 FROM delivery_names n WHERE n.delivery = deliveries.id)"
            ));
            for id in chunk {
                statements.bind(id);
            }
        }
        for row in &others {
            self.unwritten.settle(row.delivery, now);
        }
        for chunk in statement_chunks(new) {
            statements.add(insert_rows(DELIVERIES, 9, chunk.len()));
            for row in chunk {
                statements
                    .bind(row.delivery)
                    .bind(sink.as_str())
                    .bind(row.event.as_str())
                    .bind(row.name.silo.as_str())
                    .bind(row.revision)
                    .bind(row.created_at)
                    .bind(row.state)
                    .bind(0_i64)
                    .bind(0_i64);
            }
            statements.add(insert_rows(NAMES, 9, chunk.len()));
            for row in chunk {
                statements
                    .bind(row.delivery)
                    .bind(row.name.hostname.as_str())
                    .bind(sink.as_str())
                    .bind(row.name.silo.as_str())
                    .bind(row.state)
                    .bind(row.attempts)
                    .bind(row.next_at)
                    .bind(row.failing_since)
                    .bind(row.why.as_deref());
            }
        }
        self.must_commit = true;
        statements.execute(&mut self.inner).await
    }
}
