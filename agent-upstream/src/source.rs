//! The sources of this machine's addresses: the setting `addresses`, as text, as a YAML mapping, or as a list of both.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use silo_shared::config::deserialize_text;
use silo_shared::silo::{Family, check_address};
use url::Url;

/// The sources of a record, at least one, in the order in which they are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sources(Vec<AddressSource>);

impl Sources {
    /// In their order.
    pub(crate) fn iter(&self) -> std::slice::Iter<'_, AddressSource> {
        self.0.iter()
    }

    /// The source, if it is the only one.
    pub(crate) fn only(&self) -> Option<&AddressSource> {
        match self.0.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }

    /// Whether this machine alone knows the addresses: no other machine is asked for them, and no name is looked up.
    pub(crate) fn are_local(&self) -> bool {
        let is_local = |source: &AddressSource| {
            matches!(
                source,
                AddressSource::Route(Some(_)) | AddressSource::Interface(_)
            )
        };
        self.iter().all(is_local)
    }

    /// Whether this source is one of them.
    pub(crate) fn contain(&self, source: &AddressSource) -> bool {
        self.0.contains(source)
    }
}

impl Default for Sources {
    fn default() -> Self {
        AddressSource::default().into()
    }
}

impl From<AddressSource> for Sources {
    fn from(source: AddressSource) -> Self {
        Self(vec![source])
    }
}

impl fmt::Display for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for source in &self.0 {
            write!(f, "{separator}{source}")?;
            separator = ", else ";
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Sources {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SourcesVisitor)
    }
}

struct SourcesVisitor;

impl<'de> Visitor<'de> for SourcesVisitor {
    type Value = Sources;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SourceVisitor.expecting(f)?;
        f.write_str(", or a list of these")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Sources, E> {
        SourceVisitor.visit_str(text).map(Sources::from)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Sources, A::Error> {
        SourceVisitor.visit_map(map).map(Sources::from)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Sources, A::Error> {
        let mut sources = Vec::new();
        while let Some(source) = list.next_element::<AddressSource>()? {
            if sources.contains(&source) {
                return Err(de::Error::custom(format!("{source} is listed twice")));
            }
            sources.push(source);
        }
        if sources.is_empty() {
            return Err(de::Error::custom(
                "the list is empty: name at least one source",
            ));
        }
        Ok(Sources(sources))
    }
}

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
    /// Web pages that show the caller's address, asked in order.
    Web(Vec<WebPage>),
}

impl AddressSource {
    /// Whether anyone on the path can forge the answer without being noticed, apart from the hub's, which can be signed.
    pub(crate) fn is_forgeable(&self) -> bool {
        match self {
            Self::Web(pages) => pages.iter().any(|page| page.0.scheme() == "http"),
            Self::Hub | Self::Route(_) | Self::Interface(_) | Self::Command(_) => false,
        }
    }
}

/// The URL of a page that shows the caller's address. Path and query may contain a password: they are not printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct WebPage(Url);

impl WebPage {
    /// The whole URL.
    pub(crate) fn url(&self) -> &Url {
        &self.0
    }
}

impl FromStr for WebPage {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = Url::parse(text).map_err(|_| "not a URL, such as https://ip.example.net/")?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(
                "the URL must begin with https:// (or http:// with `within`) and name a host",
            );
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("a URL with a user or password is not accepted");
        }
        Ok(Self(url))
    }
}

impl fmt::Display for WebPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.0.host_str().unwrap_or_default();
        write!(f, "{}://{host}", self.0.scheme())?;
        match self.0.port() {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for WebPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl<'de> Deserialize<'de> for WebPage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_text(deserializer, Self::from_str)
    }
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
            ("web", _) => Err(
                "a web page can only be set in the configuration file: `web: [https://…]`".into(),
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
            Self::Web(pages) => {
                f.write_str("web")?;
                pages.iter().try_for_each(|page| write!(f, " {page}"))
            }
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
            "`hub`, `route`, `route:ADDRESS`, `interface:NAME`, or a mapping with `interface`, `command` or `web`",
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
            web: Option<Vec<WebPage>>,
        }
        let mapping = Mapping::deserialize(MapAccessDeserializer::new(map))?;
        match (mapping.interface, mapping.command, mapping.web) {
            (Some(interface), None, None) => Ok(AddressSource::Interface(interface)),
            (None, Some(argv), None) if argv.first().is_some_and(|program| !program.is_empty()) => {
                Ok(AddressSource::Command(argv))
            }
            (None, Some(_), None) => Err(de::Error::custom("`command` names no program")),
            (None, None, Some(pages)) if !pages.is_empty() => Ok(AddressSource::Web(pages)),
            (None, None, Some(_)) => Err(de::Error::custom("`web` names no URL")),
            _ => Err(de::Error::custom(
                "give one of `interface`, `command` and `web`",
            )),
        }
    }
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
