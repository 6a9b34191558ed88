//! Follows changes: the bus that wakes waiting tasks, the feed that reads commits of other
//! programs, and whether the database responds.

pub(crate) mod bus;
pub(crate) mod changes;
pub(crate) mod database_health;
pub(crate) mod database_id;
pub mod feed;
pub(crate) mod interest;
pub mod invalidation;
