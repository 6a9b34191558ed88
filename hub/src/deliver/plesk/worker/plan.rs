//! Computes which addresses to remove from and add to Plesk. Pure.

use std::net::IpAddr;

use silo_shared::silo::{Addresses, Family};
use thiserror::Error;

use super::listing::{Shown, ShownAddress};

/// The changes that bring a name to the wanted state. Removal comes first, as Plesk keeps several
/// addresses per name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Addresses to remove.
    pub(super) del: Vec<ShownAddress>,
    /// Addresses to add.
    pub(super) add: Vec<IpAddr>,
}

/// Why a name requires manual action.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum Refusal {
    /// Plesk does not have the name, but it must exist.
    #[error(
        "Plesk does not have this name, and --must-exist requires it: add it in Plesk, with any address"
    )]
    Missing,
    /// The name is an alias.
    #[error("the name has a CNAME and so can't have addresses")]
    Alias,
    /// A line of the listing could not be parsed, so the argument for `--del` is unknown.
    #[error("Plesk shows an address that can't be parsed: {0}")]
    Unreadable(String),
}

impl Plan {
    /// Compares the records of a name (`None`: it does not exist) with the wanted addresses.
    ///
    /// Of a wanted family, all other addresses are removed; of an unwanted one, only those in `ours`.
    pub(super) fn make(
        shown: Option<&Shown>,
        wanted: &Addresses,
        ours: &[IpAddr],
        may_be_missing: bool,
    ) -> Result<Self, Refusal> {
        let Some(shown) = shown else {
            return if may_be_missing || wanted.is_empty() {
                Ok(Self {
                    del: Vec::new(),
                    add: wanted.iter().collect(),
                })
            } else {
                Err(Refusal::Missing)
            };
        };
        if let Some(line) = &shown.unreadable {
            return Err(Refusal::Unreadable(line.clone()));
        }
        if shown.is_alias && !wanted.is_empty() {
            return Err(Refusal::Alias);
        }
        let goes = |address: &&ShownAddress| match wanted.get(Family::of(address.ip)) {
            Some(ip) => address.ip != ip,
            None => ours.contains(&address.ip),
        };
        Ok(Self {
            del: shown.addresses.iter().filter(goes).cloned().collect(),
            add: wanted.iter().filter(|ip| !shown.has(*ip)).collect(),
        })
    }

    /// Whether there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        self.del.is_empty() && self.add.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(texts: &str) -> Vec<IpAddr> {
        texts
            .split_whitespace()
            .map(|ip| ip.parse().unwrap())
            .collect()
    }

    fn shown(texts: &str) -> Shown {
        let address = |ip: IpAddr| ShownAddress {
            ip,
            text: ip.to_string(),
        };
        Shown {
            addresses: ips(texts).into_iter().map(address).collect(),
            ..Shown::default()
        }
    }

    #[test]
    fn plans_remove_and_add_the_expected_addresses() {
        for (there, wanted, ours, del, add) in [
            ("10.0.0.5", "10.0.0.6", "", "10.0.0.5", "10.0.0.6"),
            ("10.0.0.6", "10.0.0.6", "", "", ""),
            (
                "10.0.0.5 10.0.0.6 10.0.0.7",
                "10.0.0.6",
                "",
                "10.0.0.5 10.0.0.7",
                "",
            ),
            (
                "10.0.0.5",
                "10.0.0.6 fd00::6",
                "",
                "10.0.0.5",
                "10.0.0.6 fd00::6",
            ),
            // Addresses of an unwanted family are removed only if they are ours.
            ("10.0.0.5 fd00::5", "10.0.0.6", "", "10.0.0.5", "10.0.0.6"),
            (
                "10.0.0.5 fd00::5",
                "10.0.0.6",
                "fd00::5",
                "10.0.0.5 fd00::5",
                "10.0.0.6",
            ),
            ("10.0.0.5 fd00::5", "", "10.0.0.5", "10.0.0.5", ""),
            ("10.0.0.5", "", "10.0.0.9", "", ""),
            ("", "10.0.0.6", "", "", "10.0.0.6"),
        ] {
            let wanted: Addresses = ips(wanted).into_iter().collect();
            let plan = Plan::make(Some(&shown(there)), &wanted, &ips(ours), false).unwrap();
            let gone: Vec<IpAddr> = plan.del.iter().map(|address| address.ip).collect();
            assert_eq!(
                (gone, plan.add.clone()),
                (ips(del), ips(add)),
                "{there} → {wanted}"
            );
            assert_eq!(plan.is_empty(), del.is_empty() && add.is_empty());
        }
    }

    #[test]
    fn a_name_that_is_not_there_must_be_allowed() {
        let wanted: Addresses = ips("10.0.0.6").into_iter().collect();
        let make = |wanted, missing| Plan::make(None, wanted, &[], missing);
        assert_eq!(make(&wanted, false), Err(Refusal::Missing));
        assert_eq!(make(&wanted, true).unwrap().add, ips("10.0.0.6"));
        assert!(make(&Addresses::default(), false).unwrap().is_empty());
    }

    #[test]
    fn nothing_is_added_to_an_alias_or_an_unparsed_address() {
        let wanted: Addresses = ips("10.0.0.6").into_iter().collect();
        let alias = Shown {
            is_alias: true,
            ..Shown::default()
        };
        let make = |shown, wanted| Plan::make(Some(shown), wanted, &[], true);
        assert_eq!(make(&alias, &wanted), Err(Refusal::Alias));
        let none = Addresses::default();
        assert!(make(&alias, &none).unwrap().is_empty());
        let odd = Shown {
            unreadable: Some("db A ?".to_owned()),
            ..Shown::default()
        };
        let refusal = make(&odd, &wanted).unwrap_err();
        assert_eq!(refusal, Refusal::Unreadable("db A ?".to_owned()));
    }
}
