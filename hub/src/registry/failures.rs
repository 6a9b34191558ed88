//! Wrong credentials that the hubs of one database count together.

use super::{ApplyError, Command};
use crate::domain::time::Time;
use crate::store::{AddressFailures, WriteTransaction};

/// Tells the other hubs of wrong credentials.
#[derive(Debug)]
pub struct ShareFailures {
    /// How many came to this hub since it told last.
    pub failures: Vec<AddressFailures>,
    /// What began at or before this time is forgotten.
    pub ended: Time,
}

impl Command for ShareFailures {
    type Outcome = ();

    async fn run(&self, transaction: &mut WriteTransaction, _: Time) -> Result<(), ApplyError> {
        Ok(transaction.add_failures(&self.failures, self.ended).await?)
    }
}
