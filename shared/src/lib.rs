//! What the Silo hub and its agents share.
//!
//! - [`silo`]: the record types, validated when parsed.
//! - [`address`]: addresses that are not another machine's.
//! - [`api`]: the JSON of the HTTP API.
//! - [`credential`]: the format of credentials; secrets that never print themselves.
//! - [`config`]: YAML files into settings, with errors that name file, line and key.
//! - [`connection`]: the settings of both agents for the connection to a hub.
//! - [`checklist`], [`output`], [`outage`]: what both agents print, and which ongoing failures were reported.
//! - [`agent`]: runs a subcommand. [`flags`]: the common flags. [`folders`]: the default paths of files.
//! - [`private_file`]: files that only their owner may read.
//! - [`client`]: the HTTP client of both agents.
//! - [`lookup`]: DNS lookups.
//! - [`text`]: decoding of files that people write. [`trusted_file`]: whether root may trust a file.
//! - [`pin`]: pins of a hub's key.
//! - [`network`]: networks in settings.
//! - [`program`]: exit codes and logging, the same in all three programs.
//! - [`pyddns`]: reads the configuration files of pyDDNS's clients.
//! - [`signing`]: signatures of requests and responses.

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
