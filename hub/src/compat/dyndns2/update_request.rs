//! The contents of an update: hostnames and the addresses for each. Pure.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::Ipv6Net;
use silo_shared::address::not_another_machine;
use silo_shared::silo::{Addresses, Family, check_address};
use thiserror::Error;
use url::form_urlencoded;

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

    /// The name of an unknown parameter that contains an address.
    fn unknown_address(&self) -> Option<&str> {
        let holds_address = |value: &str| value.split(',').any(|text| unwrapped(text).is_some());
        self.0
            .iter()
            .filter(|(name, _)| {
                !ADDRESSES.contains(&name.as_str()) && !OTHERS.contains(&name.as_str())
            })
            .find(|(_, value)| holds_address(value))
            .map(|(name, _)| name.as_str())
    }
}

/// Parses an address as clients write it: optionally in brackets, optionally with the prefix length of a single
/// address.
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
    #[error("ip6lanprefix is no IPv6 network such as 2001:db8:1:2::/64")]
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
    #[error("no parameter that is known here holds an address, but {0:?} does: name it myip")]
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
    /// How many values were not usable addresses, although another one was.
    pub(super) unusable: usize,
    /// The prefix of the hosts' network.
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
        for text in ADDRESSES.iter().flat_map(|name| params.values(name)) {
            match usable(text) {
                Ok(ip) if whole.set(ip).is_some_and(|other| other != ip) => {
                    return Err(NoAddress::Two);
                }
                Ok(_) => {}
                Err(why) => unusable.push(why),
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
            if let Some(name) = params.unknown_address() {
                return Err(NoAddress::Unknown(name.chars().take(64).collect()));
            }
            // Of several errors, the one that the operator can fix.
            unusable.sort_by_key(NoAddress::may_pass);
            if let Some(why) = unusable.pop() {
                return Err(why);
            }
            whole.set(caller()?);
        }
        Ok(Self {
            whole,
            unusable: unusable.len(),
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

/// The bits of the prefix, then those of the suffix.
fn joined(prefix: Ipv6Net, suffix: Ipv6Addr) -> Ipv6Addr {
    let bits = prefix.network().to_bits() | (suffix.to_bits() & prefix.hostmask().to_bits());
    Ipv6Addr::from_bits(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLER: &str = "198.51.100.9";

    fn read(query: &str) -> Result<UpdateRequest, NoAddress> {
        let mut params = Params::default();
        params.add(query.as_bytes());
        UpdateRequest::read(&params, || Ok(CALLER.parse().unwrap()))
    }

    fn said(query: &str, stored: Option<&str>) -> Result<String, NoAddress> {
        let stored = stored.map(|text| text.parse().unwrap());
        read(query)?
            .addresses(stored)
            .map(|addresses| addresses.to_string())
    }

    #[test]
    fn whole_addresses_come_by_any_parameter_and_none_means_the_caller() {
        for (query, addresses) in [
            ("", CALLER),
            ("myip=", CALLER),
            ("myip=&myipv6=&myip6=&ip6lanprefix=", CALLER),
            ("myip=%20,%20", CALLER),
            ("myip=192.0.2.1", "192.0.2.1"),
            ("myip=2001:DB8:0::1", "2001:db8::1"),
            ("myip=2001%3Adb8%3A%3A1", "2001:db8::1"),
            ("myip=192.0.2.1,2001:db8::1", "192.0.2.1 2001:db8::1"),
            ("myip=2001:db8::1,%20192.0.2.1,", "192.0.2.1 2001:db8::1"),
            ("myip=192.0.2.1&myipv6=2001:db8::1", "192.0.2.1 2001:db8::1"),
            ("myip=192.0.2.1&myip6=2001:db8::1", "192.0.2.1 2001:db8::1"),
            ("myip=&myipv6=2001:db8::1", "2001:db8::1"),
            ("myip6=2001:db8::1&myipv6=2001:db8::1", "2001:db8::1"),
            ("myip=192.0.2.1&myip=192.0.2.1", "192.0.2.1"),
            ("myip=::ffff:192.0.2.1", "192.0.2.1"),
            // Spellings of other services, in any case, and from a web page.
            (
                "myipv4=192.0.2.1&myipv6=2001:db8::1",
                "192.0.2.1 2001:db8::1",
            ),
            ("ipv4=192.0.2.1&ipv6=2001:db8::1", "192.0.2.1 2001:db8::1"),
            ("ip4=192.0.2.1&ip6=2001:db8::1", "192.0.2.1 2001:db8::1"),
            ("ip=192.0.2.1", "192.0.2.1"),
            ("addr=192.0.2.1", "192.0.2.1"),
            ("address=192.0.2.1", "192.0.2.1"),
            ("ipaddr=192.0.2.1", "192.0.2.1"),
            ("MyIP=192.0.2.1", "192.0.2.1"),
            ("IPADDR=192.0.2.1", "192.0.2.1"),
            ("system=dyndns&amp;myip=192.0.2.1", "192.0.2.1"),
            ("amp;amp;myip=192.0.2.1", "192.0.2.1"),
            ("ip=192.0.2.1&myip=192.0.2.1", "192.0.2.1"),
            // "No IPv4", as DS-Lite routers send it.
            ("myip=0.0.0.0,2001:db8::7", "2001:db8::7"),
            ("myip=192.0.2.1&myipv6=::", "192.0.2.1"),
            ("myip=0.0.0.0&myip=192.0.2.1", "192.0.2.1"),
            // The length of a single address, and brackets.
            ("myip=192.0.2.1/32", "192.0.2.1"),
            ("myip=192.0.2.1%2F32", "192.0.2.1"),
            ("myipv6=2001:db8::1/128", "2001:db8::1"),
            ("myipv6=[2001:db8::1]", "2001:db8::1"),
            ("myipv6=%5B2001:db8::1%5D/128", "2001:db8::1"),
            // A usable value next to an unusable one.
            ("myip=192.0.2.1,nonsense", "192.0.2.1"),
            ("myip=192.0.2.1&myipv6=<ip6addr>", "192.0.2.1"),
            ("myip=192.0.2.1&myipv6=fe80::1", "192.0.2.1"),
            ("myip=127.0.0.1,2001:db8::7", "2001:db8::7"),
            ("myip=192.0.2.1&myipv6=2001:db8::1/64", "192.0.2.1"),
            ("ip=nonsense&myip=192.0.2.1", "192.0.2.1"),
            // An unknown parameter next to a known one.
            ("myip=192.0.2.1&wanip=198.51.100.7", "192.0.2.1"),
            ("login=root&token=10", CALLER),
            (
                "system=dyndns&myip=192.0.2.1&wildcard=ON&mx=a&backmx=NO&offline=NO",
                "192.0.2.1",
            ),
        ] {
            assert_eq!(said(query, None).as_deref(), Ok(addresses), "{query}");
            // A device that sends a whole address means that address, regardless of its record's suffix.
            if !query.contains("ip6lanprefix") {
                assert_eq!(
                    said(query, Some("::5")).as_deref(),
                    Ok(addresses),
                    "{query}"
                );
            }
        }
    }

    #[test]
    fn a_prefix_is_put_before_the_suffix() {
        let lan = "ip6lanprefix=2001:db8:1:2::/64";
        for (query, stored, addresses) in [
            (lan.to_owned(), Some("::5"), "2001:db8:1:2::5"),
            (
                lan.replace('/', "%2F").replace(':', "%3A"),
                Some("::5"),
                "2001:db8:1:2::5",
            ),
            (format!("{lan}&suffix=::6"), None, "2001:db8:1:2::6"),
            (format!("{lan}&suffix=::6"), Some("::5"), "2001:db8:1:2::6"),
            (format!("{lan}&suffix="), Some("::5"), "2001:db8:1:2::5"),
            (
                format!("{lan}&myip=192.0.2.1"),
                Some("::5"),
                "192.0.2.1 2001:db8:1:2::5",
            ),
            // The router's own addresses are for hosts without a suffix.
            (
                format!("{lan}&myip=192.0.2.1,2001:db8::1"),
                Some("::5"),
                "192.0.2.1 2001:db8:1:2::5",
            ),
            (
                format!("{lan}&myip=192.0.2.1,2001:db8::1"),
                None,
                "192.0.2.1 2001:db8::1",
            ),
            (format!("{lan}&myip=192.0.2.1"), None, "192.0.2.1"),
            (
                "ip6lanprefix=&myip=192.0.2.1&myipv6=2001:db8::1".to_owned(),
                Some("::5"),
                "192.0.2.1",
            ),
            (
                "suffix=::6&myip=192.0.2.1&myipv6=2001:db8::1".to_owned(),
                None,
                "192.0.2.1",
            ),
            (
                "ip6lanprefix=2001:db8:1::/48".to_owned(),
                Some("::2:0:0:0:5"),
                "2001:db8:1:2::5",
            ),
            (
                "ip6lanprefix=2001:db8:1:ff00::/56".to_owned(),
                Some("::12:0:0:0:5"),
                "2001:db8:1:ff12::5",
            ),
            (
                "ip6lanprefix=2001:db8:1:fff0::/60".to_owned(),
                Some("::2:0:0:0:5"),
                "2001:db8:1:fff2::5",
            ),
            // Bits of the suffix within the prefix, and of the prefix within the suffix, are ignored.
            (
                "ip6lanprefix=2001:db8:1:2::9/64".to_owned(),
                Some("fe80::1:2:3:5"),
                "2001:db8:1:2:1:2:3:5",
            ),
            (
                "ip6lanprefix=::/0".to_owned(),
                Some("2001:db8::5"),
                "2001:db8::5",
            ),
            (
                "ip6lanprefix=2001:db8::7/128".to_owned(),
                Some("::5"),
                "2001:db8::7",
            ),
        ] {
            assert_eq!(said(&query, stored).as_deref(), Ok(addresses), "{query}");
        }
    }

    #[test]
    fn every_length_of_prefix_keeps_its_bits_and_no_more() {
        let (ones, zeros) = (Ipv6Addr::from_bits(u128::MAX), Ipv6Addr::from_bits(0));
        for length in 0..=128_u8 {
            let net = |ip| Ipv6Net::new(ip, length).unwrap();
            assert_eq!(
                joined(net(ones), zeros).to_bits().leading_ones(),
                u32::from(length)
            );
            assert_eq!(
                joined(net(zeros), ones).to_bits().leading_zeros(),
                u32::from(length)
            );
            assert_eq!(joined(net(ones), ones), ones);
        }
    }

    #[test]
    fn what_is_no_address_is_named() {
        for (query, stored, why) in [
            ("myip=nonsense", None, NoAddress::Address),
            ("myip=nonsense,0.0.0.0", None, NoAddress::Address),
            ("myip=0.0.0.0&myipv6=::", None, NoAddress::Address),
            ("myip=192.0.2.1/24", None, NoAddress::Address),
            ("myip=192.0.2.1/128", None, NoAddress::Address),
            ("myip=[192.0.2.1", None, NoAddress::Address),
            ("myip=192.0.2.1&ip=192.0.2.2", None, NoAddress::Two),
            ("ip6=2001:db8::1&MYIPV6=2001:db8::2", None, NoAddress::Two),
            ("myip=192.0.2.1%202001:db8::1", None, NoAddress::Address),
            ("myip=0.0.0.0", None, NoAddress::Address),
            ("myip=ff02::1", None, NoAddress::Address),
            ("myip=fe80::1%25eth0", None, NoAddress::Address),
            ("myip=2001:db8::1/64", None, NoAddress::Address),
            ("myip=<ipaddr>", None, NoAddress::Address),
            ("myip=192.0.2.1,192.0.2.2", None, NoAddress::Two),
            ("myip=2001:db8::1&myipv6=2001:db8::2", None, NoAddress::Two),
            ("ip6lanprefix=2001:db8::", Some("::5"), NoAddress::Prefix),
            (
                "ip6lanprefix=2001:db8::/129",
                Some("::5"),
                NoAddress::Prefix,
            ),
            ("ip6lanprefix=2001:db8::/-1", Some("::5"), NoAddress::Prefix),
            ("ip6lanprefix=192.0.2.0/24", Some("::5"), NoAddress::Prefix),
            ("ip6lanprefix=x&myip=192.0.2.1", None, NoAddress::Prefix),
            (
                "ip6lanprefix=2001:db8::/64,2001:db8:1::/64",
                Some("::5"),
                NoAddress::Prefix,
            ),
            ("ip6lanprefix=ff00::/8", Some("::5"), NoAddress::Prefix),
            (
                "ip6lanprefix=::/0",
                Some("::ffff:192.0.2.1"),
                NoAddress::Prefix,
            ),
            (
                "ip6lanprefix=2001:db8::/64&suffix=5",
                None,
                NoAddress::Suffix,
            ),
            (
                "ip6lanprefix=2001:db8::/64&suffix=::",
                None,
                NoAddress::Suffix,
            ),
            (
                "ip6lanprefix=2001:db8::/64&suffix=192.0.2.1",
                None,
                NoAddress::Suffix,
            ),
            (
                "ip6lanprefix=2001:db8::/64&suffix=::5,::6",
                None,
                NoAddress::Suffix,
            ),
            ("ip6lanprefix=2001:db8::/64", None, NoAddress::Half),
            ("myip=&ip6lanprefix=2001:db8::/64", None, NoAddress::Half),
            ("suffix=::5&myipv6=2001:db8::1", None, NoAddress::Half),
            (
                "ip6lanprefix=&myipv6=2001:db8::1",
                Some("::5"),
                NoAddress::Half,
            ),
        ] {
            assert!(!why.may_pass());
            assert_eq!(said(query, stored), Err(why), "{query}");
        }
    }

    #[test]
    fn what_the_operator_can_put_right_may_pass() {
        let implausible = |ip: &str, what| NoAddress::Implausible(ip.parse().unwrap(), what);
        let unknown = |name: &str| NoAddress::Unknown(name.to_owned());
        for (query, why) in [
            (
                "myip=127.0.0.1",
                implausible("127.0.0.1", "a loopback address"),
            ),
            ("myip=::1", implausible("::1", "a loopback address")),
            (
                "myip=169.254.1.1",
                implausible("169.254.1.1", "a link-local address"),
            ),
            (
                "myip=fe80::1",
                implausible("fe80::1", "a link-local address"),
            ),
            (
                "myip=nonsense,fe80::1",
                implausible("fe80::1", "a link-local address"),
            ),
            (
                "myip=fe80::1,nonsense",
                implausible("fe80::1", "a link-local address"),
            ),
            ("wanip=198.51.100.7", unknown("wanip")),
            ("WanIP=198.51.100.7", unknown("wanip")),
            ("myip=&dnsto=198.51.100.7", unknown("dnsto")),
            ("myip=nonsense&dnsto=2001:db8::1", unknown("dnsto")),
        ] {
            assert!(why.may_pass());
            assert_eq!(said(query, None), Err(why), "{query}");
        }
        let mut params = Params::default();
        params.add(b"hostname=nas");
        let unnamed = NoCallerAddress::Unnamed("127.0.0.1".parse().unwrap());
        let read = UpdateRequest::read(&params, || Err(unnamed));
        assert_eq!(read, Err(NoAddress::Caller(unnamed)));
        params.add(b"myip=192.0.2.1");
        assert!(UpdateRequest::read(&params, || Err(unnamed)).is_ok());
    }

    #[test]
    fn hostnames_come_in_order_and_empty_ones_are_none() {
        let mut params = Params::default();
        params.add(b"hostname=b,a,,%20c&myip=&hostname=d");
        params.add(b"hostname=e");
        assert_eq!(params.hostnames(), ["b", "a", "c", "d", "e"]);
        assert!(Params::default().hostnames().is_empty());
    }
}
