//! The outbox: pending deliveries, the registered sinks, and the ledger of what is ours at each receiver.

mod deliveries;
mod ledger;
mod names;
mod open;
mod overview;
mod sinks;
mod told_failures;
mod unseen;

pub use deliveries::{DeliveryKind, EventDelivery, NextAttempt, PendingEvent};
pub(super) use ledger::{LEDGER_COLUMNS, ledger_row};
pub use ledger::{LedgerRow, LedgerState};
pub use names::{DueName, Later, PendingName};
pub use open::{NamesDelivery, PendingPage};
pub use overview::{DeliveryCount, DeliveryRow, DeliveryState, IdCursor, NameRow};
pub use sinks::{Activity, COMPARING, Interest, KnownSink, SinkTrouble};
pub(super) use sinks::{SINK_COLUMNS, known_sink, sink_name};
pub use unseen::QuietRecord;

/// A pending delivery or name.
pub(super) const PENDING: i16 = 0;
/// A finished one.
pub(super) const DONE: i16 = 1;
/// One that was refused, or given up.
pub(super) const FAILED: i16 = 2;

/// The `next_at` of entries that are not retried automatically.
pub const NEVER: i64 = i64::MAX;
