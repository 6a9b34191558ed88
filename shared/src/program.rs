//! Exit codes and logging, alike in the hub and both agents.

use std::process::ExitCode;
use std::str::FromStr;

use tracing_subscriber::EnvFilter;

/// Done, whether something changed or not.
pub const DONE: ExitCode = ExitCode::SUCCESS;

/// Failed; a later run may succeed.
pub fn failed() -> ExitCode {
    ExitCode::from(1)
}

/// The command line or the configuration is wrong.
pub fn misused() -> ExitCode {
    ExitCode::from(2)
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("expected text or json"),
        }
    }
}

/// What the agents log unless told by `RUST_LOG`: warnings of our own crates. What other libraries report of a
/// failure is in the line that names it.
pub const OWN_WARNINGS: &str = "silo=warn";

/// Sends log lines to stderr, filtered by `RUST_LOG` (else `default_filter`).
///
/// Does nothing when logging was set up before.
pub fn start_logging(format: LogFormat, default_filter: &str) {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default_filter));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // Otherwise a line that can't be written to stderr is reported on stderr, which panics.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    // An error here means that a subscriber is set already: the first one stays.
    let _ = match format {
        LogFormat::Text => builder.with_ansi(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}

/// Reads the command line and the environment. An empty variable counts as not set, since containers set
/// them so.
pub fn read_command_line<T: clap::Parser>() -> T {
    let is_empty =
        |name: &std::ffi::OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    parse_or_exit(T::command().mut_args(|arg| match arg.get_env() {
        Some(name) if is_empty(name) => arg.env(clap::builder::Resettable::Reset),
        _ => arg,
    }))
}

/// Parses this process's arguments; prints what is wrong with them and exits.
pub(crate) fn parse_or_exit<T: clap::Parser>(command: clap::Command) -> T {
    let mut matches = command.get_matches();
    T::from_arg_matches_mut(&mut matches).unwrap_or_else(|error| error.exit())
}
