//! Failed authentication attempts, counted jointly by the hubs of one database.

use super::{ApplyError, Command};
use crate::domain::failures::AddressFailures;
use crate::domain::time::Time;
use crate::store::WriteTransaction;

/// Rows deleted per transaction, so that writers are blocked only briefly.
const BATCH: i64 = 500;

/// Shares failed attempts with the other hubs, each address once.
#[derive(Debug)]
pub struct ShareFailures(pub Vec<AddressFailures>);

/// Forgets some of the windows that began before a time or after another one.
#[derive(Debug)]
pub struct ForgetFailures {
    /// Older windows are deleted.
    pub before: Time,
    /// What began later was written by a clock that was wrong, and goes.
    pub after: Time,
}

impl Command for ShareFailures {
    type Outcome = ();

    async fn run(&self, transaction: &mut WriteTransaction, now: Time) -> Result<(), ApplyError> {
        Ok(transaction.add_failures(&self.0, now).await?)
    }
}

impl Command for ForgetFailures {
    /// Number of deleted rows; zero: there are no more.
    type Outcome = u64;

    async fn run(&self, transaction: &mut WriteTransaction, _: Time) -> Result<u64, ApplyError> {
        Ok(transaction
            .purge_failures(self.before, self.after, BATCH)
            .await?)
    }
}
