//! What the agent is to do: configuration file, environment and flags made into one value.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};
use silo_shared::config::{ConfigError, read_yaml};
use silo_shared::connection::{Connection, ConnectionSettings, TokenFileMode};
use silo_shared::credential::Secret;
use silo_shared::silo::SiloId;

use crate::cli::Flags;
use crate::policy::{Guarded, Policy};

/// The configuration file. The keys of the connection stand here one by one, since serde's `flatten`
/// does not go together with refusing unknown keys.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileSettings {
    hub: Option<String>,
    token: Option<Secret>,
    token_file: Option<PathBuf>,
    token_file_mode: Option<TokenFileMode>,
    ca_file: Option<PathBuf>,
    silo: Option<SiloId>,
    silos: Vec<SiloId>,
    hostnames: Vec<String>,
    hosts_file: Option<PathBuf>,
    state_dir: Option<PathBuf>,
    in_place: bool,
    #[serde(deserialize_with = "checked_policy")]
    policy: Policy,
}

/// All settings, from wherever they came.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    connection: ConnectionSettings,
    /// The file that was read, if there was one.
    pub(crate) config_file: Option<PathBuf>,
    /// The silos, in the order in which they win over each other.
    pub(crate) silos: Vec<SiloId>,
    /// Globs of the hostnames to take; empty: all.
    pub(crate) hostnames: Vec<String>,
    /// The hosts file.
    pub(crate) hosts_file: PathBuf,
    /// The state folder.
    pub(crate) state_dir: PathBuf,
    /// Whether the hosts file may be written in place.
    pub(crate) in_place: bool,
    /// Whether `policy.max_removed` is set aside.
    pub(crate) force: bool,
    /// What is accepted from the hub.
    pub(crate) policy: Policy,
}

impl Settings {
    /// Reads the configuration file and puts the flags over it.
    pub(crate) fn load(flags: &Flags) -> Result<Self, ConfigError> {
        let path = flags.config.clone().unwrap_or_else(default_config);
        let (file, config_file) = match read_yaml::<FileSettings>(&path) {
            Ok(file) => (file, Some(path)),
            // Flags may say everything; a file that was asked for must be there.
            Err(ConfigError::Missing(_)) if flags.config.is_none() => {
                (FileSettings::default(), None)
            }
            Err(error) => return Err(error),
        };
        Self::merge(file, config_file, flags)
    }

    fn merge(
        file: FileSettings,
        config_file: Option<PathBuf>,
        flags: &Flags,
    ) -> Result<Self, ConfigError> {
        let connection = ConnectionSettings {
            hub: file.hub,
            token: file.token,
            token_file: file.token_file,
            token_file_mode: file.token_file_mode,
            ca_file: file.ca_file,
        };
        let stronger = ConnectionSettings {
            hub: flags.hub.clone(),
            token_file: flags.token_file.clone(),
            ca_file: flags.ca_file.clone(),
            ..ConnectionSettings::default()
        };
        if file.silo.is_some() && !file.silos.is_empty() {
            return Err(wrong("`silo` and `silos` are both given: keep one"));
        }
        let silos = either(
            &flags.silo,
            file.silo.into_iter().chain(file.silos).collect(),
        );
        if let Some(twice) = silos
            .iter()
            .enumerate()
            .find(|(at, id)| silos[..*at].contains(id))
        {
            return Err(ConfigError::Setting(format!(
                "silo {} is given twice",
                twice.1
            )));
        }
        let hosts_file = flags.hosts_file.clone().or(file.hosts_file);
        let state_dir = flags.state_dir.clone().or(file.state_dir);
        Ok(Self {
            connection: connection.overridden_by(stronger),
            config_file,
            silos,
            hostnames: either(&flags.hostnames, file.hostnames),
            hosts_file: hosts_file.unwrap_or_else(system_hosts_file),
            state_dir: state_dir.unwrap_or_else(default_state_dir),
            in_place: flags.in_place.unwrap_or(file.in_place),
            force: flags.force,
            policy: file.policy,
        })
    }

    /// How to reach the hub; reads the token.
    pub(crate) fn connection(&self) -> Result<Connection, ConfigError> {
        self.connection.resolve(self.config_file.as_deref())
    }

    /// The silos, of which there must be one.
    pub(crate) fn some_silos(&self) -> Result<&[SiloId], ConfigError> {
        if self.silos.is_empty() {
            return Err(wrong(
                "no silo given: set `silos` in the configuration or --silo ID",
            ));
        }
        Ok(&self.silos)
    }
}

/// The names that no silo may redirect: this machine's and the hub's.
pub(crate) fn guarded(connection: &Connection) -> Guarded {
    let whole = gethostname::gethostname().to_string_lossy().to_lowercase();
    let whole = whole.trim_end_matches('.').to_owned();
    let short = whole.split('.').next().unwrap_or(&whole).to_owned();
    let hub = connection.hub.domain();
    Guarded {
        own: vec![whole, short],
        hub: hub.map(|name| name.trim_end_matches('.').to_lowercase()),
    }
}

fn either<T: Clone>(strong: &[T], weak: Vec<T>) -> Vec<T> {
    if strong.is_empty() {
        weak
    } else {
        strong.to_vec()
    }
}

fn wrong(what: &str) -> ConfigError {
    ConfigError::Setting(what.to_owned())
}

/// The policy, with its numbers checked where the file's line is still known.
fn checked_policy<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Policy, D::Error> {
    let policy = Policy::deserialize(deserializer)?;
    if policy.max_removed.percent > 100 {
        return Err(serde::de::Error::custom("max_removed.percent: at most 100"));
    }
    Ok(policy)
}

#[cfg(not(windows))]
fn default_config() -> PathBuf {
    PathBuf::from("/etc/silo/downstream.yaml")
}

#[cfg(not(windows))]
fn default_state_dir() -> PathBuf {
    PathBuf::from("/var/lib/silo")
}

#[cfg(not(windows))]
fn system_hosts_file() -> PathBuf {
    PathBuf::from("/etc/hosts")
}

#[cfg(windows)]
fn default_config() -> PathBuf {
    default_state_dir().join("downstream.yaml")
}

#[cfg(windows)]
fn default_state_dir() -> PathBuf {
    windows_folder("ProgramData", r"C:\ProgramData").join("Silo")
}

#[cfg(windows)]
fn system_hosts_file() -> PathBuf {
    windows_folder("SystemRoot", r"C:\Windows").join(r"System32\drivers\etc\hosts")
}

#[cfg(windows)]
fn windows_folder(variable: &str, usual: &str) -> PathBuf {
    std::env::var_os(variable).map_or_else(|| PathBuf::from(usual), PathBuf::from)
}

/// A path for people, `none` where there is no file.
pub(crate) fn shown(path: Option<&Path>) -> String {
    path.map_or_else(
        || "none, flags and environment alone".to_owned(),
        |path| path.display().to_string(),
    )
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
