//! Signed writes: each is executed at most once, and none after a newer one.

use silo_shared::credential::TokenId;
use silo_shared::signing::MAX_CLOCK_OFFSET;

use super::{ApplyError, Command, Refusal};
use crate::domain::time::Time;
use crate::store::{Queries, WriteScope, WriteTransaction};

/// Rows deleted per transaction, so that writers are blocked only briefly.
const BATCH: i64 = 500;

/// Identifies a signed write.
#[derive(Clone, Debug)]
pub struct SignedWrite {
    /// The token that signed.
    pub token: TokenId,
    /// Its nonce.
    pub nonce: String,
    /// When it was signed.
    pub created: Time,
}

/// A signed command. Its nonce is recorded as used in the same transaction, even if the command
/// changes nothing or is refused. Both rules are checked by reads under the counter's lock, not by
/// a failing insert: a replay must not break its batch.
#[derive(Debug)]
pub struct Signed<C> {
    /// The signature.
    pub write: SignedWrite,
    /// The target of the command.
    pub place: WriteScope,
    /// The command.
    pub command: C,
}

/// Changes nothing; for signed writes that were refused before a command was built.
#[derive(Debug)]
pub struct SpendNonceOnly;

/// Deletes some of the signed writes from before a time.
#[derive(Debug)]
pub struct ForgetSigned {
    /// Only those signed before this time.
    pub before: Time,
}

impl<C: Command> Command for Signed<C> {
    type Outcome = C::Outcome;

    async fn run(
        &self,
        transaction: &mut WriteTransaction,
        now: Time,
    ) -> Result<C::Outcome, ApplyError> {
        let SignedWrite {
            token,
            nonce,
            created,
        } = &self.write;
        let not_before = transaction.signed_not_before().await?;
        if not_before.refuses(*created, now) {
            return Err(Refusal::SignedBeforeRestore.into());
        }
        if transaction.nonce_is_spent(*token, nonce).await? {
            return Err(Refusal::Replayed.into());
        }
        let latest = now.plus_seconds(MAX_CLOCK_OFFSET);
        let newest = transaction
            .last_signed_write(*token, &self.place, latest)
            .await?;
        let outcome = if newest.is_some_and(|newest| newest > *created) {
            Err(Refusal::Order.into())
        } else {
            self.command.run(transaction, now).await
        };
        let place = match &outcome {
            Ok(accepted) if !C::is_refused(accepted) => &self.place,
            Ok(_) | Err(ApplyError::Refused(_)) => &WriteScope::Unscoped,
            Err(_) => return outcome,
        };
        transaction
            .spend_nonce(*token, nonce, *created, place)
            .await?;
        outcome
    }
}

impl Command for SpendNonceOnly {
    type Outcome = ();

    async fn run(&self, _: &mut WriteTransaction, _: Time) -> Result<(), ApplyError> {
        Ok(())
    }
}

impl Command for ForgetSigned {
    /// Number of deleted rows; zero: there are no more.
    type Outcome = u64;

    async fn run(&self, transaction: &mut WriteTransaction, _: Time) -> Result<u64, ApplyError> {
        Ok(transaction.purge_signed_writes(self.before, BATCH).await?)
    }
}
