//! How both agents run a verb: settings, output and logging, the async runtime, the exit code.

use std::fmt::Display;
use std::process::ExitCode;

use thiserror::Error;

use crate::config::ConfigError;
use crate::flags::OutputFlags;
use crate::output::Output;
use crate::program::{DONE, LogFormat, OWN_WARNINGS, failed, misused, start_logging};

/// Why a verb of an agent ended early.
pub trait AgentError: Display + From<ConfigError> {
    /// Whether no later run can succeed until the configuration changes.
    fn is_usage(&self) -> bool;
}

/// What [`run`] needs to know of an agent's settings.
pub trait OutputSettings {
    /// Whether only changes and failures are printed.
    fn is_quiet(&self) -> bool;
    /// How lines on stderr are written.
    fn log_format(&self) -> LogFormat;
}

/// The system gives no means to wait for the network.
#[derive(Debug, Error)]
#[error("cannot start: {0}")]
pub struct CannotStart(std::io::Error);

/// Runs a verb, which answers whether it succeeded in full. Settings that can't be loaded are reported in the
/// format that the flags name.
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

/// Runs a verb that calls the hub, on this thread.
pub fn wait<E: From<CannotStart>>(verb: impl Future<Output = Result<bool, E>>) -> Result<bool, E> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(CannotStart)?;
    let result = runtime.block_on(verb);
    // A name server that does not answer must not delay the end of the run.
    runtime.shutdown_background();
    result
}

/// Prints a text that needs no settings, such as the example configuration.
pub fn print(program: &'static str, text: &[u8]) -> ExitCode {
    let output = Output::new(program, false, LogFormat::Text);
    output.write(text);
    output.finish(DONE)
}
