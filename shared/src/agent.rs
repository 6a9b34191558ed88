//! Runs a subcommand for both agents: settings, output and logging, the async runtime, the exit code.

use std::fmt::Display;
use std::path::Path;
use std::process::ExitCode;

use thiserror::Error;

use crate::config::ConfigError;
use crate::flags::OutputFlags;
use crate::log_file::LogFile;
use crate::output::Output;
use crate::program::{DONE, LogFormat, OWN_WARNINGS, failed, misused, start_logging_to};
use crate::trusted_file::{Kind, Trust};

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
    let json = flags.json.unwrap_or_default();
    let output = Output::new(program, quiet, format).in_json(json);
    let log = match flags.log_file.as_deref().map(open_log).transpose() {
        Ok(log) => log,
        Err(error) => {
            output.print_error(error);
            return misused();
        }
    };
    start_logging_to(log.as_ref(), format, OWN_WARNINGS);
    let output = output.to_log(log);
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

/// Opens the log file, unless other users could have put a link to another file there.
fn open_log(path: &Path) -> Result<LogFile, String> {
    Trust::default()
        .check(Kind::LogFile, path)
        .map_err(|error| error.to_string())?;
    LogFile::open(path).map_err(|error| format!("log_file {}: {error}", path.display()))
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
