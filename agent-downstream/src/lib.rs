//! `silo-downstream` keeps marked blocks of the hosts file equal to silos of a hub.
//!
//! - `cli`, `settings`, `glob`: flags, environment and configuration file into one value.
//! - `pull`: asks the hub.
//! - `policy`: what of the answer is accepted. `hosts`: the file as bytes. `plan`: both together, one
//!   run as a value. All three are pure. `diff`: a plan shown.
//! - `replace` (with `staged` and `metadata`), `in_place`: the file is put in place so that it is whole at any moment.
//! - `state`: lock, backup, journal, and what the hub last said.
//! - `agent`, `undo`, `check`: the verbs.
//!
//! The binary calls [`run`], and nothing else.

mod agent;
mod check;
mod cli;
mod diff;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
mod glob;
mod hosts;
mod in_place;
mod metadata;
mod plan;
mod policy;
mod pull;
mod replace;
mod settings;
mod staged;
mod state;
mod undo;

use std::process::ExitCode;

use clap::CommandFactory;
use silo_shared::output::Output;
use silo_shared::program::{DONE, LogFormat, failed, misused, read_command_line, start_logging};

use crate::agent::AgentError;
use crate::cli::{Cli, Flags, Verb};
use crate::settings::Settings;

/// The program's name.
const PROGRAM: &str = "silo-downstream";

/// The commented configuration file.
const CONFIG_EXAMPLE: &str = include_str!("../../config/downstream.yaml");

/// Reads the command line and does what it says.
pub fn run() -> ExitCode {
    let Cli { verb, flags } = read_command_line::<Cli>();
    match verb.unwrap_or_default() {
        Verb::Once => work(&flags, |settings, output| {
            wait(agent::once(settings, output))
        }),
        Verb::Diff => work(&flags, |settings, output| {
            wait(agent::diff(settings, output))
        }),
        Verb::Check => work(&flags, |settings, output| {
            wait(check::check(settings, output))
        }),
        Verb::Clean { all } => work(&flags, |settings, output| {
            undo::clean(settings, all, output)
        }),
        Verb::Restore => work(&flags, undo::restore),
        Verb::ConfigExample => print(CONFIG_EXAMPLE.as_bytes()),
        Verb::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), PROGRAM, &mut script);
            print(&script)
        }
    }
}

fn print(text: &[u8]) -> ExitCode {
    let output = Output::new(PROGRAM, false, LogFormat::Text);
    output.write(text);
    output.finish(DONE)
}

/// Loads the settings and does a verb, which answers whether it succeeded in full.
fn work(
    flags: &Flags,
    verb: impl FnOnce(&Settings, &Output) -> Result<bool, AgentError>,
) -> ExitCode {
    let settings = Settings::load(flags);
    let (quiet, format) = match &settings {
        Ok(settings) => (settings.quiet, settings.log_format),
        Err(_) => (false, flags.log_format.unwrap_or_default()),
    };
    let output = Output::new(PROGRAM, quiet, format);
    start_logging(format, "warn");
    let done = settings
        .map_err(AgentError::from)
        .and_then(|settings| verb(&settings, &output));
    let code = match done {
        Ok(true) => DONE,
        Ok(false) => failed(),
        Err(error) => {
            output.complain(&error);
            if error.is_misuse() {
                misused()
            } else {
                failed()
            }
        }
    };
    output.finish(code)
}

/// Runs a verb that calls the hub, on this thread.
fn wait(verb: impl Future<Output = Result<bool, AgentError>>) -> Result<bool, AgentError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(AgentError::Runtime)?;
    let result = runtime.block_on(verb);
    // A name server that does not answer must not hold up the end of the run.
    runtime.shutdown_background();
    result
}
