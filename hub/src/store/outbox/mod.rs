//! The outbox: what is owed to whom, the sinks as the database knows them, and the ledger of what is ours
//! at each receiver.

mod deliveries;
mod ledger;
mod names;
mod open;
mod overview;
mod sinks;
mod told_failures;
mod unseen;

pub use deliveries::{DeliveryKind, OwedEvent, PendingEvent, Turn};
pub use ledger::{LedgerRow, LedgerState};
pub use names::{DueName, Later, Owed};
pub use open::{OwedNames, OwedPage};
pub use overview::{DeliveryCount, DeliveryRow, DeliveryState, IdCursor, NameRow};
pub use sinks::{Activity, Interest, KnownSink, SinkTrouble};
pub use unseen::QuietRecord;

/// A delivery or name that is owed.
pub(super) const PENDING: i16 = 0;
/// One that is over.
pub(super) const DONE: i16 = 1;
/// One that was refused, or given up.
pub(super) const FAILED: i16 = 2;

/// The `next_at` of what is not tried again by itself.
pub const NEVER: i64 = i64::MAX;
