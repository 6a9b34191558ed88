//! Exit codes and logging, the same in the hub and both agents.

use std::process::ExitCode;
use std::str::FromStr;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{self as lines, JsonFields};
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use crate::log_file::LogFile;
use crate::log_line::WithRequest;

/// Success, with or without a change.
pub const DONE: ExitCode = ExitCode::SUCCESS;

/// Failed; a later run may succeed.
pub fn failed() -> ExitCode {
    ExitCode::from(1)
}

/// The command line or the configuration is wrong.
pub fn misused() -> ExitCode {
    ExitCode::from(2)
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

impl LogFormat {
    /// As it is written on a command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
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

/// The default filter of the agents without `RUST_LOG`: warnings of our own crates. What other libraries report about a
/// failure is in the line that reports it.
pub const OWN_WARNINGS: &str = "silo=warn";

/// Sends log lines to stderr, filtered by `RUST_LOG` (else `default_filter`).
///
/// Does nothing if logging was set up before.
pub fn start_logging(format: LogFormat, default_filter: &str) {
    start_logging_to(None, format, default_filter);
}

/// The same, to a file if there is one.
pub fn start_logging_to(log: Option<&LogFile>, format: LogFormat, default_filter: &str) {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default_filter));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // Otherwise an error when writing to stderr is reported on stderr, which panics.
        .log_internal_errors(false)
        .with_ansi(false)
        .with_writer(match log.cloned() {
            Some(log) => BoxMakeWriter::new(move || log.clone()),
            None => BoxMakeWriter::new(std::io::stderr),
        });
    // An error means that a subscriber is set already, which then stays.
    let _ = match format {
        LogFormat::Text => {
            let inner = lines::Format::default().with_ansi(false);
            let is_json = false;
            let builder = builder.event_format(WithRequest { inner, is_json });
            builder.try_init()
        }
        LogFormat::Json => {
            let inner = lines::json().flatten_event(true);
            let builder = builder.fmt_fields(JsonFields::new());
            let is_json = true;
            let builder = builder.event_format(WithRequest { inner, is_json });
            builder.try_init()
        }
    };
}

/// Reads the command line and the environment. An empty variable counts as not set, since containers set them that way.
pub fn read_command_line<T: clap::Parser>() -> T {
    let is_empty =
        |name: &std::ffi::OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    parse_or_exit(T::command().mut_args(|arg| match arg.get_env() {
        Some(name) if is_empty(name) => arg.env(clap::builder::Resettable::Reset),
        _ => arg,
    }))
}

/// Parses this process's arguments; on an error, prints it and exits.
pub(crate) fn parse_or_exit<T: clap::Parser>(command: clap::Command) -> T {
    let mut matches = command.get_matches();
    T::from_arg_matches_mut(&mut matches).unwrap_or_else(|error| error.exit())
}
