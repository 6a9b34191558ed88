//! The command line: verbs, and flags that are also read from the environment.

use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use silo_shared::connection::{AuthMode, TokenFileMode};
use silo_shared::pin::Pins;
use silo_shared::program::LogFormat;
use silo_shared::silo::SiloId;

use crate::glob::Glob;
use crate::in_place::InPlace;

/// Keeps blocks of the hosts file equal to silos of a hub.
#[derive(Debug, Parser)]
#[command(name = "silo-downstream", version, max_term_width = 100, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    /// What to do; without it, `once`
    #[command(subcommand)]
    pub(crate) verb: Option<Verb>,
    #[command(flatten)]
    pub(crate) flags: Flags,
}

const AFTER_HELP: &str = "\
Flags beat the environment, which beats the configuration file.
Exit codes: 0 done, 1 failed (a later run may succeed) or a name is left at a wrong address, 2 wrong usage
or configuration.";

/// What to do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Subcommand)]
pub(crate) enum Verb {
    /// Pull the silos once and bring their blocks up to date (for cron and Task Scheduler)
    #[default]
    Once,
    /// Say whether configuration, hub, token and hosts file are all right; change nothing
    Check,
    /// Show what `once` would change, as a unified diff; change nothing
    Diff,
    /// Remove the configured silos' blocks from the hosts file, and their lines that lost the block
    Clean {
        /// Remove every silo's block
        #[arg(long)]
        all: bool,
    },
    /// Put back a hosts file that was kept before this program replaced it
    Restore {
        /// Which of those that --list shows; 1 is the newest
        #[arg(default_value_t = 1, value_name = "NUMBER")]
        number: usize,
        /// List what can be put back, the newest first; change nothing
        #[arg(long)]
        list: bool,
    },
    /// Print a commented configuration file
    ConfigExample,
    /// Print the completions for a shell
    Completions {
        /// For which shell
        shell: Shell,
    },
}

/// Settings that may be given on the command line or in the environment.
#[derive(Clone, Debug, Args)]
pub(crate) struct Flags {
    /// Configuration file [default: /etc/silo/downstream.yaml, %ProgramData%\Silo\downstream.yaml; may be absent]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "SILO_DOWNSTREAM_CONFIG",
        hide_env_values = true
    )]
    pub(crate) config: Option<PathBuf>,

    /// URL of the hub, such as `http://hub.lan:8053`
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "SILO_DOWNSTREAM_HUB",
        hide_env_values = true
    )]
    pub(crate) hub: Option<String>,

    /// File with the credential, readable by its owner alone
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "SILO_DOWNSTREAM_TOKEN_FILE",
        hide_env_values = true
    )]
    pub(crate) token_file: Option<PathBuf>,

    /// Whether a token file that others can read is accepted [default: private]
    #[arg(
        long,
        global = true,
        value_name = "MODE",
        env = "SILO_DOWNSTREAM_TOKEN_FILE_MODE",
        hide_env_values = true
    )]
    pub(crate) token_file_mode: Option<FileMode>,

    /// Believe files of this owner too, as root: by default root's alone (and those of sudo's caller)
    #[arg(
        long,
        global = true,
        value_name = "UID",
        env = "SILO_DOWNSTREAM_TRUST_OWNER",
        hide_env_values = true
    )]
    pub(crate) trust_owner: Option<u32>,

    /// How the credential is shown: `auto` signs over plain HTTP to another machine [default: auto]
    #[arg(
        long,
        global = true,
        value_name = "HOW",
        hide_possible_values = true,
        env = "SILO_DOWNSTREAM_AUTH",
        hide_env_values = true
    )]
    pub(crate) auth: Option<AuthMode>,

    /// Silos to pull; repeat it or separate them by commas. The first wins where two have a name
    #[arg(
        long,
        global = true,
        value_name = "ID",
        value_delimiter = ',',
        env = "SILO_DOWNSTREAM_SILO",
        hide_env_values = true
    )]
    pub(crate) silo: Vec<SiloId>,

    /// Take these hostnames only (globs), separated by commas
    #[arg(
        long,
        global = true,
        value_name = "GLOB",
        value_delimiter = ',',
        env = "SILO_DOWNSTREAM_HOSTNAMES",
        hide_env_values = true
    )]
    pub(crate) hostnames: Vec<Glob>,

    /// Hosts file to keep [default: the system's]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "SILO_DOWNSTREAM_HOSTS_FILE",
        hide_env_values = true
    )]
    pub(crate) hosts_file: Option<PathBuf>,

    /// Folder for lock, backup and what the hub said [default: /var/lib/silo, %ProgramData%\Silo]
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "SILO_DOWNSTREAM_STATE_DIR",
        hide_env_values = true
    )]
    pub(crate) state_dir: Option<PathBuf>,

    /// Write into the hosts file itself where it can't be replaced (a file that a container mounts), or always
    #[arg(long, global = true, value_name = "true|false|always", num_args = 0..=1, require_equals = true, default_missing_value = "true", env = "SILO_DOWNSTREAM_IN_PLACE", hide_env_values = true)]
    pub(crate) in_place: Option<InPlace>,

    /// Take lines outside the blocks that hold one name of a silo, and nothing else, into its block
    #[arg(long, global = true)]
    pub(crate) adopt: bool,

    /// Accept a pull through which more names go than `policy.max_removed` allows; with `restore`, lose lines of others
    #[arg(long, global = true, value_parser = BoolishValueParser::new(), env = "SILO_DOWNSTREAM_FORCE", hide_env_values = true)]
    pub(crate) force: bool,

    /// Speak only of a change or a failure
    #[arg(long, short, global = true, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = BoolishValueParser::new(), env = "SILO_DOWNSTREAM_QUIET", hide_env_values = true)]
    pub(crate) quiet: Option<bool>,

    /// PEM file with the certificates to trust instead of the system's
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "SILO_DOWNSTREAM_CA_FILE",
        hide_env_values = true
    )]
    pub(crate) ca_file: Option<PathBuf>,

    /// The hub's key, as `silo-hub tls self-signed` prints it: no other hub is talked to
    #[arg(
        long,
        global = true,
        value_name = "PIN",
        env = "SILO_DOWNSTREAM_PIN_SHA256",
        hide_env_values = true
    )]
    pub(crate) pin_sha256: Option<Pins>,

    /// How lines on stderr are written: text or json [default: text]
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        env = "SILO_DOWNSTREAM_LOG_FORMAT",
        hide_env_values = true
    )]
    pub(crate) log_format: Option<LogFormat>,
}

/// [`TokenFileMode`] as a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FileMode {
    /// Readable by its owner alone
    Private,
    /// Any mode, as where a container mounts it
    Any,
}

impl From<FileMode> for TokenFileMode {
    fn from(mode: FileMode) -> Self {
        match mode {
            FileMode::Private => Self::Private,
            FileMode::Any => Self::Any,
        }
    }
}
