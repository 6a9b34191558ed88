//! Removes what has outlived its retention, a little at a time.

use super::{ApplyError, Command};
use crate::domain::time::Time;
use crate::store::{OldRows, WriteTransaction};

/// Removes some rows of one kind. [`crate::store::Store::old_rows`] says which, so that the write
/// transaction looks for none.
#[derive(Debug)]
pub struct PurgeOld {
    /// What they are.
    pub kind: OldRows,
    /// They are from before this time.
    pub before: Time,
    /// Their keys.
    pub keys: Vec<i64>,
}

/// Forgets the former secrets of tokens that ended before a time.
#[derive(Debug)]
pub struct PurgeFormerSecrets {
    /// What ended earlier goes.
    pub before: Time,
}

/// Forgets the marks of hubs that have written nothing since a time.
#[derive(Debug)]
pub struct PurgeMarks {
    /// That time.
    pub before: Time,
}

impl Command for PurgeOld {
    /// How many rows went.
    type Outcome = u64;

    async fn run(&self, transaction: &mut WriteTransaction, _: Time) -> Result<u64, ApplyError> {
        Ok(transaction
            .purge_rows(self.kind, self.before, &self.keys)
            .await?)
    }
}

impl Command for PurgeFormerSecrets {
    /// How many went.
    type Outcome = u64;

    async fn run(&self, transaction: &mut WriteTransaction, _: Time) -> Result<u64, ApplyError> {
        Ok(transaction.purge_former_secrets(self.before).await?)
    }
}

impl Command for PurgeMarks {
    /// How many went.
    type Outcome = u64;

    async fn run(&self, transaction: &mut WriteTransaction, _: Time) -> Result<u64, ApplyError> {
        Ok(transaction.purge_marks(self.before).await?)
    }
}
