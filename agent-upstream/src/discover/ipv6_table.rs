//! The system's IPv6 addresses, each with interface, prefix, temporary or deprecated, and remaining lifetime.
//!
//! Linux provides this by netlink (rtnetlink(7), `RTM_GETADDR`): /proc/net/if_inet6 has no lifetimes. Elsewhere,
//! `netdev` provides it.

use std::io;
use std::net::Ipv6Addr;

use super::select::{FOREVER, Flags};

/// An IPv6 address of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The interface's number.
    pub(super) interface: u32,
    /// The address.
    pub(super) ip: Ipv6Addr,
    /// The length of its prefix in bits.
    pub(super) prefix_len: u8,
    /// The system's flags for it.
    pub(super) flags: Flags,
    /// For how many seconds it is still preferred (RFC 4862 section 5.5.4); [`FOREVER`]: unlimited.
    pub(super) preferred_seconds: u32,
}

/// Every IPv6 address of this machine.
#[cfg(target_os = "linux")]
pub(super) fn read() -> io::Result<Vec<Entry>> {
    /// A dump is repeated if something changed meanwhile.
    const ATTEMPTS: usize = 5;
    for _ in 0..ATTEMPTS {
        if let Some(entries) = linux::dump()? {
            return Ok(entries);
        }
    }
    Err(io::Error::other(
        "the addresses change faster than the kernel can list them",
    ))
}

/// Every IPv6 address of this machine.
#[cfg(not(target_os = "linux"))]
pub(super) fn read() -> io::Result<Vec<Entry>> {
    let mut all = Vec::new();
    for interface in netdev::get_interfaces() {
        for (network, flags) in interface.ipv6.iter().zip(&interface.ipv6_addr_flags) {
            all.push(Entry {
                interface: interface.index,
                ip: network.addr(),
                prefix_len: network.prefix_len(),
                flags: Flags {
                    temporary: flags.temporary,
                    deprecated: flags.deprecated,
                    unproven: flags.tentative || flags.duplicated,
                },
                preferred_seconds: FOREVER,
            });
        }
    }
    Ok(all)
}

/// The stable address to use instead of a temporary one: of the same interface and prefix, and the lowest of several,
/// so that the choice is stable. `None`: `ip` is not temporary, or there is no such address.
pub(super) fn stable_instead_of(ip: Ipv6Addr, all: &[Entry]) -> Option<Ipv6Addr> {
    /// The prefix of an address that is made from an advertised one (RFC 4291 section 2.5.1). Windows shows temporary
    /// addresses with 128 bits.
    const ADVERTISED: u8 = 64;
    let temporary = all
        .iter()
        .find(|entry| entry.ip == ip && entry.flags.temporary)?;
    let shift = 128 - u32::from(temporary.prefix_len.min(ADVERTISED));
    let prefix = |ip: Ipv6Addr| ip.to_bits().checked_shr(shift).unwrap_or(0);
    all.iter()
        .filter(|entry| entry.interface == temporary.interface)
        .filter(|entry| prefix(entry.ip) == prefix(ip))
        .filter(|entry| entry.flags == Flags::default())
        .map(|entry| entry.ip)
        .min()
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::net::IpAddr;
    use std::time::Duration;

    use netlink_packet_core::{
        NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
    };
    use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
    use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
    use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

    use super::{Entry, FOREVER, Flags};

    /// The kernel responds at once; this only limits the wait.
    const TIMEOUT: Duration = Duration::from_secs(5);

    /// Requests the list from the kernel; `None`: it changed meanwhile.
    pub(super) fn dump() -> io::Result<Option<Vec<Entry>>> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket2::SockRef::from(&socket).set_read_timeout(Some(TIMEOUT))?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        socket.send(&request(), 0)?;
        let mut entries = Vec::new();
        let mut is_whole = true;
        loop {
            let (answer, _) = socket.recv_from_full()?;
            let mut rest = answer.as_slice();
            while !rest.is_empty() {
                let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                    .map_err(io::Error::other)?;
                is_whole &= message.header.flags & NLM_F_DUMP_INTR == 0;
                match message.payload {
                    NetlinkPayload::Done(_) => return Ok(is_whole.then_some(entries)),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewAddress(address)) => {
                        entries.extend(entry(&address));
                    }
                    _ => {}
                }
                let length = usize::try_from(message.header.length).unwrap_or(usize::MAX);
                // Messages are aligned to four bytes (netlink(7)).
                let next = length.max(1).next_multiple_of(4);
                rest = rest.get(next..).unwrap_or_default();
            }
        }
    }

    fn request() -> Vec<u8> {
        let mut asked = AddressMessage::default();
        asked.header.family = AddressFamily::Inet6;
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        let payload = NetlinkPayload::from(RouteNetlinkMessage::GetAddress(asked));
        let mut message = NetlinkMessage::new(header, payload);
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        bytes
    }

    /// Parses an address from the kernel; `None`: it is not an IPv6 address.
    pub(super) fn entry(message: &AddressMessage) -> Option<Entry> {
        let (mut address, mut local) = (None, None);
        let mut flags = AddressFlags::from_bits_retain(message.header.flags.bits().into());
        let mut preferred_seconds = FOREVER;
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Address(IpAddr::V6(ip)) => address = Some(*ip),
                // For a point-to-point interface, whose `Address` is the other end.
                AddressAttribute::Local(IpAddr::V6(ip)) => local = Some(*ip),
                // All 32 bits; the header has only eight.
                AddressAttribute::Flags(all) => flags = *all,
                AddressAttribute::CacheInfo(info) => preferred_seconds = info.ifa_preferred,
                _ => {}
            }
        }
        Some(Entry {
            interface: message.header.index,
            ip: local.or(address)?,
            prefix_len: message.header.prefix_len,
            flags: Flags {
                // `IFA_F_TEMPORARY` has the same value as IPv4's `IFA_F_SECONDARY` (linux/if_addr.h).
                temporary: flags.contains(AddressFlags::Secondary),
                deprecated: flags.contains(AddressFlags::Deprecated),
                unproven: flags.intersects(AddressFlags::Tentative | AddressFlags::Dadfailed),
            },
            preferred_seconds,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(text: &str) -> Entry {
        let mut words = text.split(' ');
        let (ip, prefix_len) = words.next().unwrap().split_once('/').unwrap();
        let words: Vec<&str> = words.collect();
        let has = |word| words.contains(&word);
        Entry {
            interface: if has("eth1") { 2 } else { 1 },
            ip: ip.parse().unwrap(),
            prefix_len: prefix_len.parse().unwrap(),
            flags: Flags {
                temporary: has("temporary"),
                deprecated: has("deprecated"),
                unproven: has("unproven"),
            },
            preferred_seconds: FOREVER,
        }
    }

    #[test]
    fn a_temporary_address_gives_way_to_the_stable_one_of_its_prefix() {
        let temporary = "2001:db8::bad/64 temporary";
        for (others, expected) in [
            (&["2001:db8::5/64"][..], Some("2001:db8::5")),
            // From DHCPv6.
            (&["2001:db8::5/128"], Some("2001:db8::5")),
            (&["2001:db8::9/64", "2001:db8::5/64"], Some("2001:db8::5")),
            (
                &["2001:db8::5/64 deprecated", "2001:db8::9/64"],
                Some("2001:db8::9"),
            ),
            (&["2001:db8::5/64 unproven"], None),
            (&["2001:db8::5/64 temporary"], None),
            (&["2001:db8::5/64 eth1"], None),
            (&["2001:db8:1::5/64", "fd00::5/64", "fe80::5/64"], None),
            (&[], None),
        ] {
            let all: Vec<Entry> = others
                .iter()
                .chain([&temporary])
                .map(|t| entry(t))
                .collect();
            let ip = "2001:db8::bad".parse().unwrap();
            let found = stable_instead_of(ip, &all).map(|ip| ip.to_string());
            assert_eq!(found.as_deref(), expected, "{others:?}");
        }
        let all = [entry("2001:db8::7/64"), entry("2001:db8::5/64")];
        assert_eq!(
            stable_instead_of(all[0].ip, &all),
            None,
            "it is stable itself"
        );
        assert_eq!(stable_instead_of("::9".parse().unwrap(), &all), None);
        // As Windows shows them.
        let all = [
            entry("2001:db8::bad/128 temporary"),
            entry("2001:db8::5/64"),
        ];
        assert_eq!(stable_instead_of(all[0].ip, &all), Some(all[1].ip));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn kernel_address_entries_are_parsed() {
        use netlink_packet_core::Parseable;
        use netlink_packet_route::address::AddressMessage;

        let message = |header_flags: u8, flags: u32, preferred: u32| {
            let mut bytes = vec![10, 64, header_flags, 0];
            bytes.extend(7_u32.to_ne_bytes());
            let mut attribute = |kind: u16, value: &[u8]| {
                let length = u16::try_from(value.len() + 4).unwrap();
                bytes.extend(length.to_ne_bytes());
                bytes.extend(kind.to_ne_bytes());
                bytes.extend(value);
            };
            let ip: Ipv6Addr = "2001:db8::5".parse().unwrap();
            attribute(1, &ip.octets());
            let info: Vec<u8> = [preferred, preferred, 0, 0]
                .into_iter()
                .flat_map(u32::to_ne_bytes)
                .collect();
            attribute(6, &info);
            attribute(8, &flags.to_ne_bytes());
            linux::entry(&AddressMessage::parse(bytes.as_slice()).unwrap()).unwrap()
        };
        for (header_flags, flags, words) in [
            (0x80, 0x80, ""),
            (0, 0x900, ""),
            (0x01, 0x01, "temporary"),
            (0x21, 0x21, "temporary deprecated"),
            (0x48, 0x48, "unproven"),
        ] {
            let expected = Entry {
                interface: 7,
                preferred_seconds: 1800,
                ..entry(&format!("2001:db8::5/64 {words}"))
            };
            assert_eq!(message(header_flags, flags, 1800), expected, "{words}");
        }
        assert_eq!(message(0x80, 0x80, u32::MAX).preferred_seconds, FOREVER);
        assert!(read().is_ok());
    }
}
