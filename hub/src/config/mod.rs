//! The configuration: the hub, its limits, its foreign protocols and its sinks.

pub mod compat;
pub mod database_url;
pub mod limits;
pub mod settings;
pub mod sinks;
