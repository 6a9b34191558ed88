//! The commands on silos and records.

use silo_shared::silo::{Addresses, Family, Hostname, MAX_RECORDS, Records, SiloId};

use super::change::Change;
use super::{Actor, ApplyError, Command, Refusal};
use crate::domain::change::{AttributePatch, Attributes, address_changes, differing};
use crate::domain::elapsed::is_silent;
use crate::domain::precondition::{Precondition, record_tag, silo_tag};
use crate::domain::revision::Revision;
use crate::domain::time::Time;
use crate::store::{SiloHead, StoreError, StoredRecord, StoredSilo, Via, WriteTransaction};

/// Replaces all records of a silo; creates the silo if it does not exist.
#[derive(Debug)]
pub struct ReplaceSilo {
    /// The actor.
    pub actor: Actor,
    /// The silo.
    pub id: SiloId,
    /// The new records; at most [`MAX_RECORDS`] pairs, checked by the caller.
    pub records: Records,
    /// A condition on the silo's tag.
    pub precondition: Precondition,
}

/// A silo after a write.
#[derive(Debug)]
pub struct WrittenSilo {
    /// The silo at the write's own revision.
    pub silo: StoredSilo,
    /// Whether the write created it.
    pub created: bool,
    /// Whether the write changed anything.
    pub changed: bool,
}

/// Removes a silo with all its records.
#[derive(Debug)]
pub struct DeleteSilo {
    /// The actor.
    pub actor: Actor,
    /// The silo.
    pub id: SiloId,
    /// A condition on the silo's tag.
    pub precondition: Precondition,
}

/// Sets one hostname; creates the silo if it does not exist.
#[derive(Debug)]
pub struct SetRecord {
    /// The actor.
    pub actor: Actor,
    /// The silo.
    pub id: SiloId,
    /// The hostname.
    pub hostname: Hostname,
    /// The families to set; others are kept. Empty: attributes only.
    pub addresses: Addresses,
    /// The family to remove.
    pub cleared: Option<Family>,
    /// Changes to the attributes.
    pub attributes: AttributePatch,
    /// A condition on the record's tag.
    pub precondition: Precondition,
}

/// What to change of one record.
#[derive(Debug)]
pub struct RecordChange {
    /// The hostname.
    pub hostname: Hostname,
    /// The families to set; others are kept. Empty: attributes only.
    pub addresses: Addresses,
    /// The family to remove.
    pub cleared: Option<Family>,
    /// Changes to the attributes.
    pub attributes: AttributePatch,
}

impl RecordChange {
    /// The addresses and attributes after the change; `None`: there would be no address.
    pub(super) fn applied_to(&self, old: Option<&StoredRecord>) -> Option<(Addresses, Attributes)> {
        let before = old.map(|old| old.addresses).unwrap_or_default();
        let mut after = before.merged_with(&self.addresses);
        if let Some(family) = self.cleared {
            after.clear(family);
        }
        let kept = old.map(|old| old.attributes.clone()).unwrap_or_default();
        (!after.is_empty()).then(|| (after, kept.patched(&self.attributes)))
    }
}

/// A record after a write.
#[derive(Debug)]
pub struct WrittenRecord {
    /// The record after the write.
    pub record: StoredRecord,
    /// Whether the write created it.
    pub created: bool,
    /// Whether the write changed anything other than the last-seen time.
    pub changed: bool,
}

/// Removes one hostname, or one of its families.
#[derive(Debug)]
pub struct RemoveRecord {
    /// The actor.
    pub actor: Actor,
    /// The silo.
    pub id: SiloId,
    /// The hostname.
    pub hostname: Hostname,
    /// Only this family.
    pub family: Option<Family>,
    /// A condition on the record's tag.
    pub precondition: Precondition,
}

/// Removes a record that had no write for its `expires_after`.
#[derive(Debug)]
pub struct ExpireRecord {
    /// The actor: the hub itself.
    pub actor: Actor,
    /// The silo.
    pub id: SiloId,
    /// The hostname.
    pub hostname: Hostname,
    /// Since when writes could be received; silence before does not count.
    pub since: Time,
    /// The time at which it was found overdue: the clock may be stepped before the command runs.
    pub now: Time,
}

/// The head of an existing, not deleted silo.
pub(super) async fn silo_there(
    transaction: &mut WriteTransaction,
    id: &SiloId,
) -> Result<Option<SiloHead>, StoreError> {
    let head = transaction.silo_head(id).await?;
    Ok(head.filter(|head| !head.deleted))
}

/// The revision and tag of what a write replaces.
pub(super) type Present = Option<(Revision, String)>;

pub(super) fn require(precondition: &Precondition, present: &Present) -> Result<(), Refusal> {
    let tag = present.as_ref().map(|(_, tag)| tag.as_str());
    if precondition.holds(tag) {
        return Ok(());
    }
    Err(Refusal::Precondition {
        present: present.as_ref().map(|(revision, _)| *revision),
        is_weakened: tag.is_some_and(|tag| precondition.is_weakened(tag)),
    })
}

/// Whether a write without effect may be accepted as a repetition.
pub(super) fn may_repeat(precondition: &Precondition, present: &Present) -> bool {
    present
        .as_ref()
        .is_some_and(|(revision, tag)| precondition.is_older_than(*revision, tag))
}

impl Command for ReplaceSilo {
    type Outcome = WrittenSilo;

    async fn run(
        &self,
        transaction: &mut WriteTransaction,
        now: Time,
    ) -> Result<WrittenSilo, ApplyError> {
        let head = silo_there(transaction, &self.id).await?;
        let present = head.map(|head| (head.revision, silo_tag(head.revision)));
        let required = require(&self.precondition, &present);
        if required.is_err() && !may_repeat(&self.precondition, &present) {
            required?;
        }
        let old = match head {
            Some(_) => transaction.records(&self.id).await?,
            None => Records::new(),
        };
        let rows = differing(&old, &self.records);
        if !rows.is_empty() {
            required?;
        }
        // A revert says nothing of what it does not change: its machine may have been silent for long.
        if self.actor.via != Via::Revert {
            for (hostname, addresses) in &self.records {
                if old.get(hostname) == Some(addresses) {
                    transaction.note_seen(&self.id, hostname);
                }
            }
        }
        let stored = |revision, updated_at| StoredSilo {
            id: self.id.clone(),
            revision,
            updated_at,
            records: self.records.clone(),
        };
        if let Some(head) = head
            && rows.is_empty()
        {
            return Ok(WrittenSilo {
                silo: stored(head.revision, head.updated_at),
                created: false,
                changed: false,
            });
        }
        let mut change = Change::begin(transaction, self.actor, &self.id, now).await?;
        let revision = change.revision();
        let changed: Vec<_> = rows
            .iter()
            .map(|(hostname, ..)| (&self.id, hostname))
            .collect();
        transaction.look_up(&changed).await?;
        let mut history = Vec::new();
        for (hostname, before, after) in rows {
            history.extend(address_changes(&hostname, &before, &after));
            let old = transaction.record(&self.id, &hostname).await?;
            if after.is_empty() {
                if let Some(old) = &old {
                    change.removes(transaction, old);
                }
                transaction.delete_record(&self.id, &hostname);
                continue;
            }
            if let Some(old) = &old {
                change.replaces(old);
            }
            let attributes = old.map(|old| old.attributes).unwrap_or_default();
            let record = new_record(hostname, after, attributes, revision, now);
            transaction.put_record(&self.id, record).await?;
        }
        change.end(transaction, false, &history).await?;
        Ok(WrittenSilo {
            silo: stored(revision, now),
            created: head.is_none(),
            changed: true,
        })
    }
}

pub(super) fn new_record(
    hostname: Hostname,
    addresses: Addresses,
    attributes: Attributes,
    revision: Revision,
    now: Time,
) -> StoredRecord {
    StoredRecord {
        hostname,
        addresses,
        attributes,
        revision,
        addresses_at: revision,
        updated_at: now,
        last_seen: now,
    }
}

impl Command for DeleteSilo {
    type Outcome = ();

    async fn run(&self, transaction: &mut WriteTransaction, now: Time) -> Result<(), ApplyError> {
        let head = silo_there(transaction, &self.id).await?;
        let head = head.ok_or(Refusal::NoSilo)?;
        let present = Some((head.revision, silo_tag(head.revision)));
        require(&self.precondition, &present)?;
        let mut records = transaction.whole_records(&self.id).await?;
        records.sort_unstable_by(|a, b| a.hostname.cmp(&b.hostname));
        let none = Addresses::default();
        let history: Vec<_> = records
            .iter()
            .flat_map(|old| address_changes(&old.hostname, &old.addresses, &none))
            .collect();
        let mut change = Change::begin(transaction, self.actor, &self.id, now).await?;
        for old in &records {
            change.removes(transaction, old);
        }
        transaction.delete_records(&self.id).await?;
        transaction.remove_agents_of_silo(&self.id).await?;
        change.end(transaction, true, &history).await?;
        Ok(())
    }
}

impl Command for SetRecord {
    type Outcome = WrittenRecord;

    fn reads(&self) -> Option<(&SiloId, &Hostname)> {
        Some((&self.id, &self.hostname))
    }

    async fn run(
        &self,
        transaction: &mut WriteTransaction,
        now: Time,
    ) -> Result<WrittenRecord, ApplyError> {
        let head = silo_there(transaction, &self.id).await?;
        let old = match head {
            Some(_) => transaction.record(&self.id, &self.hostname).await?,
            None => None,
        };
        let present = old
            .as_ref()
            .map(|old| (old.revision, record_tag(old.revision, &self.hostname)));
        let required = require(&self.precondition, &present);
        if required.is_err() && !may_repeat(&self.precondition, &present) {
            required?;
        }
        let patch = RecordChange {
            hostname: self.hostname.clone(),
            addresses: self.addresses,
            cleared: self.cleared,
            attributes: self.attributes.clone(),
        };
        let before = old.as_ref().map(|old| old.addresses).unwrap_or_default();
        let (after, attributes) = patch.applied_to(old.as_ref()).ok_or(Refusal::NoAddress)?;
        if let Some(old) = &old
            && after == before
            && attributes == old.attributes
        {
            transaction.note_seen(&self.id, &self.hostname);
            let record = StoredRecord {
                last_seen: now,
                ..old.clone()
            };
            return Ok(WrittenRecord {
                record,
                created: false,
                changed: false,
            });
        }
        required?;
        let added = after.iter().count().saturating_sub(before.iter().count());
        if added > 0 && !has_room(transaction, &self.id, added).await? {
            return Err(Refusal::TooManyRecords.into());
        }
        let mut change = Change::begin(transaction, self.actor, &self.id, now).await?;
        let mut record = new_record(
            self.hostname.clone(),
            after,
            attributes,
            change.revision(),
            now,
        );
        if let Some(old) = &old {
            change.replaces(old);
            if after == before {
                record.addresses_at = old.addresses_at;
            }
        }
        transaction.put_record(&self.id, record.clone()).await?;
        let history: Vec<_> = address_changes(&self.hostname, &before, &after).collect();
        change.end(transaction, false, &history).await?;
        Ok(WrittenRecord {
            record,
            created: old.is_none(),
            changed: true,
        })
    }
}

/// Whether a silo may have so many more hostname/address pairs.
pub(super) async fn has_room(
    transaction: &mut WriteTransaction,
    id: &SiloId,
    added: usize,
) -> Result<bool, StoreError> {
    let held = transaction.count_pairs(id).await?;
    Ok(usize::try_from(held).is_ok_and(|held| held + added <= MAX_RECORDS))
}

impl Command for RemoveRecord {
    type Outcome = ();

    fn reads(&self) -> Option<(&SiloId, &Hostname)> {
        Some((&self.id, &self.hostname))
    }

    async fn run(&self, transaction: &mut WriteTransaction, now: Time) -> Result<(), ApplyError> {
        let head = silo_there(transaction, &self.id).await?;
        head.ok_or(Refusal::NoSilo)?;
        let old = transaction
            .record(&self.id, &self.hostname)
            .await?
            .ok_or(Refusal::NoRecord)?;
        let mut after = match self.family {
            Some(_) => old.addresses,
            None => Addresses::default(),
        };
        if let Some(family) = self.family {
            old.addresses.get(family).ok_or(Refusal::NoRecord)?;
            after.clear(family);
        }
        let present = Some((old.revision, record_tag(old.revision, &self.hostname)));
        require(&self.precondition, &present)?;
        let mut change = Change::begin(transaction, self.actor, &self.id, now).await?;
        if after.is_empty() {
            change.removes(transaction, &old);
            transaction.delete_record(&self.id, &self.hostname);
        } else {
            change.replaces(&old);
            let record = new_record(
                self.hostname.clone(),
                after,
                old.attributes,
                change.revision(),
                now,
            );
            transaction.put_record(&self.id, record).await?;
        }
        let history: Vec<_> = address_changes(&self.hostname, &old.addresses, &after).collect();
        change.end(transaction, false, &history).await?;
        Ok(())
    }
}

impl Command for ExpireRecord {
    /// Whether the record was removed.
    type Outcome = bool;

    fn reads(&self) -> Option<(&SiloId, &Hostname)> {
        Some((&self.id, &self.hostname))
    }

    async fn run(&self, transaction: &mut WriteTransaction, now: Time) -> Result<bool, ApplyError> {
        let Some(record) = transaction.record(&self.id, &self.hostname).await? else {
            return Ok(false);
        };
        let overdue = record.attributes.expires_after.is_some_and(|seconds| {
            is_silent(record.last_seen, self.since, seconds, now.min(self.now))
        });
        if !overdue {
            return Ok(false);
        }
        let removal = RemoveRecord {
            actor: self.actor,
            id: self.id.clone(),
            hostname: self.hostname.clone(),
            family: None,
            precondition: Precondition::default(),
        };
        removal.run(transaction, now).await?;
        Ok(true)
    }
}
