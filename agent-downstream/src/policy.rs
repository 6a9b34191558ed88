//! What this machine accepts from a hub. The hub is not trusted: each record is judged here, and each skipped one is
//! returned with its reason. Pure rules, no I/O.

mod long_names;
mod refusal;
mod skipped;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;
use silo_shared::address::not_another_machine;
use silo_shared::api::DnsRecord;
use silo_shared::network::Network;
use silo_shared::silo::{Addresses, Family, Hostname, MAX_RECORDS, Records, SiloId, parse_address};

use crate::glob::Glob;
use crate::hosts::Definition;
use skipped::{DefinedElsewhere, Reason};

pub(crate) use refusal::{FoundLine, Refusal};
pub(crate) use skipped::Skipped;

/// First labels of names that programs look up by themselves for security-relevant settings.
const NEVER_FIRST: [&str; 3] = ["localhost", "wpad", "isatap"];
/// Names by which programs find this machine, its host, its router or its cloud's metadata.
const NEVER: [&str; 8] = [
    "localdomain",
    "localhost4",
    "localhost6",
    "metadata",
    "metadata.google.internal",
    "instance-data",
    "host.docker.internal",
    "_gateway",
];
/// The suffixes of private names with several labels: RFC 8375, ICANN's `internal`, custom, RFC 6761.
const PRIVATE: [&str; 4] = ["home.arpa", "internal", "lan", "test"];
/// The suffix of multicast DNS names (RFC 6762).
const MDNS: &str = "local";

/// The `policy` of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Policy {
    /// Globs of names that are accepted in addition to private ones.
    pub(crate) names: Vec<Glob>,
    /// Networks that addresses must be in; `None`: any address that can be another machine's, see
    /// [`not_another_machine`].
    pub(crate) networks: Option<Vec<Network<IpNet>>>,
    /// What to do with a name that is defined outside the silo's block. `None`: it is skipped, and the run fails if the
    /// name thereby keeps an address other than the silo's.
    pub(crate) conflicts: Option<Conflicts>,
    /// How many names a hub may remove at once.
    pub(crate) max_removed: MaxRemoved,
}

/// What to do with a name that is defined outside the silo's block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Conflicts {
    /// The name is skipped.
    Skip,
    /// The whole pull is refused.
    Refuse,
}

/// How many of a block's names the hub may remove at once without `--force`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct MaxRemoved {
    /// The share of names, in percent.
    pub(crate) percent: u8,
    /// Blocks with fewer names may lose all of them.
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

/// Names of this machine and its hub, which no silo may redirect; lower case.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guarded {
    /// This machine's name, in full and its first label.
    pub(crate) own: Vec<String>,
    /// The host in the hub's URL.
    pub(crate) hubs: Vec<String>,
}

/// The names that a silo can't use: those that the file defines elsewhere, and those of other silos.
#[derive(Debug, Default)]
pub(crate) struct Taken<'a> {
    /// The definitions in lines and in blocks that are not ours.
    pub(crate) elsewhere: Option<&'a HashMap<String, Definition>>,
    /// The names of configured silos.
    pub(crate) silos: HashMap<String, SiloId>,
    /// Former lines of our blocks, of silos whose pull is refused.
    pub(crate) lines: HashMap<String, Definition>,
}

impl Taken<'_> {
    fn elsewhere(&self, name: &str) -> Option<&Definition> {
        let there = self.elsewhere.and_then(|names| names.get(name));
        there.or_else(|| self.lines.get(name))
    }
}

/// A judged response.
#[derive(Debug, Default)]
pub(crate) struct Judged {
    /// The records for the block.
    pub(crate) accepted: Records,
    /// The other records, with reasons. Does not include names that `hostnames` excludes.
    pub(crate) skipped: Vec<Skipped>,
    /// Acceptable records of names that the file defines elsewhere.
    pub(crate) elsewhere: Records,
    /// Names that `hostnames` excludes.
    pub(crate) unselected: BTreeSet<Hostname>,
    /// Every hostname in the response, accepted or not, with its valid addresses.
    offered: BTreeMap<Hostname, BTreeSet<IpAddr>>,
    /// Names that are skipped because of this machine, not because of the hub.
    local: BTreeSet<Hostname>,
    /// Names of another configured silo.
    with_silo: BTreeSet<Hostname>,
    /// Skipped names; those that are defined elsewhere with their index in `skipped`.
    refused_names: BTreeMap<Hostname, Option<usize>>,
}

impl Policy {
    /// Judges the records of a response. `wanted` are the globs of `hostnames` (empty: all), `taken` the names that are
    /// defined outside the silo's own block.
    pub(crate) fn judge(
        &self,
        records: &[DnsRecord],
        wanted: &[Glob],
        guarded: &Guarded,
        taken: &Taken<'_>,
    ) -> Result<Judged, Refusal> {
        if records.len() > MAX_RECORDS {
            return Err(Refusal::TooMany(records.len()));
        }
        let mut judged = Judged::default();
        for record in records {
            let Ok(hostname) = Hostname::parse(&record.hostname).map_err(|error| {
                if is_wanted(wanted, &record.hostname.to_lowercase()) {
                    judged.skip(printable(&record.hostname), Reason::Hostname(error));
                }
            }) else {
                continue;
            };
            let address = parse_address(&record.ip);
            let offered = judged.offered.entry(hostname.clone()).or_default();
            offered.extend(&address);
            if !is_wanted(wanted, hostname.as_str()) {
                judged.unselected.insert(hostname);
                continue;
            }
            if !judged.refused_names.contains_key(&hostname)
                && let Err(reason) = self.judge_name(&hostname, guarded, taken)
            {
                if reason.is_conflict() && self.conflicts == Some(Conflicts::Refuse) {
                    let name = hostname;
                    return Err(Refusal::Conflict { name, reason });
                }
                judged.refuse_name(&hostname, reason);
            }
            let address = address
                .map_err(Reason::Address)
                .and_then(|ip| self.judge_address(ip));
            match judged.refused_names.get(&hostname).copied() {
                Some(at) => judged.note_address_of_refused(at, hostname, address),
                None => judged.add_address(hostname, &record.ip, address),
            }
        }
        Ok(judged)
    }

    /// Refuses a response through which the block would lose too many names: the hub no longer has them, offers other
    /// addresses of which none is accepted, or has them in another configured silo. Names that this machine's own
    /// settings exclude do not count.
    pub(crate) fn check_removed(&self, block: &Records, judged: &Judged) -> Result<(), Refusal> {
        let MaxRemoved { percent, from } = self.max_removed;
        let present = block.len();
        let is_lost = |name: &Hostname, had: &Addresses| {
            if judged.accepted.contains_key(name) {
                return false;
            }
            match judged.offered.get(name) {
                None => true,
                Some(_) if judged.unselected.contains(name) || judged.local.contains(name) => false,
                // The same address as before is refused: the policy has changed, not the hub.
                Some(offered) => {
                    judged.with_silo.contains(name) || !had.iter().any(|ip| offered.contains(&ip))
                }
            }
        };
        let dropped = block
            .iter()
            .filter(|(name, had)| is_lost(name, had))
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
        taken: &Taken<'_>,
    ) -> Result<(), Reason> {
        Self::judge_reserved(hostname, guarded)?;
        self.judge_suffix(hostname)?;
        self.judge_taken(hostname, taken)
    }

    /// Refuses names that no silo may define.
    fn judge_reserved(hostname: &Hostname, guarded: &Guarded) -> Result<(), Reason> {
        let name = hostname.as_str();
        // `wpad.lan` is looked up like `wpad`: the first label counts.
        let first = name.split('.').next().unwrap_or(name);
        if NEVER_FIRST.contains(&first) || NEVER.contains(&name) {
            return Err(Reason::Never);
        }
        if guarded.own.iter().any(|own| is_own(own, name)) {
            return Err(Reason::Own);
        }
        if guarded.hubs.iter().any(|hub| hub == name) {
            return Err(Reason::Hub);
        }
        Ok(())
    }

    /// Refuses names that are not private.
    fn judge_suffix(&self, hostname: &Hostname) -> Result<(), Reason> {
        let name = hostname.as_str();
        if !matches_any(&self.names, name) {
            if is_under(MDNS, name) {
                return Err(Reason::Mdns);
            }
            if !hostname.is_single_label() && !PRIVATE.iter().any(|suffix| is_under(suffix, name)) {
                return Err(Reason::Public);
            }
        }
        Ok(())
    }

    /// Refuses names that are defined elsewhere.
    fn judge_taken(&self, hostname: &Hostname, taken: &Taken<'_>) -> Result<(), Reason> {
        let name = hostname.as_str();
        if let Some(silo) = taken.silos.get(name) {
            return Err(Reason::Silo(silo.clone()));
        }
        match taken.elsewhere(name) {
            Some(definition) => Err(Reason::Defined(DefinedElsewhere {
                by: definition.by.clone(),
                there: definition.addresses.clone(),
                here: Vec::new(),
                is_asked_for: self.conflicts.is_some(),
            })),
            None => Ok(()),
        }
    }

    /// Whether an address can be another machine's.
    pub(crate) fn judge_address(&self, ip: IpAddr) -> Result<IpAddr, Reason> {
        let reason = match (&self.networks, ip) {
            (Some(networks), _) => (!networks.iter().any(|net| net.0.contains(&ip)))
                .then_some("outside `policy.networks`"),
            (None, ip) => not_another_machine(ip),
        };
        reason.map_or(Ok(ip), |reason| Err(Reason::Network(reason)))
    }
}

impl Judged {
    fn skip(&mut self, what: String, reason: Reason) {
        self.skipped.push(Skipped { what, reason });
    }

    /// Skips every record of a name.
    fn refuse_name(&mut self, hostname: &Hostname, reason: Reason) {
        let names = match reason {
            Reason::Silo(_) => &mut self.with_silo,
            _ => &mut self.local,
        };
        names.insert(hostname.clone());
        let at = matches!(reason, Reason::Defined(_)).then_some(self.skipped.len());
        self.skip(hostname.to_string(), reason);
        self.refused_names.insert(hostname.clone(), at);
    }

    /// Records an address of a name that is defined elsewhere, at this index in `skipped`.
    fn note_address_of_refused(
        &mut self,
        at: Option<usize>,
        hostname: Hostname,
        address: Result<IpAddr, Reason>,
    ) {
        if let (Some(at), Ok(ip)) = (at, address)
            && let Reason::Defined(elsewhere) = &mut self.skipped[at].reason
        {
            elsewhere.here.push(ip);
            self.elsewhere.entry(hostname).or_default().set(ip);
        }
    }

    /// Accepts an address of an accepted name, unless the name has one of that family already.
    fn add_address(&mut self, hostname: Hostname, sent: &str, address: Result<IpAddr, Reason>) {
        let address = address.and_then(|ip| match self.accepted.get(&hostname) {
            Some(other) if other.get(Family::of(ip)).is_some() => {
                Err(Reason::Second(Family::of(ip)))
            }
            _ => Ok(ip),
        });
        match address {
            Ok(ip) => {
                self.accepted.entry(hostname).or_default().set(ip);
            }
            Err(reason) => {
                let ip = match sent.parse::<IpAddr>() {
                    Ok(ip) => ip.to_string(),
                    Err(_) => printable(sent),
                };
                self.skip(format!("{hostname} {ip}"), reason);
            }
        }
    }
}

fn is_wanted(globs: &[Glob], name: &str) -> bool {
    globs.is_empty() || matches_any(globs, name)
}

/// Whether `name` is this machine's name `own`, alone or directly under a private suffix: search domains and mDNS give
/// a machine named `vm` the names `vm.lan` and `vm.local` too.
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

/// Formats text from the hub for one line of output.
fn printable(text: &str) -> String {
    let short: String = text.chars().take(80).collect();
    let dots = if short.len() < text.len() { "…" } else { "" };
    format!("\"{}{dots}\"", short.escape_debug())
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
