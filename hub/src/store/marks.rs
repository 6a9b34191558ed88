//! The mark of a batch: a row that its transaction writes, by which the hub finds out later whether a
//! `COMMIT` that was not answered was carried out.

use super::dialect::Dialect;
use super::{StoreError, WriteTransaction};
use crate::domain::time::Time;

/// What tells a batch from every other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The hub, as it runs now: a random number, made when it starts. It has one row.
    pub hub: u128,
    /// The batch: a random number.
    pub batch: u128,
}

impl Mark {
    /// The statement that writes it. It has no values, so that it can go in one call with the `COMMIT`.
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
    /// Whether the hub's row holds this mark: its batch is committed then. Under the counter's lock, which
    /// waits until the batch's own session has ended, the answer is final.
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

    /// Removes the rows of hubs that have not written since a time; answers how many went.
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
