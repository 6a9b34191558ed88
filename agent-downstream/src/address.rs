//! Addresses that no record should have: they name this machine, or no machine at all. Pure; `policy` calls it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why an address can't be another machine's; `None` when it can. Unspecified and multicast IPv6 addresses do not
/// come this far.
pub(crate) fn no_other_machine(ip: IpAddr) -> Option<&'static str> {
    match ip {
        IpAddr::V4(v4) => no_machine(v4),
        IpAddr::V6(v6) if v6.is_loopback() => Some("a loopback address"),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some("a link-local address"),
        // RFC 3879 section 4.
        IpAddr::V6(v6) if v6.segments()[0] & 0xffc0 == 0xfec0 => {
            Some("a site-local address (fec0::/10)")
        }
        IpAddr::V6(v6) => {
            let inner = embedded(v6).and_then(no_machine);
            inner.map(|_| "contains an IPv4 address that is not another machine's")
        }
    }
}

/// Why an IPv4 address can't be another machine's.
fn no_machine(v4: Ipv4Addr) -> Option<&'static str> {
    match v4.octets() {
        [127, ..] => Some("a loopback address"),
        // RFC 1122 section 3.2.1.3.
        [0, ..] => Some("not the address of a machine (0.0.0.0/8)"),
        [255, 255, 255, 255] => Some("the broadcast address"),
        [169, 254, ..] => Some("a link-local address"),
        [224..=239, ..] => Some("a multicast address"),
        // RFC 1112 section 4.
        [240..=255, ..] => Some("not the address of a machine (240.0.0.0/4)"),
        _ => None,
    }
}

/// The IPv4 address to which a translator or tunnel would take this one.
fn embedded(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let last = || {
        let [.., a, b, c, d] = v6.octets();
        Ipv4Addr::new(a, b, c, d)
    };
    match v6.segments() {
        // RFC 4291 section 2.5.5.1 (`::a.b.c.d`), RFC 7915 (`::ffff:0:a.b.c.d`), RFC 6052 and RFC 8215 (NAT64).
        [0, 0, 0, 0, 0, 0, _, _]
        | [0, 0, 0, 0, 0xffff, 0, _, _]
        | [0x64, 0xff9b, 0, 0, 0, 0, _, _]
        | [0x64, 0xff9b, 1, _, _, _, _, _] => Some(last()),
        // RFC 3056 (6to4).
        [0x2002, ..] => {
            let [_, _, a, b, c, d, ..] = v6.octets();
            Some(Ipv4Addr::new(a, b, c, d))
        }
        _ => None,
    }
}
