//! What the Silo hub and its agents share, and nothing else.
//!
//! - [`silo`]: the record types, parsed once and valid from then on.
//! - [`api`]: the JSON of the HTTP contract.
//! - [`credential`]: what a credential looks like; secrets that never print themselves.
//! - [`config`]: YAML files into settings, with errors that name file, line and key.
//! - [`connection`]: the settings with which both agents reach a hub.
//! - [`checklist`], [`output`]: what both agents say.
//! - [`client`]: the HTTP client of both agents.
//! - [`pin`]: pins of a hub's key.
//! - [`network`]: networks as both agents' settings list them.
//! - [`program`]: exit codes and logging, alike in all three programs.
//! - [`pyddns`]: the configuration files of pyDDNS's clients, read as they are.
//! - [`signing`]: signatures of requests and answers.

pub mod api;
pub mod checklist;
pub mod client;
pub mod config;
pub mod connection;
pub mod credential;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
mod hub_tls;
pub mod network;
pub mod output;
pub mod pin;
pub mod program;
pub mod pyddns;
pub mod signing;
pub mod silo;
