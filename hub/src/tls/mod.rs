//! TLS on the hub's own listener: the settings, the identity that is read from two PEM files, its reading
//! anew while the hub runs, and self-signed certificates.

mod identity;
mod reload;
pub mod self_signed;

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;
use silo_shared::config::ConfigError;

pub use identity::{Identity, TlsError};
pub(crate) use reload::Reloader;

/// `tls:` of the configuration file; each value may be absent, since flags may give it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TlsFile {
    pub(crate) cert: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    pub(crate) plain_listen: Option<SocketAddr>,
}

impl TlsFile {
    /// Certificate and key go together, and the listener without TLS only beside them.
    pub(crate) fn check(self) -> Result<Option<TlsSettings>, ConfigError> {
        let missing = |words: &str| Err(ConfigError::Setting(words.to_owned()));
        match (self.cert, self.key) {
            (Some(cert), Some(key)) => Ok(Some(TlsSettings {
                cert,
                key,
                plain_listen: self.plain_listen,
            })),
            (None, None) if self.plain_listen.is_some() => missing(
                "tls.plain_listen: without tls.cert and tls.key, `listen` itself is without TLS",
            ),
            (None, None) => Ok(None),
            (Some(_), None) => missing("tls.key: missing beside tls.cert (--tls-key FILE)"),
            (None, Some(_)) => missing("tls.cert: missing beside tls.key (--tls-cert FILE)"),
        }
    }
}

/// What to serve TLS with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// A PEM file with the hub's certificate, and behind it those between it and its authority.
    pub cert: PathBuf,
    /// A PEM file with the certificate's private key.
    pub key: PathBuf,
    /// Where to listen without TLS beside it, for `/ping` and signed requests.
    pub plain_listen: Option<SocketAddr>,
}
