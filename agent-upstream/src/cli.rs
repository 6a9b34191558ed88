//! The command line: verbs, and flags that are also read from the environment.

use std::net::Ipv6Addr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use silo_shared::flags::{AFTER_HELP, ConnectionFlags, OutputFlags};
use silo_shared::silo::{Hostname, SiloId};

use crate::discover::select::Network;
use crate::forget::ForgetAfter;
use crate::source::AddressSource;

/// Tells a Silo hub the addresses of this machine.
#[derive(Debug, Parser)]
#[command(name = "silo-upstream", version, max_term_width = 100, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    /// What to do; without it, `once`
    #[command(subcommand)]
    pub(crate) verb: Option<Verb>,
    #[command(flatten)]
    pub(crate) flags: Flags,
}

/// What to do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Subcommand)]
pub(crate) enum Verb {
    /// Find this machine's addresses and tell the hub if they changed (for cron and Task Scheduler)
    #[default]
    Once,
    /// Say whether configuration, hub, token and addresses are all right; change nothing
    Check,
    /// Print a commented configuration file
    ConfigExample,
    /// Print the completions for a shell
    Completions {
        /// For which shell
        shell: Shell,
    },
}

/// Settings that may be given on the command line or in the environment.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Flags {
    /// Configuration file [default: /etc/silo/upstream.yaml, %ProgramData%\Silo\upstream.yaml; may be absent]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) connection: ConnectionFlags,

    /// The silo that holds this machine's names
    #[arg(long, global = true, value_name = "ID")]
    pub(crate) silo: Option<SiloId>,

    /// Names of this machine, separated by commas [default: its own short name]
    #[arg(long, global = true, value_name = "NAME", value_delimiter = ',')]
    pub(crate) hostnames: Option<Vec<Hostname>>,

    /// Where the addresses come from: hub, route, route:ADDRESS or interface:NAME [default: hub]
    #[arg(long, global = true, value_name = "SOURCE")]
    pub(crate) addresses: Option<AddressSource>,

    /// Report addresses of these networks only, such as 10.0.0.0/8; separated by commas
    #[arg(long, global = true, value_name = "CIDR", value_delimiter = ',')]
    pub(crate) within: Option<Vec<Network>>,

    /// Keep the IPv6 prefix found and put this host part behind it, such as ::5
    #[arg(long, global = true, value_name = "SUFFIX")]
    pub(crate) ipv6_suffix: Option<Ipv6Addr>,

    /// How many bits of the IPv6 address found are the prefix, 1 to 127 [default: 64]
    #[arg(long, global = true, value_name = "BITS")]
    pub(crate) ipv6_prefix_len: Option<u8>,

    /// Remove an address of this agent once its family has been missing for so long, such as 1h; `off`: never [default: 1h with interface, else off]
    #[arg(long, global = true, value_name = "TIME")]
    pub(crate) forget_family_after: Option<ForgetAfter>,

    /// Folder for what one run tells the next [default: $STATE_DIRECTORY, else /var/lib/silo-upstream, %ProgramData%\Silo\upstream]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,

    /// Call the hub through this interface (Linux, macOS)
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) bind_interface: Option<String>,

    #[command(flatten)]
    pub(crate) output: OutputFlags,
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
    fn flags_may_stand_before_and_behind_the_verb() {
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
