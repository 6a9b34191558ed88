//! The agent's settings: combines configuration file, environment and flags into one value.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};
use silo_shared::agent::OutputSettings;
use silo_shared::agent_name::AgentName;
use silo_shared::config::{ConfigError, beside, parse_yaml, read_text};
use silo_shared::connection::{AuthMode, Connection, ConnectionSettings, HubUrls, TokenFileMode};
use silo_shared::credential::Secret;
use silo_shared::folders::{self, config_file};
use silo_shared::hook::Hook;
use silo_shared::pin::Pins;
use silo_shared::program::LogFormat;
use silo_shared::pyddns::{self, PyddnsConfig};
use silo_shared::silo::{Hostname, SiloId};
use silo_shared::trusted_file::{Kind, Trust};

use crate::cli::Flags;
use crate::format::Format;
use crate::glob::Glob;
use crate::in_place::InPlace;
use crate::policy::{Guarded, Policy};
use crate::suffix::{Suffix, SuffixOrder};

/// The configuration file. The keys of the connection are listed here individually, since serde's `flatten` is
/// incompatible with refusing unknown keys.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileSettings {
    hub: HubUrls,
    token: Option<Secret>,
    token_file: Option<PathBuf>,
    token_file_mode: Option<TokenFileMode>,
    auth: Option<AuthMode>,
    ca_file: Option<PathBuf>,
    pin_sha256: Option<Pins>,
    agent_name: Option<AgentName>,
    silo: Option<SiloId>,
    silos: Vec<SiloId>,
    hostnames: Vec<Glob>,
    hosts_file: Option<PathBuf>,
    state_dir: Option<PathBuf>,
    in_place: InPlace,
    file: Option<PathBuf>,
    format: Option<Format>,
    suffix: Option<Hostname>,
    suffix_order: Option<SuffixOrder>,
    on_change: Vec<String>,
    quiet: bool,
    log_format: LogFormat,
    #[serde(deserialize_with = "checked_policy")]
    policy: Policy,
}

impl FileSettings {
    /// Takes the settings of the hub.
    fn connection(&mut self) -> ConnectionSettings {
        ConnectionSettings {
            hubs: std::mem::take(&mut self.hub.0),
            token: self.token.take(),
            token_variable: None,
            token_file: self.token_file.take(),
            token_file_mode: self.token_file_mode.take(),
            auth: self.auth.take(),
            ca_file: self.ca_file.take(),
            pins: self.pin_sha256.take(),
            agent_name: self.agent_name.take(),
            trust: Trust::default(),
        }
    }

    /// Resolves the paths in it against the folder of `file`, except those that a flag overrides.
    fn resolve_paths(&mut self, file: &Path, flags: &Flags) -> Result<(), ConfigError> {
        for (setting, path, flag) in [
            (
                "token_file",
                &mut self.token_file,
                &flags.connection.token_file,
            ),
            ("ca_file", &mut self.ca_file, &flags.connection.ca_file),
            ("hosts_file", &mut self.hosts_file, &flags.hosts_file),
            ("file", &mut self.file, &flags.file),
            ("state_dir", &mut self.state_dir, &flags.state_dir),
        ] {
            if let (Some(given), None) = (path.take_if(|_| flag.is_none()), flag) {
                *path = Some(beside(file, setting, given)?);
            }
        }
        Ok(())
    }
}

/// All settings from all sources.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    hub: HubSource,
    /// The file that was read, if there was one.
    pub(crate) config_file: Option<PathBuf>,
    /// The silos, in order of precedence.
    pub(crate) silos: Vec<SiloId>,
    /// Globs of the hostnames to use; empty: all.
    pub(crate) hostnames: Vec<Glob>,
    /// The file to manage: the hosts file, or a file of our own.
    pub(crate) hosts_file: PathBuf,
    /// The format of a file of our own; `None`: blocks in a hosts file.
    pub(crate) format: Option<Format>,
    /// The state folder.
    pub(crate) state_dir: PathBuf,
    /// Whether the hosts file may be written in place.
    pub(crate) in_place: InPlace,
    /// The suffix under which single-label names are defined as well.
    pub(crate) suffix: Option<Suffix>,
    /// The program to run after a change.
    pub(crate) on_change: Option<Hook>,
    /// Whether to ignore `policy.max_removed`.
    pub(crate) force: bool,
    /// Whether to move lines outside the blocks into them.
    pub(crate) adopt: bool,
    /// Whether only changes and failures are printed.
    pub(crate) quiet: bool,
    /// The format of lines on stderr.
    pub(crate) log_format: LogFormat,
    /// What to accept from the hub.
    pub(crate) policy: Policy,
    /// Whose files are trusted if root runs this.
    trust: Trust,
}

/// The source of the hub's settings. Evaluated only by commands that call the hub: the others do not need it.
#[derive(Clone, Debug)]
enum HubSource {
    /// A file in this program's own format overridden by flags, or only flags.
    Own(ConnectionSettings),
    /// The file of a pyDDNS client, and the flags.
    Pyddns {
        /// The file's path.
        path: PathBuf,
        /// Its contents.
        config: Box<PyddnsConfig>,
        /// The flags, which take precedence.
        stronger: ConnectionSettings,
    },
}

impl Settings {
    /// Reads the configuration file and overrides it with flags.
    pub(crate) fn load(flags: &Flags) -> Result<Self, ConfigError> {
        let path = flags
            .config
            .clone()
            .unwrap_or_else(|| config_file("downstream.yaml"));
        flags.connection.trust().check(Kind::Configuration, &path)?;
        match read_text(&path) {
            Ok(text) => Self::parse(Some((path, text)), flags),
            // Flags can replace the default file; a file given by a flag must exist.
            Err(ConfigError::Missing(_)) if flags.config.is_none() => Self::parse(None, flags),
            Err(error) => Err(error),
        }
    }

    /// Only the flags, for a machine without a configuration.
    pub(crate) fn of_flags(flags: &Flags) -> Result<Self, ConfigError> {
        Self::parse(None, flags)
    }

    /// Refuses a state folder that users other than root can change, if root runs this.
    pub(crate) fn check_state_folder(&self) -> Result<(), ConfigError> {
        self.trust
            .check(Kind::StateFolder, &self.state_dir)
            .map_err(ConfigError::from)
    }

    fn parse(file: Option<(PathBuf, String)>, flags: &Flags) -> Result<Self, ConfigError> {
        let stronger = flags.connection.settings();
        let Some((path, text)) = file else {
            return Self::merge(
                FileSettings::default(),
                HubSource::Own(stronger),
                None,
                flags,
            );
        };
        let (file, hub) = match pyddns::parse(&path, &text)? {
            Some(pyddns) => {
                let file = FileSettings {
                    silo: Some(pyddns.silo.clone()),
                    hostnames: pyddns.hostnames.iter().cloned().map(Glob::from).collect(),
                    ..FileSettings::default()
                };
                let hub = HubSource::Pyddns {
                    path: path.clone(),
                    config: Box::new(pyddns),
                    stronger,
                };
                (file, hub)
            }
            None => {
                let mut file: FileSettings = parse_yaml(&path, &text)?;
                file.resolve_paths(&path, flags)?;
                let connection = file.connection().overridden_by(stronger);
                (file, HubSource::Own(connection))
            }
        };
        Self::merge(file, hub, Some(path), flags)
    }

    fn merge(
        file: FileSettings,
        hub: HubSource,
        config_file: Option<PathBuf>,
        flags: &Flags,
    ) -> Result<Self, ConfigError> {
        if file.silo.is_some() && !file.silos.is_empty() {
            return Err(wrong("`silo` and `silos` are both given: keep one"));
        }
        let target = ManagedFile::of(&file, flags)?;
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
        let state_dir = flags.state_dir.clone().or(file.state_dir);
        Ok(Self {
            hub,
            config_file,
            silos,
            hostnames: either(&flags.hostnames, file.hostnames),
            hosts_file: target.path,
            format: target.format,
            state_dir: state_dir.unwrap_or_else(default_state_dir),
            in_place: flags.in_place.unwrap_or(file.in_place),
            suffix: suffix(
                flags.suffix.clone().or(file.suffix),
                flags.suffix_order.or(file.suffix_order),
            )?,
            on_change: Hook::new(file.on_change, flags.connection.trust())?,
            force: flags.force,
            adopt: flags.adopt,
            quiet: flags.output.quiet.unwrap_or(file.quiet),
            log_format: flags.output.log_format.unwrap_or(file.log_format),
            policy: file.policy,
            trust: flags.connection.trust(),
        })
    }

    /// The connection to the hub; reads the token.
    pub(crate) fn connection(&self) -> Result<Connection, ConfigError> {
        match &self.hub {
            HubSource::Own(settings) => settings.resolve(self.config_file.as_deref()),
            HubSource::Pyddns {
                path,
                config,
                stronger,
            } => config.connection(path, stronger),
        }
    }

    /// Whether a name is selected by `hostnames`.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.hostnames.is_empty() || self.hostnames.iter().any(|glob| glob.matches(name))
    }

    /// The silos, at least one.
    pub(crate) fn some_silos(&self) -> Result<&[SiloId], ConfigError> {
        if self.silos.is_empty() {
            return Err(wrong(
                "no silo given: set `silos` in the configuration or --silo ID",
            ));
        }
        Ok(&self.silos)
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

/// The names that no silo may redirect: this machine's and the hubs'.
pub(crate) fn guarded(connection: &Connection) -> Guarded {
    let whole = gethostname::gethostname().to_string_lossy().to_lowercase();
    let whole = whole.trim_end_matches('.').to_owned();
    let short = whole.split('.').next().unwrap_or(&whole).to_owned();
    let names = connection.hubs().iter().filter_map(|hub| hub.url.domain());
    Guarded {
        own: vec![whole, short],
        hubs: names
            .map(|name| name.trim_end_matches('.').to_lowercase())
            .collect(),
    }
}

/// The file to manage.
struct ManagedFile {
    path: PathBuf,
    format: Option<Format>,
}

impl ManagedFile {
    /// Flags that name a file override all that the configuration file says about it.
    fn of(file: &FileSettings, flags: &Flags) -> Result<Self, ConfigError> {
        let is_flagged = flags.hosts_file.is_some() || flags.file.is_some();
        let format = match (flags.format, is_flagged && flags.file.is_none()) {
            (None, false) => file.format,
            (given, _) => given,
        };
        let (hosts, own) = match is_flagged {
            true => (&flags.hosts_file, &flags.file),
            // The hosts file of the configuration gives way to a format from a flag.
            false if flags.format.is_some() && file.file.is_none() => (&None, &None),
            false => (&file.hosts_file, &file.file),
        };
        match (hosts, own, format) {
            (Some(_), Some(_), _) => Err(wrong(
                "`hosts_file` and `file` are both given: keep one; a second file needs a configuration of its own",
            )),
            (Some(_), None, Some(_)) => Err(wrong(
                "`format` is for a file of its own: set `file` instead of `hosts_file`",
            )),
            (Some(path), None, None) => Ok(Self::blocks(path.clone())),
            (None, None, None) => Ok(Self::blocks(system_hosts_file())),
            (None, Some(_), None) => Err(wrong(
                "`file` is given without `format`: set `format` to hosts or unbound",
            )),
            (None, own, Some(format)) => {
                let Some(path) = own.clone().or_else(|| format.default_file()) else {
                    return Err(wrong(
                        "`format: hosts` is given without `file`: set `file` to the path of a new file",
                    ));
                };
                Self::own(path, format)
            }
        }
    }

    fn blocks(path: PathBuf) -> Self {
        Self { path, format: None }
    }

    /// The system's hosts file never becomes a file of our own.
    fn own(path: PathBuf, format: Format) -> Result<Self, ConfigError> {
        let system = system_hosts_file();
        let real = |path: &Path| folders::real(path).unwrap_or_else(|_| path.to_owned());
        if real(&path) == real(&system) {
            return Err(ConfigError::Setting(format!(
                "`file` is the system's hosts file, {}: for blocks in it, remove `file` and `format`",
                system.display()
            )));
        }
        let format = Some(format);
        Ok(Self { path, format })
    }
}

fn suffix(
    domain: Option<Hostname>,
    order: Option<SuffixOrder>,
) -> Result<Option<Suffix>, ConfigError> {
    match (domain, order) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(wrong(
            "`suffix_order` is given without `suffix`: set `suffix` to the domain of the long names",
        )),
        (Some(domain), order) => Ok(Some(Suffix {
            domain,
            order: order.unwrap_or_default(),
        })),
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

/// Parses the policy and checks its values while the line in the file is still known.
fn checked_policy<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Policy, D::Error> {
    let policy = Policy::deserialize(deserializer)?;
    if policy.max_removed.percent > 100 {
        return Err(serde::de::Error::custom("max_removed.percent: at most 100"));
    }
    if policy.networks.as_ref().is_some_and(Vec::is_empty) {
        return Err(serde::de::Error::custom(
            "`networks` is empty, so no address matches: list a network or remove the key",
        ));
    }
    Ok(policy)
}

fn default_state_dir() -> PathBuf {
    if cfg!(windows) {
        folders::program_data().join("downstream")
    } else {
        PathBuf::from("/var/lib/silo")
    }
}

fn system_hosts_file() -> PathBuf {
    if cfg!(windows) {
        folders::windows_folder("SystemRoot", r"C:\Windows").join(r"System32\drivers\etc\hosts")
    } else {
        PathBuf::from("/etc/hosts")
    }
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
