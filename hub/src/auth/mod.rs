//! Credentials: secrets and their hashes, the token cache, and the limit of wrong ones per address.

pub(crate) mod failure_limit;
pub(crate) mod refused;
pub mod secrets;
pub mod token_cache;
