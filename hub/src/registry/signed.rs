//! Writes that came signed: each is carried out once at most, and none after a newer one.

use silo_shared::credential::TokenId;
use silo_shared::signing::MAX_CLOCK_OFFSET;

use super::{ApplyError, Command, Refusal};
use crate::domain::time::Time;
use crate::store::{WriteScope, WriteTransaction};

/// How many rows one transaction forgets, so that writers wait for moments only.
const BATCH: i64 = 500;

/// What makes a signed write one of its kind.
#[derive(Clone, Debug)]
pub struct SignedWrite {
    /// Whose signature.
    pub token: TokenId,
    /// Its nonce.
    pub nonce: String,
    /// When it was made.
    pub created: Time,
}

/// A command that came signed. Its nonce is spent in the same transaction, also where the command changes
/// nothing or is refused. Both rules are judged under the counter's lock by looking, not by an insert that
/// fails: a replay must not break its batch.
#[derive(Debug)]
pub struct Signed<C> {
    /// The signature.
    pub write: SignedWrite,
    /// What the command goes to.
    pub place: WriteScope,
    /// The command.
    pub command: C,
}

/// Nothing, for signed writes that were refused before there was a command.
#[derive(Debug)]
pub struct SpendNonceOnly;

/// Forgets some of the signed writes from before a time.
#[derive(Debug)]
pub struct ForgetSigned {
    /// What was signed earlier goes.
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
        let outcome = match newest.is_some_and(|newest| newest > *created) {
            true => Err(Refusal::Order.into()),
            false => self.command.run(transaction, now).await,
        };
        let place = match &outcome {
            Ok(_) => &self.place,
            Err(ApplyError::Refused(_)) => &WriteScope::Unscoped,
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
    /// How many went; none: there are no more.
    type Outcome = u64;

    async fn run(&self, transaction: &mut WriteTransaction, _: Time) -> Result<u64, ApplyError> {
        Ok(transaction.purge_signed_writes(self.before, BATCH).await?)
    }
}
