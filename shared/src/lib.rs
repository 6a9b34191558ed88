//! What the Silo hub and its agents share, and nothing else.
//!
//! - [`silo`]: the record types, parsed once and valid from then on.
//! - [`address`]: addresses that lead to no other machine.
//! - [`api`]: the JSON of the HTTP contract.
//! - [`credential`]: what a credential looks like; secrets that never print themselves.
//! - [`config`]: YAML files into settings, with errors that name file, line and key.
//! - [`connection`]: the settings with which both agents reach a hub.
//! - [`checklist`], [`output`], [`outage`]: what both agents say, and which ongoing failures were reported.
//! - [`agent`]: how both agents run a verb. [`flags`]: their common flags. [`folders`]: where their files lie.
//! - [`private_file`]: files that only their owner may read.
//! - [`client`]: the HTTP client of both agents.
//! - [`lookup`]: names to addresses.
//! - [`text`]: the bytes of files that people write. [`trusted_file`]: whether root may trust a file.
//! - [`pin`]: pins of a hub's key.
//! - [`network`]: networks as both agents' settings list them.
//! - [`program`]: exit codes and logging, alike in all three programs.
//! - [`pyddns`]: the configuration files of pyDDNS's clients, read as they are.
//! - [`signing`]: signatures of requests and answers.

pub mod address;
pub mod agent;
pub mod api;
pub mod checklist;
pub mod client;
pub mod config;
pub mod connection;
pub mod credential;
pub mod flags;
pub mod folders;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
mod hub_tls;
pub mod lookup;
pub mod network;
pub mod outage;
pub mod output;
pub mod pin;
pub mod private_file;
pub mod program;
pub mod pyddns;
pub mod signing;
pub mod silo;
pub mod text;
pub mod trusted_file;
