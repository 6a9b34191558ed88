//! The formats of a file of our own.

use std::path::PathBuf;

use clap::ValueEnum;
use serde::Deserialize;

/// What the file contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// Lines of a hosts file, hosts(5): for `hostsdir` of dnsmasq, and `hosts` of CoreDNS.
    Hosts,
    /// A clause `server:`, unbound.conf(5).
    Unbound,
}

impl Format {
    /// The word in the configuration.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Hosts => "hosts",
            Self::Unbound => "unbound",
        }
    }

    /// Where the file is if the configuration does not say it.
    pub(crate) fn default_file(self) -> Option<PathBuf> {
        match self {
            Self::Hosts => None,
            Self::Unbound => Some("/etc/unbound/unbound.conf.d/silo.conf".into()),
        }
    }
}
