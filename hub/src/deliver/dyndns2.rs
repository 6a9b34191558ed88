//! placeholder

use silo_shared::config::ConfigError;
use silo_shared::credential::Secret;

use super::settings::OwnKeys;
use super::sink::Sink;

/// Reads the keys of such a sink.
pub fn open(keys: &OwnKeys) -> Result<(Sink, Vec<Secret>), ConfigError> {
    Err(keys.wrong("not there yet"))
}
