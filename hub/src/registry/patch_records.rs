//! The command that sets and removes several records of a silo at once.

use silo_shared::silo::{Addresses, Hostname, SiloId};

use super::change::Change;
use super::silos::{has_room, may_repeat, new_record, require, silo_there};
use super::{Actor, ApplyError, Command, RecordChange, Refusal};
use crate::domain::change::{Attributes, address_changes};
use crate::domain::precondition::{Precondition, silo_tag};
use crate::domain::revision::Revision;
use crate::domain::time::Time;
use crate::store::{SiloHead, StoreError, StoredRecord, WriteTransaction};

/// Sets and removes records, all of them or none, with one revision; creates the silo if it does not exist. Each record
/// is judged as [`super::SetRecord`] and [`super::RemoveRecord`] would judge it.
#[derive(Debug)]
pub struct PatchRecords {
    /// The actor.
    pub actor: Actor,
    /// The silo.
    pub id: SiloId,
    /// The records to set. No hostname occurs twice, here and in `removed`; checked by the caller.
    pub set: Vec<RecordChange>,
    /// The hostnames to remove.
    pub removed: Vec<Hostname>,
    /// A condition on the silo's tag.
    pub precondition: Precondition,
}

/// The records that a [`PatchRecords`] changed.
#[derive(Debug)]
pub struct PatchedRecords {
    /// The records that were set and differ from before, by hostname.
    pub records: Vec<StoredRecord>,
    /// The silo's revision.
    pub revision: Revision,
    /// Whether the silo was created.
    pub created: bool,
    /// Whether anything was changed.
    pub changed: bool,
}

/// One record before the command, and what it is to become; `None`: nothing.
struct Replacement {
    hostname: Hostname,
    old: Option<StoredRecord>,
    new: Option<(Addresses, Attributes)>,
}

/// What the command would do to the records.
#[derive(Default)]
struct Plan<'a> {
    replaced: Vec<Replacement>,
    unchanged: Vec<&'a Hostname>,
}

impl Replacement {
    fn addresses(&self) -> (Addresses, Addresses) {
        let before = self.old.as_ref().map(|old| old.addresses);
        let after = self.new.as_ref().map(|(addresses, _)| *addresses);
        (before.unwrap_or_default(), after.unwrap_or_default())
    }
}

impl Command for PatchRecords {
    type Outcome = PatchedRecords;

    async fn run(
        &self,
        transaction: &mut WriteTransaction,
        now: Time,
    ) -> Result<PatchedRecords, ApplyError> {
        let head = silo_there(transaction, &self.id).await?;
        let present = head.map(|head| (head.revision, silo_tag(head.revision)));
        let required = require(&self.precondition, &present);
        let is_repeated = required.is_err() && may_repeat(&self.precondition, &present);
        if required.is_err() && !is_repeated {
            required?;
        }
        if head.is_none() && self.set.is_empty() {
            return Err(Refusal::NoSilo.into());
        }
        let plan = self.plan(transaction, head, required).await?;
        if let Some(head) = head
            && plan.replaced.is_empty()
        {
            self.note_seen(transaction, &plan);
            return Ok(PatchedRecords {
                records: Vec::new(),
                revision: head.revision,
                created: false,
                changed: false,
            });
        }
        required?;
        let pairs = |addresses: Addresses| addresses.iter().count();
        let (mut held, mut wanted) = (0, 0);
        for replacement in &plan.replaced {
            let (before, after) = replacement.addresses();
            held += pairs(before);
            wanted += pairs(after);
        }
        if wanted > held && !has_room(transaction, &self.id, wanted - held).await? {
            return Err(Refusal::TooManyRecords.into());
        }
        self.note_seen(transaction, &plan);
        let (records, revision) = self.write(transaction, plan.replaced, now).await?;
        Ok(PatchedRecords {
            records,
            revision,
            created: head.is_none(),
            changed: true,
        })
    }
}

impl PatchRecords {
    async fn plan(
        &self,
        transaction: &mut WriteTransaction,
        head: Option<SiloHead>,
        required: Result<(), Refusal>,
    ) -> Result<Plan<'_>, ApplyError> {
        if head.is_some() {
            let set = self.set.iter().map(|change| &change.hostname);
            let all: Vec<_> = set
                .chain(&self.removed)
                .map(|name| (&self.id, name))
                .collect();
            transaction.look_up(&all).await?;
        }
        let mut plan = Plan::default();
        for (index, change) in self.set.iter().enumerate() {
            let old = match head {
                Some(_) => transaction.record(&self.id, &change.hostname).await?,
                None => None,
            };
            let new = change.applied_to(old.as_ref());
            // For a client that knows an older state, that is the error.
            let new = match new {
                Some(new) => new,
                None => {
                    required?;
                    return Err(Refusal::NoAddressAt(index).into());
                }
            };
            let is_same = old
                .as_ref()
                .is_some_and(|old| (old.addresses, &old.attributes) == (new.0, &new.1));
            if is_same {
                plan.unchanged.push(&change.hostname);
            } else {
                plan.replaced.push(Replacement {
                    hostname: change.hostname.clone(),
                    old,
                    new: Some(new),
                });
            }
        }
        for (index, hostname) in self.removed.iter().enumerate() {
            let old = match head {
                Some(_) => transaction.record(&self.id, hostname).await?,
                None => None,
            };
            match old {
                Some(_) => plan.replaced.push(Replacement {
                    hostname: hostname.clone(),
                    old,
                    new: None,
                }),
                None if required.is_err() => {}
                None => return Err(Refusal::NoRecordAt(index).into()),
            }
        }
        plan.replaced
            .sort_unstable_by(|a, b| a.hostname.cmp(&b.hostname));
        Ok(plan)
    }

    fn note_seen(&self, transaction: &mut WriteTransaction, plan: &Plan<'_>) {
        for hostname in &plan.unchanged {
            transaction.note_seen(&self.id, hostname);
        }
    }

    async fn write(
        &self,
        transaction: &mut WriteTransaction,
        replaced: Vec<Replacement>,
        now: Time,
    ) -> Result<(Vec<StoredRecord>, Revision), StoreError> {
        let mut change = Change::begin(transaction, self.actor, &self.id, now).await?;
        let revision = change.revision();
        let (mut records, mut history) = (Vec::new(), Vec::new());
        for replacement in replaced {
            let (before, after) = replacement.addresses();
            let Replacement { hostname, old, new } = replacement;
            history.extend(address_changes(&hostname, &before, &after));
            let Some((_, attributes)) = new else {
                if let Some(old) = &old {
                    change.removes(transaction, old);
                }
                transaction.delete_record(&self.id, &hostname);
                continue;
            };
            let mut record = new_record(hostname, after, attributes, revision, now);
            if let Some(old) = &old {
                change.replaces(old);
                if after == before {
                    record.addresses_at = old.addresses_at;
                }
            }
            transaction.put_record(&self.id, record.clone()).await?;
            records.push(record);
        }
        change.end(transaction, false, &history).await?;
        Ok((records, revision))
    }
}
