//! The plain data of exports and imports.

use silo_shared::silo::SiloId;

use super::history::HistoryRow;
use super::{SiloHead, StoredRecord};
use crate::domain::dynahost::{Binding, SealedLogin};
use crate::domain::time::Time;
use crate::domain::update_key::{KeyHash, UpdateKey};

/// A silo with all its stored data except the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferredSilo {
    /// Its id.
    pub id: SiloId,
    /// Its revision, and whether it is deleted.
    pub head: SiloHead,
    /// Its records by hostname.
    pub records: Vec<StoredRecord>,
}

/// A row of the history, with its silo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferredRow {
    /// The silo.
    pub silo: SiloId,
    /// The row.
    pub row: HistoryRow,
}

/// An update key with all its stored data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferredUpdateKey {
    /// The key's properties.
    pub key: UpdateKey,
    /// The key's hash.
    pub hash: KeyHash,
    /// When it was revoked.
    pub revoked_at: Option<Time>,
}

/// A binding of dynahost's protocol with all its stored data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferredBinding {
    /// The binding.
    pub binding: Binding,
    /// The sealed login that the binding names.
    pub login: Option<SealedLogin>,
}
