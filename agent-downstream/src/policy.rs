//! What this machine accepts from a hub. The hub is not trusted: each record is judged here, and each
//! one that is passed over comes out with its reason. Pure rules, no I/O.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;
use silo_shared::api::DnsRecord;
use silo_shared::network::Network;
use silo_shared::silo::{
    Addresses, Family, Hostname, InvalidAddress, InvalidHostname, MAX_RECORDS, Records, SiloId,
    parse_address,
};
use thiserror::Error;

use crate::address::no_other_machine;
use crate::glob::Glob;
use crate::hosts::{Definer, Definition};

/// First labels of names that programs look up on their own to be told what to trust.
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
    /// Networks that addresses must lie in; `None` is any that can be another machine's, see [`no_other_machine`].
    pub(crate) networks: Option<Vec<Network<IpNet>>>,
    /// What happens to a name that is defined outside the silo's block. `None`: it is skipped, and a run that
    /// so leaves it at another address than the silo's fails.
    pub(crate) conflicts: Option<Conflicts>,
    /// How many names a hub may drop at once.
    pub(crate) max_removed: MaxRemoved,
}

/// What happens to a name that is defined outside the silo's block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Conflicts {
    /// The name is passed over.
    Skip,
    /// The whole pull is refused.
    Refuse,
}

/// How many of a block's names may be lost at once through the hub without `--force`.
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
    /// One of [`NEVER`] or [`NEVER_FIRST`].
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
    /// A name that is defined elsewhere in the hosts file.
    #[error("{0}")]
    Defined(Elsewhere),
    /// A name that a silo has which comes before in the configuration, or whose block is kept.
    #[error("silo {0} has it already")]
    Silo(SiloId),
    /// An address outside what is accepted.
    #[error("{0}")]
    Network(&'static str),
    /// A second address of one family.
    #[error("a second {0} address")]
    Second(Family),
}

/// A name that a line or block defines which is not ours to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Elsewhere {
    by: Definer,
    /// What the file defines it as.
    there: Vec<IpAddr>,
    /// The silo's addresses that the policy accepts.
    here: Vec<IpAddr>,
    /// Whether the configuration asks to skip such names.
    is_asked_for: bool,
}

impl Elsewhere {
    /// Whether the name points elsewhere than the silo says. Without an acceptable address of the silo's, it
    /// would not be in the block anyway.
    fn differs(&self) -> bool {
        !self.here.is_empty() && !self.there.iter().all(|ip| self.here.contains(ip))
    }
}

impl fmt::Display for Elsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.by {
            Definer::Line(line) => write!(f, "line {line} of the hosts file defines it")?,
            Definer::Silo(silo) => write!(f, "the block of silo {silo} defines it")?,
        }
        if self.differs() {
            let (there, here) = (list(&self.there), list(&self.here));
            write!(f, " as {there}, the silo as {here}")?;
        }
        match &self.by {
            Definer::Silo(silo) => {
                write!(f, " (`silo-downstream clean --silo {silo}` removes that block)")
            }
            Definer::Line(_) if self.differs() && !self.is_asked_for => f.write_str(
                ": remove that line, let `once --adopt` take it, or accept it with `policy.conflicts: skip`",
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

/// A record that is passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Skipped {
    what: String,
    reason: Reason,
}

impl Skipped {
    /// Whether the name now points to a wrong place though nothing in the configuration asks for that.
    pub(crate) fn is_wrong(&self) -> bool {
        matches!(&self.reason, Reason::Defined(elsewhere) if elsewhere.differs() && !elsewhere.is_asked_for)
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "skipped {}: {}", self.what, self.reason)
    }
}

/// The names that a silo can't have: what the file defines elsewhere, and what other silos have.
#[derive(Debug, Default)]
pub(crate) struct Taken<'a> {
    /// What lines and foreign blocks define.
    pub(crate) elsewhere: Option<&'a HashMap<String, Definition>>,
    /// What silos of the configuration have.
    pub(crate) silos: HashMap<String, SiloId>,
    /// Lines that were ours, of silos whose pull is refused.
    pub(crate) lines: HashMap<String, Definition>,
}

impl Taken<'_> {
    fn elsewhere(&self, name: &str) -> Option<&Definition> {
        let there = self.elsewhere.and_then(|names| names.get(name));
        there.or_else(|| self.lines.get(name))
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
    /// Lines that look like ours, of which the state folder knows nothing.
    #[error("{} as this program writes it, and the state folder does not know whose: let `once --adopt` take such lines into the block, remove them, or keep them with `policy.conflicts: skip`", found(.0))]
    Unclaimed(Vec<Found>),
    /// Too many names gone at once.
    #[error(
        "the hub dropped {dropped} of {present} names (or offers them at refused addresses, or in another silo), more than `policy.max_removed` allows ({percent} %): if this is right, run once with --force"
    )]
    Dropped {
        /// Names that the block loses through the hub.
        dropped: usize,
        /// Names of the block.
        present: usize,
        /// What is allowed.
        percent: u8,
    },
}

/// A line of the hosts file that holds one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Counted from 1.
    pub(crate) line: usize,
    /// The address.
    pub(crate) ip: IpAddr,
    /// The name.
    pub(crate) name: Hostname,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} (`{} {}`)", self.line, self.ip, self.name)
    }
}

/// The most lines that one message names.
const NAMED_LINES: usize = 5;

fn found(lines: &[Found]) -> String {
    let named: Vec<String> = lines
        .iter()
        .take(NAMED_LINES)
        .map(ToString::to_string)
        .collect();
    let named = named.join(", ");
    match lines.len() {
        1 => format!("{named} is a record of this silo"),
        2..=NAMED_LINES => format!("{named} are records of this silo, each"),
        count => format!(
            "{named} and {} more are records of this silo, each",
            count - NAMED_LINES
        ),
    }
}

/// A judged answer.
#[derive(Debug, Default)]
pub(crate) struct Judged {
    /// What goes into the block.
    pub(crate) accepted: Records,
    /// What does not, and why. Names that `hostnames` leaves out are not among them.
    pub(crate) skipped: Vec<Skipped>,
    /// Acceptable records of names that the file defines elsewhere.
    pub(crate) elsewhere: Records,
    /// Names that `hostnames` leaves out.
    pub(crate) unselected: BTreeSet<Hostname>,
    /// Every hostname of the answer, accepted or not, with the addresses that could be read.
    offered: BTreeMap<Hostname, BTreeSet<IpAddr>>,
    /// Names that are passed over for what this machine is or says, not the hub.
    local: BTreeSet<Hostname>,
    /// Names that another silo of the configuration has.
    with_silo: BTreeSet<Hostname>,
}

impl Policy {
    /// Judges the records of an answer. `wanted` are the globs of `hostnames` (empty: all), `taken`
    /// the names that are defined outside the silo's own block.
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
        // Names that are passed over, those that are defined elsewhere with their place in `skipped`.
        let mut refused_names: BTreeMap<Hostname, Option<usize>> = BTreeMap::new();
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
            let address = parse_address(&record.ip);
            let offered = judged.offered.entry(hostname.clone()).or_default();
            offered.extend(&address);
            if !is_wanted(wanted, hostname.as_str()) {
                judged.unselected.insert(hostname);
                continue;
            }
            if !refused_names.contains_key(&hostname)
                && let Err(reason) = self.judge_name(&hostname, guarded, taken)
            {
                let is_defined = matches!(reason, Reason::Defined(_));
                let conflict = is_defined || matches!(reason, Reason::Silo(_));
                if conflict && self.conflicts == Some(Conflicts::Refuse) {
                    let name = hostname;
                    return Err(Refusal::Conflict { name, reason });
                }
                let names = match reason {
                    Reason::Silo(_) => &mut judged.with_silo,
                    _ => &mut judged.local,
                };
                names.insert(hostname.clone());
                let at = is_defined.then_some(judged.skipped.len());
                judged.skip(hostname.to_string(), reason);
                refused_names.insert(hostname.clone(), at);
            }
            let address = address
                .map_err(Reason::Address)
                .and_then(|ip| self.judge_address(ip));
            match refused_names.get(&hostname) {
                Some(Some(at)) => {
                    if let (Ok(ip), Reason::Defined(elsewhere)) =
                        (address, &mut judged.skipped[*at].reason)
                    {
                        elsewhere.here.push(ip);
                        judged.elsewhere.entry(hostname).or_default().set(ip);
                    }
                    continue;
                }
                Some(None) => continue,
                None => {}
            }
            let address = address.and_then(|ip| match judged.accepted.get(&hostname) {
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

    /// Refuses an answer through which the block would lose too many names: the hub no longer has them, offers
    /// other addresses of which none is accepted, or has them in another silo of the configuration. Names that
    /// this machine's own settings leave out are not lost through the hub.
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
        let name = hostname.as_str();
        // `wpad.lan` is asked for as much as `wpad`: the first label counts.
        let first = name.split('.').next().unwrap_or(name);
        if NEVER_FIRST.contains(&first) || NEVER.contains(&name) {
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
        if let Some(silo) = taken.silos.get(name) {
            return Err(Reason::Silo(silo.clone()));
        }
        match taken.elsewhere(name) {
            Some(definition) => Err(Reason::Defined(Elsewhere {
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
            (None, ip) => no_other_machine(ip),
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
