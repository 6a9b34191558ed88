//! Removes revoked or expired rights and unused sinks after the retention.

use silo_shared::credential::TokenId;

use super::{ApplyError, Command};
use crate::domain::time::Time;
use crate::store::WriteTransaction;

/// Update keys removed per transaction, so that writers are blocked only briefly.
const BATCH: i64 = 500;

/// Strips tokens that were revoked or expired before a time down to their id and their end.
#[derive(Debug)]
pub struct PurgeTokens {
    /// The tokens; a valid one is left unchanged.
    pub ids: Vec<TokenId>,
    /// Only those that ended before this time.
    pub before: Time,
}

/// Removes some update keys revoked before a time, and the sinks that no hub has served since.
#[derive(Debug)]
pub struct PurgeEnded {
    /// Only what ended before this time.
    pub before: Time,
}

impl Command for PurgeTokens {
    /// Number of affected tokens.
    type Outcome = u64;

    async fn run(&self, transaction: &mut WriteTransaction, _: Time) -> Result<u64, ApplyError> {
        Ok(transaction.purge_tokens(&self.ids, self.before).await?)
    }
}

impl Command for PurgeEnded {
    /// Number of deleted rows; zero: there are no more.
    type Outcome = u64;

    async fn run(&self, transaction: &mut WriteTransaction, _: Time) -> Result<u64, ApplyError> {
        let keys = transaction.purge_update_keys(self.before, BATCH).await?;
        let sinks = transaction.purge_sinks(self.before).await?;
        Ok(keys + sinks)
    }
}
