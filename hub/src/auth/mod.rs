//! Credentials: secrets and their hashes, the token cache, the known session ids, and the limit of wrong ones per address.

pub(crate) mod failure_limit;
pub(crate) mod refused;
pub mod secrets;
pub(crate) mod session_ids;
pub mod token_cache;
