//! The contents of an update: hostnames and the addresses for each. Pure.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::Ipv6Net;
use silo_shared::address::not_another_machine;
use silo_shared::silo::{Addresses, Family, check_address};
use thiserror::Error;
use url::form_urlencoded;

use super::left_out::{LeftOut, MAX_NAME, shown};
use crate::http::client_ip::NoCallerAddress;

/// The parameters for whole addresses, each with one or more values separated by commas: dyndns2's own and the
/// spellings of similar services, which routers and guides use.
const ADDRESSES: [&str; 12] = [
    "myip", "myipv4", "myipv6", "myip6", "ipv4", "ipv6", "ip", "ip4", "ip6", "addr", "address",
    "ipaddr",
];
/// Known parameters that do not contain whole addresses.
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

/// The parameters of an update. Obsolete ones (`system`, `wildcard`, `mx`, `backmx`, `offline`) and unknown ones are
/// ignored. Never printed: some clients put a password there.
#[derive(Default)]
pub(super) struct Params<'a>(Vec<(String, Cow<'a, str>)>);

impl<'a> Params<'a> {
    /// Adds the parameters of a query or a form body. Names are case-insensitive, and may follow the `&amp;` of a URL
    /// copied from a web page.
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

    /// The values of a parameter, which may contain several each; empty ones are skipped.
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
fn unwrapped(text: &str) -> Option<IpAddr> {
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

/// Why an update has no address for a host.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum NoAddress {
    /// The address parameters contain something else.
    #[error("the request holds no address of a machine")]
    Address,
    /// Two addresses of one family.
    #[error("two addresses of one family")]
    Two,
    /// `ip6lanprefix` is not a network.
    #[error("ip6lanprefix is not an IPv6 network such as 2001:db8:1:2::/64")]
    Prefix,
    /// `suffix` is not a host part.
    #[error("suffix is not the host part of an IPv6 address, such as ::5")]
    Suffix,
    /// No address results: a prefix for a host without a known host part, or a host part without a prefix.
    #[error(
        "a prefix needs a host part (the record's ipv6_suffix, or suffix=), and a host part a prefix"
    )]
    Half,
    /// An address that other machines can't reach.
    #[error("{0} is {1}, which other machines can't reach")]
    Implausible(IpAddr, &'static str),
    /// The address is omitted, and the caller's can't be used instead.
    #[error(transparent)]
    Caller(#[from] NoCallerAddress),
    /// The address may be in a parameter with another name.
    #[error("no known parameter holds an address, but {0:?} does: name it myip")]
    Unknown(String),
}

impl NoAddress {
    /// Whether the operator must fix this, so that clients must keep trying: inadyn stops permanently on any 200
    /// without `good` or `nochg`.
    pub(super) fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Implausible(..) | Self::Caller(_) | Self::Unknown(_)
        )
    }
}

/// The addresses in an update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UpdateRequest {
    /// Whole addresses.
    whole: Addresses,
    /// What was no address that can be set, beside one that can.
    pub(super) left_out: LeftOut,
    /// The prefix of the network that the hosts are in.
    prefix: Option<Ipv6Net>,
    /// The hosts' part in it, if the request contains it.
    suffix: Option<Ipv6Addr>,
    /// Whether IPv6 is given by a prefix, even if there is none at the moment.
    by_prefix: bool,
}

impl UpdateRequest {
    /// Reads the parameters; without any address in them, the caller's is used. An unspecified address (`0.0.0.0`,
    /// `::`) means that there is none of its family. A value that is not an address is an error only if there is no
    /// usable one.
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
                    note_unusable(&mut left_out, name, text, &why);
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
            // Of several errors, the one that the operator can fix.
            unusable.sort_by_key(NoAddress::may_pass);
            if let Some(why) = unusable.pop() {
                return Err(why);
            }
            whole.set(caller()?);
        }
        for name in params.unknown_addresses() {
            left_out.add(|| format!("{name:?}: unknown parameter"));
        }
        Ok(Self {
            whole,
            left_out,
            prefix,
            suffix,
            by_prefix: suffix.is_some() || params.names("ip6lanprefix"),
        })
    }

    /// The addresses of a host whose record has this host part. If the device sends a prefix, a host with a host part
    /// never gets the IPv6 address of the device itself.
    pub(super) fn addresses(&self, stored: Option<Ipv6Addr>) -> Result<Addresses, NoAddress> {
        let mut addresses = self.whole;
        if self.by_prefix
            && let Some(suffix) = self.suffix.or(stored)
        {
            addresses.v6 = None;
            if let Some(prefix) = self.prefix {
                let ip = check_address(IpAddr::V6(joined(prefix, suffix)));
                // An IPv6 form of an IPv4 address is not usable.
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

/// Parses an address that other machines can reach.
fn usable(text: &str) -> Result<IpAddr, NoAddress> {
    let ip = unwrapped(text).ok_or(NoAddress::Address)?.to_canonical();
    let ip = check_address(ip).map_err(|_| NoAddress::Address)?;
    match not_another_machine(ip) {
        Some(what) => Err(NoAddress::Implausible(ip, what)),
        None => Ok(ip),
    }
}

/// Notes for the log why a value is not used. An unspecified address is used: it says that there is none of a family.
fn note_unusable(left_out: &mut LeftOut, name: &str, text: &str, why: &NoAddress) {
    if unwrapped(text).is_some_and(|ip| ip.is_unspecified()) {
        return;
    }
    left_out.add(|| match (why, shown(text)) {
        (NoAddress::Implausible(..), _) => format!("{name}: {why}"),
        (_, Some(text)) => format!("{name}: {text} is not a usable address"),
        (_, None) => format!("{name}: no address"),
    });
}

/// The bits of the prefix, then those of the suffix.
fn joined(prefix: Ipv6Net, suffix: Ipv6Addr) -> Ipv6Addr {
    let bits = prefix.network().to_bits() | (suffix.to_bits() & prefix.hostmask().to_bits());
    Ipv6Addr::from_bits(bits)
}

#[cfg(test)]
#[path = "update_request_tests.rs"]
mod tests;
