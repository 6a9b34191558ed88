//! The command that sets a silo's records to what they were.

use silo_shared::silo::{MAX_RECORDS, SiloId, count_records};

use super::{Actor, ApplyError, Command, Refusal, ReplaceSilo};
use crate::domain::precondition::Precondition;
use crate::domain::time::Time;
use crate::store::WriteTransaction;

/// Sets a silo's addresses to what they were at a revision. A record that stays keeps what it
/// carries beside them; one that comes back carries nothing else.
#[derive(Debug)]
pub struct RevertSilo {
    /// Who.
    pub actor: Actor,
    /// Which silo; a deleted one comes back.
    pub id: SiloId,
    /// A revision from the first in the silo's history to its present one.
    pub revision: i64,
}

/// What a [`RevertSilo`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reverted {
    /// The silo has a new revision.
    Changed {
        /// Which.
        revision: i64,
    },
    /// The records are as they were already; nothing was written.
    Unchanged {
        /// The silo's revision, as before.
        revision: i64,
    },
    /// The silo was never at this revision, as far as its history tells; nothing was written.
    Unknown {
        /// The first revision that the history tells of.
        first: i64,
        /// The silo's present revision.
        last: i64,
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
        // A deleted silo has no records.
        let mut records = transaction.records(&self.id).await?;
        let before = transaction
            .addresses_before(&self.id, self.revision)
            .await?;
        for ((hostname, family), held) in before {
            let addresses = records.entry(hostname).or_default();
            match held {
                Some(ip) => {
                    addresses.set(ip);
                }
                None => addresses.clear(family),
            }
        }
        records.retain(|_, addresses| !addresses.is_empty());
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
