//! The place of a record at Plesk: a label in a zone.

use std::fmt;

use silo_shared::silo::{Hostname, InvalidHostname};
use thiserror::Error;

/// A name inside a Plesk zone. The zone's own name has the empty label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ZoneName {
    zone: Hostname,
    name: Hostname,
}

/// Why a zone and a label are invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidZoneName {
    /// The zone is not a hostname.
    #[error("zone: {0}")]
    Zone(InvalidHostname),
    /// Label and zone together are not a hostname.
    #[error("label: {0}")]
    Label(InvalidHostname),
    /// A hostname, but not in stored form, such as with upper case.
    #[error("{0}: not in canonical form (lower case, no trailing dot, no Unicode)")]
    Form(&'static str),
}

impl ZoneName {
    /// The place of a record. The zone is appended to a single label; a name inside the zone is
    /// used as is. Other names are not for this zone, and the error says so.
    pub fn of_record(hostname: &Hostname, zone: &Hostname) -> Result<Self, String> {
        let name = if label_in(hostname, zone).is_some() {
            hostname.clone()
        } else if hostname.is_single_label() {
            Hostname::parse(&format!("{hostname}.{zone}"))
                .map_err(|error| format!("{hostname}.{zone}: {error}"))?
        } else {
            return Err(format!("{hostname} is not in the zone {zone}"));
        };
        Ok(Self {
            zone: zone.clone(),
            name,
        })
    }

    /// Parses a zone and a label, both in the form that [`ZoneName::zone`] and [`ZoneName::label`] give.
    pub fn parse(zone: &str, label: &str) -> Result<Self, InvalidZoneName> {
        let parsed_zone = Hostname::parse(zone).map_err(InvalidZoneName::Zone)?;
        if parsed_zone.as_str() != zone {
            return Err(InvalidZoneName::Form("zone"));
        }
        let name = match label {
            "" => parsed_zone.clone(),
            label => {
                let text = format!("{label}.{zone}");
                let name = Hostname::parse(&text).map_err(InvalidZoneName::Label)?;
                if name.as_str() != text {
                    return Err(InvalidZoneName::Form("label"));
                }
                name
            }
        };
        Ok(Self {
            zone: parsed_zone,
            name,
        })
    }

    /// The zone; Plesk calls it a domain.
    pub fn zone(&self) -> &Hostname {
        &self.zone
    }

    /// The whole name.
    pub fn name(&self) -> &Hostname {
        &self.name
    }

    /// The part before the zone, without the separating dot: the argument of `-a`. Empty for the
    /// zone's own name. Never begins with a hyphen.
    pub fn label(&self) -> &str {
        label_in(&self.name, &self.zone).unwrap_or_default()
    }
}

impl fmt::Display for ZoneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)
    }
}

/// The label of a name, if it is in the zone.
fn label_in<'a>(name: &'a Hostname, zone: &Hostname) -> Option<&'a str> {
    match name.as_str().strip_suffix(zone.as_str())? {
        "" => Some(""),
        rest => rest.strip_suffix('.'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Hostname {
        Hostname::parse(text).unwrap()
    }

    #[test]
    fn a_record_has_its_place_in_the_zone_or_none() {
        for (hostname, name, label) in [
            ("db", "db.example.com", "db"),
            ("db.example.com", "db.example.com", "db"),
            ("a.b.example.com", "a.b.example.com", "a.b"),
            ("example.com", "example.com", ""),
            ("_x", "_x.example.com", "_x"),
        ] {
            let zone_name = ZoneName::of_record(&host(hostname), &host("example.com")).unwrap();
            assert_eq!(
                (zone_name.name().as_str(), zone_name.label()),
                (name, label)
            );
            assert_eq!(ZoneName::parse("example.com", label), Ok(zone_name));
        }
        for other in [
            "db.example.org",
            "notexample.com",
            "db.notexample.com",
            "com.example",
        ] {
            let error = ZoneName::of_record(&host(other), &host("example.com")).unwrap_err();
            assert_eq!(error, format!("{other} is not in the zone example.com"));
        }
        let long = "a".repeat(63);
        let zone = host(&[long.as_str(); 3].join("."));
        let error = ZoneName::of_record(&host(&long), &zone).unwrap_err();
        assert!(error.ends_with("at most 253 characters"), "{error}");
    }

    #[test]
    fn only_the_stored_form_is_parsed() {
        for (zone, label, why) in [
            ("", "db", "zone: a hostname must not be empty"),
            ("Example.com", "db", "zone: not in canonical form"),
            ("example.com.", "db", "zone: not in canonical form"),
            ("example.com", "DB", "label: not in canonical form"),
            (
                "example.com",
                ".",
                "label: a hostname must not contain an empty label",
            ),
            (
                "example.com",
                "db.",
                "label: a hostname must not contain an empty label",
            ),
            (
                "example.com",
                "-ip",
                "label: a hostname's labels must not begin or end",
            ),
            (
                "--info",
                "db",
                "zone: a hostname's labels must not begin or end",
            ),
            (
                "example.com",
                "a;reboot",
                "label: a hostname's labels consist of",
            ),
            (
                "example.com",
                "$(id)",
                "label: a hostname's labels consist of",
            ),
            ("example.com", "*", "label: a hostname's labels consist of"),
            (
                "example.com",
                "a b",
                "label: a hostname's labels consist of",
            ),
            ("example.com", "dä", "label: not in canonical form"),
        ] {
            let error = ZoneName::parse(zone, label).unwrap_err().to_string();
            assert!(error.starts_with(why), "{zone:?} {label:?}: {error}");
        }
    }
}
