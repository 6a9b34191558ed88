//! The settings for an agent's connection to its hubs: URLs, credential, and TLS.
//!
//! Both agents fill [`ConnectionSettings`] from their configuration file, overridden by flags and environment;
//! [`ConnectionSettings::resolve`] reads the token and checks everything.

use std::convert::Infallible;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};
use url::{Host, Url};

use crate::agent_name::AgentName;
use crate::config::{ConfigError, deserialize_texts};
use crate::credential::{Credential, Secret};
use crate::held;
use crate::output::Output;
use crate::pin::Pins;
use crate::text;
use crate::trusted_file::{Kind, Trust};

/// The maximum size of a token file, in bytes.
const MAX_TOKEN_BYTES: u64 = 4096;

/// The hub's settings from a configuration file or flags; each value is optional.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionSettings {
    /// The hubs' URLs, such as `http://hub.lan:8053`, in order of precedence; empty: not given. All serve one database.
    pub hubs: Vec<String>,
    /// The credential itself.
    pub token: Option<Secret>,
    /// The environment variable that `token` is from; `None`: the configuration file.
    pub token_variable: Option<String>,
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
    /// The name by which the hub lists this agent.
    pub agent_name: Option<AgentName>,
    /// Whose files an agent that runs as root trusts; never set by a file.
    pub trust: Trust,
}

/// The setting `hub`: a URL, or a list of URLs of hubs that serve one database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HubUrls(pub Vec<String>);

impl<'de> Deserialize<'de> for HubUrls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The URLs are checked where a connection is needed: other commands work without.
        deserialize_texts(deserializer, |text| Ok::<_, Infallible>(text.to_owned())).map(Self)
    }
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

/// One hub of a connection.
#[derive(Clone, Debug)]
pub struct HubAddress {
    /// The hub's URL, its path ending in a slash.
    pub url: Url,
    /// How to authenticate.
    pub authentication: Authentication,
}

/// A checked connection to one or more hubs that serve one database.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The hubs in order of precedence, at least one.
    hubs: Vec<HubAddress>,
    /// Whether the token is a copy that the service manager made when it started this process (systemd.exec(5),
    /// `LoadCredential=`): it stays the same until the next start.
    pub has_passed_token: bool,
    /// The name by which the hub lists this agent.
    pub agent_name: AgentName,
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
        let has_token = stronger.token.is_some() || stronger.token_file.is_some();
        let (token, token_variable, token_file) = if has_token {
            (stronger.token, stronger.token_variable, stronger.token_file)
        } else {
            (self.token, self.token_variable, self.token_file)
        };
        Self {
            hubs: if stronger.hubs.is_empty() {
                self.hubs
            } else {
                stronger.hubs
            },
            token,
            token_variable,
            token_file,
            token_file_mode: stronger.token_file_mode.or(self.token_file_mode),
            auth: stronger.auth.or(self.auth),
            ca_file: stronger.ca_file.or(self.ca_file),
            pins: stronger.pins.or(self.pins),
            agent_name: stronger.agent_name.or(self.agent_name),
            trust: stronger.trust,
        }
    }

    /// Reads the token and checks every value. `config_file` is the file with an inline token, which must then be
    /// private too.
    pub fn resolve(&self, config_file: Option<&Path>) -> Result<Connection, ConfigError> {
        if self.hubs.is_empty() {
            return Err(setting(
                "no hub given: set `hub` in the configuration or --hub URL",
            ));
        }
        let credential = self.credential(config_file)?;
        let mut hubs: Vec<HubAddress> = Vec::new();
        for hub in &self.hubs {
            let url = parse_hub_url(hub)?;
            refuse_pins_over_http(&url, self.pins.as_ref())?;
            if hubs.iter().any(|known| known.url == url) {
                return Err(setting(format!("hub: {url} is given twice: keep one")));
            }
            let authentication = if self.auth.unwrap_or_default().signs(&url) {
                Authentication::Signed(credential.clone())
            } else {
                Authentication::Bearer(Secret::new(credential.expose()))
            };
            hubs.push(HubAddress {
                url,
                authentication,
            });
        }
        self.check_ca_file()?;
        Ok(Connection {
            hubs,
            has_passed_token: self.has_passed_token(config_file),
            agent_name: self.agent_name.clone().unwrap_or_default(),
            ca_file: self.ca_file.clone(),
            pins: self.pins.clone(),
        })
    }

    /// The token, from where it is given.
    fn credential(&self, config_file: Option<&Path>) -> Result<Credential, ConfigError> {
        let (secret, source) = match (&self.token, &self.token_file) {
            (Some(_), Some(_)) => {
                return Err(setting("`token` and `token_file` are both given: keep one"));
            }
            (None, None) => {
                return Err(setting(
                    "no token given: set `token_file` in the configuration or --token-file FILE",
                ));
            }
            (Some(token), None) => {
                if let (Some(file), None) = (config_file, &self.token_variable) {
                    self.check_private(file)?;
                }
                let source = self.token_variable.as_deref().unwrap_or("token");
                (token.clone(), source.to_owned())
            }
            (None, Some(file)) => {
                let token = self
                    .read_token(file)
                    .map_err(|error| setting(format!("token_file: {error}")))?;
                (token, format!("token_file: {}", file.display()))
            }
        };
        Credential::parse(secret.expose()).map_err(|error| setting(format!("{source}: {error}")))
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
        let bytes = held::read_up_to(file, MAX_TOKEN_BYTES + 1).map_err(unreadable)?;
        if bytes.len() as u64 > MAX_TOKEN_BYTES {
            return Err(refuse(
                "too large for a token file: it must contain only the token",
            ));
        }
        let text =
            text::decode(&bytes).map_err(|error| ConfigError::NotText(file.to_owned(), error))?;
        Ok(Secret::new(text.trim()))
    }

    /// Whether the token is in a file that the service manager passes; see [`Connection::has_passed_token`].
    fn has_passed_token(&self, config_file: Option<&Path>) -> bool {
        let file = match (&self.token_file, &self.token_variable) {
            (Some(file), _) => Some(file.as_path()),
            (None, None) => config_file,
            (None, Some(_)) => None,
        };
        let real = |path: &Path| path.canonicalize().ok();
        let folder = std::env::var_os("CREDENTIALS_DIRECTORY");
        let folder = folder.and_then(|folder| real(Path::new(&folder)));
        let file = file.and_then(real);
        folder.is_some() && folder.as_deref() == file.as_deref().and_then(Path::parent)
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

/// Refuses a file with a secret that others can read, unless it is a credential that systemd passes.
pub fn check_private(file: &Path) -> Result<(), ConfigError> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let metadata =
            std::fs::metadata(file).map_err(|error| ConfigError::of_file(file, error))?;
        let mode = metadata.permissions().mode() & 0o777;
        let folder = std::env::var_os("CREDENTIALS_DIRECTORY");
        if mode & 0o077 != 0 && !is_credential(file, &metadata, folder.as_deref()) {
            return Err(ConfigError::Setting(format!(
                "{}: contains a token but other users can read it (mode {mode:04o}): run `chmod 600 {}` (or set `token_file_mode: any` where a container mounts it so)",
                file.display(),
                file.display()
            )));
        }
    }
    #[cfg(windows)]
    if let Some(why) = crate::windows::readable_by_others(file)
        .map_err(|error| ConfigError::of_file(file, error))?
    {
        return Err(ConfigError::Setting(format!(
            "{}: contains a token but {why} (or set `token_file_mode: any`)",
            file.display()
        )));
    }
    Ok(())
}

/// Whether a file is a credential of this service (systemd.exec(5), `LoadCredential=`): directly in `folder`, which
/// only the service's user can enter, with mode 0440 or less and owned by root or this user. The mode is then that of an
/// access control list, which grants the group nothing.
#[cfg(unix)]
fn is_credential(
    file: &Path,
    metadata: &std::fs::Metadata,
    folder: Option<&std::ffi::OsStr>,
) -> bool {
    use std::os::unix::fs::MetadataExt;
    let real = |path: &Path| path.canonicalize().ok();
    let Some(folder) = folder.and_then(|folder| real(Path::new(folder))) else {
        return false;
    };
    let own = rustix::process::geteuid().as_raw();
    real(file).is_some_and(|file| file.parent() == Some(&folder))
        && metadata.mode() & 0o7777 & !0o440 == 0
        && (metadata.uid() == 0 || metadata.uid() == own)
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
    /// A connection to one hub.
    pub(crate) fn to(hub: HubAddress, agent_name: AgentName) -> Self {
        Self {
            hubs: vec![hub],
            has_passed_token: false,
            agent_name,
            ca_file: None,
            pins: None,
        }
    }

    /// The hubs in order of precedence, at least one.
    pub fn hubs(&self) -> &[HubAddress] {
        &self.hubs
    }

    /// The URL that identifies this connection in an agent's state: the first hub's. All hubs serve one database.
    pub fn key(&self) -> &Url {
        &self.hubs[0].url
    }

    /// A connection for each hub alone, in order of precedence.
    pub fn each(&self) -> impl Iterator<Item = Self> {
        self.hubs.iter().map(|hub| Self {
            hubs: vec![hub.clone()],
            ..self.clone()
        })
    }

    /// Warns if the credential is sent unencrypted. Not in a quiet run: cron would mail the line every time.
    pub fn warn_of_open_credential(&self, output: &Output) {
        if output.is_quiet() {
            return;
        }
        for hub in self.hubs.iter().filter(|hub| hub.exposes_credential()) {
            let hub = hub.url.as_str().trim_end_matches('/');
            tracing::warn!(
                hub,
                "the token travels unencrypted to {hub}: use `auth: signed`, or https://"
            );
        }
    }
}

impl HubAddress {
    /// Whether requests are signed.
    pub fn signs(&self) -> bool {
        matches!(self.authentication, Authentication::Signed(_))
    }

    /// Whether the credential can be intercepted on its way.
    fn exposes_credential(&self) -> bool {
        !self.signs() && is_open(&self.url)
    }

    /// A short description of the authentication.
    pub fn explain_authentication(&self) -> &'static str {
        if self.signs() {
            "requests are signed and answers must be: the credential never travels"
        } else if self.exposes_credential() {
            "the credential travels unencrypted in each request"
        } else if self.url.scheme() == "https" {
            "the credential travels in each request, encrypted"
        } else {
            "the credential travels in each request, within this machine"
        }
    }
}

fn setting(words: impl Into<String>) -> ConfigError {
    ConfigError::Setting(words.into())
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
#[path = "connection_tests.rs"]
mod tests;
