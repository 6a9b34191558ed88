//! The command that tells this database, and the hubs that serve it, that it was put back from a copy.

use super::{ApplyError, Command};
use crate::domain::time::Time;
use crate::store::{StoreError, WriteTransaction};

/// Notes that this database was put back from a copy, whatever program did it.
///
/// Revisions go on above all that were handed out, hubs and streams that hold what was there before begin again, sinks
/// are compared with what they published, and signatures from before do not count any more: the nonces that were spent
/// since the copy was made are unknown.
#[derive(Debug)]
pub struct NoteRestored {
    /// A revision that was handed out by the database that was replaced, if it is known; else 0.
    pub past: i64,
}

impl Command for NoteRestored {
    /// The revision above which the next ones are.
    type Outcome = i64;

    async fn run(&self, transaction: &mut WriteTransaction, now: Time) -> Result<i64, ApplyError> {
        note_restored(transaction, self.past, now).await?;
        Ok(transaction.revision())
    }
}

/// What [`NoteRestored`] does, also for a database that has moved. `past`: as there.
pub(super) async fn note_restored(
    transaction: &mut WriteTransaction,
    past: i64,
    now: Time,
) -> Result<(), StoreError> {
    begin_again(transaction, past, now).await?;
    transaction.forget_what_hubs_hold(now).await?;
    transaction.doubt_ledger().await?;
    transaction.wake_workers().await?;
    let not_before = transaction.signed_not_before().await?;
    transaction
        .set_signed_not_before(not_before.moved_to(now))
        .await
}

/// Moves the revision counter past a revision, past the present time in microseconds and past where it stands, and
/// the feed floor with it: whoever holds an older revision can't be told what changed since.
pub(super) async fn begin_again(
    transaction: &mut WriteTransaction,
    past: i64,
    now: Time,
) -> Result<(), StoreError> {
    let past = transaction.revision().max(past).max(now.as_micros());
    transaction.raise_revision(past + 1);
    transaction.raise_feed_floor(past + 1).await
}
