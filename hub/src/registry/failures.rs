//! Wrong credentials that the hubs of one database count together.

use super::{ApplyError, Command};
use crate::domain::failures::AddressFailures;
use crate::domain::time::Time;
use crate::store::WriteTransaction;

/// How many rows one transaction forgets, so that writers wait for moments only.
const BATCH: i64 = 500;

/// Tells the other hubs of wrong credentials, of each address once.
#[derive(Debug)]
pub struct ShareFailures(pub Vec<AddressFailures>);

/// Forgets some of the windows that began before a time or after another one.
#[derive(Debug)]
pub struct ForgetFailures {
    /// What began earlier goes.
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
    /// How many went; none: there are no more.
    type Outcome = u64;

    async fn run(&self, transaction: &mut WriteTransaction, _: Time) -> Result<u64, ApplyError> {
        Ok(transaction
            .purge_failures(self.before, self.after, BATCH)
            .await?)
    }
}
