//! The command line that both agents share: flags, their environment variables, help.
//!
//! An agent flattens [`ConnectionFlags`] and [`OutputFlags`] into its own flags and calls
//! [`read_command_line`], which names a variable for each flag.

use std::ffi::OsStr;
use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{Args, Command, Parser};

use crate::connection::{AuthMode, ConnectionSettings, TokenFileMode};
use crate::pin::Pins;
use crate::program::{LogFormat, parse_or_exit};
use crate::trusted_file::Trust;

/// The end of `--help`.
pub const AFTER_HELP: &str = "\
Flags take precedence over environment variables, which take precedence over the configuration file.
Exit codes: 0 done, 1 failed or incomplete (a later run may succeed), 2 usage or configuration error.";

/// Where the hub is, and how to authenticate.
#[derive(Clone, Debug, Default, Args)]
pub struct ConnectionFlags {
    /// URL of the hub, such as `http://hub.lan:8053`
    #[arg(long, global = true, value_name = "URL")]
    pub hub: Option<String>,

    /// File with the token, readable by its owner only
    #[arg(long, global = true, value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// Whether to accept a token file that others can read [default: private]
    #[arg(long, global = true, value_name = "MODE")]
    pub token_file_mode: Option<TokenFileMode>,

    /// As root, also trust files owned by this user [default: only root's, and the sudo caller's]
    #[arg(long, global = true, value_name = "UID")]
    pub trust_owner: Option<u32>,

    /// How to authenticate: `auto` signs requests over plain HTTP to another machine [default: auto]
    #[arg(long, global = true, value_name = "HOW", hide_possible_values = true)]
    pub auth: Option<AuthMode>,

    /// PEM file with the certificates to trust instead of the system's
    #[arg(long, global = true, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,

    /// The hub's public key, as `silo-hub tls self-signed` prints it; any other key is refused
    #[arg(long, global = true, value_name = "PIN")]
    pub pin_sha256: Option<Pins>,
}

impl ConnectionFlags {
    /// The settings from these flags; they override those of the configuration file.
    pub fn settings(&self) -> ConnectionSettings {
        ConnectionSettings {
            hub: self.hub.clone(),
            token: None,
            token_file: self.token_file.clone(),
            token_file_mode: self.token_file_mode,
            auth: self.auth,
            ca_file: self.ca_file.clone(),
            pins: self.pin_sha256.clone(),
            trust: self.trust(),
        }
    }

    /// Whose files an agent that runs as root trusts.
    pub fn trust(&self) -> Trust {
        Trust::new(self.trust_owner)
    }
}

/// What is printed, and in which format.
#[derive(Clone, Debug, Default, Args)]
pub struct OutputFlags {
    /// Print only changes and failures
    #[arg(long, short, global = true, value_name = "true|false", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", value_parser = BoolishValueParser::new())]
    pub quiet: Option<bool>,

    /// Format of the lines on stderr: text or json [default: text]
    #[arg(long, global = true, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
}

/// Reads an agent's command line and environment.
pub fn read_command_line<T: Parser>(prefix: &str, without: &[&str]) -> T {
    parse_or_exit(with_variables(T::command(), prefix, without))
}

/// Gives each flag the environment variable `<prefix>_<FLAG>`, except the flags in `without`. An empty variable counts
/// as not set, since containers set them that way.
pub fn with_variables(command: Command, prefix: &str, without: &[&str]) -> Command {
    command.mut_args(|arg| {
        let flag = arg.get_id().as_str();
        if without.contains(&flag) {
            return arg;
        }
        let variable = format!("{prefix}_{}", flag.to_uppercase());
        if std::env::var_os(OsStr::new(&variable)).is_some_and(|value| value.is_empty()) {
            return arg;
        }
        // clap requires names with a static lifetime; a command line is read once.
        let variable: &'static str = Box::leak(variable.into_boxed_str());
        arg.env(variable).hide_env_values(true)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        connection: ConnectionFlags,
        #[command(flatten)]
        output: OutputFlags,
        #[arg(long)]
        force: bool,
    }

    #[test]
    fn every_flag_but_the_exceptions_has_a_variable() {
        let command = with_variables(<Cli as clap::CommandFactory>::command(), "TEST", &["force"]);
        command.clone().debug_assert();
        for arg in command.get_arguments() {
            let flag = arg.get_id().as_str();
            let expected = (flag != "force").then(|| format!("TEST_{}", flag.to_uppercase()));
            let variable = arg.get_env().and_then(OsStr::to_str);
            assert_eq!(variable, expected.as_deref());
        }
        let cli = Cli::parse_from(["test", "--hub=http://h", "--token-file-mode=any", "-q"]);
        let settings = cli.connection.settings();
        assert_eq!(settings.hub.as_deref(), Some("http://h"));
        assert_eq!(settings.token_file_mode, Some(TokenFileMode::Any));
        assert_eq!(cli.output.quiet, Some(true));
        assert!(!cli.force);
    }
}
