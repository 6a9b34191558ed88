//! The command that informs the database and its hubs that the database was restored from a copy.

use super::{ApplyError, Command};
use crate::auth::secrets::{NoRandomness, random_u128};
use crate::domain::database_id::DatabaseId;
use crate::domain::revision::Revision;
use crate::domain::time::Time;
use crate::store::{Queries, StoreError, WriteTransaction};

/// Records that this database was restored from a copy, by any program.
///
/// Revisions continue above all those handed out, hubs and streams discard their state and start
/// over, sinks are compared with what they published, and earlier signatures are no longer valid,
/// since the nonces used after the copy was made are unknown. The database gets a new id, since
/// clients may hold higher revisions of its silos than those that it has now.
#[derive(Debug)]
pub struct NoteRestored {
    past: Revision,
    id: DatabaseId,
}

impl NoteRestored {
    /// `past`: a revision handed out by the replaced database, if known; otherwise [`Revision::NONE`].
    pub fn after(past: Revision) -> Result<Self, NoRandomness> {
        let id = DatabaseId::new(random_u128()?);
        Ok(Self { past, id })
    }
}

/// Gives a database an id if it has none.
#[derive(Debug)]
pub struct AdoptDatabaseId(pub DatabaseId);

impl Command for AdoptDatabaseId {
    /// The id that the database has afterwards.
    type Outcome = DatabaseId;

    async fn run(
        &self,
        transaction: &mut WriteTransaction,
        _: Time,
    ) -> Result<DatabaseId, ApplyError> {
        if let Some(known) = transaction.database_id().await? {
            return Ok(known);
        }
        transaction.set_database_id(self.0).await?;
        Ok(self.0)
    }
}

impl Command for NoteRestored {
    /// The revision above which revisions continue.
    type Outcome = Revision;

    async fn run(
        &self,
        transaction: &mut WriteTransaction,
        now: Time,
    ) -> Result<Revision, ApplyError> {
        note_restored(transaction, self.past, now).await?;
        transaction.set_database_id(self.id).await?;
        Ok(transaction.revision())
    }
}

/// The effect of [`NoteRestored`] without the new id, also used for a database that moved. `past`: as there.
pub(super) async fn note_restored(
    transaction: &mut WriteTransaction,
    past: Revision,
    now: Time,
) -> Result<(), StoreError> {
    begin_again(transaction, past, now).await?;
    transaction.forget_what_hubs_hold(now).await?;
    transaction.end_all_sessions().await?;
    transaction.revoke_all_invitations(now).await?;
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
    past: Revision,
    now: Time,
) -> Result<(), StoreError> {
    let past = transaction.revision().max(past).max(Revision::at(now));
    transaction.raise_revision(past.next());
    transaction.raise_feed_floor(past.next()).await
}
