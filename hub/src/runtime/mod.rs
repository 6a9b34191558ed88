//! The hub as a running program: opening its parts, background tasks, and shutdown.

pub mod backup;
mod before_migrating;
pub(crate) mod data_dir;
mod download;
mod failure_sharing;
mod file_watch;
pub mod key_file;
pub mod link_history;
pub mod open_hub;
mod run;
pub(crate) mod run_file;
mod service_manager;
mod tasks;
mod token_watch;
pub mod upkeep;

pub use run::{RunError, open_sinks, run, run_at};
