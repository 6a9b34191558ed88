//! The command that resets a silo's records to an earlier state.

use silo_shared::silo::{MAX_RECORDS, Records, SiloId, count_records};

use super::silos::{may_repeat, require, silo_there};
use super::{Actor, ApplyError, Command, Refusal, ReplaceSilo, WrittenSilo};
use crate::domain::precondition::{Precondition, silo_tag};
use crate::domain::replay::{Replay, Unfitting};
use crate::domain::revision::Revision;
use crate::domain::time::Time;
use crate::store::{ReplayReads, Replayed, Store, StoreError, StoredSilo, WriteTransaction};

/// Sets a silo's addresses to those at a revision. A remaining record keeps its attributes; a
/// restored one has none.
#[derive(Debug)]
pub struct RevertSilo {
    /// The actor.
    pub actor: Actor,
    /// The silo; a deleted one is restored.
    pub id: SiloId,
    /// A revision between the first in the silo's history and its present one.
    pub revision: Revision,
    /// A condition on the silo's tag.
    pub precondition: Precondition,
    /// What [`RevertSilo::replayed`] has read before.
    pub replayed: Option<Replayed>,
}

/// The same, for a caller that wants to see the silo after it.
#[derive(Debug)]
pub struct RevertWhole(pub RevertSilo);

/// History rows read at once.
const PAGE: i64 = 1000;

/// The result of a [`RevertSilo`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reverted {
    /// The silo has a new revision.
    Changed {
        /// The new revision.
        revision: Revision,
    },
    /// The records are already in that state; nothing was written.
    Unchanged {
        /// The silo's revision, unchanged.
        revision: Revision,
    },
    /// According to its history, the silo was never at this revision; nothing was written.
    Unknown {
        /// The first revision in the history.
        first: Revision,
        /// The silo's present revision.
        last: Revision,
    },
    /// The history rows are inconsistent, so the earlier state is unknown; nothing was written.
    Unfitting(Unfitting),
    /// An import added the silo but not its whole history; nothing was written.
    Importing {
        /// The first revision from which the history is complete.
        whole_from: Revision,
    },
}

impl Command for RevertSilo {
    type Outcome = Reverted;

    fn is_refused(outcome: &Reverted) -> bool {
        !matches!(
            outcome,
            Reverted::Changed { .. } | Reverted::Unchanged { .. }
        )
    }

    async fn run(
        &self,
        transaction: &mut WriteTransaction,
        now: Time,
    ) -> Result<Reverted, ApplyError> {
        Ok(match self.revert(transaction, now).await? {
            Err(why) => why,
            Ok(None) => Reverted::Unchanged {
                revision: self.revision,
            },
            Ok(Some(written)) if written.changed => Reverted::Changed {
                revision: written.silo.revision,
            },
            Ok(Some(written)) => Reverted::Unchanged {
                revision: written.silo.revision,
            },
        })
    }
}

impl Command for RevertWhole {
    /// The silo, or why it can't be reverted.
    type Outcome = Result<WrittenSilo, Reverted>;

    fn is_refused(outcome: &Self::Outcome) -> bool {
        outcome.is_err()
    }

    async fn run(
        &self,
        transaction: &mut WriteTransaction,
        now: Time,
    ) -> Result<Result<WrittenSilo, Reverted>, ApplyError> {
        let Self(revert) = self;
        let present = match revert.revert(transaction, now).await? {
            Err(why) => return Ok(Err(why)),
            Ok(Some(written)) => return Ok(Ok(written)),
            Ok(None) => silo_there(transaction, &revert.id).await?,
        };
        let head = present.ok_or(Refusal::NoSilo)?;
        let silo = StoredSilo {
            id: revert.id.clone(),
            revision: head.revision,
            updated_at: head.updated_at,
            records: transaction.records(&revert.id).await?,
        };
        Ok(Ok(WrittenSilo {
            silo,
            created: false,
            changed: false,
        }))
    }
}

impl RevertSilo {
    /// Reads the history beforehand, so that the command, which delays all other writes, reads only what was added
    /// since.
    pub async fn replayed(self, store: &Store) -> Result<Self, StoreError> {
        let replayed = store.replayed(&self.id, self.revision).await?;
        Ok(Self { replayed, ..self })
    }

    /// The silo after the command; `None`: it is at that revision.
    async fn revert(
        &self,
        transaction: &mut WriteTransaction,
        now: Time,
    ) -> Result<Result<Option<WrittenSilo>, Reverted>, ApplyError> {
        let head = transaction.silo_head(&self.id).await?;
        let head = head.ok_or(Refusal::NoSilo)?;
        let last = head.revision;
        let there = Some(head).filter(|head| !head.deleted);
        let present = there.map(|head| (head.revision, silo_tag(head.revision)));
        let required = require(&self.precondition, &present);
        if required.is_err() && !may_repeat(&self.precondition, &present) {
            required?;
        }
        let first = transaction.first_revision(&self.id).await?.unwrap_or(last);
        if !(first.min(last)..=last).contains(&self.revision) {
            return Ok(Err(Reverted::Unknown { first, last }));
        }
        if self.revision == last {
            return Ok(Ok(None));
        }
        let importing = transaction.importing(&self.id).await?;
        if let Some(whole_from) = importing
            && self.revision < whole_from
        {
            return Ok(Err(Reverted::Importing { whole_from }));
        }
        // While rows are added at the front, what was read before may lack some.
        let before = self.replayed.as_ref().filter(|_| importing.is_none());
        let records = match self.replay(transaction, before).await? {
            Ok(records) => records,
            Err(unfitting) => return Ok(Err(Reverted::Unfitting(unfitting))),
        };
        if count_records(&records) > MAX_RECORDS {
            return Err(Refusal::TooManyRecords.into());
        }
        let replacement = ReplaceSilo {
            actor: self.actor,
            id: self.id.clone(),
            records,
            precondition: self.precondition.clone(),
        };
        Ok(Ok(Some(replacement.run(transaction, now).await?)))
    }

    /// The records at the revision, derived from all later history rows.
    async fn replay(
        &self,
        transaction: &mut WriteTransaction,
        before: Option<&Replayed>,
    ) -> Result<Result<Records, Unfitting>, StoreError> {
        let (mut replay, from) = match before {
            Some(before) => match &before.replay {
                Ok(replay) => (replay.clone(), before.until),
                Err(unfitting) => return Ok(Err(unfitting.clone())),
            },
            None => {
                let at = transaction.addresses_at(&self.id, self.revision).await?;
                (Replay::begin(at), self.revision)
            }
        };
        let mut last = None;
        loop {
            let page = transaction
                .history_after(&self.id, from, last.as_ref(), PAGE)
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
