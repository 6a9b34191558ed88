//! The configuration keys of an `rfc2136` sink.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use hickory_proto::rr::Name;
use serde::Deserialize;
use silo_shared::config::ConfigError;
use silo_shared::credential::Secret;
use silo_shared::silo::Hostname;

use super::key::{Key, KeySource, is_yet_to_come};
use crate::config::sinks::OwnKeys;

/// The default DNS port.
const DNS_PORT: u16 = 53;
/// Default TTL, in seconds.
const DEFAULT_TTL: u32 = 60;
/// Maximum TTL (RFC 2181, section 8).
const MAX_TTL: u32 = i32::MAX as u32;

/// The keys as read from the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    server: String,
    zone: String,
    ttl: Option<u32>,
    key: Option<KeyKeys>,
    key_file: Option<PathBuf>,
    #[serde(default)]
    adopt: bool,
    #[serde(default)]
    reverse: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyKeys {
    name: String,
    algorithm: String,
    secret_file: PathBuf,
}

/// The checked settings.
#[derive(Debug)]
pub(super) struct Settings {
    /// The server that receives the updates.
    pub(super) server: Server,
    /// The zone to update.
    pub(super) zone: Zone,
    /// The TTL, in seconds.
    pub(super) ttl: u32,
    /// The source of the signing key.
    pub(super) key: KeySource,
    /// Whether to take over existing addresses.
    pub(super) adopt: bool,
    /// The zones that get PTR records.
    pub(super) reverse: Vec<Zone>,
}

/// A server: address or name, and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    /// An address without brackets, or a host name.
    pub(super) host: String,
    /// The port, for both UDP and TCP.
    pub(super) port: u16,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl Server {
    /// Reads `address`, `address:port`, `[IPv6]:port`, `name` or `name:port`.
    fn parse(text: &str) -> Option<Self> {
        let of = |host: String, port| Some(Self { host, port });
        if let Ok(address) = text.parse::<SocketAddr>() {
            return of(address.ip().to_string(), address.port()).filter(|server| server.port != 0);
        }
        let bare = text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'));
        if let Ok(ip) = bare.unwrap_or(text).parse::<IpAddr>() {
            return of(ip.to_string(), DNS_PORT);
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().ok().filter(|port| *port != 0)?),
            None => (text, DNS_PORT),
        };
        let is_name = host == "localhost" || Hostname::parse(host).is_ok();
        is_name.then(|| of(host.to_owned(), port))?
    }
}

/// A zone's name.
#[derive(Clone, Debug)]
pub(super) struct Zone {
    /// As used in messages.
    pub(super) name: Name,
    /// In lower case, without the trailing dot.
    pub(super) text: Hostname,
}

impl Zone {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &dyn fmt::Display| format!("{text:?} is not a valid zone: {why}");
        let text = Hostname::parse(text).map_err(|error| wrong(&error))?;
        let name = dns_name(text.as_str()).map_err(|why| wrong(&why))?;
        Ok(Self { name, text })
    }

    /// Whether it is a reverse zone.
    fn is_reverse(&self) -> bool {
        let parents = [".in-addr.arpa", ".ip6.arpa"];
        parents.iter().any(|end| self.text.as_str().ends_with(end))
            && self.name.parse_arpa_name().is_ok()
    }

    /// The name of a record in the zone: the zone is appended to a single label; a name inside the
    /// zone is used as is.
    pub(super) fn name_for(&self, hostname: &Hostname) -> Result<String, String> {
        let (zone, name) = (&self.text, hostname.as_str());
        let name = if hostname.is_single_label() {
            format!("{name}.{zone}")
        } else if name
            .strip_suffix(zone.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        {
            name.to_owned()
        } else {
            return Err(format!("{name} is not in the zone {zone}"));
        };
        dns_name(&name).map(|_| name)
    }
}

/// A name for messages, from text without the trailing dot.
pub(super) fn dns_name(text: &str) -> Result<Name, String> {
    Name::from_ascii(format!("{text}.")).map_err(|_| format!("{text} is too long for a DNS name"))
}

impl Settings {
    /// Reads and checks the keys; also returns the secrets whose change counts as a changed
    /// setting. A key file is not one of them: its owner changes it independently.
    pub(super) fn read(keys: &OwnKeys) -> Result<(Self, Vec<Secret>), ConfigError> {
        let given: Keys = keys.parse()?;
        let wrong = |field: &str, why: String| keys.wrong(format!("{field}: {why}"));
        let server = Server::parse(&given.server).ok_or_else(|| {
            let why = format!(
                "{:?} is neither an address nor a host name, perhaps with a port",
                given.server
            );
            wrong("server", why)
        })?;
        let zone = Zone::parse(&given.zone).map_err(|why| wrong("zone", why))?;
        let ttl = given.ttl.unwrap_or(DEFAULT_TTL);
        if ttl > MAX_TTL {
            return Err(wrong("ttl", format!("at most {MAX_TTL} seconds")));
        }
        let mut reverse = Vec::with_capacity(given.reverse.len());
        for text in &given.reverse {
            let zone = Zone::parse(text).map_err(|why| wrong("reverse", why))?;
            if !zone.is_reverse() {
                let why =
                    format!("{text} is not a zone of whole labels under in-addr.arpa or ip6.arpa");
                return Err(wrong("reverse", why));
            }
            reverse.push(zone);
        }
        let mut secrets = Vec::new();
        let key = match (given.key, given.key_file) {
            (Some(key), None) => {
                let secret = keys.secret("key.secret_file", &key.secret_file)?;
                let key = Key::new(&key.name, &key.algorithm, &secret)
                    .map_err(|why| keys.wrong(format!("key.{why}")))?;
                secrets.push(secret);
                KeySource::Settings(key)
            }
            (None, Some(path)) => {
                let source = KeySource::File(keys.path(&path));
                if !is_yet_to_come(&keys.path(&path)) {
                    source.key().map_err(|why| wrong("key_file", why))?;
                }
                source
            }
            (Some(_), Some(_)) => {
                return Err(keys.wrong("key and key_file: only one of them can be used"));
            }
            (None, None) => return Err(keys.wrong("key or key_file is missing")),
        };
        let settings = Self {
            server,
            zone,
            ttl,
            key,
            adopt: given.adopt,
            reverse,
        };
        Ok((settings, secrets))
    }
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
