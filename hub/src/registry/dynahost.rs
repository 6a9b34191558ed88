//! The commands of dynahost's protocol: an admin opens or confirms a hostname, a client sets it.

use std::net::IpAddr;

use silo_shared::credential::TokenId;
use silo_shared::silo::{Addresses, Hostname, SiloId};

use super::{Actor, ApplyError, Command, KEY_FINGERPRINT, Refusal, SetRecord, WrittenRecord};
use crate::domain::change::AttributePatch;
use crate::domain::dynahost::{Binding, KnownLogin, MAX_UNCONFIRMED, SealedLogin, SecidHash};
use crate::domain::precondition::Precondition;
use crate::domain::revision::Revision;
use crate::domain::time::Time;
use crate::store::{
    Activity, DeliveryKind, DueName, NamesDelivery, Queries, StoreError, Via, WriteTransaction,
};

/// Opens a hostname for the first secid that uses it, or confirms the secid that did.
#[derive(Debug)]
pub struct OpenDynahost {
    /// The silo.
    pub silo: SiloId,
    /// The hostname.
    pub hostname: Hostname,
    /// The id for a new binding, if none exists.
    pub id: TokenId,
}

/// The result of opening a hostname.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// It now waits for the first secid.
    Open,
    /// It was waiting already.
    OpenAlready,
    /// The first use is now confirmed.
    Confirmed,
    /// It was already confirmed.
    ConfirmedAlready,
}

/// Sets a hostname to the client's address.
#[derive(Debug)]
pub struct SetByDynahost {
    /// The silo.
    pub silo: SiloId,
    /// The hostname.
    pub hostname: Hostname,
    /// The presented secid.
    pub shown: Shown,
    /// The client's address.
    pub ip: IpAddr,
    /// The mail address to notify of changes; `None`: unchanged.
    pub notify: Option<String>,
    /// The login at a provider; `None`: unchanged.
    pub login: Option<GivenLogin>,
}

/// The secid's state when looked up before the command. Checked again under the lock.
#[derive(Debug)]
pub enum Shown {
    /// Known, with this hash.
    Known(SecidHash),
    /// Unknown when it was looked up.
    New {
        /// Its hash.
        hash: SecidHash,
        /// The id for a new binding, if none exists.
        id: TokenId,
    },
}

/// A login as it is stored.
#[derive(Debug)]
pub struct GivenLogin {
    /// Identifies the login and its sink.
    pub known: KnownLogin,
    /// The sealed login.
    pub sealed: SealedLogin,
    /// The fingerprint of the hub key that sealed it.
    pub sealed_by: String,
}

/// The result of a call.
#[derive(Debug)]
pub struct SetOutcome {
    /// The record after the call.
    pub written: WrittenRecord,
    /// Whether the call replaced an existing login.
    pub is_login_replaced: bool,
}

impl Command for OpenDynahost {
    /// The result, and the binding's id.
    type Outcome = (Opened, TokenId);

    async fn run(
        &self,
        transaction: &mut WriteTransaction,
        now: Time,
    ) -> Result<Self::Outcome, ApplyError> {
        let Some(binding) = transaction.dynahost(&self.silo, &self.hostname).await? else {
            let binding = Binding {
                id: self.id,
                silo: self.silo.clone(),
                hostname: self.hostname.clone(),
                secid: None,
                is_confirmed: true,
                created_at: now,
                login: None,
            };
            transaction.insert_dynahost(&binding).await?;
            return Ok((Opened::Open, self.id));
        };
        let opened = match (&binding.secid, binding.is_confirmed) {
            (None, _) => Opened::OpenAlready,
            (Some(_), true) => Opened::ConfirmedAlready,
            (Some(_), false) => {
                transaction.confirm_dynahost(binding.id).await?;
                Opened::Confirmed
            }
        };
        Ok((opened, binding.id))
    }
}

impl Command for SetByDynahost {
    type Outcome = SetOutcome;

    async fn run(
        &self,
        transaction: &mut WriteTransaction,
        now: Time,
    ) -> Result<SetOutcome, ApplyError> {
        let stored = transaction.dynahost(&self.silo, &self.hostname).await?;
        let (binding, is_new) = self.judge(transaction, stored, now).await?;
        if let Some(login) = &self.login {
            // The key may have been reset while this hub runs; what this hub seals could then not
            // be opened.
            let known = transaction.fact(KEY_FINGERPRINT).await?;
            if known.is_some_and(|known| known != login.sealed_by) {
                return Err(Refusal::OtherKey.into());
            }
        }
        let set = SetRecord {
            actor: Actor {
                via: Via::Dynahost,
                token: Some(binding.id),
                client_ip: Some(self.ip),
            },
            id: self.silo.clone(),
            hostname: self.hostname.clone(),
            addresses: Addresses::from_iter([self.ip]),
            cleared: None,
            attributes: AttributePatch {
                notify: self.notify.clone().map(Some),
                ..AttributePatch::default()
            },
            precondition: Precondition::default(),
        };
        // Runs before all other writes, as it may still be refused.
        let written = set.run(transaction, now).await?;
        match (&self.shown, is_new) {
            (Shown::New { .. }, true) => transaction.insert_dynahost(&binding).await?,
            (Shown::New { hash, .. }, false) => transaction.bind_dynahost(binding.id, hash).await?,
            (Shown::Known(_), _) => {}
        }
        let is_login_replaced = match &self.login {
            Some(login) if binding.login.as_ref() != Some(&login.known) => {
                let revision = written.record.revision;
                self.take_login(transaction, &binding, login, revision, now)
                    .await?;
                binding.login.is_some()
            }
            _ => false,
        };
        Ok(SetOutcome {
            written,
            is_login_replaced,
        })
    }
}

impl SetByDynahost {
    /// The binding that permits the write, and whether it is new.
    async fn judge(
        &self,
        transaction: &mut WriteTransaction,
        stored: Option<Binding>,
        now: Time,
    ) -> Result<(Binding, bool), ApplyError> {
        match (stored, &self.shown) {
            (Some(binding), Shown::Known(hash)) if binding.secid.as_ref() == Some(hash) => {
                Ok((binding, false))
            }
            (Some(binding), Shown::New { .. }) if binding.secid.is_none() => Ok((binding, false)),
            (None, Shown::New { hash, id }) => {
                let record = transaction.record(&self.silo, &self.hostname).await?;
                if record.is_some() {
                    return Err(Refusal::WrongSecid.into());
                }
                if transaction.unconfirmed_dynahosts().await? >= MAX_UNCONFIRMED {
                    return Err(Refusal::TooManyUnconfirmed.into());
                }
                let binding = Binding {
                    id: *id,
                    silo: self.silo.clone(),
                    hostname: self.hostname.clone(),
                    secid: Some(hash.clone()),
                    is_confirmed: false,
                    created_at: now,
                    login: None,
                };
                Ok((binding, true))
            }
            (Some(_) | None, _) => Err(Refusal::BoundMeanwhile.into()),
        }
    }

    /// Stores a new login, and schedules an update of the provider with it.
    async fn take_login(
        &self,
        transaction: &mut WriteTransaction,
        binding: &Binding,
        login: &GivenLogin,
        revision: Revision,
        now: Time,
    ) -> Result<(), StoreError> {
        let sink = &login.known.sink;
        transaction
            .put_login(binding.id, &login.known, &login.sealed)
            .await?;
        if binding.login.as_ref().is_some_and(|old| old.sink == *sink) {
            // As with changed sink settings: the name may now belong to another account.
            transaction
                .release_ledger_of(sink, &self.silo, &self.hostname)
                .await?;
        }
        let known = transaction.sink(sink).await?;
        if known.is_some_and(|known| known.active == Activity::Active) {
            let delivery = NamesDelivery {
                sink,
                kind: DeliveryKind::Reconcile,
                revision,
                at: now,
            };
            let name = DueName {
                silo: self.silo.clone(),
                hostname: self.hostname.clone(),
            };
            transaction.enqueue_names(&delivery, &[name]).await?;
        }
        Ok(())
    }
}
