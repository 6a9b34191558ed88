//! What has outlived its retention: history, the tombstones of deleted silos, and what is kept for minutes.

use silo_shared::silo::SiloId;
use sqlx::Row;

use super::{FEED_FLOOR, SET_COUNTER, Store, StoreError, WriteTransaction, read_counter, silo_id};
use crate::domain::time::Time;

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
}

impl WriteTransaction {
    /// Removes the oldest rows of a table by their time in `column`, at most about `limit`; answers how many
    /// went.
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

    /// Removes the oldest rows of the history, at most about `limit`; answers how many went.
    pub async fn purge_history(&mut self, before: Time, limit: i64) -> Result<u64, StoreError> {
        self.flush().await?;
        // Revisions grow with time, so the oldest rows are the first of the primary key.
        let rows = self
            .dialect
            .query("SELECT revision, changed_at FROM history ORDER BY revision LIMIT ?")
            .bind(limit)
            .fetch_all(&mut *self.inner)
            .await?;
        let mut last = None;
        for row in &rows {
            if row.try_get::<i64, _>(1)? >= before.as_millis() {
                break;
            }
            last = Some(row.try_get::<i64, _>(0)?);
        }
        let Some(last) = last else { return Ok(0) };
        self.must_commit = true;
        let gone = self
            .dialect
            .query("DELETE FROM history WHERE revision <= ? AND changed_at < ?")
            .bind(last)
            .bind(before.as_millis())
            .execute(&mut *self.inner)
            .await?;
        Ok(gone.rows_affected())
    }

    /// Removes old tombstones and raises the feed floor above them; answers how many went.
    pub async fn purge_tombstones(&mut self, before: Time, limit: i64) -> Result<u64, StoreError> {
        self.flush().await?;
        self.forget_heads();
        let rows = self
            .dialect
            .query(
                "SELECT id, revision FROM silos WHERE deleted = 1 AND updated_at < ? \
                 ORDER BY revision LIMIT ?",
            )
            .bind(before.as_millis())
            .bind(limit)
            .fetch_all(&mut *self.inner)
            .await?;
        let mut gone: Vec<(SiloId, i64)> = Vec::with_capacity(rows.len());
        for row in &rows {
            gone.push((silo_id(row, 0)?, row.try_get(1)?));
        }
        for (id, _) in &gone {
            self.dialect
                .query("DELETE FROM silos WHERE id = ?")
                .bind(id.as_str())
                .execute(&mut *self.inner)
                .await?;
        }
        if let Some((_, highest)) = gone.last() {
            self.raise_feed_floor(*highest).await?;
        }
        Ok(gone.len() as u64)
    }

    /// Notes that changes up to a revision can't all be told any more.
    pub async fn raise_feed_floor(&mut self, revision: i64) -> Result<(), StoreError> {
        let present = read_counter(self.dialect, &mut self.inner, FEED_FLOOR).await?;
        if revision > present {
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
