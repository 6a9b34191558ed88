//! The settings for an agent's connection to a hub: URL, credential, and TLS.
//!
//! Both agents fill [`ConnectionSettings`] from their configuration file, overridden by flags and environment;
//! [`ConnectionSettings::resolve`] reads the token and checks everything.

use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use url::{Host, Url};

use crate::config::ConfigError;
use crate::credential::{Credential, Secret};
use crate::output::Output;
use crate::pin::Pins;
use crate::text;
use crate::trusted_file::{Kind, Trust};

/// The maximum size of a token file, in bytes.
const MAX_TOKEN_BYTES: u64 = 4096;

/// The hub's settings from a configuration file or flags; each value is optional.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionSettings {
    /// The hub's URL, such as `http://hub.lan:8053`.
    pub hub: Option<String>,
    /// The credential itself.
    pub token: Option<Secret>,
    /// A file that contains the credential.
    pub token_file: Option<PathBuf>,
    /// `any`: accept a token file that others can read, as containers mount it.
    pub token_file_mode: Option<TokenFileMode>,
    /// How to authenticate.
    pub auth: Option<AuthMode>,
    /// A PEM file with the certificates to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// The hub's key: with only this, nothing else in the certificate is checked.
    pub pins: Option<Pins>,
    /// Whose files an agent that runs as root trusts; never set by a file.
    pub trust: Trust,
}

/// The setting `auth`: how an agent authenticates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// Signed over plain HTTP to another machine, Bearer over TLS or to this one
    #[default]
    Auto,
    /// The credential itself, in each request
    Bearer,
    /// Requests are signed, and answers must be
    Signed,
}

impl AuthMode {
    /// Whether requests to this hub are signed.
    pub(crate) fn signs(self, hub: &Url) -> bool {
        match self {
            Self::Auto => is_open(hub),
            Self::Bearer => false,
            Self::Signed => true,
        }
    }
}

/// Whether to accept a token file that others can read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum TokenFileMode {
    /// Only its owner may read it
    #[default]
    Private,
    /// Any mode, as a container may mount it
    Any,
}

/// How an agent authenticates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// `Authorization: Bearer`.
    Bearer(Secret),
    /// `Authorization: Basic`, as pyDDNS clients do.
    Basic {
        /// The user name, which the hub ignores.
        username: String,
        /// The credential.
        password: Secret,
    },
    /// HTTP Message Signatures: the credential is never sent.
    Signed(Credential),
}

/// A checked connection to a hub.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The hub's URL, its path ending in a slash.
    pub hub: Url,
    /// How to authenticate.
    pub authentication: Authentication,
    /// A PEM file with the certificates to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// The hub's key: with only this, nothing else in the certificate is checked.
    pub pins: Option<Pins>,
}

impl ConnectionSettings {
    /// `self` with the values of `stronger` taking precedence: flags and environment over the file.
    #[must_use]
    pub fn overridden_by(self, stronger: Self) -> Self {
        // A token from a stronger source replaces one from a weaker source, of either kind.
        let (token, token_file) = if stronger.token.is_some() || stronger.token_file.is_some() {
            (stronger.token, stronger.token_file)
        } else {
            (self.token, self.token_file)
        };
        Self {
            hub: stronger.hub.or(self.hub),
            token,
            token_file,
            token_file_mode: stronger.token_file_mode.or(self.token_file_mode),
            auth: stronger.auth.or(self.auth),
            ca_file: stronger.ca_file.or(self.ca_file),
            pins: stronger.pins.or(self.pins),
            trust: stronger.trust,
        }
    }

    /// Reads the token and checks every value. `config_file` is the file with an inline token, which must then be
    /// private too.
    pub fn resolve(&self, config_file: Option<&Path>) -> Result<Connection, ConfigError> {
        let Some(hub) = &self.hub else {
            return Err(ConfigError::Setting(
                "no hub given: set `hub` in the configuration or --hub URL".to_owned(),
            ));
        };
        let secret = match (&self.token, &self.token_file) {
            (Some(_), Some(_)) => {
                return Err(ConfigError::Setting(
                    "`token` and `token_file` are both given: keep one".to_owned(),
                ));
            }
            (None, None) => {
                return Err(ConfigError::Setting(
                    "no token given: set `token_file` in the configuration or --token-file FILE"
                        .to_owned(),
                ));
            }
            (Some(token), None) => {
                if let Some(file) = config_file {
                    self.check_private(file)?;
                }
                token.clone()
            }
            (None, Some(file)) => self
                .read_token(file)
                .map_err(|error| ConfigError::Setting(format!("token_file: {error}")))?,
        };
        let credential = Credential::parse(secret.expose()).map_err(|error| {
            ConfigError::Setting(match &self.token_file {
                Some(file) => format!("token_file: {}: {error}", file.display()),
                None => format!("token: {error}"),
            })
        })?;
        let hub = parse_hub_url(hub)?;
        refuse_pins_over_http(&hub, self.pins.as_ref())?;
        self.check_ca_file()?;
        let authentication = match self.auth.unwrap_or_default().signs(&hub) {
            true => Authentication::Signed(credential),
            false => Authentication::Bearer(Secret::new(credential.expose())),
        };
        Ok(Connection {
            hub,
            authentication,
            ca_file: self.ca_file.clone(),
            pins: self.pins.clone(),
        })
    }

    /// Reads a token file. Anything but a regular file is refused before it is opened: a FIFO without a writer would
    /// block the run, and `/dev/zero` never ends.
    fn read_token(&self, file: &Path) -> Result<Secret, ConfigError> {
        let unreadable = |error| ConfigError::of_file(file, error);
        let refuse = |why: &str| ConfigError::Setting(format!("{}: {why}", file.display()));
        if !std::fs::metadata(file).map_err(unreadable)?.is_file() {
            return Err(refuse("not a regular file"));
        }
        self.check_private(file)?;
        let any_owner = self.token_file_mode == Some(TokenFileMode::Any);
        self.trust.check(Kind::Token { any_owner }, file)?;
        let mut bytes = Vec::new();
        File::open(file)
            .and_then(|opened| opened.take(MAX_TOKEN_BYTES + 1).read_to_end(&mut bytes))
            .map_err(unreadable)?;
        if bytes.len() as u64 > MAX_TOKEN_BYTES {
            return Err(refuse(
                "too large for a token file: it must contain only the token",
            ));
        }
        let text =
            text::decode(&bytes).map_err(|error| ConfigError::NotText(file.to_owned(), error))?;
        Ok(Secret::new(text.trim()))
    }

    /// Refuses a `ca_file` that users other than root can change, if root runs this.
    pub(crate) fn check_ca_file(&self) -> Result<(), ConfigError> {
        if let Some(file) = &self.ca_file {
            self.trust.check(Kind::CaFile, file)?;
        }
        Ok(())
    }

    fn check_private(&self, file: &Path) -> Result<(), ConfigError> {
        match self.token_file_mode.unwrap_or_default() {
            TokenFileMode::Private => check_private(file),
            TokenFileMode::Any => Ok(()),
        }
    }
}

/// Refuses a file with a secret that group or others can read (Unix).
pub fn check_private(file: &Path) -> Result<(), ConfigError> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let metadata =
            std::fs::metadata(file).map_err(|error| ConfigError::of_file(file, error))?;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(ConfigError::Setting(format!(
                "{}: contains a token but other users can read it (mode {mode:04o}): run `chmod 600 {}` (or set `token_file_mode: any` where a container mounts it so)",
                file.display(),
                file.display()
            )));
        }
    }
    #[cfg(not(unix))]
    let _ = file;
    Ok(())
}

/// Without TLS a pin can't be checked and would give no protection.
pub(crate) fn refuse_pins_over_http(hub: &Url, pins: Option<&Pins>) -> Result<(), ConfigError> {
    if pins.is_some() && hub.scheme() != "https" {
        return Err(ConfigError::Setting(
            "pin_sha256: only a hub at https:// has a key to compare with, and this one is at http://"
                .to_owned(),
        ));
    }
    Ok(())
}

/// Parses a hub's URL; adds a slash at the end of its path, so that routes can be joined to it.
pub fn parse_hub_url(text: &str) -> Result<Url, ConfigError> {
    let refuse = |why: &str| {
        ConfigError::Setting(format!(
            "hub: {why}; expected http://HOST:PORT or https://HOST, such as http://hub:8053"
        ))
    };
    let mut url = Url::parse(text).map_err(|_| refuse("not a valid URL"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(refuse(
            "the URL must begin with http:// or https:// and name a host",
        ));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse("a URL with a user or password is not accepted"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refuse("a URL with a query or fragment is not accepted"));
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

impl Connection {
    /// Warns if the credential is sent unencrypted. Not in a quiet run: cron would mail the line every time.
    pub fn warn_of_open_credential(&self, output: &Output) {
        if !self.signs() && is_open(&self.hub) && !output.is_quiet() {
            let hub = self.hub.as_str().trim_end_matches('/');
            tracing::warn!(
                hub,
                "the token travels unencrypted to {hub}: use `auth: signed`, or https://"
            );
        }
    }

    /// Whether requests are signed.
    pub fn signs(&self) -> bool {
        matches!(self.authentication, Authentication::Signed(_))
    }

    /// A short description of the authentication.
    pub fn explain_authentication(&self) -> &'static str {
        match &self.authentication {
            Authentication::Signed(_) => {
                "requests are signed and answers must be: the credential never travels"
            }
            _ if is_open(&self.hub) => "the credential travels unencrypted in each request",
            _ if self.hub.scheme() == "https" => {
                "the credential travels in each request, encrypted"
            }
            _ => "the credential travels in each request, within this machine",
        }
    }
}

/// Whether data sent to a hub can be intercepted: plain HTTP to another machine.
fn is_open(hub: &Url) -> bool {
    let loopback = match hub.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip).to_canonical().is_loopback(),
        None => false,
    };
    hub.scheme() == "http" && !loopback
}

#[cfg(test)]
mod tests {
    use super::*;

    fn private_file(text: &str) -> tempfile::NamedTempFile {
        // NamedTempFile uses mode 0600.
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    fn token() -> String {
        format!("silo_abcdefgh12_{}", "x".repeat(43))
    }

    #[test]
    fn a_token_file_is_read_and_must_be_private() {
        let file = private_file(&format!("{}\n", token()));
        let settings = ConnectionSettings {
            hub: Some("https://hub".to_owned()),
            token_file: Some(file.path().to_owned()),
            ..Default::default()
        };
        let connection = settings.resolve(None).unwrap();
        assert_eq!(
            connection.authentication,
            Authentication::Bearer(Secret::new(token()))
        );
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let permissions = std::fs::Permissions::from_mode(0o640);
            std::fs::set_permissions(file.path(), permissions).unwrap();
            let error = settings.resolve(None).unwrap_err().to_string();
            assert!(
                error.contains("0640") && error.contains("chmod 600"),
                "{error}"
            );
            let any = ConnectionSettings {
                token_file_mode: Some(TokenFileMode::Any),
                ..settings.clone()
            };
            assert!(any.resolve(None).is_ok());
        }
    }

    #[cfg(unix)]
    #[test]
    fn other_than_regular_token_files_are_refused_before_reading() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let _socket = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
        let large = private_file(&format!("{}{}", token(), " ".repeat(4096)));
        let binary = private_file("");
        std::fs::write(binary.path(), b"\xff\xfd").unwrap();
        for (path, why) in [
            (folder.path(), "not a regular file"),
            (Path::new("/dev/zero"), "not a regular file"),
            (&link, "not a regular file"),
            (&socket, "not a regular file"),
            (&folder.path().join("none"), "there is no such file"),
            (
                large.path(),
                "too large for a token file: it must contain only the token",
            ),
            (binary.path(), "is not text: save it as UTF-8"),
        ] {
            for mode in [TokenFileMode::Private, TokenFileMode::Any] {
                let settings = ConnectionSettings {
                    hub: Some("http://hub".to_owned()),
                    token_file: Some(path.to_owned()),
                    token_file_mode: Some(mode),
                    ..Default::default()
                };
                let error = settings.resolve(None).unwrap_err().to_string();
                assert_eq!(error, format!("token_file: {}: {why}", path.display()));
            }
        }
    }

    #[test]
    fn a_wrong_token_is_named_without_being_shown() {
        let file = private_file("hunter2");
        let settings = ConnectionSettings {
            hub: Some("http://hub".to_owned()),
            token_file: Some(file.path().to_owned()),
            ..Default::default()
        };
        let error = settings.resolve(None).unwrap_err().to_string();
        assert!(
            error.contains(&file.path().display().to_string()),
            "{error}"
        );
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn a_stronger_token_replaces_a_weaker_one_of_another_kind() {
        let file = ConnectionSettings {
            hub: Some("http://a".to_owned()),
            token: Some(Secret::new(token())),
            ..Default::default()
        };
        let flags = ConnectionSettings {
            token_file: Some("other.token".into()),
            ..Default::default()
        };
        let merged = file.overridden_by(flags);
        assert_eq!(merged.hub.as_deref(), Some("http://a"));
        assert_eq!(merged.token, None);
        assert_eq!(merged.token_file.as_deref(), Some(Path::new("other.token")));
    }

    #[test]
    fn hub_urls_are_checked() {
        assert_eq!(parse_hub_url("http://h:1").unwrap().as_str(), "http://h:1/");
        assert_eq!(
            parse_hub_url("https://h/silo").unwrap().as_str(),
            "https://h/silo/"
        );
        for wrong in [
            "",
            "h:8053",
            "ftp://h",
            "http://u:p@h",
            "http://h/?q",
            "http://h/#f",
        ] {
            let error = parse_hub_url(wrong).unwrap_err().to_string();
            assert!(
                error.starts_with("hub: ")
                    && error.ends_with(
                        "; expected http://HOST:PORT or https://HOST, such as http://hub:8053"
                    ),
                "{wrong}: {error}"
            );
        }
    }

    #[test]
    fn auto_signs_over_plain_http_to_another_machine() {
        let file = private_file(&token());
        for (hub, open) in [
            ("http://hub.lan:8053", true),
            ("http://10.0.0.1", true),
            ("http://0.0.0.0:8053", true),
            ("https://hub.lan", false),
            ("http://localhost:8053", false),
            ("http://127.0.0.1:8053", false),
            ("http://[::1]:8053", false),
            ("http://[::ffff:127.0.0.1]", false),
        ] {
            for (auth, signs) in [
                (None, open),
                (Some(AuthMode::Auto), open),
                (Some(AuthMode::Bearer), false),
                (Some(AuthMode::Signed), true),
            ] {
                let settings = ConnectionSettings {
                    hub: Some(hub.to_owned()),
                    token_file: Some(file.path().to_owned()),
                    auth,
                    ..Default::default()
                };
                let connection = settings.resolve(None).unwrap();
                assert_eq!(connection.signs(), signs, "{hub} {auth:?}");
                let words = connection.explain_authentication();
                assert_eq!(words.contains("signed"), signs, "{words}");
                assert_eq!(words.contains("unencrypted"), open && !signs, "{words}");
            }
        }
    }
}
