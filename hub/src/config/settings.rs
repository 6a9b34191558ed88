//! The hub's settings: a YAML file, overridden by the environment, overridden by flags.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::Deserialize;
use silo_shared::config::{ConfigError, read_yaml};
use silo_shared::network::Network;
use silo_shared::program::LogFormat;

use crate::config::base::base;
use crate::config::compat::Compat;
use crate::config::cors::Origin;
use crate::config::database_url::DatabaseUrl;
use crate::config::limits::{Limits, LimitsFile};
use crate::config::sinks::SinkSettings;
use crate::tls::{TlsFile, TlsSettings};

/// The default address to listen on.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:8053";
/// The default directory for the hub's files.
pub const DEFAULT_DATA_DIR: &str = "silo-data";
/// The default memory for rendered silos, in MiB.
pub const DEFAULT_VIEW_MIB: u64 = 128;

/// The default retention of history, in days.
pub const DEFAULT_RETENTION_DAYS: u32 = 400;

/// The commented example that `config-example` prints.
pub const EXAMPLE: &str = include_str!("../../../config/hub.yaml");

/// All of the hub's settings.
#[derive(Clone, Debug)]
pub struct HubSettings {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// The address to serve metrics at without a credential; `None`: nowhere.
    pub metrics_listen: Option<SocketAddr>,
    /// The certificate for TLS at `listen`; `None`: without TLS.
    pub tls: Option<TlsSettings>,
    /// The limits of what clients may use.
    pub limits: Limits,
    /// The database; `None`: the SQLite file in the data directory.
    pub database: Option<DatabaseUrl>,
    /// The directory for the hub's own files.
    pub data_dir: PathBuf,
    /// The path of the hub's key; `None`: in the data directory.
    pub key_file: Option<PathBuf>,
    /// Whether to migrate the schema at start.
    pub migrate: bool,
    /// Whether a missing hub may be created where one is expected.
    pub init: bool,
    /// Proxies whose `Forwarded` and `X-Forwarded-For` are trusted.
    pub trusted_proxies: Vec<IpNet>,
    /// Where browsers see this hub, if not where it listens: behind a proxy.
    pub public_url: Option<Origin>,
    /// Whether there are pages for browsers.
    pub dashboard: bool,
    /// The origins of pages that may call from a browser.
    pub cors_origins: Vec<Origin>,
    /// The memory for rendered silos, in bytes.
    pub view_bytes: u64,
    /// How many days to keep history, the tombstones of deleted silos, and rights and sinks that have ended.
    pub retention_days: u32,
    /// The sinks.
    pub sinks: Vec<SinkSettings>,
    /// Foreign protocols that are disabled by default.
    pub compat: Compat,
    /// The format of log lines.
    pub log_format: LogFormat,
}

/// The keys of the configuration file, all of which are optional.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HubFile {
    listen: Option<SocketAddr>,
    metrics_listen: Option<SocketAddr>,
    tls: TlsFile,
    limits: LimitsFile,
    database: Option<String>,
    data_dir: Option<PathBuf>,
    key_file: Option<PathBuf>,
    migrate: Option<bool>,
    trusted_proxies: Vec<Network<IpNet>>,
    public_url: Option<Origin>,
    dashboard: Option<bool>,
    cors_origins: Vec<Origin>,
    view_mib: Option<u64>,
    retention_days: Option<u32>,
    sinks: Vec<serde_yaml::Mapping>,
    compat: Compat,
    log_format: Option<LogFormat>,
}

/// Flags and environment variables, which override the file.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct HubArgs {
    /// Configuration file (YAML)
    #[arg(long, value_name = "FILE", env = "SILO_HUB_CONFIG", global = true)]
    pub config: Option<PathBuf>,
    /// Address and port to listen on [default: 127.0.0.1:8053]
    #[arg(long, value_name = "ADDR:PORT", env = "SILO_HUB_LISTEN", global = true)]
    pub listen: Option<SocketAddr>,
    /// Additional address and port that serves /metrics, without TLS and without a credential
    #[arg(
        long,
        value_name = "ADDR:PORT",
        env = "SILO_HUB_METRICS_LISTEN",
        global = true
    )]
    pub metrics_listen: Option<SocketAddr>,
    /// Certificate (PEM) to serve TLS with
    #[arg(long, value_name = "FILE", env = "SILO_HUB_TLS_CERT", global = true)]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's private key (PEM)
    #[arg(long, value_name = "FILE", env = "SILO_HUB_TLS_KEY", global = true)]
    pub tls_key: Option<PathBuf>,
    /// Additional address and port without TLS, for /ping, signed requests and routes in tls.plain_allow
    #[arg(
        long,
        value_name = "ADDR:PORT",
        env = "SILO_HUB_TLS_PLAIN_LISTEN",
        global = true
    )]
    pub tls_plain_listen: Option<SocketAddr>,
    /// Database [default: hub.db in the data directory]
    #[arg(
        long,
        value_name = "URL",
        env = "SILO_HUB_DATABASE",
        hide_env_values = true,
        global = true
    )]
    pub database: Option<String>,
    /// Directory for the hub's own files [default: silo-data]
    #[arg(long, value_name = "DIR", env = "SILO_HUB_DATA_DIR", global = true)]
    pub data_dir: Option<PathBuf>,
    /// File with the hub's key [default: hub.key in the data directory]
    #[arg(long, value_name = "FILE", env = "SILO_HUB_KEY_FILE", global = true)]
    pub key_file: Option<PathBuf>,
    /// Do not migrate the database's schema at start
    #[arg(long, env = "SILO_HUB_NO_MIGRATE", value_parser = clap::builder::FalseyValueParser::new(), global = true)]
    pub no_migrate: bool,
    /// Create a new hub if its database is missing
    #[arg(long, global = true)]
    pub init: bool,
    /// Format of log lines: text or json
    #[arg(
        long,
        value_name = "FORMAT",
        env = "SILO_HUB_LOG_FORMAT",
        global = true
    )]
    pub log_format: Option<LogFormat>,
}

impl HubSettings {
    /// Reads the file from the flags, if any, and applies the flags.
    pub fn load(args: &HubArgs) -> Result<Self, ConfigError> {
        let base = base();
        let path = args.config.as_deref().map(|path| base.join(path));
        let file = path
            .as_deref()
            .map(read_yaml)
            .transpose()?
            .unwrap_or_default();
        Self::merge(file, args, &base)
    }

    /// `base`: where relative paths begin; empty: in the working directory.
    fn merge(file: HubFile, args: &HubArgs, base: &Path) -> Result<Self, ConfigError> {
        let args = args.clone();
        let at = |path: PathBuf| base.join(path);
        // Relative paths in the file start here.
        let config = args.config.clone().map(at);
        let folder = config.as_deref().and_then(Path::parent);
        let folder = folder.unwrap_or(base);
        let database = args
            .database
            .or(file.database)
            .map(|url| url.parse().map(|url: DatabaseUrl| url.at(base)))
            .transpose()
            .map_err(|error| ConfigError::Setting(format!("database: {error}")))?;
        let tls = TlsFile {
            cert: args.tls_cert.or(file.tls.cert).map(at),
            key: args.tls_key.or(file.tls.key).map(at),
            plain_listen: args.tls_plain_listen.or(file.tls.plain_listen),
            plain_allow: file.tls.plain_allow,
        };
        let default_listen = || DEFAULT_LISTEN.parse().expect("the default is an address");
        Ok(Self {
            listen: args.listen.or(file.listen).unwrap_or_else(default_listen),
            metrics_listen: args.metrics_listen.or(file.metrics_listen),
            tls: tls.check()?,
            limits: file.limits.check()?,
            database,
            data_dir: args
                .data_dir
                .or(file.data_dir)
                .map_or_else(|| default_data_dir(base), at),
            key_file: args.key_file.or(file.key_file).map(at),
            migrate: !args.no_migrate && file.migrate.unwrap_or(true),
            init: args.init,
            trusted_proxies: file
                .trusted_proxies
                .into_iter()
                .map(|network| network.0)
                .collect(),
            public_url: file.public_url,
            dashboard: file.dashboard.unwrap_or(true),
            cors_origins: file.cors_origins,
            view_bytes: file
                .view_mib
                .unwrap_or(DEFAULT_VIEW_MIB)
                .saturating_mul(1024 * 1024),
            retention_days: checked_retention(file.retention_days)?,
            sinks: SinkSettings::read_list(file.sinks, folder)?,
            compat: file.compat,
            log_format: args.log_format.or(file.log_format).unwrap_or_default(),
        })
    }
}

impl HubSettings {
    /// The settings with paths relative to the working directory, each with its absolute path.
    pub fn relative_paths(&self) -> Vec<(&'static str, PathBuf)> {
        let tls = self.tls.as_ref();
        [
            ("data_dir", Some(&self.data_dir)),
            ("key_file", self.key_file.as_ref()),
            ("tls.cert", tls.map(|tls| &tls.cert)),
            ("tls.key", tls.map(|tls| &tls.key)),
        ]
        .into_iter()
        .filter_map(|(setting, path)| Some((setting, path?)))
        .filter(|(_, path)| path.is_relative())
        .filter_map(|(setting, path)| Some((setting, std::path::absolute(path).ok()?)))
        .collect()
    }
}

fn default_data_dir(base: &Path) -> PathBuf {
    if base.as_os_str().is_empty() {
        PathBuf::from(DEFAULT_DATA_DIR)
    } else {
        base.to_owned()
    }
}

/// Without any retention, each purge would delete all history and all finished deliveries.
fn checked_retention(days: Option<u32>) -> Result<u32, ConfigError> {
    match days {
        Some(0) => Err(ConfigError::Setting(
            "retention_days: 0 would remove all history at each start: give 1 or more".to_owned(),
        )),
        days => Ok(days.unwrap_or(DEFAULT_RETENTION_DAYS)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use silo_shared::config::parse_yaml;

    fn file(text: &str) -> Result<HubFile, ConfigError> {
        parse_yaml(Path::new("hub.yaml"), text)
    }

    #[cfg(unix)]
    #[test]
    fn relative_paths_are_reported_with_their_targets() {
        let text = "key_file: secrets/hub.key\ntls: {cert: /etc/cert.pem, key: key.pem}\n";
        let settings =
            HubSettings::merge(file(text).unwrap(), &HubArgs::default(), Path::new("")).unwrap();
        let here = |path: &str| std::env::current_dir().unwrap().join(path);
        assert_eq!(
            settings.relative_paths(),
            [
                ("data_dir", here(DEFAULT_DATA_DIR)),
                ("key_file", here("secrets/hub.key")),
                ("tls.key", here("key.pem")),
            ]
        );
    }

    #[test]
    fn flags_beat_the_file_and_the_file_beats_the_defaults() {
        let text = "listen: 10.0.0.1:80\ndata_dir: /srv/silo\nview_mib: 1\n";
        let args = HubArgs {
            listen: Some("127.0.0.1:1".parse().unwrap()),
            ..HubArgs::default()
        };
        let settings = HubSettings::merge(file(text).unwrap(), &args, Path::new("")).unwrap();
        assert_eq!(settings.listen.to_string(), "127.0.0.1:1");
        assert_eq!(settings.data_dir, Path::new("/srv/silo"));
        assert_eq!(settings.view_bytes, 1024 * 1024);
        assert!(settings.migrate);
        let settings =
            HubSettings::merge(file("").unwrap(), &HubArgs::default(), Path::new("")).unwrap();
        assert_eq!(settings.listen.to_string(), DEFAULT_LISTEN);
        assert_eq!(settings.data_dir, Path::new(DEFAULT_DATA_DIR));
    }

    #[test]
    fn a_base_is_where_all_relative_paths_begin() {
        let text = "key_file: hub.key\ndatabase: sqlite:own.db?mode=rw\ntls: {cert: /etc/cert.pem, key: key.pem}\n";
        let base = Path::new("/base");
        let settings = HubSettings::merge(file(text).unwrap(), &HubArgs::default(), base).unwrap();
        assert_eq!(settings.data_dir, base);
        assert_eq!(settings.key_file, Some(base.join("hub.key")));
        let tls = settings.tls.as_ref().unwrap();
        assert_eq!(tls.cert, Path::new("/etc/cert.pem"));
        assert_eq!(tls.key, base.join("key.pem"));
        let database = settings.database.as_ref().unwrap();
        assert_eq!(database.file(), Some(base.join("own.db")));
        assert!(database.url.ends_with("?mode=rw"), "{database}");
        let args = HubArgs {
            data_dir: Some("data".into()),
            database: Some("postgres://h/silo".to_owned()),
            ..HubArgs::default()
        };
        let settings = HubSettings::merge(HubFile::default(), &args, base).unwrap();
        assert_eq!(settings.data_dir, base.join("data"));
        assert_eq!(settings.database.unwrap().url, "postgres://h/silo");
    }

    #[test]
    fn wrong_settings_are_named() {
        let unknown = file("listen: 127.0.0.1:1\nlisten_port: 2\n")
            .unwrap_err()
            .to_string();
        assert!(
            unknown.contains("listen_port") && unknown.contains("line 2"),
            "{unknown}"
        );
        let args = HubArgs {
            database: Some("oracle://x".to_owned()),
            ..HubArgs::default()
        };
        let error = HubSettings::merge(HubFile::default(), &args, Path::new(""))
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("database:"), "{error}");
    }

    #[test]
    fn a_wrong_origin_is_named() {
        let origins = |text| {
            let settings =
                HubSettings::merge(file(text).unwrap(), &HubArgs::default(), Path::new(""))
                    .unwrap();
            let texts = settings
                .cors_origins
                .iter()
                .map(|origin| origin.as_str().to_owned());
            texts.collect::<Vec<_>>()
        };
        assert!(origins("").is_empty());
        let two = "cors_origins: [https://Home.lan, \"http://10.0.0.5:8123\"]\n";
        assert_eq!(origins(two), ["https://home.lan", "http://10.0.0.5:8123"]);
        for text in ["https://home.lan/page", "home.lan", "\"*\""] {
            let error = file(&format!(
                "view_mib: 1\ncors_origins: [https://a.lan, {text}]\n"
            ));
            let error = error.unwrap_err().to_string();
            assert!(
                error.contains("cors_origins")
                    && error.contains("line 2")
                    && error.contains("origin"),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn a_retention_of_no_days_is_refused() {
        let days =
            |text| HubSettings::merge(file(text).unwrap(), &HubArgs::default(), Path::new(""));
        for (text, expected) in [("", 400), ("retention_days: 1", 1)] {
            assert_eq!(days(text).unwrap().retention_days, expected, "{text}");
        }
        let error = days("retention_days: 0").unwrap_err().to_string();
        assert!(error.starts_with("retention_days: 0 would"), "{error}");
        for text in ["retention_days: -1", "retention_days: 0.5"] {
            let error = file(text).unwrap_err().to_string();
            assert!(error.contains("retention_days"), "{text}: {error}");
        }
    }

    #[test]
    fn the_example_is_a_valid_file_that_names_every_key() {
        let commented: String = EXAMPLE
            .lines()
            .map(|line| line.strip_prefix("#: ").unwrap_or(line))
            .collect::<Vec<_>>()
            .join("\n");
        let settings = HubSettings::merge(
            file(&commented).unwrap(),
            &HubArgs::default(),
            Path::new(""),
        )
        .unwrap();
        // A proxy on this machine is reached by either family.
        let proxies = ["127.0.0.1/32", "::1/128"].map(|network| network.parse().unwrap());
        assert_eq!(settings.trusted_proxies, proxies);
        assert_eq!(settings.sinks.len(), 1);
        HubSettings::merge(file(EXAMPLE).unwrap(), &HubArgs::default(), Path::new("")).unwrap();
        for key in [
            "listen",
            "metrics_listen",
            "tls",
            "limits",
            "database",
            "data_dir",
            "key_file",
            "migrate",
            "trusted_proxies",
            "public_url",
            "dashboard",
            "cors_origins",
            "view_mib",
            "retention_days",
            "sinks",
            "compat",
            "log_format",
        ] {
            assert!(
                commented.contains(&format!("\n{key}:")),
                "{key} is not in the example"
            );
        }
    }
}
