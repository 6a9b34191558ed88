//! The command line that both agents share: flags, their environment variables, help.
//!
//! An agent flattens [`ConnectionFlags`] and [`OutputFlags`] into its own flags and calls
//! [`read_command_line`], which names a variable for each flag.

use std::ffi::OsStr;
use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Args, Command, Parser};

use crate::agent_name::AgentName;
use crate::connection::{AuthMode, ConnectionSettings, TokenFileMode};
use crate::credential::Secret;
use crate::pin::Pins;
use crate::program::LogFormat;
use crate::trusted_file::{Owner, Trust};

/// The end of `--help`.
pub const AFTER_HELP: &str = "\
Flags take precedence over environment variables, which take precedence over the configuration file.
Exit codes: 0 done, 1 failed or incomplete (a later run may succeed), 2 usage or configuration error.";

/// Where the hub is, and how to authenticate.
#[derive(Clone, Debug, Default, Args)]
pub struct ConnectionFlags {
    /// URL of the hub, such as `http://hub.lan:8053`; several hubs of one database separated by commas
    #[arg(long, global = true, value_name = "URL", value_delimiter = ',')]
    pub hub: Vec<String>,

    /// File with the token, readable by its owner only
    #[arg(long, global = true, value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// Whether to accept a token file that others can read [default: private]
    #[arg(long, global = true, value_name = "MODE")]
    pub token_file_mode: Option<TokenFileMode>,

    /// As root, also trust files owned by this user, on Windows a SID [default: only root's, and the sudo caller's]
    #[arg(long, global = true, value_name = "UID")]
    pub trust_owner: Option<Owner>,

    /// Whether the files are those of a schedule, which runs without sudo: the sudo caller's are not trusted
    #[arg(skip)]
    pub is_scheduled: bool,

    /// Whether a service of Windows uses the files (LOCAL SERVICE, which may change those of the upstream)
    #[arg(skip)]
    pub is_of_service: bool,

    /// How to authenticate: `auto` signs requests over plain HTTP to another machine [default: auto]
    #[arg(long, global = true, value_name = "HOW", hide_possible_values = true)]
    pub auth: Option<AuthMode>,

    /// PEM file with the certificates to trust instead of the system's
    #[arg(long, global = true, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,

    /// The hub's public key, as `silo-hub tls self-signed` prints it; any other key is refused
    #[arg(long, global = true, value_name = "PIN")]
    pub pin_sha256: Option<Pins>,

    /// Name by which the hub lists this agent [default: the machine's own short name]
    #[arg(long, global = true, value_name = "NAME")]
    pub agent_name: Option<AgentName>,

    /// The token in the environment variable, if that applies.
    #[arg(skip)]
    pub token: Option<TokenVariable>,
}

/// A token from the environment.
#[derive(Clone, Debug)]
pub struct TokenVariable {
    /// The variable.
    pub name: String,
    /// Its value.
    pub token: Secret,
}

/// The environment variables with a token, one for each agent. Child processes do not get them.
const TOKEN_VARIABLES: [&str; 2] = ["SILO_UPSTREAM_TOKEN", "SILO_DOWNSTREAM_TOKEN"];

/// Removes the tokens from the environment of a child process.
pub fn withhold_tokens(command: &mut std::process::Command) {
    for variable in TOKEN_VARIABLES {
        command.env_remove(variable);
    }
}

/// A command line with [`ConnectionFlags`].
pub trait AgentCommandLine: Parser {
    /// The flags of the connection.
    fn connection_flags(&mut self) -> &mut ConnectionFlags;
}

impl ConnectionFlags {
    /// The settings from these flags; they override those of the configuration file.
    pub fn settings(&self) -> ConnectionSettings {
        ConnectionSettings {
            hubs: self.hub.clone(),
            token: self.token.as_ref().map(|given| given.token.clone()),
            token_variable: self.token.as_ref().map(|given| given.name.clone()),
            token_file: self.token_file.clone(),
            token_file_mode: self.token_file_mode,
            auth: self.auth,
            ca_file: self.ca_file.clone(),
            pins: self.pin_sha256.clone(),
            agent_name: self.agent_name.clone(),
            trust: self.trust(),
        }
    }

    /// Whose files an agent that runs as root trusts.
    pub fn trust(&self) -> Trust {
        let mut trust = Trust::new(self.trust_owner.clone());
        if self.is_of_service {
            trust = trust.with_services();
        }
        if self.is_scheduled {
            trust.for_schedule()
        } else {
            trust
        }
    }
}

/// What is printed, and in which format.
#[derive(Clone, Debug, Default, Args)]
pub struct OutputFlags {
    /// Print only changes and failures
    #[arg(long, short, global = true, value_name = "true|false", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", value_parser = BoolishValueParser::new())]
    pub quiet: Option<bool>,

    /// Print results and failures as JSON objects on stdout, one on each line
    #[arg(long, global = true, value_name = "true|false", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", value_parser = BoolishValueParser::new())]
    pub json: Option<bool>,

    /// Format of the lines on stderr: text or json [default: text]
    #[arg(long, global = true, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,

    /// Write to this file instead of stdout and stderr; at 1 MiB it is renamed to FILE.1 [on Windows, what `install` sets]
    #[arg(long, global = true, value_name = "FILE")]
    pub log_file: Option<PathBuf>,
}

/// Reads an agent's command line and environment, with the token in `<prefix>_TOKEN`.
pub fn read_command_line<T: AgentCommandLine>(prefix: &str, without: &[&str]) -> T {
    let mut command = with_variables(T::command(), prefix, without);
    let mut matches = command.clone().get_matches();
    let variable = format!("{prefix}_TOKEN");
    let value = std::env::var(&variable).unwrap_or_default();
    let token = token_variable(variable, &value, matches.value_source("token_file"));
    let mut read = T::from_arg_matches_mut(&mut matches).unwrap_or_else(|error| error.exit());
    read.connection_flags().token =
        token.unwrap_or_else(|words| command.error(ErrorKind::ArgumentConflict, words).exit());
    read
}

/// The token of a variable, if it applies: a flag for the token file overrides it. A variable for the token file is of
/// the same level, so that both together are an error.
fn token_variable(
    name: String,
    value: &str,
    token_file: Option<ValueSource>,
) -> Result<Option<TokenVariable>, String> {
    match (value.trim(), token_file) {
        ("", _) | (_, Some(ValueSource::CommandLine)) => Ok(None),
        (_, Some(ValueSource::EnvVariable)) => {
            Err(format!("{name} and {name}_FILE are both set: keep one"))
        }
        (token, _) => Ok(Some(TokenVariable {
            name,
            token: Secret::new(token),
        })),
    }
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
        assert_eq!(settings.hubs, ["http://h"]);
        assert_eq!(settings.token_file_mode, Some(TokenFileMode::Any));
        assert_eq!(cli.output.quiet, Some(true));
        assert!(!cli.force);
    }

    #[test]
    fn installing_a_service_trusts_the_account_that_it_will_run_as() {
        let with = |is_scheduled, is_of_service| {
            let mut flags = Cli::parse_from(["test"]).connection;
            (flags.is_scheduled, flags.is_of_service) = (is_scheduled, is_of_service);
            flags.trust()
        };
        assert_eq!(with(false, false), Trust::new(None));
        assert_eq!(with(true, false), Trust::new(None).for_schedule());
        assert_eq!(
            with(true, true),
            Trust::new(None).with_services().for_schedule()
        );
    }

    #[test]
    fn the_tokens_variable_is_on_one_level_with_that_of_the_token_file() {
        let given = |value: &str, token_file| {
            let found = token_variable("X_TOKEN".to_owned(), value, token_file);
            found.map(|found| found.map(|found| found.token.expose().to_owned()))
        };
        let token = || Ok(Some("hush".to_owned()));
        let twice = "X_TOKEN and X_TOKEN_FILE are both set: keep one".to_owned();
        for (value, token_file, expected) in [
            ("hush", None, token()),
            (" hush\n", None, token()),
            ("hush", Some(ValueSource::DefaultValue), token()),
            ("hush", Some(ValueSource::CommandLine), Ok(None)),
            ("hush", Some(ValueSource::EnvVariable), Err(twice)),
            ("", None, Ok(None)),
            ("", Some(ValueSource::EnvVariable), Ok(None)),
        ] {
            assert_eq!(
                given(value, token_file),
                expected,
                "{value:?} {token_file:?}"
            );
        }
        let debug = token_variable("X_TOKEN".to_owned(), "hush", None);
        assert!(!format!("{debug:?}").contains("hush"));
    }
}
