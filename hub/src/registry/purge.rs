//! Removes data older than its retention, in small steps.

use super::{ApplyError, Command};
use crate::domain::time::Time;
use crate::store::{OldRows, WriteTransaction};

/// Removes some rows of one kind. [`crate::store::Store::old_rows`] selects them, so that the write
/// transaction does not search.
#[derive(Debug)]
pub struct PurgeOld {
    /// Their kind.
    pub kind: OldRows,
    /// Only rows from before this time.
    pub before: Time,
    /// Their keys.
    pub keys: Vec<i64>,
}

/// Deletes former secrets of tokens that expired before a time.
#[derive(Debug)]
pub struct PurgeFormerSecrets {
    /// Secrets that expired earlier are deleted.
    pub before: Time,
}

/// Deletes the marks of hubs that have written nothing since a time.
#[derive(Debug)]
pub struct PurgeMarks {
    /// The time.
    pub before: Time,
}

impl Command for PurgeOld {
    /// Number of deleted rows.
    type Outcome = u64;

    async fn run(&self, transaction: &mut WriteTransaction, _: Time) -> Result<u64, ApplyError> {
        Ok(transaction
            .purge_rows(self.kind, self.before, &self.keys)
            .await?)
    }
}

impl Command for PurgeFormerSecrets {
    /// Number of deleted secrets.
    type Outcome = u64;

    async fn run(&self, transaction: &mut WriteTransaction, _: Time) -> Result<u64, ApplyError> {
        Ok(transaction.purge_former_secrets(self.before).await?)
    }
}

impl Command for PurgeMarks {
    /// Number of deleted marks.
    type Outcome = u64;

    async fn run(&self, transaction: &mut WriteTransaction, _: Time) -> Result<u64, ApplyError> {
        Ok(transaction.purge_marks(self.before).await?)
    }
}
