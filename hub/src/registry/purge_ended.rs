//! Removes what gave rights or was told of changes, once it has been over for the retention.

use silo_shared::credential::TokenId;

use super::{ApplyError, Command};
use crate::domain::time::Time;
use crate::store::WriteTransaction;

/// How many update keys one transaction removes, so that writers wait for moments only.
const BATCH: i64 = 500;

/// Leaves of tokens that were revoked or expired before a time no more than that.
#[derive(Debug)]
pub struct PurgeTokens {
    /// Which tokens; one that counts is left alone.
    pub ids: Vec<TokenId>,
    /// What ended earlier goes.
    pub before: Time,
}

/// Removes some update keys that were revoked before a time, and the sinks that no hub has had since.
#[derive(Debug)]
pub struct PurgeEnded {
    /// What ended earlier goes.
    pub before: Time,
}

impl Command for PurgeTokens {
    /// How many tokens it was.
    type Outcome = u64;

    async fn run(&self, transaction: &mut WriteTransaction, _: Time) -> Result<u64, ApplyError> {
        Ok(transaction.purge_tokens(&self.ids, self.before).await?)
    }
}

impl Command for PurgeEnded {
    /// How many rows went; none: there are no more.
    type Outcome = u64;

    async fn run(&self, transaction: &mut WriteTransaction, _: Time) -> Result<u64, ApplyError> {
        let keys = transaction.purge_update_keys(self.before, BATCH).await?;
        let sinks = transaction.purge_sinks(self.before).await?;
        Ok(keys + sinks)
    }
}
