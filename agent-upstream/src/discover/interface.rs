//! Lists the addresses of a local interface.

use std::io;
use std::net::IpAddr;

use silo_shared::silo::Family;
use silo_shared::stay::{LocalAddress, local_addresses};
use thiserror::Error;

use super::ipv6_table;
use super::select::{Candidate, Flags};
use crate::source::InterfaceSource;

/// Why an interface has no usable addresses.
#[derive(Debug, Error)]
pub(crate) enum InterfaceError {
    /// The interfaces can't be listed.
    #[error("cannot list the network interfaces: {0}")]
    List(io::Error),
    /// It is unknown which addresses are temporary or deprecated.
    #[error("cannot read the state of the IPv6 addresses: {0}")]
    Flags(io::Error),
    /// No such interface, or one that is down.
    #[error("no interface {name} with an address; interfaces with addresses: {others}")]
    Missing {
        /// The configured interface.
        name: String,
        /// The names of the others.
        others: String,
    },
}

/// The addresses of an interface.
#[derive(Debug)]
pub(super) struct Listed {
    /// Its addresses of the requested families, in the system's order.
    pub(super) candidates: Vec<Candidate>,
    /// Whether it can carry traffic.
    pub(super) is_up: bool,
}

/// The addresses of an interface.
pub(super) fn find(source: &InterfaceSource) -> Result<Listed, InterfaceError> {
    let all = if_addrs::get_if_addrs().map_err(InterfaceError::List)?;
    let mine: Vec<&if_addrs::Interface> = all
        .iter()
        .filter(|listed| is_named(&listed.name, &source.name))
        .collect();
    if mine.is_empty() {
        let mut names: Vec<&str> = all.iter().map(|listed| listed.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        return Err(InterfaceError::Missing {
            name: source.name.clone(),
            others: names.join(", "),
        });
    }
    let is_up = mine.iter().any(|listed| listed.is_oper_up());
    let mut table = None;
    let candidates = mine
        .into_iter()
        .filter(|listed| source.family.include(Family::of(listed.ip())))
        .map(|listed| match listed.ip() {
            IpAddr::V4(_) => Ok(Candidate::from(listed.ip())),
            IpAddr::V6(v6) => {
                let table = match &mut table {
                    Some(table) => table,
                    None => table.insert(ipv6_table::read().map_err(InterfaceError::Flags)?),
                };
                let entry = table.iter().find(|entry| {
                    entry.ip == v6 && listed.index.is_none_or(|index| index == entry.interface)
                });
                // An address that appeared between the two calls: the next run has its flags.
                let unknown = Flags {
                    unproven: true,
                    ..Flags::default()
                };
                let of_family = Candidate::from(listed.ip());
                Ok(entry.map_or(
                    Candidate {
                        flags: unknown,
                        ..of_family
                    },
                    |entry| Candidate {
                        flags: entry.flags,
                        preferred_seconds: entry.preferred_seconds,
                        ..of_family
                    },
                ))
            }
        })
        .collect::<Result<_, InterfaceError>>()?;
    Ok(Listed { candidates, is_up })
}

/// An address of this machine, with what decides whether it is used. Not its lifetime, which routers renew all the time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct OwnAddress {
    address: LocalAddress,
    /// `None`: IPv4, or unknown.
    flags: Option<Flags>,
}

/// The addresses of this machine from which it may reach another one, sorted; `None` if the system returns an error. Not
/// those that are not usable yet: no connection uses them.
pub(crate) fn own_addresses() -> Option<Vec<OwnAddress>> {
    let table = ipv6_table::read().unwrap_or_default();
    let flags = |ip: IpAddr| Some(table.iter().find(|entry| IpAddr::V6(entry.ip) == ip)?.flags);
    let own = local_addresses()?.into_iter().map(|address| OwnAddress {
        flags: flags(address.ip),
        address,
    });
    let is_usable = |own: &OwnAddress| !own.flags.is_some_and(|flags| flags.unproven);
    Some(own.filter(is_usable).collect())
}

/// Linux lists an IPv4 address with a label (`eth0:1`) under that label.
fn is_named(listed: &str, wanted: &str) -> bool {
    listed == wanted
        || listed
            .split_once(':')
            .is_some_and(|(name, _)| name == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_belongs_to_its_interface() {
        for (listed, wanted, named) in [
            ("eth0", "eth0", true),
            ("eth0:1", "eth0", true),
            ("eth0:1", "eth0:1", true),
            ("eth0", "eth0:1", false),
            ("eth01", "eth0", false),
        ] {
            assert_eq!(is_named(listed, wanted), named, "{listed} {wanted}");
        }
    }

    #[test]
    fn a_missing_interface_is_named() {
        let source = InterfaceSource {
            name: "no such interface".to_owned(),
            ..InterfaceSource::default()
        };
        let error = find(&source).unwrap_err().to_string();
        assert!(error.contains("no such interface"), "{error}");
    }
}
