//! Lists the addresses of a local interface.

use std::io;
use std::net::IpAddr;

use silo_shared::silo::Family;
use thiserror::Error;

use super::ipv6_flags;
use super::select::{Candidate, Flags};
use crate::source::InterfaceSource;

/// Why an interface gives no addresses.
#[derive(Debug, Error)]
pub(crate) enum InterfaceError {
    /// The system does not tell.
    #[error("cannot list the network interfaces: {0}")]
    List(io::Error),
    /// The system does not tell which addresses are temporary or deprecated.
    #[error("cannot read the state of the IPv6 addresses: {0}")]
    Flags(io::Error),
    /// No such interface, or one that is down.
    #[error("there is no interface {name} with an address; those with one are: {others}")]
    Missing {
        /// The interface looked for.
        name: String,
        /// The names of the others.
        others: String,
    },
}

/// The addresses of an interface, in the system's order, of the families asked for.
pub(super) fn find(source: &InterfaceSource) -> Result<Vec<Candidate>, InterfaceError> {
    let all = if_addrs::get_if_addrs().map_err(InterfaceError::List)?;
    let mine: Vec<IpAddr> = all
        .iter()
        .filter(|listed| is_named(&listed.name, &source.name))
        .map(if_addrs::Interface::ip)
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
    let mine = mine
        .into_iter()
        .filter(|ip| source.family.include(Family::of(*ip)));
    let mut flags = None;
    mine.map(|ip| {
        let flags = match ip {
            IpAddr::V4(_) => Flags::default(),
            IpAddr::V6(v6) => {
                let all = match &mut flags {
                    Some(all) => all,
                    None => flags.insert(ipv6_flags::read().map_err(InterfaceError::Flags)?),
                };
                // An address that came between the two looks: the next run knows more of it.
                let unknown = Flags {
                    unproven: true,
                    ..Flags::default()
                };
                all.get(&v6).copied().unwrap_or(unknown)
            }
        };
        Ok(Candidate { ip, flags })
    })
    .collect()
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
