//! Follows what changes: the bus that wakes who waits, the feed that reads what others committed, and whether the
//! database answers.

pub(crate) mod changes;
pub(crate) mod database_health;
pub mod feed;
pub(crate) mod interest;
pub mod invalidation;
pub(crate) mod revision;
