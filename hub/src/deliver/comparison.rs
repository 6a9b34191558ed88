//! Progress of a worker's comparison of the ledger with the silos.

use std::collections::BTreeSet;

use silo_shared::silo::{Addresses, SiloId};

use crate::store::LedgerRow;

/// Progress of a comparison.
#[derive(Clone, Debug)]
pub(super) struct Comparison {
    /// The last silo compared. Empty: none yet.
    pub(super) after: String,
    /// Silos of the ledger not seen yet. Once all existing silos are compared, those left are deleted ones.
    pub(super) unmet: BTreeSet<SiloId>,
    /// Number of hostnames that differ.
    pub(super) differing: usize,
    /// Names of the last page whose publication is as it should be, by the ledger; the receiver was not asked yet.
    pub(super) unverified: Vec<Published>,
    /// Whether the receiver could not be asked.
    pub(super) is_unverified: bool,
}

/// A name that was published, and nothing has been sent since.
#[derive(Clone, Debug)]
pub(super) struct Published {
    /// Its row of the ledger.
    pub(super) row: LedgerRow,
    /// The addresses.
    pub(super) addresses: Addresses,
}
