//! Credentials: secrets and their hashes, the known tokens, and how many wrong ones an address may show.

pub(crate) mod failure_limit;
pub(crate) mod refused;
pub mod secrets;
pub mod token_cache;
