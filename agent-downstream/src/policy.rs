//! What this machine accepts from a hub. The hub is not trusted: each record is judged here, and each
//! one that is passed over comes out with its reason. Pure rules, no I/O.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;
use silo_shared::api::DnsRecord;
use silo_shared::network::Network;
use silo_shared::silo::{
    Family, Hostname, InvalidAddress, InvalidHostname, MAX_RECORDS, Records, parse_address,
};
use thiserror::Error;

use crate::glob::Glob;
use crate::hosts::Definer;

/// Names that programs look up on their own to be told what to trust.
const NEVER: [&str; 3] = ["localhost", "wpad", "isatap"];
/// What private names of several labels end with: RFC 8375, ICANN's `internal`, custom, RFC 6761.
const PRIVATE: [&str; 4] = ["home.arpa", "internal", "lan", "test"];
/// What multicast DNS names end with (RFC 6762).
const MDNS: &str = "local";

/// The `policy` of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Policy {
    /// Globs of names that are accepted besides the private ones.
    pub(crate) names: Vec<Glob>,
    /// Networks that addresses must lie in; `None` is any but loopback, link-local, broadcast
    /// and 0.0.0.0/8 (RFC 1122 section 3.2.1.3).
    pub(crate) networks: Option<Vec<Network<IpNet>>>,
    /// What happens to a name that is defined outside the silo's block.
    pub(crate) conflicts: Conflicts,
    /// How many names a hub may drop at once.
    pub(crate) max_removed: MaxRemoved,
}

/// What happens to a name that is defined outside the silo's block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Conflicts {
    /// The name is passed over.
    #[default]
    Skip,
    /// The whole pull is refused.
    Refuse,
}

/// How many of a block's names a hub may drop at once without `--force`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct MaxRemoved {
    /// The share of names, in percent.
    pub(crate) percent: u8,
    /// Blocks of fewer names may lose all of them.
    pub(crate) from: usize,
}

impl Default for MaxRemoved {
    fn default() -> Self {
        Self {
            percent: 50,
            from: 10,
        }
    }
}

/// Names that belong to this machine and its hub, which no silo may redirect; lower case.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guarded {
    /// This machine's name, whole and its first label.
    pub(crate) own: Vec<String>,
    /// The host in the hub's URL.
    pub(crate) hub: Option<String>,
}

/// Why a record is passed over.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum Reason {
    /// Not a hostname.
    #[error("{0}")]
    Hostname(InvalidHostname),
    /// Not an address.
    #[error("{0}")]
    Address(InvalidAddress),
    /// One of [`NEVER`].
    #[error("a name that is never taken from a hub")]
    Never,
    /// This machine.
    #[error("this machine's own name")]
    Own,
    /// The hub.
    #[error("the hub's own name")]
    Hub,
    /// A name under `.local`.
    #[error(".local belongs to multicast DNS (`policy.names: [\"*.local\"]` accepts it)")]
    Mdns,
    /// A public name.
    #[error("not a private name (`policy.names` accepts more)")]
    Public,
    /// A name that stands elsewhere in the hosts file.
    #[error("line {0} of the hosts file defines it")]
    Line(usize),
    /// A name that another silo has.
    #[error("silo {0} has it already")]
    Silo(silo_shared::silo::SiloId),
    /// An address outside what is accepted.
    #[error("{0}")]
    Network(&'static str),
    /// A second address of one family.
    #[error("a second {0} address")]
    Second(Family),
}

/// A record that is passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Skipped {
    what: String,
    reason: Reason,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "skipped {}: {}", self.what, self.reason)
    }
}

/// Why a whole pull is refused; the block stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum Refusal {
    /// More records than a silo may hold.
    #[error("the hub sent {0} records, more than the {MAX_RECORDS} that a silo may hold")]
    TooMany(usize),
    /// `conflicts: refuse`.
    #[error("{name} is defined elsewhere ({reason}) and `policy.conflicts` is `refuse`")]
    Conflict {
        /// The first such name.
        name: Hostname,
        /// Where it is defined.
        reason: Reason,
    },
    /// Too many names gone at once.
    #[error(
        "the hub dropped {dropped} of {present} names, more than `policy.max_removed` allows ({percent} %): if this is right, run once with --force"
    )]
    Dropped {
        /// Names of the block that the answer has no more.
        dropped: usize,
        /// Names of the block.
        present: usize,
        /// What is allowed.
        percent: u8,
    },
}

/// A judged answer.
#[derive(Debug, Default)]
pub(crate) struct Judged {
    /// What goes into the block.
    pub(crate) accepted: Records,
    /// What does not, and why. Names that `hostnames` leaves out are not among them.
    pub(crate) skipped: Vec<Skipped>,
    /// Every hostname of the answer, accepted or not.
    offered: BTreeSet<Hostname>,
}

impl Policy {
    /// Judges the records of an answer. `wanted` are the globs of `hostnames` (empty: all), `taken`
    /// the names that are defined outside the silo's own block.
    pub(crate) fn judge(
        &self,
        records: &[DnsRecord],
        wanted: &[Glob],
        guarded: &Guarded,
        taken: &HashMap<String, Definer>,
    ) -> Result<Judged, Refusal> {
        if records.len() > MAX_RECORDS {
            return Err(Refusal::TooMany(records.len()));
        }
        let mut judged = Judged::default();
        let mut refused_names = BTreeSet::new();
        for record in records {
            let hostname = match Hostname::parse(&record.hostname) {
                Ok(hostname) => hostname,
                Err(error) => {
                    if is_wanted(wanted, &record.hostname.to_lowercase()) {
                        judged.skip(printable(&record.hostname), Reason::Hostname(error));
                    }
                    continue;
                }
            };
            judged.offered.insert(hostname.clone());
            if !is_wanted(wanted, hostname.as_str()) || refused_names.contains(&hostname) {
                continue;
            }
            if let Err(reason) = self.judge_name(&hostname, guarded, taken) {
                let conflict = matches!(reason, Reason::Line(_) | Reason::Silo(_));
                if conflict && self.conflicts == Conflicts::Refuse {
                    let name = hostname;
                    return Err(Refusal::Conflict { name, reason });
                }
                judged.skip(hostname.to_string(), reason);
                refused_names.insert(hostname);
                continue;
            }
            let address = parse_address(&record.ip)
                .map_err(Reason::Address)
                .and_then(|ip| self.judge_address(ip))
                .and_then(|ip| match judged.accepted.get(&hostname) {
                    Some(other) if other.get(Family::of(ip)).is_some() => {
                        Err(Reason::Second(Family::of(ip)))
                    }
                    _ => Ok(ip),
                });
            match address {
                Ok(ip) => {
                    judged.accepted.entry(hostname).or_default().set(ip);
                }
                Err(reason) => {
                    let ip = match record.ip.parse::<IpAddr>() {
                        Ok(ip) => ip.to_string(),
                        Err(_) => printable(&record.ip),
                    };
                    judged.skip(format!("{hostname} {ip}"), reason);
                }
            }
        }
        Ok(judged)
    }

    /// Refuses an answer that has lost too many names of the present block. Names that this machine's
    /// own settings leave out have not been dropped by the hub.
    pub(crate) fn check_removed(&self, block: &Records, judged: &Judged) -> Result<(), Refusal> {
        let MaxRemoved { percent, from } = self.max_removed;
        let present = block.len();
        let dropped = block
            .keys()
            .filter(|name| !judged.offered.contains(*name))
            .count();
        if present >= from && dropped * 100 > present * usize::from(percent) {
            return Err(Refusal::Dropped {
                dropped,
                present,
                percent,
            });
        }
        Ok(())
    }

    fn judge_name(
        &self,
        hostname: &Hostname,
        guarded: &Guarded,
        taken: &HashMap<String, Definer>,
    ) -> Result<(), Reason> {
        let name = hostname.as_str();
        // `wpad.lan` is asked for as much as `wpad`: the first label counts.
        let first = name.split('.').next().unwrap_or(name);
        if NEVER.contains(&first) {
            return Err(Reason::Never);
        }
        if guarded.own.iter().any(|own| is_own(own, name)) {
            return Err(Reason::Own);
        }
        if guarded.hub.as_deref() == Some(name) {
            return Err(Reason::Hub);
        }
        if !matches_any(&self.names, name) {
            if is_under(MDNS, name) {
                return Err(Reason::Mdns);
            }
            if !hostname.is_single_label() && !PRIVATE.iter().any(|suffix| is_under(suffix, name)) {
                return Err(Reason::Public);
            }
        }
        match taken.get(name) {
            Some(Definer::Line(line)) => Err(Reason::Line(*line)),
            Some(Definer::Silo(silo)) => Err(Reason::Silo(silo.clone())),
            None => Ok(()),
        }
    }

    fn judge_address(&self, ip: IpAddr) -> Result<IpAddr, Reason> {
        let reason = match (&self.networks, ip) {
            (Some(networks), _) => (!networks.iter().any(|net| net.0.contains(&ip)))
                .then_some("outside `policy.networks`"),
            (None, _) if ip.is_loopback() => Some("a loopback address"),
            (None, IpAddr::V4(v4)) if v4.octets()[0] == 0 => Some("names no machine (0.0.0.0/8)"),
            (None, IpAddr::V4(v4)) if v4.is_broadcast() => Some("the broadcast address"),
            (None, IpAddr::V4(v4)) if v4.is_link_local() => Some("a link-local address"),
            (None, IpAddr::V6(v6)) if v6.is_unicast_link_local() => Some("a link-local address"),
            (None, _) => None,
        };
        reason.map_or(Ok(ip), |reason| Err(Reason::Network(reason)))
    }
}

impl Judged {
    fn skip(&mut self, what: String, reason: Reason) {
        self.skipped.push(Skipped { what, reason });
    }
}

fn is_wanted(globs: &[Glob], name: &str) -> bool {
    globs.is_empty() || matches_any(globs, name)
}

/// Whether `name` is this machine's name `own`, bare or directly under a private suffix: search domains
/// and mDNS give a machine called `vm` the names `vm.lan` and `vm.local` too.
fn is_own(own: &str, name: &str) -> bool {
    let Some(rest) = name.strip_prefix(own) else {
        return false;
    };
    let is_suffix = |suffix: &str| suffix == MDNS || PRIVATE.contains(&suffix);
    rest.is_empty() || rest.strip_prefix('.').is_some_and(is_suffix)
}

/// Whether `name` ends with a dot and `suffix`.
fn is_under(suffix: &str, name: &str) -> bool {
    name.strip_suffix(suffix)
        .is_some_and(|rest| rest.ends_with('.'))
}

fn matches_any(globs: &[Glob], name: &str) -> bool {
    globs.iter().any(|glob| glob.matches(name))
}

/// What the hub sent, made fit for one line of output.
fn printable(text: &str) -> String {
    let short: String = text.chars().take(80).collect();
    let dots = if short.len() < text.len() { "…" } else { "" };
    format!("\"{}{dots}\"", short.escape_debug())
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
