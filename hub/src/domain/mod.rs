//! The rules, without I/O: what a command changes, whether a precondition holds, what a token permits, which changes a
//! sink receives.

pub mod agents;
pub mod backoff;
pub mod change;
pub mod counting;
pub mod database_id;
pub mod delivery;
pub mod dynahost;
pub mod elapsed;
pub mod failures;
pub(crate) mod html;
pub mod hub_url;
pub mod invitation;
pub mod once_a_minute;
pub mod pattern;
pub mod precondition;
pub mod replay;
pub mod revision;
pub mod session;
pub mod signed_not_before;
pub mod sink;
pub mod time;
pub mod token;
pub mod token_change;
pub mod token_patch;
pub mod update_key;
