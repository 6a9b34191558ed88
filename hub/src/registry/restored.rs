//! The command that informs the database and its hubs that the database was restored from a copy.

use super::{ApplyError, Command};
use crate::domain::time::Time;
use crate::store::{StoreError, WriteTransaction};

/// Records that this database was restored from a copy, by any program.
///
/// Revisions continue above all those handed out, hubs and streams discard their state and start
/// over, sinks are compared with what they published, and earlier signatures are no longer valid,
/// since the nonces used after the copy was made are unknown.
#[derive(Debug)]
pub struct NoteRestored {
    /// A revision handed out by the replaced database, if known; otherwise 0.
    pub past: i64,
}

impl Command for NoteRestored {
    /// The revision above which revisions continue.
    type Outcome = i64;

    async fn run(&self, transaction: &mut WriteTransaction, now: Time) -> Result<i64, ApplyError> {
        note_restored(transaction, self.past, now).await?;
        Ok(transaction.revision())
    }
}

/// The effect of [`NoteRestored`], also used for a database that moved. `past`: as there.
pub(super) async fn note_restored(
    transaction: &mut WriteTransaction,
    past: i64,
    now: Time,
) -> Result<(), StoreError> {
    begin_again(transaction, past, now).await?;
    transaction.forget_what_hubs_hold(now).await?;
    transaction.mark_ledger_uncertain().await?;
    transaction.wake_workers().await?;
    let not_before = transaction.signed_not_before().await?;
    transaction
        .set_signed_not_before(not_before.moved_to(now))
        .await
}

/// Raises the revision counter above `past`, above the present time in microseconds and above its
/// present value, and the feed floor with it: clients with an older revision can't get the changes
/// since.
pub(super) async fn begin_again(
    transaction: &mut WriteTransaction,
    past: i64,
    now: Time,
) -> Result<(), StoreError> {
    let past = transaction.revision().max(past).max(now.as_micros());
    transaction.raise_revision(past + 1);
    transaction.raise_feed_floor(past + 1).await
}
