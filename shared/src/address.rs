//! Addresses that no record should hold: the machine itself, or no machine at all. Pure.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why an address can't be another machine's; shown as a noun phrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAnotherMachine {
    /// 0.0.0.0, `::`.
    Unspecified,
    /// 127.0.0.0/8, `::1`.
    Loopback,
    /// 0.0.0.0/8 (RFC 1122 section 3.2.1.3).
    ThisNetwork,
    /// 255.255.255.255.
    Broadcast,
    /// 169.254.0.0/16, `fe80::/10`.
    LinkLocal,
    /// 224.0.0.0/4, `ff00::/8`.
    Multicast,
    /// 240.0.0.0/4 (RFC 1112 section 4).
    Reserved,
    /// `fec0::/10` (RFC 3879 section 4).
    SiteLocal,
    /// An IPv6 address that a translator or tunnel maps to such an IPv4 address.
    Embedded,
}

impl NotAnotherMachine {
    /// Judges an address; `None` if it can be another machine's.
    ///
    /// An IPv6 address that a translator or tunnel maps to an IPv4 address is judged by the IPv4 address.
    pub fn of(ip: IpAddr) -> Option<Self> {
        match ip {
            IpAddr::V4(v4) => Self::of_v4(v4),
            IpAddr::V6(v6) if v6.is_unspecified() => Some(Self::Unspecified),
            IpAddr::V6(v6) if v6.is_loopback() => Some(Self::Loopback),
            IpAddr::V6(v6) if v6.is_multicast() => Some(Self::Multicast),
            IpAddr::V6(v6) if v6.is_unicast_link_local() => Some(Self::LinkLocal),
            IpAddr::V6(v6) if v6.segments()[0] & 0xffc0 == 0xfec0 => Some(Self::SiteLocal),
            IpAddr::V6(v6) => {
                let inner = embedded(v6).and_then(Self::of_v4);
                inner.map(|_| Self::Embedded)
            }
        }
    }

    fn of_v4(v4: Ipv4Addr) -> Option<Self> {
        match v4.octets() {
            [0, 0, 0, 0] => Some(Self::Unspecified),
            [127, ..] => Some(Self::Loopback),
            [0, ..] => Some(Self::ThisNetwork),
            [255, 255, 255, 255] => Some(Self::Broadcast),
            [169, 254, ..] => Some(Self::LinkLocal),
            [224..=239, ..] => Some(Self::Multicast),
            [240..=255, ..] => Some(Self::Reserved),
            _ => None,
        }
    }

    /// The noun phrase.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "the unspecified address",
            Self::Loopback => "a loopback address",
            Self::ThisNetwork => "not the address of a machine (0.0.0.0/8)",
            Self::Broadcast => "the broadcast address",
            Self::LinkLocal => "a link-local address",
            Self::Multicast => "a multicast address",
            Self::Reserved => "not the address of a machine (240.0.0.0/4)",
            Self::SiteLocal => "a site-local address (fec0::/10)",
            Self::Embedded => "an IPv6 form of an IPv4 address that is not another machine's",
        }
    }
}

impl fmt::Display for NotAnotherMachine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The noun phrase of [`NotAnotherMachine`] for an address; `None` if it can be another machine's.
pub fn not_another_machine(ip: IpAddr) -> Option<&'static str> {
    NotAnotherMachine::of(ip).map(NotAnotherMachine::as_str)
}

/// The IPv4 address that a translator or tunnel maps this one to.
fn embedded(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let octets = v6.octets();
    let at = |places: [usize; 4]| Ipv4Addr::from(places.map(|place| octets[place]));
    let last = at([12, 13, 14, 15]);
    match v6.segments() {
        // RFC 4291 section 2.5.5 (`::a.b.c.d`, `::ffff:a.b.c.d`), RFC 7915 (`::ffff:0:a.b.c.d`), RFC 6052 (NAT64).
        [0, 0, 0, 0, 0, 0 | 0xffff, _, _]
        | [0, 0, 0, 0, 0xffff, 0, _, _]
        | [0x64, 0xff9b, 0, 0, 0, 0, _, _] => Some(last),
        // RFC 8215: a network's own NAT64 prefix, of any length in RFC 6052 section 2.2. What follows the IPv4 address
        // is zero, and so is octet 8. The length follows from the address, since a machine's address does not begin
        // with zero.
        [0x64, 0xff9b, 1, ..] => {
            let is_zero_from = |place: usize| octets[8] == 0 && octets[place..] == [0; 16][place..];
            Some(if octets[6] != 0 && is_zero_from(11) {
                at([6, 7, 9, 10])
            } else if octets[7] != 0 && is_zero_from(12) {
                at([7, 9, 10, 11])
            } else if octets[9] != 0 && is_zero_from(13) {
                at([9, 10, 11, 12])
            } else {
                last
            })
        }
        // RFC 3056 (6to4).
        [0x2002, ..] => Some(at([2, 3, 4, 5])),
        // RFC 4380 section 4 (Teredo): the client's address, each bit inverted.
        [0x2001, 0, ..] => Some(Ipv4Addr::from_bits(!last.to_bits())),
        // RFC 5214 section 6.1 (ISATAP).
        [_, _, _, _, 0 | 0x200, 0x5efe, _, _] => Some(last),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_no_other_machine_are_recognised_in_each_form() {
        const EMBEDDED: Option<&str> =
            Some("an IPv6 form of an IPv4 address that is not another machine's");
        for (ip, expected) in [
            ("0.0.0.0", Some("the unspecified address")),
            ("::", Some("the unspecified address")),
            ("0.0.0.5", Some("not the address of a machine (0.0.0.0/8)")),
            ("127.0.0.1", Some("a loopback address")),
            ("127.255.255.254", Some("a loopback address")),
            ("::1", Some("a loopback address")),
            ("169.254.1.1", Some("a link-local address")),
            ("fe80::1", Some("a link-local address")),
            ("febf::1", Some("a link-local address")),
            ("fec0::1", Some("a site-local address (fec0::/10)")),
            ("224.0.0.1", Some("a multicast address")),
            ("ff02::1", Some("a multicast address")),
            (
                "240.0.0.1",
                Some("not the address of a machine (240.0.0.0/4)"),
            ),
            ("255.255.255.255", Some("the broadcast address")),
            ("10.0.0.5", None),
            ("100.64.0.1", None),
            ("198.51.100.1", None),
            ("223.255.255.254", None),
            ("fd00::5", None),
            ("2001:db8::1", None),
            // IPv4-compatible and IPv4-mapped addresses.
            ("::127.0.0.1", EMBEDDED),
            ("::2", EMBEDDED),
            ("::10.0.0.5", None),
            ("::ffff:127.0.0.1", EMBEDDED),
            ("::ffff:10.0.0.5", None),
            // RFC 7915.
            ("::ffff:0:7f00:1", EMBEDDED),
            ("::ffff:0:a00:5", None),
            // NAT64, well-known prefix.
            ("64:ff9b::7f00:1", EMBEDDED),
            ("64:ff9b::a9fe:a9fe", EMBEDDED),
            ("64:ff9b::e000:1", EMBEDDED),
            ("64:ff9b::a00:5", None),
            // NAT64, a network's own prefix of 96, 64, 56 and 48 bits.
            ("64:ff9b:1::7f00:1", EMBEDDED),
            ("64:ff9b:1:2:3:4:7f00:1", EMBEDDED),
            ("64:ff9b:1::a00:5", None),
            ("64:ff9b:1:2:3:4:a00:5", None),
            ("64:ff9b:1:2:7f:0:100:0", EMBEDDED),
            ("64:ff9b:1:2:a:0:500:0", None),
            ("64:ff9b:1:7f:0:1::", EMBEDDED),
            ("64:ff9b:1:7f:0:100::", EMBEDDED),
            ("64:ff9b:1:a:0:5::", None),
            ("64:ff9b:1:7f00:0:100::", EMBEDDED),
            ("64:ff9b:1:a00:0:500::", None),
            // 6to4, Teredo, ISATAP.
            ("2002:7f00:1::1", EMBEDDED),
            ("2002:a9fe:a9fe::", EMBEDDED),
            ("2002:a00:5::1", None),
            ("2001:0:c000:201::80ff:fffe", EMBEDDED),
            ("2001:0:c000:201::39cc:9bfe", None),
            ("2001:db8::5efe:127.0.0.1", EMBEDDED),
            ("2001:db8::200:5efe:127.0.0.1", EMBEDDED),
            ("2001:db8::200:5efe:10.0.0.5", None),
        ] {
            assert_eq!(not_another_machine(ip.parse().unwrap()), expected, "{ip}");
        }
    }
}
