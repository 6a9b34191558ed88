//! The commands on update keys, and the change requested by a call with one.

use std::net::IpAddr;

use silo_shared::credential::TokenId;
use silo_shared::silo::Addresses;

use super::{Actor, ApplyError, Command, KEY_FINGERPRINT, Refusal, SetRecord, WrittenRecord};
use crate::domain::change::AttributePatch;
use crate::domain::precondition::Precondition;
use crate::domain::time::Time;
use crate::domain::update_key::KeyHash;
use crate::domain::update_key::UpdateKey;
use crate::store::{Queries, Via, WriteTransaction};

/// Adds an update key.
#[derive(Debug)]
pub struct AddUpdateKey {
    /// The key's properties.
    pub key: UpdateKey,
    /// The key's hash.
    pub hash: KeyHash,
    /// The fingerprint of the hub key that hashed it.
    pub hashed_by: String,
}

/// Revokes an update key, or a binding of dynahost's protocol.
#[derive(Debug)]
pub struct RevokeUpdateKey(pub TokenId);

/// Sets the record of an update key to the client's address.
#[derive(Debug)]
pub struct SetByUpdateKey {
    /// The key's hash.
    pub hash: KeyHash,
    /// The client's address.
    pub ip: IpAddr,
}

impl Command for AddUpdateKey {
    type Outcome = ();

    async fn run(&self, transaction: &mut WriteTransaction, _: Time) -> Result<(), ApplyError> {
        // The key may have been reset while this hub runs; hashes made by this hub would then not be found.
        let known = transaction.fact(KEY_FINGERPRINT).await?;
        if known.is_some_and(|known| known != self.hashed_by) {
            return Err(Refusal::OtherKey.into());
        }
        if transaction.update_key(&self.hash).await?.is_some() {
            return Err(Refusal::KeyTaken.into());
        }
        transaction.insert_update_key(&self.key, &self.hash).await?;
        Ok(())
    }
}

impl Command for RevokeUpdateKey {
    type Outcome = ();

    async fn run(&self, transaction: &mut WriteTransaction, now: Time) -> Result<(), ApplyError> {
        if transaction.revoke_update_key(self.0, now).await?
            || transaction.remove_dynahost(self.0).await?
        {
            Ok(())
        } else {
            Err(Refusal::NoUpdateKey.into())
        }
    }
}

impl Command for SetByUpdateKey {
    /// The record after the call, and whether its addresses changed.
    type Outcome = (WrittenRecord, bool);

    async fn run(
        &self,
        transaction: &mut WriteTransaction,
        now: Time,
    ) -> Result<Self::Outcome, ApplyError> {
        // Looked up under the lock: a key revoked in the meantime must not change anything.
        let key = transaction.update_key(&self.hash).await?;
        let key = key.ok_or(Refusal::NoUpdateKey)?;
        let before = transaction.record(&key.silo, &key.hostname).await?;
        let set = SetRecord {
            actor: Actor {
                via: Via::Sftdyn,
                token: Some(key.id),
                client_ip: Some(self.ip),
            },
            id: key.silo,
            hostname: key.hostname,
            addresses: Addresses::from_iter([self.ip]),
            cleared: None,
            attributes: AttributePatch::default(),
            precondition: Precondition::default(),
        };
        let written = set.run(transaction, now).await?;
        let same = before.is_some_and(|before| before.addresses == written.record.addresses);
        Ok((written, !same))
    }
}
