//! The commands of a state sink's worker: claim records, write results, compare with the ledger.

mod outcome;
mod reconcile;
mod take_up;

use crate::domain::backoff::{has_passed, is_hurried};
use crate::domain::delivery::{Outcome, Publication};
use crate::domain::elapsed::lies_ahead_anywhere;
use crate::domain::sink::SinkName;
use crate::domain::time::Time;
use crate::store::{Activity, DueName, KnownSink, LedgerState};

pub use reconcile::{
    AdoptName, BeginReconciling, EndReconciling, EnqueueDifference, MERGED_TOGETHER,
    MergeDeliveries, PublishAgain, PublishAll,
};

/// A due record and its name at the sink; `Err`: why it is not for the sink.
pub type NamedRecord = (DueName, Result<String, String>);

/// Claims records under a lease: no other worker sends to this sink until it ends.
#[derive(Debug)]
pub struct BeginPublishing {
    /// The sink.
    pub sink: SinkName,
    /// The requesting worker.
    pub owner: String,
    /// Duration of the lease, in seconds.
    pub lease_seconds: i64,
    /// Whether the sink accepts only valid DNS host names; names it already has are still updated.
    pub takes_host_names_only: bool,
    /// The records.
    pub records: Vec<NamedRecord>,
}

/// The work for a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Publishing {
    /// Another worker holds the lease, or the sink is on hold or not active: try again later.
    NotNow,
    /// Bring these to their wanted state; that completes what is pending up to a delivery.
    Names {
        /// The names.
        names: Vec<TakenUp>,
        /// The last delivery covered.
        through: i64,
    },
}

/// A name to publish, with its ledger entry before the claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenUp {
    /// The publication.
    pub publication: Publication,
    /// What was ours before.
    pub before: LedgerState,
}

impl TakenUp {
    fn record(&self) -> DueName {
        DueName {
            silo: self.publication.silo.clone(),
            hostname: self.publication.hostname.clone(),
        }
    }
}

/// Writes the results of publications and releases the lease.
#[derive(Clone, Debug)]
pub struct EndPublishing {
    /// The sink.
    pub sink: SinkName,
    /// The worker that holds the lease.
    pub owner: String,
    /// What was tried; names not included remain pending.
    pub ended: Vec<(TakenUp, Outcome)>,
    /// From [`Publishing::Names`].
    pub through: i64,
    /// A random number, for the jitter of waits.
    pub jitter: u64,
}

/// Whether a worker may send to the sink now.
pub(super) fn may_send(sink: &KnownSink, owner: &str, lease_seconds: i64, now: Time) -> bool {
    matches!(sink.active, Activity::Active | Activity::Cleaning)
        && (has_passed(sink.next_at, now) || is_hurried(sink.hurry_at, now))
        && (sink.lease_owner == owner || !lies_ahead_anywhere(sink.lease_until, lease_seconds, now))
}
