//! Whether this machine's addresses have changed, so that connections may have to be made again.

use std::net::IpAddr;

/// An address of this machine from which it may reach a hub on another machine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LocalAddress {
    /// The name of its interface.
    pub interface: String,
    /// The address.
    pub ip: IpAddr,
    /// Whether its interface is known to be up.
    pub is_up: bool,
}

/// The addresses from which this machine may reach another one, sorted; `None` if the system returns an error.
///
/// Without loopback, and without link-local IPv6 addresses: no connection uses them, since the URL of a hub has no zone
/// (RFC 6874), and they come and go with each container and cable.
pub fn local_addresses() -> Option<Vec<LocalAddress>> {
    let all = if_addrs::get_if_addrs()
        .inspect_err(|error| tracing::debug!("cannot list this machine's addresses: {error}"))
        .ok()?;
    let mut found: Vec<LocalAddress> = all
        .iter()
        .map(|listed| LocalAddress {
            interface: listed.name.clone(),
            ip: listed.ip(),
            is_up: listed.is_oper_up(),
        })
        .filter(|address| reaches_others(address.ip))
        .collect();
    found.sort();
    Some(found)
}

/// Whether a connection to another machine may use this local address.
fn reaches_others(ip: IpAddr) -> bool {
    let is_of_link = matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
    !ip.is_loopback() && !is_of_link
}

/// This machine's addresses at the last look.
#[derive(Debug)]
pub struct AddressLook(Option<Vec<LocalAddress>>);

impl AddressLook {
    /// The present ones.
    pub fn now() -> Self {
        Self(local_addresses())
    }

    /// Whether they differ from those at the last look.
    pub fn differs(&mut self) -> bool {
        self.compare(local_addresses())
    }

    fn compare(&mut self, now: Option<Vec<LocalAddress>>) -> bool {
        // What is unknown is no change.
        if now.is_none() {
            return false;
        }
        let differs = self.0.is_some() && self.0 != now;
        self.0 = now;
        differs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_connections_to_other_machines_count() {
        for (ip, expected) in [
            ("10.0.0.5", true),
            ("2001:db8::5", true),
            ("fd00::5", true),
            // Networks without a DHCP server have only these.
            ("169.254.7.7", true),
            ("fe80::1", false),
            ("127.0.0.1", false),
            ("::1", false),
        ] {
            assert_eq!(reaches_others(ip.parse().unwrap()), expected, "{ip}");
        }
    }

    #[test]
    fn a_failed_look_is_no_change() {
        let one = |ip: &str, is_up| {
            Some(vec![LocalAddress {
                interface: "eth0".to_owned(),
                ip: ip.parse().unwrap(),
                is_up,
            }])
        };
        let mut look = AddressLook(None);
        for (now, differs) in [
            (one("10.0.0.5", true), false),
            (one("10.0.0.5", true), false),
            (None, false),
            (one("10.0.0.5", true), false),
            (one("10.0.0.5", false), true),
            (one("10.0.0.6", false), true),
            (Some(Vec::new()), true),
        ] {
            assert_eq!(look.compare(now.clone()), differs, "{now:?}");
        }
    }
}
