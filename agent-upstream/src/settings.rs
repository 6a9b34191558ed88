//! Combines flags, environment and configuration file into one checked value.

use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use silo_shared::agent::OutputSettings;
use silo_shared::config::{ConfigError, beside, parse_yaml, read_text};
use silo_shared::connection::{AuthMode, Connection, ConnectionSettings, TokenFileMode};
use silo_shared::credential::Secret;
use silo_shared::folders;
use silo_shared::pin::Pins;
use silo_shared::program::LogFormat;
use silo_shared::pyddns::{self, PyddnsConfig};
use silo_shared::silo::{Hostname, SiloId};
use silo_shared::trusted_file::{Kind, Trust};

use crate::cli::Flags;
use crate::discover::select::{Network, Rules, Suffix};
use crate::forget::{self, ForgetAfter};
use crate::source::AddressSource;

/// The default length of an IPv6 prefix: that of a link (RFC 4291 section 2.5.1).
const DEFAULT_PREFIX_LEN: u8 = 64;

/// The settings of a run.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The file that was read, if any.
    pub(crate) file: Option<PathBuf>,
    /// The hub and the credential.
    pub(crate) connection: Connection,
    /// The silo of the records.
    pub(crate) silo: SiloId,
    /// The names of this machine; at least one, without duplicates.
    pub(crate) hostnames: Vec<Hostname>,
    /// The source of the addresses.
    pub(crate) addresses: AddressSource,
    /// Which addresses are reported.
    pub(crate) rules: Rules,
    /// How long a family must be missing before its address is removed; `Off`: never.
    pub(crate) forget: ForgetAfter,
    /// The state folder.
    pub(crate) state_dir: PathBuf,
    /// Whether the state folder was configured, so that a run without it fails.
    pub(crate) needs_state: bool,
    /// Call the hub through this interface.
    pub(crate) bind_interface: Option<String>,
    /// Print only changes and failures.
    pub(crate) quiet: bool,
    /// The format of lines on stderr.
    pub(crate) log_format: LogFormat,
    /// Whose files are trusted if root runs this.
    trust: Trust,
}

/// A configuration file in this program's own format.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    hub: Option<String>,
    token: Option<Secret>,
    token_file: Option<PathBuf>,
    token_file_mode: Option<TokenFileMode>,
    auth: Option<AuthMode>,
    ca_file: Option<PathBuf>,
    pin_sha256: Option<Pins>,
    silo: Option<SiloId>,
    hostnames: Option<Vec<Hostname>>,
    addresses: Option<AddressSource>,
    within: Option<Vec<Network>>,
    ipv6_suffix: Option<Ipv6Addr>,
    ipv6_prefix_len: Option<u8>,
    forget_family_after: Option<ForgetAfter>,
    state_dir: Option<PathBuf>,
    bind_interface: Option<String>,
    quiet: Option<bool>,
    log_format: Option<LogFormat>,
}

/// The two kinds of configuration file.
#[derive(Debug)]
enum AnyFile {
    Own(Box<File>),
    Pyddns(PyddnsConfig),
}

impl Settings {
    /// Reads the configuration file, overrides it with flags and environment, and checks everything.
    pub(crate) fn load(flags: &Flags) -> Result<Self, ConfigError> {
        let read = |path: &Path| {
            flags.connection.trust().check(Kind::Configuration, path)?;
            read_text(path)
        };
        match &flags.config {
            Some(path) => Self::resolve(flags, Some(path), read(path)?),
            None => {
                let path = folders::config_file("upstream.yaml");
                match read(&path) {
                    Ok(text) => Self::resolve(flags, Some(&path), text),
                    Err(ConfigError::Missing(_)) => Self::resolve(flags, None, String::new()),
                    Err(error) => Err(error),
                }
            }
        }
    }

    fn resolve(flags: &Flags, path: Option<&Path>, text: String) -> Result<Self, ConfigError> {
        let any_file = match path {
            None => AnyFile::Own(Box::default()),
            Some(path) => match pyddns::parse(path, &text)? {
                Some(pyddns) => AnyFile::Pyddns(pyddns),
                None => AnyFile::Own(Box::new(parse_yaml(path, &text)?)),
            },
        };
        let stronger = flags.connection.settings();
        let from_file = |setting: &str, given: &Option<PathBuf>| match (given, path) {
            (Some(given), Some(path)) => beside(path, setting, given.clone()).map(Some),
            (given, _) => Ok(given.clone()),
        };
        let (connection, file) = match (any_file, path) {
            (AnyFile::Pyddns(pyddns), Some(path)) => {
                (pyddns.connection(path, &stronger)?, from_pyddns(&pyddns))
            }
            (AnyFile::Own(file), _) => {
                let weaker = ConnectionSettings {
                    hub: file.hub.clone(),
                    token: file.token.clone(),
                    // A flag overrides it, so that its value is irrelevant.
                    token_file: match flags.connection.token_file {
                        Some(_) => None,
                        None => from_file("token_file", &file.token_file)?,
                    },
                    token_file_mode: file.token_file_mode,
                    auth: file.auth,
                    ca_file: match flags.connection.ca_file {
                        Some(_) => None,
                        None => from_file("ca_file", &file.ca_file)?,
                    },
                    pins: file.pin_sha256.clone(),
                    trust: Trust::default(),
                };
                (weaker.overridden_by(stronger).resolve(path)?, *file)
            }
            (AnyFile::Pyddns(_), None) => unreachable!("a pyDDNS file was read from a path"),
        };
        let addresses = flags
            .addresses
            .clone()
            .or(file.addresses)
            .unwrap_or_default();
        let state_dir = match &flags.state_dir {
            Some(state_dir) => Some(state_dir.clone()),
            None => from_file("state_dir", &file.state_dir)?,
        };
        let forget = flags.forget_family_after.or(file.forget_family_after);
        let settings = Self {
            file: path.map(Path::to_owned),
            connection,
            silo: flags.silo.clone().or(file.silo).ok_or_else(|| {
                setting("no silo given: set `silo` in the configuration or --silo ID")
            })?,
            hostnames: hostnames(flags.hostnames.clone().or(file.hostnames))?,
            forget: forget.unwrap_or(match addresses {
                AddressSource::Interface(_) => ForgetAfter::Missing(forget::DEFAULT),
                _ => ForgetAfter::Off,
            }),
            addresses,
            needs_state: state_dir.is_some(),
            state_dir: state_dir.unwrap_or_else(default_state_dir),
            rules: Rules {
                within: within(flags.within.clone().or(file.within))?,
                suffix: suffix(
                    flags.ipv6_suffix.or(file.ipv6_suffix),
                    flags.ipv6_prefix_len.or(file.ipv6_prefix_len),
                )?,
            },
            bind_interface: flags.bind_interface.clone().or(file.bind_interface),
            quiet: flags.output.quiet.or(file.quiet).unwrap_or_default(),
            log_format: flags
                .output
                .log_format
                .or(file.log_format)
                .unwrap_or_default(),
            trust: flags.connection.trust(),
        };
        settings.check_bind_interface()?;
        Ok(settings)
    }

    /// Refuses a state folder that users other than root own or can write to, if root runs this.
    pub(crate) fn check_state_folder(&self) -> Result<(), ConfigError> {
        self.trust
            .check(Kind::StateFolder, &self.state_dir)
            .map_err(ConfigError::from)
    }

    /// With other sources, the setting would be ignored silently.
    fn check_bind_interface(&self) -> Result<(), ConfigError> {
        if self.bind_interface.is_none() {
            return Ok(());
        }
        if cfg!(not(any(target_os = "linux", target_os = "macos"))) {
            return Err(setting("bind_interface works on Linux and macOS only"));
        }
        if cfg!(not(target_os = "linux")) && matches!(self.addresses, AddressSource::Route(_)) {
            return Err(setting(
                "bind_interface together with `addresses: route` works on Linux only",
            ));
        }
        Ok(())
    }
}

impl OutputSettings for Settings {
    fn is_quiet(&self) -> bool {
        self.quiet
    }

    fn log_format(&self) -> LogFormat {
        self.log_format
    }
}

fn from_pyddns(pyddns: &PyddnsConfig) -> File {
    File {
        silo: Some(pyddns.silo.clone()),
        hostnames: Some(pyddns.hostnames.clone()),
        addresses: Some(match pyddns.address_source {
            pyddns::AddressSource::ServerApi => AddressSource::Hub,
            pyddns::AddressSource::Socket => AddressSource::Route(None),
        }),
        ..File::default()
    }
}

fn setting(words: impl Into<String>) -> ConfigError {
    ConfigError::Setting(words.into())
}

/// The folder that systemd created (systemd.exec(5), `StateDirectory=`), else the system's default.
fn default_state_dir() -> PathBuf {
    let given = std::env::var_os("STATE_DIRECTORY").unwrap_or_default();
    // systemd separates several with `:`.
    if let Some(first) = std::env::split_paths(&given).find(|path| !path.as_os_str().is_empty()) {
        return first;
    }
    if cfg!(windows) {
        folders::program_data().join("upstream")
    } else {
        PathBuf::from("/var/lib/silo-upstream")
    }
}

fn hostnames(given: Option<Vec<Hostname>>) -> Result<Vec<Hostname>, ConfigError> {
    let Some(given) = given else {
        return own_name(&gethostname::gethostname().to_string_lossy()).map(|name| vec![name]);
    };
    let mut names: Vec<Hostname> = Vec::new();
    for name in given {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if names.is_empty() {
        return Err(setting(
            "`hostnames` is empty: list at least one, or remove the key to use this machine's own name",
        ));
    }
    Ok(names)
}

/// The first label of the machine's host name.
fn own_name(full: &str) -> Result<Hostname, ConfigError> {
    let short = full.split('.').next().unwrap_or_default();
    Hostname::parse(short).map_err(|error| {
        setting(format!(
            "this machine's own name `{short}` is not a valid hostname ({error}): set `hostnames` in the configuration or --hostnames NAME"
        ))
    })
}

fn within(given: Option<Vec<Network>>) -> Result<Option<Vec<Network>>, ConfigError> {
    match given {
        Some(networks) if networks.is_empty() => Err(setting(
            "`within` is empty, so no address matches: list a network or remove the key",
        )),
        other => Ok(other),
    }
}

fn suffix(suffix: Option<Ipv6Addr>, prefix_len: Option<u8>) -> Result<Option<Suffix>, ConfigError> {
    match (suffix, prefix_len) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(setting("`ipv6_prefix_len` requires `ipv6_suffix`")),
        (Some(suffix), prefix_len) => Suffix::new(suffix, prefix_len.unwrap_or(DEFAULT_PREFIX_LEN))
            .map(Some)
            .map_err(|error| setting(error.to_string())),
    }
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
