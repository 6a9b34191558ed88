//! The commands of a worker that keeps a state sink up to date: take up names, write down how it ended, compare.

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
    MergeDeliveries,
};

/// A record whose turn it is, and what the sink calls it; `Err`: why it is not for the sink.
pub type NamedRecord = (DueName, Result<String, String>);

/// Takes up records under a lease: nobody else sends to this sink until it ends.
#[derive(Debug)]
pub struct BeginPublishing {
    /// The sink.
    pub sink: SinkName,
    /// The worker that asks.
    pub owner: String,
    /// How long it may take, in seconds.
    pub lease_seconds: i64,
    /// Whether the sink takes only names that DNS takes for host names; what it holds already goes on.
    pub takes_host_names_only: bool,
    /// The records.
    pub records: Vec<NamedRecord>,
}

/// What a worker is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Publishing {
    /// Another worker has the sink, or it is held back or gone: look again later.
    NotNow,
    /// Bring these to their wanted state; what is owed up to a delivery is then done.
    Names {
        /// Each name.
        names: Vec<TakenUp>,
        /// The last delivery that this covers.
        through: i64,
    },
}

/// A name that is to be published, and what the ledger said before it was claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenUp {
    /// What is to be published.
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

/// Writes down how publications ended and gives the lease back.
#[derive(Clone, Debug)]
pub struct EndPublishing {
    /// The sink.
    pub sink: SinkName,
    /// The worker that has the lease.
    pub owner: String,
    /// What was tried; what is missing stays owed.
    pub ended: Vec<(TakenUp, Outcome)>,
    /// As [`Publishing::Names`] said.
    pub through: i64,
    /// Any number, for the jitter of waits.
    pub jitter: u64,
}

/// Whether a worker may send to the sink now.
pub(super) fn may_send(sink: &KnownSink, owner: &str, lease_seconds: i64, now: Time) -> bool {
    matches!(sink.active, Activity::Active | Activity::Cleaning)
        && (has_passed(sink.next_at, now) || is_hurried(sink.hurry_at, now))
        && (sink.lease_owner == owner || !lies_ahead_anywhere(sink.lease_until, lease_seconds, now))
}
