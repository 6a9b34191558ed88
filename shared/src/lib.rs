//! What the Silo hub and its agents share.
//!
//! - [`silo`]: the record types, validated when parsed.
//! - [`address`]: addresses that are not another machine's.
//! - [`api`]: the JSON of the HTTP API.
//! - [`credential`]: the format of credentials; secrets that never print themselves.
//! - [`config`]: YAML files into settings, with errors that name file, line and key.
//! - [`connection`]: the settings of both agents for the connection to a hub.
//! - [`checklist`], [`output`], [`fact`], [`outage`]: what both agents print, as text or JSON, and which ongoing failures
//!   were reported.
//! - [`stay`]: what a process that stays needs: signals, backoff, the service manager, steps of the clock.
//! - [`hook`]: runs the program of `on_change`.
//! - [`agent`]: runs a subcommand. [`flags`]: the common flags. [`folders`]: the default paths of files.
//! - [`install`]: the commands `install` and `uninstall` of both agents.
//! - [`private_file`]: files that only their owner may read. [`held`]: files that another program has open for a moment.
//!   [`log_file`]: a log file of limited size.
//! - [`client`]: the HTTP client of both agents.
//! - `clock`: clocks that no step of the wall clock moves; not on Windows.
//! - [`lookup`]: DNS lookups.
//! - [`text`]: decoding of files that people write. [`trusted_file`]: whether root may trust a file. `descriptor` and
//!   `windows`: owners and access control lists on Windows.
//! - [`pin`]: pins of a hub's key.
//! - [`invitation`]: invitations, by which machines get their tokens. [`join`]: the commands `join` and `leave` of both
//!   agents.
//! - [`network`]: networks in settings.
//! - [`program`]: exit codes and logging, the same in all three programs.
//! - [`request_id`]: which request a log line belongs to.
//! - [`pyddns`]: reads the configuration files of pyDDNS's clients.
//! - [`signing`]: signatures of requests and responses.
//! - `openapi`: schemas of texts in JSON, for the hub's OpenAPI document.

pub mod address;
pub mod agent;
pub mod agent_name;
pub mod api;
pub mod checklist;
pub mod client;
#[cfg(unix)]
pub mod clock;
pub mod config;
pub mod connection;
pub mod credential;
#[cfg(any(windows, test))]
mod descriptor;
pub mod fact;
pub mod flags;
pub mod folders;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
pub mod held;
pub mod hook;
mod hub_tls;
pub mod install;
pub mod invitation;
pub mod join;
pub mod log_file;
mod log_line;
pub mod lookup;
pub mod network;
#[cfg(feature = "openapi")]
pub mod openapi;
pub mod outage;
pub mod output;
pub mod pin;
pub mod private_file;
mod process_tree;
pub mod program;
pub mod pyddns;
pub mod request_id;
pub mod signing;
pub mod silo;
pub mod stay;
pub mod text;
pub mod trusted_file;
#[cfg(windows)]
pub mod windows;
