//! The configuration: the hub, its limits, its foreign protocols and its sinks.

pub(crate) mod base;
pub mod compat;
pub mod cors;
pub mod database_url;
pub mod limits;
pub mod settings;
pub mod sinks;
