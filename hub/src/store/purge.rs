//! Removes data older than its retention: history, tombstones of deleted silos, finished
//! deliveries, and short-lived data.
//!
//! Keys to remove are looked up outside of the write transaction, a few hundred at a time. So a
//! purge takes only a few statements in the writer, regardless of the number of remaining rows.

use sqlx::Row;

use super::audit::{AuditEvent, REFUSED_KEPT};
use super::outbox::{DONE, FAILED, NEVER, PENDING};
use super::{
    FEED_FLOOR, SET_COUNTER, Store, StoreError, WriteTransaction, optional_time, read_counter,
    statement_chunks,
};
use crate::domain::elapsed::is_ahead;
use crate::domain::revision::Revision;
use crate::domain::time::Time;

/// Rows that are kept as long as the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldRows {
    /// Changed addresses. Key: the revision.
    History,
    /// Deleted silos. Key: the revision of the deletion.
    Tombstones,
    /// Deliveries that are done. Key: the id.
    Deliveries,
    /// Deliveries that were given up. Key: the id.
    GivenUp,
    /// The audit log. Key: the id.
    Audit,
    /// Refused credentials beyond the maximum number, regardless of age. Key: the id in the audit log.
    Refused,
}

impl OldRows {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::History,
        Self::Tombstones,
        Self::Deliveries,
        Self::GivenUp,
        Self::Audit,
        Self::Refused,
    ];
}

/// Where to look for old rows.
#[derive(Clone, Copy, Debug)]
pub struct OldSearch {
    /// Only beyond this key.
    pub after: i64,
    /// What is older is old.
    pub before: Time,
    /// The present time: what is further ahead of it was stored by a clock that was wrong, and is passed over.
    pub now: Time,
    /// How many keys at most.
    pub limit: i64,
}

impl OldSearch {
    /// From the oldest row on.
    pub fn begin(before: Time, now: Time, limit: i64) -> Self {
        Self {
            after: i64::MIN,
            before,
            now,
            limit,
        }
    }
}

impl Store {
    /// Whether a table has rows whose time in `column` is before this one.
    pub(super) async fn has_older(
        &self,
        table: &str,
        column: &str,
        before: Time,
    ) -> Result<bool, StoreError> {
        let row = self
            .dialect
            .query(format!(
                "SELECT {column} FROM {table} WHERE {column} < ? LIMIT 1"
            ))
            .bind(before.as_millis())
            .fetch_optional(&self.readers)
            .await?;
        Ok(row.is_some())
    }

    /// The newest time in the data: changes, the audit log, deliveries, and last-seen times.
    pub async fn newest_time(&self) -> Result<Option<Time>, StoreError> {
        const TIMES: [&str; 5] = [
            "SELECT max(changed_at) FROM \
             (SELECT changed_at FROM history ORDER BY revision DESC LIMIT 100) AS newest",
            "SELECT max(happened_at) FROM \
             (SELECT happened_at FROM audit ORDER BY id DESC LIMIT 100) AS newest",
            "SELECT max(created_at) FROM \
             (SELECT created_at FROM deliveries ORDER BY id DESC LIMIT 100) AS newest",
            "SELECT max(updated_at) FROM \
             (SELECT updated_at FROM silos ORDER BY revision DESC LIMIT 100) AS newest",
            "SELECT max(last_seen) FROM records",
        ];
        let mut newest = None;
        for sql in TIMES {
            let row = self.dialect.query(sql).fetch_one(&self.readers).await?;
            newest = newest.max(optional_time(&row, 0)?);
        }
        Ok(newest)
    }

    /// The keys of the oldest rows of a kind that are from before a time, each once, in ascending order.
    pub async fn old_rows(
        &self,
        kind: OldRows,
        search: &OldSearch,
    ) -> Result<Vec<i64>, StoreError> {
        let limit = search.limit;
        // Revisions and ids grow with time: what is older is found at the beginning of an index.
        let mut keys = match kind {
            OldRows::History => {
                let sql = "SELECT revision, changed_at FROM history WHERE revision > ? \
                     ORDER BY revision LIMIT ?";
                self.oldest(sql, &[], search).await?
            }
            OldRows::Audit => {
                let sql = "SELECT id, happened_at FROM audit WHERE id > ? ORDER BY id LIMIT ?";
                self.oldest(sql, &[], search).await?
            }
            OldRows::Deliveries => {
                let done = "SELECT id, created_at FROM deliveries WHERE state = ? \
                     AND id > ? ORDER BY id LIMIT ?";
                let keys = self.oldest(done, &[DONE.into()], search).await?;
                self.with_few_names(keys, limit).await?
            }
            OldRows::GivenUp => {
                // Others that failed are still pending: what a state sink was refused.
                let given_up = "SELECT id, created_at FROM deliveries WHERE state = ? \
                     AND next_at = ? AND id > ? ORDER BY id LIMIT ?";
                let values = [FAILED.into(), NEVER];
                let keys = self.oldest(given_up, &values, search).await?;
                self.with_few_names(keys, limit).await?
            }
            OldRows::Tombstones => {
                let sql = "SELECT revision, updated_at FROM silos WHERE deleted = 1 \
                     AND updated_at < ? AND revision > ? ORDER BY revision LIMIT ?";
                let values = [search.before.as_millis()];
                self.oldest(sql, &values, search).await?
            }
            OldRows::Refused => self
                .dialect
                .query("SELECT id FROM audit WHERE event = ? ORDER BY id DESC LIMIT ? OFFSET ?")
                .bind(AuditEvent::Refused.as_str())
                .bind(limit)
                .bind(REFUSED_KEPT)
                .fetch_all(&self.readers)
                .await?
                .iter()
                .map(|row| row.try_get(0))
                .collect::<Result<_, _>>()?,
        };
        keys.sort_unstable();
        keys.dedup();
        keys.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(keys)
    }

    /// The first of these deliveries, up to about `limit` hostnames in total.
    async fn with_few_names(&self, mut ids: Vec<i64>, limit: i64) -> Result<Vec<i64>, StoreError> {
        ids.sort_unstable();
        let (mut few, mut names) = (0, 0);
        for chunk in statement_chunks(&ids) {
            let marks = vec!["?"; chunk.len()].join(", ");
            let mut query = self.dialect.query(format!(
                "SELECT count(*) FROM delivery_names WHERE delivery IN ({marks})"
            ));
            for id in chunk {
                query = query.bind(*id);
            }
            few += chunk.len();
            names += query.fetch_one(&self.readers).await?.try_get::<i64, _>(0)?;
            if names > limit {
                break;
            }
        }
        ids.truncate(few);
        Ok(ids)
    }

    /// The keys that a query answers before the first row that is not old, where rows that are ahead do not count:
    /// else one that a wrong clock stored would keep all later ones until the clock gets there. What the query
    /// wants after `values` is the last key, and how many rows.
    ///
    /// What comes after a row that is not old stays, even if it seems to be old: a clock that was behind stored it.
    async fn oldest(
        &self,
        sql: &'static str,
        values: &[i64],
        search: &OldSearch,
    ) -> Result<Vec<i64>, StoreError> {
        let mut after = search.after;
        let mut keys = Vec::new();
        loop {
            let mut query = self.dialect.query(sql);
            for value in values {
                query = query.bind(*value);
            }
            let query = query.bind(after).bind(search.limit);
            let rows = query.fetch_all(&self.readers).await?;
            for row in &rows {
                after = row.try_get(0)?;
                let stored = Time::from_millis(row.try_get(1)?);
                if stored < search.before {
                    keys.push(after);
                } else if !is_ahead(stored, search.now) {
                    return Ok(keys);
                }
            }
            let is_last = i64::try_from(rows.len()).is_ok_and(|rows| rows < search.limit);
            if is_last || !keys.is_empty() {
                break;
            }
        }
        Ok(keys)
    }
}

impl WriteTransaction {
    /// Removes the oldest rows of a table by their time in `column`, at most about `limit`; returns
    /// the number of removed rows.
    pub(super) async fn purge_oldest(
        &mut self,
        table: &str,
        column: &str,
        before: Time,
        limit: i64,
    ) -> Result<u64, StoreError> {
        let rows = self
            .dialect
            .query(format!(
                "SELECT {column} FROM {table} WHERE {column} < ? ORDER BY {column} LIMIT ?"
            ))
            .bind(before.as_millis())
            .bind(limit)
            .fetch_all(&mut *self.inner)
            .await?;
        let Some(last) = rows.last() else {
            return Ok(0);
        };
        self.must_commit = true;
        let gone = self
            .dialect
            .query(format!("DELETE FROM {table} WHERE {column} <= ?"))
            .bind(last.try_get::<i64, _>(0)?)
            .execute(&mut *self.inner)
            .await?;
        Ok(gone.rows_affected())
    }

    /// Removes rows found by [`Store::old_rows`], unless they have changed since; returns the
    /// number of removed rows.
    pub async fn purge_rows(
        &mut self,
        kind: OldRows,
        before: Time,
        keys: &[i64],
    ) -> Result<u64, StoreError> {
        self.flush().await?;
        let old = before.as_millis();
        match kind {
            OldRows::History => {
                let young = " AND changed_at < ?";
                let gone = self
                    .delete_keys("history", "revision", young, Some(old), keys)
                    .await?;
                let led_to = " AND NOT EXISTS (SELECT 1 FROM history h \
                     WHERE h.revision = former_names.revision \
                     AND h.hostname = former_names.hostname AND h.silo = former_names.silo)";
                self.delete_keys("former_names", "revision", led_to, None, keys)
                    .await?;
                Ok(gone)
            }
            OldRows::Audit | OldRows::Refused => {
                self.delete_keys("audit", "id", "", None, keys).await
            }
            OldRows::Deliveries | OldRows::GivenUp => {
                // A failed delivery may have been retried manually in the meantime.
                let over = " AND state <> ?";
                let gone = self
                    .delete_keys("deliveries", "id", over, Some(PENDING.into()), keys)
                    .await?;
                let names = " AND NOT EXISTS \
                     (SELECT 1 FROM deliveries d WHERE d.id = delivery_names.delivery)";
                self.delete_keys("delivery_names", "delivery", names, None, keys)
                    .await?;
                Ok(gone)
            }
            OldRows::Tombstones => {
                self.forget_heads();
                // A silo that was created again has another revision.
                let gone = self
                    .delete_keys("silos", "revision", " AND deleted = 1", None, keys)
                    .await?;
                if let Some(highest) = keys.last() {
                    self.raise_feed_floor(Revision::from(*highest)).await?;
                }
                Ok(gone)
            }
        }
    }

    /// Removes rows by key and a condition with an optional value.
    async fn delete_keys(
        &mut self,
        table: &str,
        column: &str,
        condition: &str,
        value: Option<i64>,
        keys: &[i64],
    ) -> Result<u64, StoreError> {
        let mut gone = 0;
        for chunk in statement_chunks(keys) {
            let marks = vec!["?"; chunk.len()].join(", ");
            let mut query = self.dialect.query(format!(
                "DELETE FROM {table} WHERE {column} IN ({marks}){condition}"
            ));
            for key in chunk {
                query = query.bind(*key);
            }
            if let Some(value) = value {
                query = query.bind(value);
            }
            gone += query.execute(&mut *self.inner).await?.rows_affected();
        }
        self.must_commit |= gone > 0;
        Ok(gone)
    }

    /// Records that changes up to a revision can no longer all be reported.
    pub async fn raise_feed_floor(&mut self, revision: Revision) -> Result<(), StoreError> {
        let present = read_counter(self.dialect, &mut self.inner, FEED_FLOOR).await?;
        if revision > Revision::from(present) {
            self.must_commit = true;
            self.dialect
                .query(SET_COUNTER)
                .bind(revision)
                .bind(FEED_FLOOR)
                .execute(&mut *self.inner)
                .await?;
        }
        Ok(())
    }
}
