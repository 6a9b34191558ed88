//! The command line: commands, and flags that are also read from the environment.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use silo_shared::flags::{AFTER_HELP, AgentCommandLine, ConnectionFlags, OutputFlags};
use silo_shared::install::{InstallFlags, UninstallFlags};
use silo_shared::join::JoinFlags;
use silo_shared::silo::{Hostname, SiloId};

use crate::format::Format;
use crate::glob::Glob;
use crate::in_place::InPlace;
use crate::suffix::SuffixOrder;

/// Keeps blocks of the hosts file equal to silos of a hub.
#[derive(Debug, Parser)]
#[command(name = "silo-downstream", version, max_term_width = 100, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    /// Command to run [default: once]
    #[command(subcommand)]
    pub(crate) verb: Option<Verb>,
    #[command(flatten)]
    pub(crate) flags: Flags,
}

impl AgentCommandLine for Cli {
    fn connection_flags(&mut self) -> &mut ConnectionFlags {
        &mut self.flags.connection
    }
}

/// The command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Subcommand)]
pub(crate) enum Verb {
    /// Pull the silos once and bring their blocks up to date (for cron and Task Scheduler)
    #[default]
    Once,
    /// Stay, and bring the blocks up to date as soon as a silo or the hosts file changes
    Watch,
    /// Check configuration, hub, token and hosts file; change nothing
    Check,
    /// Show what `once` would change, as a unified diff; change nothing
    Diff {
        /// Exit with 1 if there is a difference, and with 2 if something failed, as diff(1) does
        #[arg(long)]
        exit_code: bool,
    },
    /// Show when the last run succeeded, what it wrote and skipped, and what fails since when
    Status {
        /// Exit with 1 also if the last success is older than this, such as 15m or 2h
        #[arg(long, value_name = "DURATION", value_parser = parse_age)]
        max_age: Option<Duration>,
    },
    /// Remove the configured silos' blocks from the hosts file, and their lines outside it; or a --file of its own
    Clean {
        /// Remove every silo's block
        #[arg(long)]
        all: bool,
    },
    /// Restore a backup of the hosts file
    Restore {
        /// Number of the backup in the output of --list; 1 is the newest
        #[arg(default_value_t = 1, value_name = "NUMBER")]
        number: usize,
        /// List the backups, the newest first; change nothing
        #[arg(long)]
        list: bool,
    },
    /// Get a token by an invitation, write the configuration, run once and make a schedule
    Join(JoinFlags),
    /// Undo `join` and `install`: end the schedule, remove the blocks, revoke the token that `join` made
    Leave,
    /// Let systemd, cron or Task Scheduler run this program, with the flags given here
    Install(InstallFlags),
    /// Remove what `install` wrote
    Uninstall(UninstallFlags),
    /// Print a commented configuration file
    ConfigExample,
    /// Print a shell completion script
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// Settings from the command line or the environment.
#[derive(Clone, Debug, Args)]
pub(crate) struct Flags {
    /// Configuration file [default: /etc/silo/downstream.yaml, %ProgramData%\Silo\downstream.yaml; may be absent]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) connection: ConnectionFlags,

    /// Silos to pull, separated by commas; the first one wins if several have the same name
    #[arg(long, global = true, value_name = "ID", value_delimiter = ',')]
    pub(crate) silo: Vec<SiloId>,

    /// Accept only these hostnames (globs), separated by commas
    #[arg(long, global = true, value_name = "GLOB", value_delimiter = ',')]
    pub(crate) hostnames: Vec<Glob>,

    /// Hosts file to manage [default: the system's]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) hosts_file: Option<PathBuf>,

    /// File of its own to keep for a DNS server, with --format, instead of blocks in the hosts file
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,

    /// Format of that file: hosts (dnsmasq, CoreDNS) or unbound [default file: /etc/unbound/unbound.conf.d/silo.conf]
    #[arg(
        long,
        global = true,
        value_name = "hosts|unbound",
        hide_possible_values = true
    )]
    pub(crate) format: Option<Format>,

    /// Define single-label names under this suffix as well, such as `db` as `db.lan`
    #[arg(long, global = true, value_name = "DOMAIN")]
    pub(crate) suffix: Option<Hostname>,

    /// Whether the long name is after or before the short one; reverse lookups answer the first [default: after]
    #[arg(
        long,
        global = true,
        value_name = "after|before",
        hide_possible_values = true
    )]
    pub(crate) suffix_order: Option<SuffixOrder>,

    /// Folder for the lock, backups and the hub's responses [default: /var/lib/silo, %ProgramData%\Silo]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,

    /// Write into the hosts file if it can't be replaced, such as one mounted into a container, or always
    #[arg(long, global = true, value_name = "true|false|always", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) in_place: Option<InPlace>,

    /// Move lines outside the blocks that define only one name of a silo into its block
    #[arg(long, global = true)]
    pub(crate) adopt: bool,

    /// Accept a pull that removes more names than `policy.max_removed` allows, and replace a --file that is not ours; with
    /// `restore`, accept lost lines; with `install`, `uninstall`, `join` and `leave`, overwrite or remove edited files
    #[arg(long, global = true, value_parser = BoolishValueParser::new())]
    pub(crate) force: bool,

    #[command(flatten)]
    pub(crate) output: OutputFlags,
}

/// A duration such as `90s`, `15m`, `2h` or `1h 30m`.
fn parse_age(text: &str) -> Result<Duration, &'static str> {
    text.parse::<jiff::SignedDuration>()
        .ok()
        .and_then(|age| Duration::try_from(age).ok())
        .ok_or("expected a duration such as 90s, 15m or 2h")
}
