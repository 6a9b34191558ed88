//! What the system says of its IPv6 addresses: temporary, deprecated, unproven.
//!
//! Linux has it in a file; elsewhere `netdev` asks the system, which would cost Linux a netlink stack.

use std::collections::HashMap;
use std::io;
use std::net::Ipv6Addr;

use super::select::Flags;

/// Every IPv6 address of this machine with its flags.
#[cfg(target_os = "linux")]
pub(super) fn read() -> io::Result<HashMap<Ipv6Addr, Flags>> {
    parse(&std::fs::read_to_string("/proc/net/if_inet6")?)
        .ok_or_else(|| io::Error::other("/proc/net/if_inet6 is of an unknown form"))
}

/// Every IPv6 address of this machine with its flags.
#[cfg(not(target_os = "linux"))]
pub(super) fn read() -> io::Result<HashMap<Ipv6Addr, Flags>> {
    let mut all = HashMap::new();
    for interface in netdev::get_interfaces() {
        for (network, flags) in interface.ipv6.iter().zip(&interface.ipv6_addr_flags) {
            let flags = Flags {
                temporary: flags.temporary,
                deprecated: flags.deprecated,
                unproven: flags.tentative || flags.duplicated,
            };
            all.insert(network.addr(), flags);
        }
    }
    Ok(all)
}

/// Six columns a line: the address (32 hexadecimal digits), interface index, prefix length, scope and
/// flags in hexadecimal, and the interface (proc(5)). The flags are `IFA_F_*` of `linux/if_addr.h`.
#[cfg(any(target_os = "linux", test))]
fn parse(text: &str) -> Option<HashMap<Ipv6Addr, Flags>> {
    const TEMPORARY: u32 = 0x01;
    const DAD_FAILED: u32 = 0x08;
    const DEPRECATED: u32 = 0x20;
    const TENTATIVE: u32 = 0x40;
    text.lines()
        .map(|line| {
            let mut columns = line.split_ascii_whitespace();
            let address = columns.next().filter(|digits| digits.len() == 32)?;
            let address = Ipv6Addr::from_bits(u128::from_str_radix(address, 16).ok()?);
            let flags = u32::from_str_radix(columns.nth(3)?, 16).ok()?;
            let flags = Flags {
                temporary: flags & TEMPORARY != 0,
                deprecated: flags & DEPRECATED != 0,
                unproven: flags & (TENTATIVE | DAD_FAILED) != 0,
            };
            Some((address, flags))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_from_the_kernels_table() {
        let all = parse(
            "20010db8000000000000000000000005 02 40 00 80     eth0\n\
             20010db8000000000000000000000006 02 40 00 01     eth0\n\
             20010db8000000000000000000000007 02 40 00 21     eth0\n\
             20010db8000000000000000000000008 02 40 00 48     eth0\n\
             00000000000000000000000000000001 01 80 10 80       lo\n",
        )
        .unwrap();
        for (ip, temporary, deprecated, unproven) in [
            ("2001:db8::5", false, false, false),
            ("2001:db8::6", true, false, false),
            ("2001:db8::7", true, true, false),
            ("2001:db8::8", false, false, true),
            ("::1", false, false, false),
        ] {
            let expected = Flags {
                temporary,
                deprecated,
                unproven,
            };
            assert_eq!(all[&ip.parse::<Ipv6Addr>().unwrap()], expected, "{ip}");
        }
        assert_eq!(parse("").map(|all| all.len()), Some(0));
        for wrong in [
            "x",
            "2001:db8::5 02 40 00 80 eth0",
            "20010db8000000000000000000000005 02",
        ] {
            assert!(parse(wrong).is_none(), "{wrong}");
        }
    }
}
