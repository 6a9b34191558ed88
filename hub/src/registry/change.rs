//! One changing command on one silo: its revision, its history rows, the deliveries for the sinks,
//! and the silo's new head.

use std::collections::BTreeMap;

use silo_shared::silo::{Hostname, SiloId};

use super::{Actor, logged};
use crate::domain::change::AddressChange;
use crate::domain::revision::Revision;
use crate::domain::time::Time;
use crate::store::{
    DeliveryKind, DueName, EventDelivery, HistoryContext, NamesDelivery, Queries, SiloHead,
    StoreError, StoredRecord, WriteTransaction,
};

/// A change that has begun and is not written yet.
pub(super) struct Change<'a> {
    actor: Actor,
    id: &'a SiloId,
    revision: Revision,
    now: Time,
    /// The mail addresses that the records named before, if a sink uses them.
    notify: BTreeMap<Hostname, String>,
    /// The revision of each existing record's previous address change.
    before: BTreeMap<Hostname, Revision>,
}

impl<'a> Change<'a> {
    /// Takes a revision. Call before changing the records.
    pub(super) async fn begin(
        transaction: &mut WriteTransaction,
        actor: Actor,
        id: &'a SiloId,
        now: Time,
    ) -> Result<Self, StoreError> {
        let interests = transaction.interests().await?;
        let wants_notify = interests
            .iter()
            .any(|sink| sink.wants_notify && sink.takes_silo(id));
        let notify = if wants_notify {
            transaction.notify_addresses(id).await?
        } else {
            Vec::new()
        };
        Ok(Self {
            actor,
            id,
            revision: transaction.take_revision(id),
            now,
            notify: notify.into_iter().collect(),
            before: BTreeMap::new(),
        })
    }

    /// The revision of the change.
    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    /// Notes a record that is being replaced. Call for each one.
    pub(super) fn replaces(&mut self, old: &StoredRecord) {
        self.before.insert(old.hostname.clone(), old.addresses_at);
    }

    /// Notes a record that is being removed. Call for each one.
    pub(super) fn removes(&mut self, transaction: &mut WriteTransaction, old: &StoredRecord) {
        self.replaces(old);
        transaction.note_former_name(self.id, &old.hostname, self.revision);
    }

    /// Writes the change. `deleted`: the silo is now deleted.
    pub(super) async fn end(
        self,
        transaction: &mut WriteTransaction,
        deleted: bool,
        changes: &[AddressChange],
    ) -> Result<(), StoreError> {
        let head = SiloHead {
            revision: self.revision,
            updated_at: self.now,
            deleted,
        };
        transaction.set_silo_head(self.id, head);
        let context = HistoryContext {
            silo: self.id,
            revision: self.revision,
            at: self.now,
            via: self.actor.via,
            token: self.actor.token,
            client_ip: self.actor.client_ip,
        };
        transaction.add_history(&context, changes, &self.before);
        let change = (self.id, self.revision);
        logged::note_change(transaction, self.actor, change, deleted, changes);
        self.enqueue(transaction, changes).await
    }

    /// Enqueues deliveries for the sinks.
    async fn enqueue(
        self,
        transaction: &mut WriteTransaction,
        changes: &[AddressChange],
    ) -> Result<(), StoreError> {
        let interests = transaction.interests().await?;
        if changes.is_empty() || !interests.iter().any(|sink| sink.takes_silo(self.id)) {
            return Ok(());
        }
        // The current record decides whom to notify; for a removed record, its last state does.
        let mut notify = self.notify;
        if interests.iter().any(|sink| sink.wants_notify) {
            for AddressChange { hostname, .. } in changes {
                let Some(record) = transaction.record(self.id, hostname).await? else {
                    continue;
                };
                match record.attributes.notify {
                    Some(own) => notify.insert(hostname.clone(), own),
                    None => notify.remove(hostname),
                };
            }
        }
        for sink in interests.iter() {
            let with_login = if sink.takes.with_login && sink.takes_silo(self.id) {
                Some(
                    transaction
                        .hostnames_with_login(&sink.name, self.id)
                        .await?,
                )
            } else {
                None
            };
            let mut names: Vec<(Hostname, Option<String>)> = Vec::new();
            for AddressChange { hostname, .. } in changes {
                // The families of a hostname are adjacent.
                let again = names.last().is_some_and(|(last, _)| last == hostname);
                let has_login = with_login
                    .as_ref()
                    .is_none_or(|with| with.contains(hostname));
                if !again && has_login && sink.takes.takes(self.id, hostname) {
                    let own = notify.get(hostname).filter(|_| sink.wants_notify);
                    names.push((hostname.clone(), own.cloned()));
                }
            }
            if names.is_empty() {
                continue;
            }
            if sink.is_state {
                let delivery = NamesDelivery {
                    sink: &sink.name,
                    kind: DeliveryKind::Change,
                    revision: self.revision,
                    at: self.now,
                };
                let due = |(hostname, _)| DueName {
                    silo: self.id.clone(),
                    hostname,
                };
                let names: Vec<DueName> = names.into_iter().map(due).collect();
                transaction.enqueue_names(&delivery, &names).await?;
                continue;
            }
            let delivery = EventDelivery {
                sink: &sink.name,
                kind: DeliveryKind::Change,
                silo: self.id,
                revision: self.revision,
                at: self.now,
                last_seen: None,
                failure: None,
            };
            transaction.enqueue_event(&delivery, &names).await?;
        }
        Ok(())
    }
}
