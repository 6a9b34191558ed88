//! Removes what has outlived its retention, a little at a time.

use super::{ApplyError, Command};
use crate::domain::time::Time;
use crate::store::{REFUSED_KEPT, WriteTransaction};

/// How many rows one transaction removes of each kind, so that writers wait for moments only.
const BATCH: i64 = 500;

/// Removes some of the history, tombstones, ended deliveries, audit and marks of hubs that are older than `before`.
#[derive(Debug)]
pub struct PurgeOld {
    /// What is older goes.
    pub before: Time,
}

impl Command for PurgeOld {
    /// How many rows went; none: there are no more.
    type Outcome = u64;

    async fn run(&self, transaction: &mut WriteTransaction, now: Time) -> Result<u64, ApplyError> {
        let history = transaction.purge_history(self.before, BATCH).await?;
        let tombstones = transaction.purge_tombstones(self.before, BATCH).await?;
        let deliveries = transaction.purge_deliveries(self.before, BATCH).await?;
        let audit = transaction.purge_audit(self.before, BATCH).await?;
        let refused = transaction.purge_refused(REFUSED_KEPT, BATCH).await?;
        // A day later than they end, so that the clocks of several hubs may differ.
        let ended = now.plus_seconds(-86_400);
        let secrets = transaction.purge_former_secrets(ended).await?;
        let marks = transaction.purge_marks(ended, BATCH).await?;
        Ok(marks + history + tombstones + deliveries + audit + refused + secrets)
    }
}
