//! TLS on the hub's listener: the settings, loading certificate and key from two PEM files, reloading them while the
//! hub runs, and self-signed certificates.

mod hangup;
mod identity;
mod reload;
pub(crate) mod self_signed;

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;
use silo_shared::config::ConfigError;
use silo_shared::credential::TokenId;

pub(crate) use hangup::Hangup;
pub(crate) use identity::{Identity, TlsError};
pub(crate) use reload::Reloader;

/// `tls:` of the configuration file; each value is optional, since flags may set it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TlsFile {
    pub(crate) cert: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    pub(crate) plain_listen: Option<SocketAddr>,
    pub(crate) plain_allow: PlainAllowFile,
}

/// `tls.plain_allow:` of the configuration file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PlainAllowFile {
    dyndns2: bool,
    update_keys: Vec<String>,
}

impl PlainAllowFile {
    fn check(self) -> Result<PlainAllow, ConfigError> {
        let id = |text: String| {
            TokenId::parse(&text).map_err(|error| {
                ConfigError::Setting(format!(
                    "tls.plain_allow.update_keys: {error}; give the ids that `silo-hub update-key list` shows, not the keys"
                ))
            })
        };
        Ok(PlainAllow {
            dyndns2: self.dyndns2,
            update_keys: self
                .update_keys
                .into_iter()
                .map(id)
                .collect::<Result<_, _>>()?,
        })
    }
}

impl TlsFile {
    /// Certificate and key must be set together, and the listener without TLS requires them.
    pub(crate) fn check(self) -> Result<Option<TlsSettings>, ConfigError> {
        let missing = |words: &str| Err(ConfigError::Setting(words.to_owned()));
        let plain_allow = self.plain_allow.check()?;
        if !plain_allow.is_empty() && self.plain_listen.is_none() {
            return missing("tls.plain_allow: requires tls.plain_listen");
        }
        match (self.cert, self.key) {
            (Some(cert), Some(key)) => Ok(Some(TlsSettings {
                cert,
                key,
                plain_listen: self.plain_listen,
                plain_allow,
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

/// The settings of TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// A PEM file with the hub's certificate, followed by intermediate certificates.
    pub cert: PathBuf,
    /// A PEM file with the certificate's private key.
    pub key: PathBuf,
    /// The address of an additional listener without TLS, for `/ping` and signed requests.
    pub plain_listen: Option<SocketAddr>,
    /// What else that listener accepts.
    pub plain_allow: PlainAllow,
}

/// What the listener without TLS accepts besides `/ping` and signed requests. The secrets of these are sent
/// unencrypted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlainAllow {
    /// dyndns2, with tokens for single hostnames.
    pub dyndns2: bool,
    /// `/u/KEY`, with the update keys of these ids.
    pub update_keys: Vec<TokenId>,
}

impl PlainAllow {
    /// Whether it accepts nothing more.
    pub fn is_empty(&self) -> bool {
        !self.dyndns2 && self.update_keys.is_empty()
    }
}

impl std::fmt::Display for PlainAllow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let dyndns2 = self.dyndns2.then(|| "dyndns2".to_owned());
        let keys = self.update_keys.iter().map(|id| format!("update key {id}"));
        let all: Vec<_> = dyndns2.into_iter().chain(keys).collect();
        f.write_str(&all.join(", "))
    }
}
