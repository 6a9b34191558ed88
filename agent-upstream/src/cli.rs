//! The command line: verbs, and flags that are also read from the environment.

use std::net::Ipv6Addr;
use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use silo_shared::connection::{AuthMode, TokenFileMode};
use silo_shared::pin::Pins;
use silo_shared::program::LogFormat;
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

const AFTER_HELP: &str = "\
Flags beat the environment, which beats the configuration file.
Exit codes: 0 done, 1 failed (a later run may succeed), 2 wrong usage or configuration.";

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
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "SILO_UPSTREAM_CONFIG",
        hide_env_values = true
    )]
    pub(crate) config: Option<PathBuf>,

    /// URL of the hub, such as `http://hub.lan:8053`
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "SILO_UPSTREAM_HUB",
        hide_env_values = true
    )]
    pub(crate) hub: Option<String>,

    /// File with the credential, readable by its owner alone
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "SILO_UPSTREAM_TOKEN_FILE",
        hide_env_values = true
    )]
    pub(crate) token_file: Option<PathBuf>,

    /// `any` accepts a token file that others can read, as a container may mount it
    #[arg(
        long,
        global = true,
        value_name = "MODE",
        env = "SILO_UPSTREAM_TOKEN_FILE_MODE",
        hide_env_values = true
    )]
    pub(crate) token_file_mode: Option<FileMode>,

    /// Believe files of this owner too, as root: by default root's alone (and those of sudo's caller)
    #[arg(
        long,
        global = true,
        value_name = "UID",
        env = "SILO_UPSTREAM_TRUST_OWNER",
        hide_env_values = true
    )]
    pub(crate) trust_owner: Option<u32>,

    /// How the credential is shown: `auto` signs over plain HTTP to another machine [default: auto]
    #[arg(
        long,
        global = true,
        value_name = "HOW",
        hide_possible_values = true,
        env = "SILO_UPSTREAM_AUTH",
        hide_env_values = true
    )]
    pub(crate) auth: Option<AuthMode>,

    /// The silo that holds this machine's names
    #[arg(
        long,
        global = true,
        value_name = "ID",
        env = "SILO_UPSTREAM_SILO",
        hide_env_values = true
    )]
    pub(crate) silo: Option<SiloId>,

    /// Names of this machine, separated by commas [default: its own short name]
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        value_delimiter = ',',
        env = "SILO_UPSTREAM_HOSTNAMES",
        hide_env_values = true
    )]
    pub(crate) hostnames: Option<Vec<Hostname>>,

    /// Where the addresses come from: hub, route, route:ADDRESS or interface:NAME [default: hub]
    #[arg(
        long,
        global = true,
        value_name = "SOURCE",
        env = "SILO_UPSTREAM_ADDRESSES",
        hide_env_values = true
    )]
    pub(crate) addresses: Option<AddressSource>,

    /// Report addresses of these networks only, such as 10.0.0.0/8; separated by commas
    #[arg(
        long,
        global = true,
        value_name = "CIDR",
        value_delimiter = ',',
        env = "SILO_UPSTREAM_WITHIN",
        hide_env_values = true
    )]
    pub(crate) within: Option<Vec<Network>>,

    /// Keep the IPv6 prefix found and put this host part behind it, such as ::5
    #[arg(
        long,
        global = true,
        value_name = "SUFFIX",
        env = "SILO_UPSTREAM_IPV6_SUFFIX",
        hide_env_values = true
    )]
    pub(crate) ipv6_suffix: Option<Ipv6Addr>,

    /// How many bits of the IPv6 address found are the prefix, 1 to 127 [default: 64]
    #[arg(
        long,
        global = true,
        value_name = "BITS",
        env = "SILO_UPSTREAM_IPV6_PREFIX_LEN",
        hide_env_values = true
    )]
    pub(crate) ipv6_prefix_len: Option<u8>,

    /// Remove an address of this agent once its family has been missing for so long, such as 1h; `off`: never [default: 1h with interface, else off]
    #[arg(
        long,
        global = true,
        value_name = "TIME",
        env = "SILO_UPSTREAM_FORGET_FAMILY_AFTER",
        hide_env_values = true
    )]
    pub(crate) forget_family_after: Option<ForgetAfter>,

    /// Folder for what one run tells the next [default: $STATE_DIRECTORY, else /var/lib/silo-upstream, %ProgramData%\Silo\upstream]
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "SILO_UPSTREAM_STATE_DIR",
        hide_env_values = true
    )]
    pub(crate) state_dir: Option<PathBuf>,

    /// Call the hub through this interface (Linux, macOS)
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        env = "SILO_UPSTREAM_BIND_INTERFACE",
        hide_env_values = true
    )]
    pub(crate) bind_interface: Option<String>,

    /// PEM file with the certificates to trust instead of the system's
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "SILO_UPSTREAM_CA_FILE",
        hide_env_values = true
    )]
    pub(crate) ca_file: Option<PathBuf>,

    /// The hub's key, as `silo-hub tls self-signed` prints it: no other hub is talked to
    #[arg(
        long,
        global = true,
        value_name = "PIN",
        env = "SILO_UPSTREAM_PIN_SHA256",
        hide_env_values = true
    )]
    pub(crate) pin_sha256: Option<Pins>,

    /// Speak only of a change, and of what is wrong when it begins and when it is over
    #[arg(long, short, global = true, value_name = "true|false", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", value_parser = BoolishValueParser::new(),
        env = "SILO_UPSTREAM_QUIET", hide_env_values = true)]
    pub(crate) quiet: Option<bool>,

    /// How lines on stderr are written: text or json [default: text]
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        env = "SILO_UPSTREAM_LOG_FORMAT",
        hide_env_values = true
    )]
    pub(crate) log_format: Option<LogFormat>,
}

/// [`TokenFileMode`] on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum FileMode {
    /// Readable by its owner alone
    Private,
    /// Any mode
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

    #[test]
    fn every_flag_has_its_variable() {
        for arg in Cli::command().get_arguments() {
            let name = arg.get_id().as_str();
            if matches!(name, "help" | "version") {
                continue;
            }
            let variable = format!("SILO_UPSTREAM_{}", name.to_uppercase());
            assert_eq!(arg.get_env().and_then(|env| env.to_str()), Some(&*variable));
        }
    }
}
