//! The command that resets a silo's records to an earlier state.

use silo_shared::silo::{MAX_RECORDS, Records, SiloId, count_records};

use super::{Actor, ApplyError, Command, Refusal, ReplaceSilo};
use crate::domain::precondition::Precondition;
use crate::domain::replay::{Replay, Unfitting};
use crate::domain::time::Time;
use crate::store::{StoreError, WriteTransaction};

/// Sets a silo's addresses to those at a revision. A remaining record keeps its attributes; a
/// restored one has none.
#[derive(Debug)]
pub struct RevertSilo {
    /// The actor.
    pub actor: Actor,
    /// The silo; a deleted one is restored.
    pub id: SiloId,
    /// A revision between the first in the silo's history and its present one.
    pub revision: i64,
}

/// History rows read at once.
const PAGE: i64 = 1000;

/// The result of a [`RevertSilo`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reverted {
    /// The silo has a new revision.
    Changed {
        /// The new revision.
        revision: i64,
    },
    /// The records are already in that state; nothing was written.
    Unchanged {
        /// The silo's revision, unchanged.
        revision: i64,
    },
    /// According to its history, the silo was never at this revision; nothing was written.
    Unknown {
        /// The first revision in the history.
        first: i64,
        /// The silo's present revision.
        last: i64,
    },
    /// The history rows are inconsistent, so the earlier state is unknown; nothing was written.
    Unfitting(Unfitting),
    /// An import added the silo but not its whole history; nothing was written.
    Importing {
        /// The first revision from which the history is complete.
        whole_from: i64,
    },
}

impl Command for RevertSilo {
    type Outcome = Reverted;

    async fn run(
        &self,
        transaction: &mut WriteTransaction,
        now: Time,
    ) -> Result<Reverted, ApplyError> {
        let head = transaction.silo_head(&self.id).await?;
        let head = head.ok_or(Refusal::NoSilo)?;
        let last = head.revision;
        let first = transaction.first_revision(&self.id).await?.unwrap_or(last);
        if !(first.min(last)..=last).contains(&self.revision) {
            return Ok(Reverted::Unknown { first, last });
        }
        if self.revision == last {
            return Ok(Reverted::Unchanged { revision: last });
        }
        if let Some(whole_from) = transaction.importing(&self.id).await?
            && self.revision < whole_from
        {
            return Ok(Reverted::Importing { whole_from });
        }
        let records = match self.replay(transaction).await? {
            Ok(records) => records,
            Err(unfitting) => return Ok(Reverted::Unfitting(unfitting)),
        };
        if count_records(&records) > MAX_RECORDS {
            return Err(Refusal::TooManyRecords.into());
        }
        let replacement = ReplaceSilo {
            actor: self.actor,
            id: self.id.clone(),
            records,
            precondition: Precondition::default(),
        };
        let revision = replacement.run(transaction, now).await?.silo.revision;
        Ok(if revision == last {
            Reverted::Unchanged { revision }
        } else {
            Reverted::Changed { revision }
        })
    }
}

impl RevertSilo {
    /// The records at the revision, derived from all later history rows.
    async fn replay(
        &self,
        transaction: &mut WriteTransaction,
    ) -> Result<Result<Records, Unfitting>, StoreError> {
        let at = transaction.addresses_at(&self.id, self.revision).await?;
        let mut replay = Replay::begin(at);
        let mut last = None;
        loop {
            let page = transaction
                .history_after(&self.id, self.revision, last.as_ref(), PAGE)
                .await?;
            for row in &page {
                if let Err(unfitting) = replay.follow(row) {
                    return Ok(Err(unfitting));
                }
            }
            last = page.into_iter().next_back();
            if last.is_none() {
                break;
            }
        }
        // A deleted silo has no records.
        Ok(replay.end(transaction.records(&self.id).await?))
    }
}
