//! What exports and imports carry: plain data.

use silo_shared::silo::SiloId;

use super::history::HistoryRow;
use super::{SiloHead, StoredRecord};
use crate::domain::dynahost::{Binding, SealedLogin};
use crate::domain::time::Time;
use crate::domain::update_key::{KeyHash, UpdateKey};

/// A silo with everything that is stored of it but its history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferredSilo {
    /// Its id.
    pub id: SiloId,
    /// Where it stands, there or deleted.
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

/// An update key with everything that is stored of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferredUpdateKey {
    /// What it is for.
    pub key: UpdateKey,
    /// What it hashes to.
    pub hash: KeyHash,
    /// When it was revoked.
    pub revoked_at: Option<Time>,
}

/// Who may set a hostname by dynahost's protocol, with everything that is stored of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferredBinding {
    /// Who may set what.
    pub binding: Binding,
    /// The login that the binding names, sealed.
    pub login: Option<SealedLogin>,
}
