//! What an update asks for: hostnames, and for each the addresses it shall have. Pure.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::Ipv6Net;
use silo_shared::address::not_another_machine;
use silo_shared::silo::{Addresses, Family, check_address};
use thiserror::Error;
use url::form_urlencoded;

use super::left_out::{LeftOut, MAX_NAME};
use crate::http::client_ip::NoCallerAddress;

/// The parameters that hold whole addresses, each perhaps several, separated by commas: dyndns2's own and the
/// spellings of services like it, which routers and guides use.
const ADDRESSES: [&str; 12] = [
    "myip", "myipv4", "myipv6", "myip6", "ipv4", "ipv6", "ip", "ip4", "ip6", "addr", "address",
    "ipaddr",
];
/// The parameters that are known to hold no whole address.
const OTHERS: [&str; 8] = [
    "hostname",
    "ip6lanprefix",
    "suffix",
    "system",
    "wildcard",
    "mx",
    "backmx",
    "offline",
];

/// The parameters of an update; those that nothing needs any more (`system`, `wildcard`, `mx`, `backmx`,
/// `offline`) and unknown ones are ignored. Never printed: some clients put a password there.
#[derive(Default)]
pub(super) struct Params<'a>(Vec<(String, Cow<'a, str>)>);

impl<'a> Params<'a> {
    /// Takes in a query, or a body of the form type. Names count in any case, and behind the `&amp;` of
    /// an address that was copied out of a web page.
    pub(super) fn add(&mut self, form: &'a [u8]) {
        let pairs = form_urlencoded::parse(form).map(|(name, value)| {
            let mut name = name.to_ascii_lowercase();
            while let Some(rest) = name.strip_prefix("amp;") {
                name = rest.to_owned();
            }
            (name, value)
        });
        self.0.extend(pairs);
    }

    /// The values of a parameter, which may hold several each; empty ones are none.
    fn values<'b>(&'b self, name: &'b str) -> impl Iterator<Item = &'b str> {
        self.0
            .iter()
            .filter(move |(key, _)| key == name)
            .flat_map(|(_, value)| value.split(','))
            .map(str::trim)
            .filter(|value| !value.is_empty())
    }

    fn names(&self, name: &str) -> bool {
        self.0.iter().any(|(key, _)| key == name)
    }

    /// The hostnames as sent, in order.
    pub(super) fn hostnames(&self) -> Vec<&str> {
        self.values("hostname").collect()
    }

    /// The names of unknown parameters that hold an address.
    fn unknown_addresses(&self) -> impl Iterator<Item = String> {
        let holds_address = |value: &str| value.split(',').any(|text| unwrapped(text).is_some());
        self.0
            .iter()
            .filter(|(name, _)| {
                !ADDRESSES.contains(&name.as_str()) && !OTHERS.contains(&name.as_str())
            })
            .filter(move |(_, value)| holds_address(value))
            .map(|(name, _)| name.chars().take(MAX_NAME).collect())
    }
}

/// An address as clients write it: perhaps in brackets, perhaps with the length of a single address behind it.
pub(super) fn unwrapped(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let (bare, length) = match text.split_once('/') {
        Some((bare, length)) => (bare, Some(length)),
        None => (text, None),
    };
    let inner = bare
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let ip: IpAddr = inner.unwrap_or(bare).parse().ok()?;
    let whole = match ip {
        IpAddr::V4(_) => "32",
        IpAddr::V6(_) => "128",
    };
    length.is_none_or(|length| length == whole).then_some(ip)
}

/// Why an update names no address for a host.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum NoAddress {
    /// The parameters for addresses hold something else.
    #[error("the request holds no address of a machine")]
    Address,
    /// Two addresses of one family.
    #[error("two addresses of one family")]
    Two,
    /// `ip6lanprefix` is no network.
    #[error("ip6lanprefix is no IPv6 network such as 2001:db8:1:2::/64")]
    Prefix,
    /// `suffix` is no host part.
    #[error("suffix is not the host part of an IPv6 address, such as ::5")]
    Suffix,
    /// Nothing is left: a prefix for a host whose host part is not known, or a host part without prefix.
    #[error(
        "a prefix needs a host part (the record's ipv6_suffix, or suffix=), and a host part a prefix"
    )]
    Half,
    /// An address that other machines can't reach.
    #[error("{0} is {1}, which other machines can't reach")]
    Implausible(IpAddr, &'static str),
    /// The address is left out, and the caller's can't stand for it.
    #[error(transparent)]
    Caller(#[from] NoCallerAddress),
    /// The address may be in a parameter of another name.
    #[error("no parameter that is known here holds an address, but {0:?} does: name it myip")]
    Unknown(String),
}

impl NoAddress {
    /// Whether this is for the operator to put right, so that clients shall go on trying: inadyn ends for good on
    /// any 200 without `good` or `nochg`.
    pub(super) fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Implausible(..) | Self::Caller(_) | Self::Unknown(_)
        )
    }
}

/// The addresses that an update is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UpdateRequest {
    /// Whole addresses.
    whole: Addresses,
    /// What was no address that can be set, beside one that can.
    pub(super) left_out: LeftOut,
    /// The prefix of the network that the hosts are in.
    prefix: Option<Ipv6Net>,
    /// The hosts' part in it, where the request says it.
    suffix: Option<Ipv6Addr>,
    /// Whether IPv6 is said by prefix, even if there is none at the moment.
    by_prefix: bool,
}

impl UpdateRequest {
    /// Reads the parameters; where they hold no address at all, the caller's is meant. An unspecified address
    /// (`0.0.0.0`, `::`) says that there is none of its family. What is no address counts only where nothing else
    /// does.
    pub(super) fn read(
        params: &Params<'_>,
        caller: impl Fn() -> Result<IpAddr, NoCallerAddress>,
    ) -> Result<Self, NoAddress> {
        let mut whole = Addresses::default();
        let mut unusable = Vec::new();
        let mut left_out = LeftOut::default();
        let values = |name| params.values(name).map(move |text| (name, text));
        for (name, text) in ADDRESSES.into_iter().flat_map(values) {
            match usable(text) {
                Ok(ip) if whole.set(ip).is_some_and(|other| other != ip) => {
                    return Err(NoAddress::Two);
                }
                Ok(_) => {}
                Err(why) => {
                    left_out.unusable(name, text, &why);
                    unusable.push(why);
                }
            }
        }
        let mut prefixes = params.values("ip6lanprefix");
        let prefix = prefixes
            .next()
            .map(|text| text.parse::<Ipv6Net>().map_err(|_| NoAddress::Prefix))
            .transpose()?;
        if prefixes.next().is_some() {
            return Err(NoAddress::Prefix);
        }
        let mut suffixes = params.values("suffix");
        let suffix = suffixes
            .next()
            .map(|text| text.parse().map_err(|_| NoAddress::Suffix))
            .transpose()?;
        if suffixes.next().is_some() || suffix.is_some_and(|ip: Ipv6Addr| ip.is_unspecified()) {
            return Err(NoAddress::Suffix);
        }
        if whole.is_empty() && prefix.is_none() {
            if let Some(name) = params.unknown_addresses().next() {
                return Err(NoAddress::Unknown(name));
            }
            // Of several, the one that the operator can put right.
            unusable.sort_by_key(NoAddress::may_pass);
            if let Some(why) = unusable.pop() {
                return Err(why);
            }
            whole.set(caller()?);
        }
        for name in params.unknown_addresses() {
            left_out.add(|| format!("{name:?}: no parameter that is known here"));
        }
        Ok(Self {
            whole,
            left_out,
            prefix,
            suffix,
            by_prefix: suffix.is_some() || params.names("ip6lanprefix"),
        })
    }

    /// The addresses of a host whose record has this host part. A host that has one never gets the IPv6
    /// address of the device that asks, when the device speaks of the prefix.
    pub(super) fn addresses(&self, stored: Option<Ipv6Addr>) -> Result<Addresses, NoAddress> {
        let mut addresses = self.whole;
        if self.by_prefix
            && let Some(suffix) = self.suffix.or(stored)
        {
            addresses.v6 = None;
            if let Some(prefix) = self.prefix {
                let ip = check_address(IpAddr::V6(joined(prefix, suffix)));
                // One that is an IPv4 address in disguise is nobody's.
                let ip = ip.ok().filter(|ip| Family::of(*ip) == Family::V6);
                let ip = ip.filter(|ip| not_another_machine(*ip).is_none());
                addresses.set(ip.ok_or(NoAddress::Prefix)?);
            }
        }
        if addresses.is_empty() {
            return Err(NoAddress::Half);
        }
        Ok(addresses)
    }
}

/// An address of a machine that others can reach.
fn usable(text: &str) -> Result<IpAddr, NoAddress> {
    let ip = unwrapped(text).ok_or(NoAddress::Address)?.to_canonical();
    let ip = check_address(ip).map_err(|_| NoAddress::Address)?;
    match not_another_machine(ip) {
        Some(what) => Err(NoAddress::Implausible(ip, what)),
        None => Ok(ip),
    }
}

/// The bits of the prefix, then those of the suffix.
fn joined(prefix: Ipv6Net, suffix: Ipv6Addr) -> Ipv6Addr {
    let bits = prefix.network().to_bits() | (suffix.to_bits() & prefix.hostmask().to_bits());
    Ipv6Addr::from_bits(bits)
}

#[cfg(test)]
#[path = "update_request_tests.rs"]
mod tests;
