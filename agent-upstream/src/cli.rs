//! The command line: commands, and flags that are also read from the environment.

use std::net::Ipv6Addr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use silo_shared::flags::{AFTER_HELP, AgentCommandLine, ConnectionFlags, OutputFlags};
use silo_shared::install::{InstallFlags, UninstallFlags};
use silo_shared::join::JoinFlags;
use silo_shared::silo::{Hostname, SiloId};

use crate::discover::select::Network;
use crate::forget::ForgetAfter;
use crate::period::Period;
use crate::record::AddressSettings;
use crate::source::{AddressSource, Sources};

/// Reports the addresses of this machine to a Silo hub.
#[derive(Debug, Parser)]
#[command(name = "silo-upstream", version, max_term_width = 100, after_help = AFTER_HELP)]
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
    /// Find this machine's addresses and report them if they changed (for cron and Task Scheduler)
    #[default]
    Once,
    /// Stay, report a changed address at once, and put right what others change at the hub
    Watch,
    /// Check configuration, hub, token and addresses; change nothing
    Check,
    /// Print what the last runs reported and what failed, without asking the hub
    Status {
        /// Fail if the last success is longer ago than this, such as 30m
        #[arg(long, value_name = "TIME")]
        max_age: Option<Period>,
    },
    /// Remove this machine's records from the hub, for a machine that goes away
    Remove {
        /// Print what would be removed; change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Get a token by an invitation, write the configuration, run once and make a schedule
    Join {
        #[command(flatten)]
        flags: JoinFlags,
        /// Replace a configuration and a token that are there
        #[arg(long)]
        force: bool,
    },
    /// Undo `join` and `install`: end the schedule, remove this machine's records, revoke the token that `join` made
    Leave {
        /// Leave the records at the hub
        #[arg(long)]
        keep_records: bool,
        /// Remove files that were edited since, too
        #[arg(long)]
        force: bool,
    },
    /// Let systemd, cron or Task Scheduler run this program, with the flags given here
    Install {
        #[command(flatten)]
        flags: InstallFlags,
        /// Overwrite files that were edited since
        #[arg(long)]
        force: bool,
    },
    /// Remove what `install` wrote
    Uninstall {
        #[command(flatten)]
        flags: UninstallFlags,
        /// Remove files that were edited since, too
        #[arg(long)]
        force: bool,
    },
    /// Print a commented configuration file
    ConfigExample,
    /// Print a shell completion script
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// Settings from the command line or the environment.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Flags {
    /// Configuration file [default: /etc/silo/upstream.yaml, %ProgramData%\Silo\upstream.yaml; may be absent]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) connection: ConnectionFlags,

    /// The silo that contains this machine's names
    #[arg(long, global = true, value_name = "ID")]
    pub(crate) silo: Option<SiloId>,

    /// Names of this machine, separated by commas [default: its own short name]
    #[arg(long, global = true, value_name = "NAME", value_delimiter = ',')]
    pub(crate) hostnames: Option<Vec<Hostname>>,

    /// Source of the addresses: hub, route, route:ADDRESS or interface:NAME [default: hub]
    #[arg(long, global = true, value_name = "SOURCE")]
    pub(crate) addresses: Option<AddressSource>,

    /// Report only addresses in these networks, such as 10.0.0.0/8; separated by commas
    #[arg(long, global = true, value_name = "CIDR", value_delimiter = ',')]
    pub(crate) within: Option<Vec<Network>>,

    /// Host part to put after the IPv6 prefix found, such as ::5
    #[arg(long, global = true, value_name = "SUFFIX")]
    pub(crate) ipv6_suffix: Option<Ipv6Addr>,

    /// Length of the IPv6 prefix in bits, 1 to 127 [default: 64]
    #[arg(long, global = true, value_name = "BITS")]
    pub(crate) ipv6_prefix_len: Option<u8>,

    /// Remove an address that this agent set once its family has been missing for this time, such as 1h, or `off` [default: 1h with interface, else off]
    #[arg(long, global = true, value_name = "TIME")]
    pub(crate) forget_family_after: Option<ForgetAfter>,

    /// Folder for the state between runs [default: $STATE_DIRECTORY, else /var/lib/silo-upstream, %ProgramData%\Silo\upstream]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,

    /// Call the hub through this interface (Linux, macOS)
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) bind_interface: Option<String>,

    #[command(flatten)]
    pub(crate) output: OutputFlags,
}

impl Flags {
    /// Those about addresses; they override the file's for all records without their own.
    pub(crate) fn address_settings(&self) -> AddressSettings {
        AddressSettings {
            addresses: self.addresses.clone().map(Sources::from),
            within: self.within.clone(),
            ipv6_suffix: self.ipv6_suffix,
            ipv6_prefix_len: self.ipv6_prefix_len,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_are_accepted_before_and_after_the_verb() {
        for words in [
            ["silo-upstream", "--silo=office", "check"],
            ["silo-upstream", "check", "--silo=office"],
        ] {
            let cli = Cli::try_parse_from(words).unwrap();
            assert_eq!(cli.verb, Some(Verb::Check));
            assert_eq!(cli.flags.silo, Some(SiloId::parse("office").unwrap()));
        }
    }
}
