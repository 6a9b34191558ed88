//! Progress of a worker's comparison of the ledger with the silos.

use std::collections::BTreeSet;

use silo_shared::silo::SiloId;

/// Progress of a comparison.
#[derive(Clone, Debug)]
pub(super) struct Comparison {
    /// The last silo compared. Empty: none yet.
    pub(super) after: String,
    /// Silos of the ledger not seen yet. Once all existing silos are compared, those left are deleted ones.
    pub(super) unmet: BTreeSet<SiloId>,
    /// Number of hostnames that differ.
    pub(super) differing: usize,
}
