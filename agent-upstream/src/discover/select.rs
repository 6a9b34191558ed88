//! Selects which of the addresses found are reported: only the rules, without I/O.
//!
//! A source passes what it found as [`Candidate`]s; [`select`] returns at most one address of each family, or all that
//! it refused with the reasons.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use silo_shared::address::NotAnotherMachine;
use silo_shared::silo::{Addresses, Family};
use thiserror::Error;

/// An address that a source found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// The address.
    pub(crate) ip: IpAddr,
    /// The system's flags for it.
    pub(crate) flags: Flags,
    /// For how many seconds the system still prefers it; [`FOREVER`] if unlimited or unknown.
    pub(crate) preferred_seconds: u32,
    /// The hub sees this address, the hub's own name resolves to it, and it does not belong to this machine: so the hub
    /// may see a relay in front of itself.
    pub(crate) is_hubs: bool,
}

/// An unlimited lifetime (RFC 4862 section 5.5.3; the kernel uses the same value).
pub(crate) const FOREVER: u32 = u32::MAX;

/// The system's flags for a local IPv6 address; all false for IPv4.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Flags {
    /// A privacy address that will soon be replaced (RFC 8981).
    pub(crate) temporary: bool,
    /// Its preferred lifetime is over (RFC 4862 section 5.5.4).
    pub(crate) deprecated: bool,
    /// Not yet known to be unique on its link, or known not to be (RFC 4862 section 5.4).
    pub(crate) unproven: bool,
}

impl From<IpAddr> for Candidate {
    fn from(ip: IpAddr) -> Self {
        Self {
            ip: ip.to_canonical(),
            flags: Flags::default(),
            preferred_seconds: FOREVER,
            is_hubs: false,
        }
    }
}

/// Which addresses are accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rules {
    /// Only addresses in these networks, if set. Omits families without a network in it.
    pub(crate) within: Option<Vec<Network>>,
    /// The host part for IPv6.
    pub(crate) suffix: Option<Suffix>,
}

/// How to treat an address that can't be reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The address was explicitly given as the machine's own: if it can't be reported, the run fails.
    Stated,
    /// The address is that of a path to the hub. A path within this machine or link is skipped; any other address that
    /// can't be reported makes the run fail.
    Seen,
    /// The best of several is selected; unsuitable ones are skipped, unless explicitly allowed.
    Best {
        /// Accept temporary addresses too.
        temporary: bool,
        /// Accept deprecated addresses too.
        deprecated: bool,
        /// Accept link-local IPv6 addresses too.
        link_local: bool,
    },
}

/// Why an address is not reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum Refusal {
    /// Other machines can't reach this one at it.
    #[error("{0}")]
    Unreachable(NotAnotherMachine),
    /// In none of the networks of `within`.
    #[error("outside `within`")]
    Outside,
    /// `within` has no network of this family.
    #[error("of a family without a network in `within`")]
    FamilyOutside,
    /// See [`Candidate::is_hubs`].
    #[error(
        "an address of the hub's URL and not of this machine: the hub sees a relay or NAT router in front of it; if the address is correct, list it in `within`, else choose another source in `addresses`"
    )]
    Hubs,
    /// See [`Flags::temporary`].
    #[error("temporary")]
    Temporary,
    /// See [`Flags::deprecated`].
    #[error("deprecated")]
    Deprecated,
    /// See [`Flags::unproven`].
    #[error("not yet known to be unique on its link")]
    Unproven,
}

impl Refusal {
    /// Whether only this machine or link can use the address.
    fn is_within_link(self) -> bool {
        use NotAnotherMachine::{LinkLocal, Loopback};
        matches!(self, Self::Unreachable(LinkLocal | Loopback))
    }
}

/// Addresses that can't be reported, each with the reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Error)]
pub(crate) struct Unusable(pub(crate) Vec<(IpAddr, Refusal)>);

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("no address was found");
        }
        let mut separator = "";
        for (ip, refusal) in &self.0 {
            write!(f, "{separator}{ip} is {refusal}")?;
            separator = ", ";
        }
        Ok(())
    }
}

impl Unusable {
    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a loopback address was among those found.
    pub(crate) fn has_loopback(&self) -> bool {
        let loopback = Refusal::Unreachable(NotAnotherMachine::Loopback);
        self.0.iter().any(|(_, why)| *why == loopback)
    }
}

/// The selected addresses, and the rejected ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selection {
    /// At least one address, at most one of each family.
    pub(crate) chosen: Addresses,
    /// The errors of the other family; the run has failed although this one can be reported.
    pub(crate) wrong: Unusable,
    /// Addresses skipped in favor of another one of the same family, or because only this machine or link can use them.
    pub(crate) skipped: Unusable,
}

impl Selection {
    /// Whether nothing was found of this family except addresses that only this machine or link can use.
    pub(crate) fn lacks(&self, family: Family) -> bool {
        let says_nothing =
            |(ip, why): &(IpAddr, Refusal)| Family::of(*ip) != family || why.is_within_link();
        self.chosen.get(family).is_none()
            && self.wrong.0.iter().chain(&self.skipped.0).all(says_nothing)
    }
}

/// Selects at most one address of each family. An error of one family does not affect the other; a family without a
/// network in `within` is ignored.
///
/// Of several in [`Mode::Best`], for IPv4: the first in the system's order, which is the interface's primary address.
/// For IPv6: not deprecated before deprecated, then global before unique local before link-local, then stable before
/// temporary. Of several equal ones, the record's address, as long as its preferred lifetime is at least half of the
/// longest one; else the one with the longest; then the lowest. So the choice is stable while routers of several
/// prefixes renew them at different times, and abandons a prefix that is no longer renewed.
pub(crate) fn select(
    found: &[Candidate],
    rules: &Rules,
    mode: Mode,
    held: Option<Ipv6Addr>,
) -> Result<Selection, Unusable> {
    let mut selection = Selection::default();
    for family in [Family::V4, Family::V6] {
        let mut fit = Vec::new();
        let mut refused = Vec::new();
        for candidate in found.iter().filter(|c| Family::of(c.ip) == family) {
            match judge(candidate, rules, mode) {
                Ok(ip) => fit.push((*candidate, ip)),
                Err(refusal) => refused.push((candidate.ip, refusal)),
            }
        }
        let best = best(&fit, held);
        if let Some(ip) = best {
            selection.chosen.set(ip);
        }
        let (wrong, skipped): (Vec<_>, Vec<_>) = refused
            .into_iter()
            .partition(|(_, refusal)| is_failure(*refusal, mode, best.is_some()));
        selection.wrong.0.extend(wrong);
        selection.skipped.0.extend(skipped);
    }
    if selection.chosen.is_empty() {
        let mut refused = selection.wrong;
        refused.0.extend(selection.skipped.0);
        return Err(refused);
    }
    Ok(selection)
}

/// Whether this refusal makes the run fail even if the other family can be reported.
fn is_failure(refusal: Refusal, mode: Mode, has_best: bool) -> bool {
    match (mode, refusal) {
        (_, Refusal::FamilyOutside) => false,
        (Mode::Stated, _) => true,
        (Mode::Seen, refusal) => !refusal.is_within_link(),
        // All addresses of this family are outside of the expected networks.
        (Mode::Best { .. }, Refusal::Outside) => !has_best,
        (Mode::Best { .. }, _) => false,
    }
}

/// The address to report of the acceptable candidates, each with its reported address.
fn best(fit: &[(Candidate, IpAddr)], held: Option<Ipv6Addr>) -> Option<IpAddr> {
    let first = fit.iter().map(|(candidate, _)| Rank::of(candidate)).min()?;
    let equals = || {
        fit.iter()
            .filter(|(candidate, _)| Rank::of(candidate) == first)
    };
    let longest = equals()
        .map(|(candidate, _)| candidate.preferred_seconds)
        .max()?;
    let is_kept = |(candidate, ip): &&(Candidate, IpAddr)| {
        // Half of an unlimited time is unlimited, too.
        let half = if longest == FOREVER {
            FOREVER
        } else {
            longest.div_ceil(2)
        };
        Some(*ip) == held.map(IpAddr::V6)
            && !candidate.flags.deprecated
            && candidate.preferred_seconds >= half
    };
    let number = |candidate: &Candidate| match candidate.ip {
        // The first one listed stays first.
        IpAddr::V4(_) => 0,
        IpAddr::V6(v6) => v6.to_bits(),
    };
    let (_, ip) = equals().find(is_kept).or_else(|| {
        equals()
            .filter(|(candidate, _)| candidate.preferred_seconds == longest)
            .min_by_key(|(candidate, _)| number(candidate))
    })?;
    Some(*ip)
}

/// Checks whether this address may be reported; returns the address to report (with the suffix after the prefix).
fn judge(candidate: &Candidate, rules: &Rules, mode: Mode) -> Result<IpAddr, Refusal> {
    let Candidate { ip, flags, .. } = *candidate;
    if !rules.include(Family::of(ip)) {
        return Err(Refusal::FamilyOutside);
    }
    let (temporary, deprecated, link_local) = match mode {
        // Sources without flags are trusted.
        Mode::Stated | Mode::Seen => (true, true, false),
        Mode::Best {
            temporary,
            deprecated,
            link_local,
        } => (temporary, deprecated, link_local),
    };
    check_kind(ip, link_local)?;
    if flags.unproven {
        return Err(Refusal::Unproven);
    }
    if flags.deprecated && !deprecated {
        return Err(Refusal::Deprecated);
    }
    if flags.temporary && !temporary {
        return Err(Refusal::Temporary);
    }
    let reported = match (ip, rules.suffix) {
        (IpAddr::V6(v6), Some(suffix)) => IpAddr::V6(suffix.behind(v6)),
        _ => ip,
    };
    let is_outside =
        |networks: &[Network]| !networks.iter().any(|network| network.0.contains(&reported));
    if rules.within.as_deref().is_some_and(is_outside) {
        return Err(Refusal::Outside);
    }
    if candidate.is_hubs {
        return Err(Refusal::Hubs);
    }
    Ok(reported)
}

/// Refuses addresses at which other machines can't reach this one.
fn check_kind(ip: IpAddr, link_local_v6: bool) -> Result<(), Refusal> {
    match NotAnotherMachine::of(ip) {
        Some(NotAnotherMachine::LinkLocal) if ip.is_ipv6() && link_local_v6 => Ok(()),
        Some(kind) => Err(Refusal::Unreachable(kind)),
        None => Ok(()),
    }
}

/// The order of preference, lowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    deprecated: bool,
    reach: u8,
    temporary: bool,
}

impl Rank {
    fn of(candidate: &Candidate) -> Self {
        let reach = match candidate.ip {
            IpAddr::V6(v6) if v6.is_unicast_link_local() => 2,
            IpAddr::V6(v6) if v6.is_unique_local() => 1,
            IpAddr::V4(_) | IpAddr::V6(_) => 0,
        };
        Self {
            deprecated: candidate.flags.deprecated,
            reach,
            temporary: candidate.flags.temporary,
        }
    }
}

/// A network of `within`.
pub(crate) type Network = silo_shared::network::Network<IpNet>;

/// A host part to combine with the IPv6 prefix found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Suffix {
    host: u128,
    mask: u128,
}

/// Why a suffix can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum InvalidSuffix {
    /// Not in the range 1 to 127.
    #[error("ipv6_prefix_len: {0} is not between 1 and 127")]
    Length(u8),
    /// The suffix has bits of the prefix set.
    #[error(
        "ipv6_suffix: {suffix} has bits set in the first {prefix_len}, which belong to the prefix (ipv6_prefix_len)"
    )]
    Overlap {
        /// The suffix.
        suffix: Ipv6Addr,
        /// The length of the prefix.
        prefix_len: u8,
    },
}

impl Rules {
    /// Whether `within` selects this address: a network contains it and none of `own`, this machine's addresses. A
    /// network that contains both, such as 10.0.0.0/8, is ambiguous.
    pub(crate) fn name(&self, ip: IpAddr, own: &[IpAddr]) -> bool {
        let networks = self.within.as_deref().unwrap_or_default();
        networks.iter().any(|network| {
            network.0.contains(&ip) && !own.iter().any(|own| network.0.contains(own))
        })
    }

    /// Whether addresses of this family may be reported at all.
    pub(crate) fn include(&self, family: Family) -> bool {
        self.within.as_deref().is_none_or(|networks| {
            networks
                .iter()
                .any(|network| Family::of(network.0.addr()) == family)
        })
    }
}

impl Suffix {
    /// A host part for a prefix of `prefix_len` bits.
    pub(crate) fn new(suffix: Ipv6Addr, prefix_len: u8) -> Result<Self, InvalidSuffix> {
        if !(1..=127).contains(&prefix_len) {
            return Err(InvalidSuffix::Length(prefix_len));
        }
        let mask = u128::MAX << (128 - u32::from(prefix_len));
        let host = suffix.to_bits();
        if host & mask != 0 {
            return Err(InvalidSuffix::Overlap { suffix, prefix_len });
        }
        Ok(Self { host, mask })
    }

    /// The prefix of `found`, followed by this host part.
    pub(crate) fn behind(self, found: Ipv6Addr) -> Ipv6Addr {
        Ipv6Addr::from_bits(found.to_bits() & self.mask | self.host)
    }
}

#[cfg(test)]
#[path = "select_tests.rs"]
mod tests;
