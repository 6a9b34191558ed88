//! Records that are skipped, and why.

use std::fmt;
use std::net::IpAddr;

use silo_shared::silo::{Family, InvalidAddress, InvalidHostname, SiloId};
use thiserror::Error;

use crate::hosts::Definer;

/// Why a record is skipped.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum Reason {
    /// Not a hostname.
    #[error("{0}")]
    Hostname(InvalidHostname),
    /// Not an address.
    #[error("{0}")]
    Address(InvalidAddress),
    /// A name that programs look up to find this machine or security-relevant settings.
    #[error("a name that is never taken from a hub")]
    Never,
    /// This machine's name.
    #[error("this machine's own name")]
    Own,
    /// The hub's name.
    #[error("the hub's own name")]
    Hub,
    /// A name under `.local`.
    #[error(".local belongs to multicast DNS (`policy.names: [\"*.local\"]` accepts it)")]
    Mdns,
    /// A public name.
    #[error("not a private name (`policy.names` accepts more)")]
    Public,
    /// A name that is defined elsewhere in the hosts file.
    #[error("{0}")]
    Defined(DefinedElsewhere),
    /// The name belongs to a silo that is earlier in the configuration, or whose block is kept.
    #[error("silo {0} has it already")]
    Silo(SiloId),
    /// An address that is not accepted.
    #[error("{0}")]
    Network(&'static str),
    /// A second address of one family.
    #[error("a second {0} address")]
    Second(Family),
}

impl Reason {
    /// Whether the name is defined outside the silo's block.
    pub(super) fn is_conflict(&self) -> bool {
        matches!(self, Self::Defined(_) | Self::Silo(_))
    }
}

/// A name defined by a line or block that is not ours to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DefinedElsewhere {
    pub(super) by: Definer,
    /// Its addresses in the file.
    pub(super) there: Vec<IpAddr>,
    /// The silo's addresses that the policy accepts.
    pub(super) here: Vec<IpAddr>,
    /// Whether the configuration requests to skip such names.
    pub(super) is_asked_for: bool,
}

impl DefinedElsewhere {
    /// Whether the name's address differs from the silo's. Without an acceptable address in the silo, it would not be
    /// in the block anyway.
    fn differs(&self) -> bool {
        !self.here.is_empty() && !self.there.iter().all(|ip| self.here.contains(ip))
    }
}

impl fmt::Display for DefinedElsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.by {
            Definer::Line(line) => write!(f, "line {line} of the hosts file defines it")?,
            Definer::Silo(silo) => write!(f, "the block of silo {silo} defines it")?,
        }
        if self.differs() {
            let (there, here) = (list(&self.there), list(&self.here));
            write!(f, " as {there}, but the silo as {here}")?;
        }
        match &self.by {
            Definer::Silo(silo) => {
                write!(f, " (`silo-downstream clean --silo {silo}` removes that block)")
            }
            Definer::Line(_) if self.differs() && !self.is_asked_for => f.write_str(
                ": remove that line, run `once --adopt` to take it over, or accept it with `policy.conflicts: skip`",
            ),
            Definer::Line(_) => Ok(()),
        }
    }
}

/// At most three addresses.
fn list(ips: &[IpAddr]) -> String {
    let words: Vec<String> = ips.iter().take(3).map(ToString::to_string).collect();
    let more = if ips.len() > 3 { " …" } else { "" };
    words.join(" ") + more
}

/// A record that is skipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Skipped {
    pub(super) what: String,
    pub(super) reason: Reason,
}

impl Skipped {
    /// Whether the name has a wrong address although the configuration does not request that.
    pub(crate) fn is_wrong(&self) -> bool {
        matches!(&self.reason, Reason::Defined(elsewhere) if elsewhere.differs() && !elsewhere.is_asked_for)
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "skipped {}: {}", self.what, self.reason)
    }
}
