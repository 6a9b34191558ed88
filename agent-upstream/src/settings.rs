//! Combines flags, environment and configuration file into one checked value.

use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use silo_shared::agent::OutputSettings;
use silo_shared::agent_name::AgentName;
use silo_shared::config::{ConfigError, beside, parse_yaml, read_text};
use silo_shared::connection::{AuthMode, Connection, ConnectionSettings, HubUrls, TokenFileMode};
use silo_shared::credential::Secret;
use silo_shared::folders;
use silo_shared::hook::{Hook, find_program};
use silo_shared::pin::Pins;
use silo_shared::program::LogFormat;
use silo_shared::pyddns::{self, PyddnsConfig};
use silo_shared::silo::{Hostname, SiloId};
use silo_shared::trusted_file::{Kind, Trust};

use crate::cli::Flags;
use crate::discover::select::Network;
use crate::forget::ForgetAfter;
use crate::record::{AddressSettings, Entry, Record, RecordSettings};
use crate::source::{AddressSource, Sources};

/// The settings of a run.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The file that was read, if any.
    pub(crate) file: Option<PathBuf>,
    /// The hub and the credential.
    pub(crate) connection: Connection,
    /// What is reported; at least one, none twice.
    pub(crate) records: Vec<Record>,
    /// The state folder.
    pub(crate) state_dir: PathBuf,
    /// Whether a run without the state folder fails: it was configured, or a hook is owed there.
    pub(crate) needs_state: bool,
    /// Call the hub through this interface.
    pub(crate) bind_interface: Option<String>,
    /// The program that is run after a change.
    pub(crate) hook: Option<Hook>,
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
    hub: HubUrls,
    token: Option<Secret>,
    token_file: Option<PathBuf>,
    token_file_mode: Option<TokenFileMode>,
    auth: Option<AuthMode>,
    ca_file: Option<PathBuf>,
    pin_sha256: Option<Pins>,
    agent_name: Option<AgentName>,
    silo: Option<SiloId>,
    hostnames: Option<Vec<Hostname>>,
    records: Option<Vec<Entry>>,
    addresses: Option<Sources>,
    within: Option<Vec<Network>>,
    ipv6_suffix: Option<Ipv6Addr>,
    ipv6_prefix_len: Option<u8>,
    forget_family_after: Option<ForgetAfter>,
    state_dir: Option<PathBuf>,
    bind_interface: Option<String>,
    on_change: Vec<String>,
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
                    hubs: file.hub.0.clone(),
                    token: file.token.clone(),
                    token_variable: None,
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
                    agent_name: file.agent_name.clone(),
                    trust: Trust::default(),
                };
                (weaker.overridden_by(stronger).resolve(path)?, *file)
            }
            (AnyFile::Pyddns(_), None) => unreachable!("a pyDDNS file was read from a path"),
        };
        let state_dir = match &flags.state_dir {
            Some(state_dir) => Some(state_dir.clone()),
            None => from_file("state_dir", &file.state_dir)?,
        };
        let addresses = AddressSettings {
            addresses: file.addresses,
            within: file.within,
            ipv6_suffix: file.ipv6_suffix,
            ipv6_prefix_len: file.ipv6_prefix_len,
        };
        let records = RecordSettings {
            silo: flags.silo.clone().or(file.silo),
            hostnames: flags.hostnames.clone().or(file.hostnames),
            records: file.records,
            addresses: addresses.overridden_by(flags.address_settings()),
            forget: flags.forget_family_after.or(file.forget_family_after),
        };
        let settings = Self {
            file: path.map(Path::to_owned),
            connection,
            records: records.resolve()?,
            needs_state: state_dir.is_some() || !file.on_change.is_empty(),
            state_dir: state_dir.unwrap_or_else(default_state_dir),
            bind_interface: flags.bind_interface.clone().or(file.bind_interface),
            hook: Hook::new(file.on_change, flags.connection.trust())?,
            quiet: flags.output.quiet.or(file.quiet).unwrap_or_default(),
            log_format: flags
                .output
                .log_format
                .or(file.log_format)
                .unwrap_or_default(),
            trust: flags.connection.trust(),
        };
        settings.check_bind_interface()?;
        settings.check_commands()?;
        Ok(settings)
    }

    /// Refuses a state folder that users other than root own or can write to, if root runs this.
    pub(crate) fn check_state_folder(&self) -> Result<(), ConfigError> {
        self.trust
            .check(Kind::StateFolder, &self.state_dir)
            .map_err(ConfigError::from)
    }

    /// Refuses a program of `command` that users other than root can change, if root runs this. One that is not found
    /// makes the run fail.
    fn check_commands(&self) -> Result<(), ConfigError> {
        for source in self.records.iter().flat_map(|record| record.sources.iter()) {
            if let AddressSource::Command(argv) = source
                && let Some(program) = argv.first()
            {
                // A relative path with a folder begins at the working directory, as the system finds it.
                let has_folder = Path::new(program).components().count() > 1;
                let path = if has_folder {
                    Some(program.into())
                } else {
                    find_program(program)
                };
                if let Some(path) = path {
                    self.trust
                        .check(Kind::Program, &path)
                        .map_err(|error| setting(format!("command: {error}")))?;
                }
            }
        }
        Ok(())
    }

    /// With other sources, the setting would be ignored silently.
    fn check_bind_interface(&self) -> Result<(), ConfigError> {
        if self.bind_interface.is_none() {
            return Ok(());
        }
        if cfg!(not(any(target_os = "linux", target_os = "macos"))) {
            return Err(setting("bind_interface works on Linux and macOS only"));
        }
        let is_route = |source: &AddressSource| matches!(source, AddressSource::Route(_));
        let mut sources = self.records.iter().flat_map(|record| record.sources.iter());
        if cfg!(not(target_os = "linux")) && sources.any(is_route) {
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
        addresses: Some(Sources::from(match pyddns.address_source {
            pyddns::AddressSource::ServerApi => AddressSource::Hub,
            pyddns::AddressSource::Socket => AddressSource::Route(None),
        })),
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

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
