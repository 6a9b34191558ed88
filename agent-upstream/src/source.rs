//! The source of this machine's addresses: the setting `addresses`, as text or as a YAML mapping.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use silo_shared::config::deserialize_text;
use silo_shared::silo::{Family, check_address};

/// The source of the addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum AddressSource {
    /// The address that the hub sees.
    #[default]
    Hub,
    /// The local address that the system would use towards the hub, or towards this address.
    Route(Option<IpAddr>),
    /// The addresses of a local interface.
    Interface(InterfaceSource),
    /// A program that prints one address per line: its path or name, then its arguments.
    Command(Vec<String>),
}

/// Which addresses of a local interface are used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InterfaceSource {
    /// The interface, such as `eth0`.
    #[serde(deserialize_with = "interface_name")]
    pub(crate) name: String,
    /// Which families to look for.
    #[serde(default)]
    pub(crate) family: Families,
    /// Whether temporary IPv6 addresses (RFC 8981) are used too, after the others.
    #[serde(default)]
    pub(crate) temporary: bool,
    /// Whether deprecated IPv6 addresses (RFC 4862) are used too, after the others.
    #[serde(default)]
    pub(crate) deprecated: bool,
    /// Whether link-local IPv6 addresses are used too, after the others.
    #[serde(default)]
    pub(crate) link_local: bool,
}

/// IPv4, IPv6 or both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Families {
    /// Both.
    #[default]
    Both,
    /// Only one.
    Only(Family),
}

impl Families {
    /// Whether this family is looked for.
    pub(crate) fn include(self, family: Family) -> bool {
        match self {
            Self::Both => true,
            Self::Only(only) => only == family,
        }
    }
}

impl<'de> Deserialize<'de> for Families {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_text(deserializer, |text| match text {
            "both" => Ok(Self::Both),
            "4" => Ok(Self::Only(Family::V4)),
            "6" => Ok(Self::Only(Family::V6)),
            _ => Err("expected 4, 6 or both"),
        })
    }
}

fn interface_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    deserialize_text(deserializer, |text| {
        if text.is_empty() {
            return Err("an interface needs a name, such as eth0");
        }
        Ok(text.to_owned())
    })
}

const FORMS: &str = "expected `hub`, `route`, `route:ADDRESS` or `interface:NAME`";

impl FromStr for AddressSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, rest) = match text.split_once(':') {
            Some((kind, rest)) => (kind, Some(rest)),
            None => (text, None),
        };
        match (kind, rest) {
            ("hub", None) => Ok(Self::Hub),
            ("route", None) => Ok(Self::Route(None)),
            ("route", Some(rest)) => {
                let address = rest
                    .parse()
                    .map_err(|_| "route:ADDRESS needs an IPv4 or IPv6 address")?;
                let address =
                    check_address(address).map_err(|error| format!("route:ADDRESS: {error}"))?;
                Ok(Self::Route(Some(address)))
            }
            ("interface", Some(name)) if !name.is_empty() => Ok(Self::Interface(InterfaceSource {
                name: name.to_owned(),
                ..InterfaceSource::default()
            })),
            ("interface", _) => Err("interface:NAME needs a name, such as interface:eth0".into()),
            ("command", _) => Err(
                "a command can only be set in the configuration file: `command: [program, argument]`"
                    .into(),
            ),
            _ => Err(FORMS.into()),
        }
    }
}

impl fmt::Display for AddressSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub => f.write_str("hub"),
            Self::Route(None) => f.write_str("route"),
            Self::Route(Some(address)) => write!(f, "route:{address}"),
            Self::Interface(interface) => write!(f, "interface:{}", interface.name),
            // The arguments may contain a password.
            Self::Command(argv) => write!(f, "command {}", argv.first().map_or("", String::as_str)),
        }
    }
}

impl<'de> Deserialize<'de> for AddressSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SourceVisitor)
    }
}

struct SourceVisitor;

impl<'de> Visitor<'de> for SourceVisitor {
    type Value = AddressSource;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "`hub`, `route`, `route:ADDRESS`, `interface:NAME`, or a mapping with `interface` or `command`",
        )
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<AddressSource, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<AddressSource, A::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Mapping {
            interface: Option<InterfaceSource>,
            command: Option<Vec<String>>,
        }
        let mapping = Mapping::deserialize(MapAccessDeserializer::new(map))?;
        match (mapping.interface, mapping.command) {
            (Some(interface), None) => Ok(AddressSource::Interface(interface)),
            (None, Some(argv)) if argv.first().is_some_and(|program| !program.is_empty()) => {
                Ok(AddressSource::Command(argv))
            }
            (None, Some(_)) => Err(de::Error::custom("`command` names no program")),
            _ => Err(de::Error::custom("give one of `interface` and `command`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use silo_shared::config::parse_yaml;

    use super::*;

    fn interface(name: &str) -> InterfaceSource {
        InterfaceSource {
            name: name.to_owned(),
            ..InterfaceSource::default()
        }
    }

    #[test]
    fn sources_have_a_text_form() {
        let address = |text: &str| Some(text.parse().unwrap());
        for (text, source) in [
            ("hub", AddressSource::Hub),
            ("route", AddressSource::Route(None)),
            ("route:10.0.0.1", AddressSource::Route(address("10.0.0.1"))),
            ("route:fd00::1", AddressSource::Route(address("fd00::1"))),
            (
                "interface:eth0",
                AddressSource::Interface(interface("eth0")),
            ),
            (
                "interface:eth0:1",
                AddressSource::Interface(interface("eth0:1")),
            ),
        ] {
            assert_eq!(text.parse(), Ok(source.clone()));
            assert_eq!(source.to_string(), text);
        }
        for wrong in [
            "",
            "Hub",
            "hub:",
            "route:",
            "route:hub.lan",
            "route:0.0.0.0",
            "route:ff02::1",
            "interface",
            "interface:",
            "command:ip",
            "eth0",
        ] {
            assert!(wrong.parse::<AddressSource>().is_err(), "{wrong:?}");
        }
    }

    #[derive(Debug, Deserialize)]
    struct File {
        addresses: AddressSource,
    }

    fn parse(text: &str) -> Result<AddressSource, String> {
        parse_yaml::<File>(Path::new("u.yaml"), text)
            .map(|file| file.addresses)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn sources_have_a_yaml_form() {
        let six = InterfaceSource {
            family: Families::Only(Family::V6),
            temporary: true,
            ..interface("eth0")
        };
        for (text, source) in [
            ("addresses: hub", AddressSource::Hub),
            (
                "addresses: interface:eth0",
                AddressSource::Interface(interface("eth0")),
            ),
            (
                "addresses:\n  interface: {name: eth0, family: 6, temporary: true}",
                AddressSource::Interface(six),
            ),
            (
                "addresses:\n  interface: {name: eth0, family: both}",
                AddressSource::Interface(interface("eth0")),
            ),
            (
                "addresses: {command: [ip, addr]}",
                AddressSource::Command(vec!["ip".to_owned(), "addr".to_owned()]),
            ),
        ] {
            assert_eq!(parse(text), Ok(source), "{text}");
        }
    }

    #[test]
    fn a_wrong_source_is_named_with_its_line() {
        for text in [
            "addresses: nowhere",
            "addresses: 5",
            "addresses: {}",
            "addresses: {command: []}",
            "addresses: {command: ip addr}",
            "addresses: {interface: {family: 4}}",
            "addresses: {interface: {name: eth0, family: 5}}",
            "addresses: {interface: {name: eth0, temp: true}}",
            "addresses: {interface: {name: eth0}, command: [ip]}",
        ] {
            let error = parse(&format!("# first\n{text}\n")).unwrap_err();
            assert!(
                error.contains("addresses") && error.contains("line 2"),
                "{error}"
            );
        }
    }
}
