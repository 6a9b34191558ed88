//! The configuration file of pyDDNS's clients (`client/config.yml`), read unchanged.
//!
//! Both agents call [`parse`] on the text of their configuration file first: a YAML mapping with the key `endpoint` is
//! a pyDDNS file. So users of pyDDNS can keep their files; the password becomes the token issued by the hub, sent as
//! Basic.

use std::path::Path;

use serde::{Deserialize, Deserializer};
use url::Url;

use crate::config::{ConfigError, deserialize_text, parse_yaml};
use crate::connection::{
    AuthMode, Authentication, Connection, ConnectionSettings, HubAddress, TokenFileMode,
    check_private, parse_hub_url, refuse_pins_over_http,
};
use crate::credential::{Credential, Secret};
use crate::silo::{Hostname, SiloId};

/// The contents of a pyDDNS file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PyddnsConfig {
    /// The silo (`silo_id`).
    pub silo: SiloId,
    /// The hostnames: those to report, or those to write to the hosts file. Empty if omitted.
    pub hostnames: Vec<Hostname>,
    /// How an upstream finds its address (`getIpFrom`).
    pub address_source: AddressSource,
    endpoint: Url,
    username: String,
    password: Secret,
    token_file_mode: Option<TokenFileMode>,
}

/// How a pyDDNS upstream finds its address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum AddressSource {
    /// The address that the server sees.
    #[default]
    ServerApi,
    /// The local address that the system would use towards the server.
    Socket,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(deserialize_with = "endpoint")]
    endpoint: Url,
    #[serde(deserialize_with = "username")]
    username: String,
    password: Secret,
    silo_id: SiloId,
    #[serde(default)]
    hostnames: Option<Vec<Hostname>>,
    #[serde(rename = "getIpFrom")]
    get_ip_from: Option<AddressSource>,
    /// The former name of `getIpFrom`: true for `ServerApi`, false for `Socket`.
    behindrouter: Option<bool>,
    /// Not a key of pyDDNS: the setting that [`check_private`] suggests must exist here too.
    token_file_mode: Option<TokenFileMode>,
}

/// Parses a pyDDNS file; `None` if the text is something else. `path` is used only for errors.
///
/// Errors contain the file, the line and the key, and never the password.
pub fn parse(path: &Path, text: &str) -> Result<Option<PyddnsConfig>, ConfigError> {
    if !is_pyddns(text) {
        return Ok(None);
    }
    let document: Document = parse_yaml(path, text)?;
    let address_source = match (document.get_ip_from, document.behindrouter) {
        (Some(source), _) => source,
        (None, Some(false)) => AddressSource::Socket,
        (None, Some(true) | None) => AddressSource::ServerApi,
    };
    Ok(Some(PyddnsConfig {
        silo: document.silo_id,
        hostnames: document.hostnames.unwrap_or_default(),
        address_source,
        endpoint: document.endpoint,
        username: document.username,
        password: document.password,
        token_file_mode: document.token_file_mode,
    }))
}

/// Whether this is a mapping with the key `endpoint`. Text that is not valid YAML counts if a line begins with the key:
/// its error then refers to the keys of that file.
fn is_pyddns(text: &str) -> bool {
    match serde_yaml::from_str::<serde_yaml::Value>(text) {
        Ok(value) => value.get("endpoint").is_some(),
        Err(_) => text.lines().any(|line| line.starts_with("endpoint:")),
    }
}

impl PyddnsConfig {
    /// The hub in `file`, with the values of `stronger` (flags and environment) taking precedence.
    ///
    /// The password is the hub's token, so the file must be private like one with an inline `token`, unless a token
    /// from another source replaces the password.
    pub fn connection(
        &self,
        file: &Path,
        stronger: &ConnectionSettings,
    ) -> Result<Connection, ConfigError> {
        let token_file_mode = stronger.token_file_mode.or(self.token_file_mode);
        if stronger.token.is_some() || stronger.token_file.is_some() {
            let settings = ConnectionSettings {
                hubs: vec![self.endpoint.to_string()],
                token_file_mode,
                ..ConnectionSettings::default()
            };
            return settings.overridden_by(stronger.clone()).resolve(None);
        }
        if token_file_mode.unwrap_or_default() == TokenFileMode::Private {
            check_private(file)?;
        }
        let hub = match &stronger.hubs[..] {
            [] => self.endpoint.clone(),
            [hub] => parse_hub_url(hub)?,
            _ => {
                return Err(ConfigError::Setting(
                    "hub: several hubs need a token: set --token-file FILE".to_owned(),
                ));
            }
        };
        refuse_pins_over_http(&hub, stronger.pins.as_ref())?;
        stronger.check_ca_file()?;
        let basic = || Authentication::Basic {
            username: self.username.clone(),
            password: self.password.clone(),
        };
        let auth = stronger.auth.unwrap_or_default();
        let authentication = match Credential::parse(self.password.expose()) {
            Ok(credential) if auth.signs(&hub) => Authentication::Signed(credential),
            Err(error) if auth == AuthMode::Signed => {
                return Err(ConfigError::Setting(format!(
                    "auth: signed: password: {error}"
                )));
            }
            _ => basic(),
        };
        let hub = HubAddress {
            url: hub,
            authentication,
        };
        let agent_name = stronger.agent_name.clone().unwrap_or_default();
        let mut connection = Connection::to(hub, agent_name);
        connection.ca_file = stronger.ca_file.clone();
        connection.pins = stronger.pins.clone();
        Ok(connection)
    }
}

fn endpoint<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Url, D::Error> {
    deserialize_text(deserializer, |text| {
        parse_hub_url(text).map_err(|error| {
            let words = error.to_string();
            words.strip_prefix("hub: ").unwrap_or(&words).to_owned()
        })
    })
}

/// RFC 7617 section 2: a user name with a colon can't be sent.
fn username<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    deserialize_text(deserializer, |text| {
        if text.contains(':') || text.chars().any(char::is_control) {
            return Err("a user name must not contain ':' or control characters");
        }
        Ok(text.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
endpoint: http://hub.lan:81
username: carol
password: correct horse
silo_id: office

hostnames:
- web
- db

# Socket or ServerApi
getIpFrom: Socket";

    fn parse_text(text: &str) -> Result<Option<PyddnsConfig>, String> {
        parse(Path::new("config.yml"), text).map_err(|error| error.to_string())
    }

    fn private_file() -> tempfile::NamedTempFile {
        crate::private_file::tests::temporary("")
    }

    fn basic(username: &str, password: &str) -> Authentication {
        Authentication::Basic {
            username: username.to_owned(),
            password: Secret::new(password),
        }
    }

    #[test]
    fn a_pyddns_file_is_read_as_it_is() {
        let config = parse_text(FILE).unwrap().unwrap();
        assert_eq!(config.silo.as_str(), "office");
        let names: Vec<&str> = config.hostnames.iter().map(Hostname::as_str).collect();
        assert_eq!(names, ["web", "db"]);
        assert_eq!(config.address_source, AddressSource::Socket);
        let connection = config
            .connection(private_file().path(), &ConnectionSettings::default())
            .unwrap();
        assert_eq!(connection.key().as_str(), "http://hub.lan:81/");
        assert_eq!(
            connection.hubs()[0].authentication,
            basic("carol", "correct horse")
        );
    }

    #[test]
    fn every_pyddns_file_version_names_the_address_source() {
        let without = FILE.replace("getIpFrom: Socket", "");
        for (line, source) in [
            ("", AddressSource::ServerApi),
            ("getIpFrom: ServerApi", AddressSource::ServerApi),
            ("getIpFrom: Socket", AddressSource::Socket),
            ("behindrouter: true", AddressSource::ServerApi),
            ("behindrouter: false", AddressSource::Socket),
        ] {
            let config = parse_text(&format!("{without}{line}\n")).unwrap().unwrap();
            assert_eq!(config.address_source, source, "{line:?}");
        }
    }

    #[test]
    fn values_that_look_like_numbers_are_texts() {
        let text = FILE
            .replace("correct horse", "0123")
            .replace("office", "1.10")
            .replace("carol", "7");
        let config = parse_text(&text).unwrap().unwrap();
        assert_eq!(config.silo.as_str(), "1.10");
        let connection = config
            .connection(private_file().path(), &ConnectionSettings::default())
            .unwrap();
        assert_eq!(connection.hubs()[0].authentication, basic("7", "0123"));
    }

    #[test]
    fn files_of_other_programs_are_not_pyddns_files() {
        for text in [
            "",
            "# endpoint: http://hub\n",
            "hub: http://hub.lan:8053\nsilo: office\n",
            "hub: [endpoint: 5\n",
            "- endpoint\n",
            "hub:\n  endpoint: 5\n",
        ] {
            assert_eq!(parse_text(text), Ok(None), "{text:?}");
        }
    }

    #[test]
    fn errors_name_file_line_and_key_and_no_password() {
        for (from, to, expected) in [
            ("carol", "a:b", "username"),
            ("silo_id: office", "silo_id: a/b", "silo_id"),
            ("- db", "- 10.0.0.1", "hostnames[1]"),
            ("http://hub.lan:81", "hub.lan:81", "endpoint"),
            ("getIpFrom: Socket", "getIpFrom: Router", "getIpFrom"),
            ("getIpFrom: Socket", "getIpFrm: Socket", "getIpFrm"),
            ("hostnames:", "hostnames: [", ""),
        ] {
            let text = FILE.replace(from, to);
            assert_ne!(text, FILE);
            let error = parse_text(&text).unwrap_err();
            assert!(error.starts_with("config.yml: "), "{error}");
            assert!(
                error.contains(expected) && error.contains("line "),
                "{to}: {error}"
            );
            assert!(!error.contains("correct horse"), "{error}");
        }
        let error = parse_text(&FILE.replace("username: carol\n", "")).unwrap_err();
        assert_eq!(error, "config.yml: missing field `username`");
    }

    // Its paths are those of Unix.
    #[cfg(unix)]
    #[test]
    fn flags_beat_the_file() {
        let config = parse_text(FILE).unwrap().unwrap();
        let file = private_file();
        let hub = ConnectionSettings {
            hubs: vec!["https://other:8053".to_owned()],
            ca_file: Some("ca.pem".into()),
            ..ConnectionSettings::default()
        };
        let connection = config.connection(file.path(), &hub).unwrap();
        assert_eq!(connection.key().as_str(), "https://other:8053/");
        assert_eq!(connection.ca_file.as_deref(), Some(Path::new("ca.pem")));
        assert_eq!(
            connection.hubs()[0].authentication,
            basic("carol", "correct horse")
        );

        let token = format!("silo_abcdefgh12_{}", "x".repeat(43));
        let with_token = ConnectionSettings {
            token: Some(Secret::new(&*token)),
            ..ConnectionSettings::default()
        };
        let connection = config.connection(file.path(), &with_token).unwrap();
        assert_eq!(connection.key().as_str(), "http://hub.lan:81/");
        // Over plain HTTP to another machine, it is used for signing, unless `auth` is set.
        let credential = Credential::parse(&token).unwrap();
        assert_eq!(
            connection.hubs()[0].authentication,
            Authentication::Signed(credential.clone())
        );
        let bearer = ConnectionSettings {
            auth: Some(AuthMode::Bearer),
            ..with_token
        };
        let connection = config.connection(file.path(), &bearer).unwrap();
        assert_eq!(
            connection.hubs()[0].authentication,
            Authentication::Bearer(Secret::new(&*token))
        );

        // The same applies to a password that is a credential; any other password can't be used.
        let file_with_token = parse_text(&FILE.replace("correct horse", &token));
        let config_with_token = file_with_token.unwrap().unwrap();
        let signed = |auth| ConnectionSettings {
            auth,
            ..ConnectionSettings::default()
        };
        let connection = config_with_token.connection(file.path(), &signed(None));
        assert_eq!(
            connection.unwrap().hubs()[0].authentication,
            Authentication::Signed(credential)
        );
        let error = config
            .connection(file.path(), &signed(Some(AuthMode::Signed)))
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("auth: signed: password: not a credential"),
            "{error}"
        );
        assert!(!error.contains("correct horse"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn a_file_readable_by_others_is_refused_unless_configured() {
        use std::os::unix::fs::PermissionsExt;
        let config = parse_text(FILE).unwrap().unwrap();
        let file = private_file();
        let readable = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(file.path(), readable).unwrap();
        let flags = ConnectionSettings::default();
        let error = config.connection(file.path(), &flags).unwrap_err();
        assert!(error.to_string().contains("chmod 600"), "{error}");

        let any = parse_text(&format!("{FILE}\ntoken_file_mode: any\n"));
        assert!(
            any.unwrap()
                .unwrap()
                .connection(file.path(), &flags)
                .is_ok()
        );
    }
}
