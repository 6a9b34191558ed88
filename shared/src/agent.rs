//! Runs a subcommand for both agents: settings, output and logging, the async runtime, the exit code.

use std::fmt::Display;
use std::process::ExitCode;

use thiserror::Error;

use crate::config::ConfigError;
use crate::flags::OutputFlags;
use crate::output::Output;
use crate::program::{DONE, LogFormat, OWN_WARNINGS, failed, misused, start_logging};

/// Why a subcommand ended early.
pub trait AgentError: Display + From<ConfigError> {
    /// Whether no later run can succeed until the configuration changes.
    fn is_usage(&self) -> bool;
}

/// The part of an agent's settings that [`run`] needs.
pub trait OutputSettings {
    /// Whether only changes and failures are printed.
    fn is_quiet(&self) -> bool;
    /// The format of lines on stderr.
    fn log_format(&self) -> LogFormat;
}

/// The system lacks resources for network I/O.
#[derive(Debug, Error)]
#[error("cannot start: {0}")]
pub struct CannotStart(std::io::Error);

/// Runs a subcommand, which returns whether it succeeded completely. Errors in settings are reported in the format that
/// the flags select.
pub fn run<S: OutputSettings, E: AgentError>(
    program: &'static str,
    settings: Result<S, ConfigError>,
    flags: &OutputFlags,
    verb: impl FnOnce(&S, &Output) -> Result<bool, E>,
) -> ExitCode {
    let (quiet, format) = match &settings {
        Ok(settings) => (settings.is_quiet(), settings.log_format()),
        Err(_) => (false, flags.log_format.unwrap_or_default()),
    };
    let output = Output::new(program, quiet, format);
    start_logging(format, OWN_WARNINGS);
    let done = settings
        .map_err(E::from)
        .and_then(|settings| verb(&settings, &output));
    let code = match done {
        Ok(true) => DONE,
        Ok(false) => failed(),
        Err(error) => {
            output.print_error(&error);
            if error.is_usage() {
                misused()
            } else {
                failed()
            }
        }
    };
    output.finish(code)
}

/// Runs a subcommand that calls the hub, on this thread.
pub fn wait<E: From<CannotStart>>(verb: impl Future<Output = Result<bool, E>>) -> Result<bool, E> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(CannotStart)?;
    let result = runtime.block_on(verb);
    // A pending DNS lookup must not delay the end of the run.
    runtime.shutdown_background();
    result
}

/// Prints a text that needs no settings, such as the example configuration.
pub fn print(program: &'static str, text: &[u8]) -> ExitCode {
    let output = Output::new(program, false, LogFormat::Text);
    output.write(text);
    output.finish(DONE)
}
