//! How far a worker's comparison of ledger and silos has come.

use std::collections::BTreeSet;

use silo_shared::silo::SiloId;

/// How far a comparison has come.
#[derive(Clone, Debug)]
pub(super) struct Comparison {
    /// The last silo that was looked through; empty: none yet.
    pub(super) after: String,
    /// Silos of the ledger that were not met yet: once all others are, these are those that are gone.
    pub(super) unmet: BTreeSet<SiloId>,
    /// How many hostnames were found to differ.
    pub(super) differing: usize,
}
