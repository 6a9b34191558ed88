//! The mark of a batch: a row written by its transaction, which later shows the hub whether a
//! `COMMIT` without a response was executed.

use super::dialect::Dialect;
use super::{StoreError, WriteTransaction};
use crate::domain::time::Time;

/// Identifies a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The running hub process: a random number, generated at start. It has one row.
    pub hub: u128,
    /// The batch: a random number.
    pub batch: u128,
}

impl Mark {
    /// The statement that writes it. It has no bound values, so that it can go in one call with the
    /// `COMMIT`.
    pub(super) fn statement(self, dialect: Dialect, now: Time) -> String {
        let Self { hub, batch } = self;
        format!(
            "INSERT INTO marks (hub, mark, written_at) VALUES ('{hub:032x}', '{batch:032x}', {}){}",
            now.as_millis(),
            dialect.upsert(&["hub"], &["mark", "written_at"])
        )
    }
}

impl WriteTransaction {
    /// Whether the hub's row holds this mark, which means that its batch is committed. Under the
    /// counter's lock, which waits for the end of the batch's own session, the result is final.
    pub async fn holds_mark(&mut self, mark: Mark) -> Result<bool, StoreError> {
        let row = self
            .dialect
            .query("SELECT hub FROM marks WHERE hub = ? AND mark = ?")
            .bind(format!("{:032x}", mark.hub))
            .bind(format!("{:032x}", mark.batch))
            .fetch_optional(&mut *self.inner)
            .await?;
        Ok(row.is_some())
    }

    /// Deletes the rows of hubs that have not written since a time; returns the number of deleted rows.
    pub async fn purge_marks(&mut self, before: Time) -> Result<u64, StoreError> {
        let gone = self
            .dialect
            .query("DELETE FROM marks WHERE written_at < ?")
            .bind(before.as_millis())
            .execute(&mut *self.inner)
            .await?;
        self.must_commit |= gone.rows_affected() > 0;
        Ok(gone.rows_affected())
    }
}
