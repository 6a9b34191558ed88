//! Which of the addresses found are reported: the rules alone, without I/O.
//!
//! A source hands in what it found as [`Candidate`]s; [`select`] answers at most one address a family,
//! or names each one that it refused and why.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use silo_shared::silo::{Addresses, Family};
use thiserror::Error;

/// An address that a source found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// The address.
    pub(crate) ip: IpAddr,
    /// What the system says of it.
    pub(crate) flags: Flags,
}

/// What the system says of an IPv6 address of its own; all false for IPv4.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags {
    /// A privacy address that is soon replaced (RFC 8981).
    pub(crate) temporary: bool,
    /// Its preferred lifetime has ended (RFC 4862 section 5.5.4).
    pub(crate) deprecated: bool,
    /// Not yet known to be unique on its link, or known not to be (RFC 4862 section 5.4).
    pub(crate) unproven: bool,
}

impl From<IpAddr> for Candidate {
    fn from(ip: IpAddr) -> Self {
        Self {
            ip: ip.to_canonical(),
            flags: Flags::default(),
        }
    }
}

/// What is accepted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    /// Only addresses of these networks, when given. A family without a network here is left out.
    pub(crate) within: Option<Vec<Network>>,
    /// The host part for IPv6.
    pub(crate) suffix: Option<Suffix>,
}

/// What a source of several addresses passes over, one that answers with a single one refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Each address found is the machine's own: one that can't be reported fails the run.
    Each,
    /// The best of several is looked for; unfit ones are passed over, unless asked for.
    Best {
        /// Take temporary addresses too.
        temporary: bool,
        /// Take deprecated addresses too.
        deprecated: bool,
        /// Take link-local IPv6 addresses too.
        link_local: bool,
    },
}

/// Why an address is not reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum Refusal {
    /// 127.0.0.0/8, `::1`.
    #[error("a loopback address")]
    Loopback,
    /// 169.254.0.0/16, `fe80::/10`.
    #[error("a link-local address")]
    LinkLocal,
    /// 0.0.0.0, `::`.
    #[error("the unspecified address")]
    Unspecified,
    /// Multicast, or IPv4 broadcast.
    #[error("a multicast or broadcast address")]
    Multicast,
    /// In none of the networks of `within`.
    #[error("outside `within`")]
    Outside,
    /// `within` has no network of this family.
    #[error("of a family that `within` has no network of")]
    FamilyOutside,
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

/// No address can be reported; each one found, with the reason.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
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
    /// Whether a loopback address was among those found.
    pub(crate) fn has_loopback(&self) -> bool {
        self.0.iter().any(|(_, why)| *why == Refusal::Loopback)
    }
}

/// Chooses at most one address a family.
///
/// Of several in [`Mode::Best`], IPv4: the first as the system lists them, which is the interface's
/// primary address. IPv6: first those that are not deprecated, then global before unique local before
/// link-local, then stable before temporary, then the lowest; so that the choice stays while the
/// addresses do.
pub(crate) fn select(
    found: &[Candidate],
    rules: &Rules,
    mode: Mode,
) -> Result<Addresses, Unusable> {
    let mut chosen = Addresses::default();
    let mut refused = Vec::new();
    let mut failed = false;
    for family in [Family::V4, Family::V6] {
        let of_family = found
            .iter()
            .filter(|candidate| Family::of(candidate.ip) == family);
        let mut best: Option<(Rank, IpAddr)> = None;
        let mut outside = false;
        for candidate in of_family {
            match judge(candidate, rules, mode) {
                Ok(ip) => {
                    let rank = Rank::of(candidate);
                    if best.is_none_or(|(other, _)| rank < other) {
                        best = Some((rank, ip));
                    }
                }
                Err(refusal) => {
                    refused.push((candidate.ip, refusal));
                    outside |= refusal == Refusal::Outside;
                    failed |= mode == Mode::Each && refusal != Refusal::FamilyOutside;
                }
            }
        }
        match best {
            Some((_, ip)) => {
                chosen.set(ip);
            }
            // Every address of this family has left the networks it should be in: someone must look.
            None => failed |= outside,
        }
    }
    if failed || chosen.is_empty() {
        return Err(Unusable(refused));
    }
    Ok(chosen)
}

/// Whether this address may be reported, and as what (the suffix put behind the prefix).
fn judge(candidate: &Candidate, rules: &Rules, mode: Mode) -> Result<IpAddr, Refusal> {
    let Candidate { ip, flags } = *candidate;
    let (temporary, deprecated, link_local) = match mode {
        // What says "this is my address" without listing flags is taken at its word.
        Mode::Each => (true, true, false),
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
    if let Some(networks) = &rules.within {
        let family = Family::of(ip);
        if !networks
            .iter()
            .any(|network| Family::of(network.0.addr()) == family)
        {
            return Err(Refusal::FamilyOutside);
        }
        if !networks.iter().any(|network| network.0.contains(&reported)) {
            return Err(Refusal::Outside);
        }
    }
    Ok(reported)
}

/// Refuses addresses by which no other machine can reach this one.
fn check_kind(ip: IpAddr, link_local_v6: bool) -> Result<(), Refusal> {
    if ip.is_unspecified() {
        Err(Refusal::Unspecified)
    } else if ip.is_loopback() {
        Err(Refusal::Loopback)
    } else if ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
        Err(Refusal::Multicast)
    } else {
        match ip {
            IpAddr::V4(v4) if v4.is_link_local() => Err(Refusal::LinkLocal),
            IpAddr::V6(v6) if v6.is_unicast_link_local() && !link_local_v6 => {
                Err(Refusal::LinkLocal)
            }
            _ => Ok(()),
        }
    }
}

/// The order of preference, the lowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    deprecated: bool,
    reach: u8,
    temporary: bool,
    number: u128,
}

impl Rank {
    fn of(candidate: &Candidate) -> Self {
        let (reach, number) = match candidate.ip {
            // All alike: the first one listed stays first.
            IpAddr::V4(_) => (0, 0),
            IpAddr::V6(v6) if v6.is_unicast_link_local() => (2, v6.to_bits()),
            IpAddr::V6(v6) if v6.is_unique_local() => (1, v6.to_bits()),
            IpAddr::V6(v6) => (0, v6.to_bits()),
        };
        Self {
            deprecated: candidate.flags.deprecated,
            reach,
            temporary: candidate.flags.temporary,
            number,
        }
    }
}

/// A network of `within`.
pub(crate) type Network = silo_shared::network::Network<IpNet>;

/// A host part that is put behind the IPv6 prefix found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Suffix {
    host: u128,
    mask: u128,
}

/// Why a suffix can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum InvalidSuffix {
    /// Not 1 to 127.
    #[error("ipv6_prefix_len: {0} is not between 1 and 127")]
    Length(u8),
    /// The suffix has bits where the prefix stands.
    #[error(
        "ipv6_suffix: {suffix} has bits set among the first {prefix_len}, which the prefix found fills (ipv6_prefix_len)"
    )]
    Overlap {
        /// The suffix.
        suffix: Ipv6Addr,
        /// The length of the prefix.
        prefix_len: u8,
    },
}

impl Suffix {
    /// A host part behind a prefix of `prefix_len` bits.
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

    /// The prefix of `found` with this host part behind it.
    pub(crate) fn behind(self, found: Ipv6Addr) -> Ipv6Addr {
        Ipv6Addr::from_bits(found.to_bits() & self.mask | self.host)
    }
}

#[cfg(test)]
#[path = "select_tests.rs"]
mod tests;
