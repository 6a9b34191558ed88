//! `silo-downstream` keeps marked blocks of the hosts file equal to silos of a hub.
//!
//! - `cli`, `settings`: flags, environment and configuration file into one value.
//! - `pull`: asks the hub.
//! - `policy`: what of the answer is accepted. `hosts`: the file as bytes. `plan`: both together, one
//!   run as a value. All three are pure. `diff`: a plan shown.
//! - `replace` (with `metadata`), `in_place`: the file is put in place so that it is whole at any moment.
//! - `state`: lock, backup, journal, and what the hub last said.
//! - `agent`, `check`: the verbs.

mod agent;
mod check;
mod cli;
mod diff;
mod hosts;
mod in_place;
mod metadata;
mod output;
mod plan;
mod policy;
mod pull;
mod replace;
mod settings;
mod state;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use silo_shared::program::{DONE, failed, misused, start_logging};

use crate::agent::AgentError;
use crate::cli::{Cli, Flags, Verb};
use crate::output::Output;
use crate::settings::Settings;

/// The commented configuration file.
const CONFIG_EXAMPLE: &str = include_str!("../../config/downstream.yaml");

fn main() -> ExitCode {
    let Cli { verb, flags } = Cli::parse();
    start_logging(flags.log_format, "warn");
    let output = Output {
        quiet: flags.quiet,
        format: flags.log_format,
    };
    match run(&verb.unwrap_or_default(), &flags, output) {
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
    }
}

/// Does what the verb says; answers whether it succeeded in full.
fn run(verb: &Verb, flags: &Flags, output: Output) -> Result<bool, AgentError> {
    let settings = || Settings::load(flags);
    match verb {
        Verb::Once => wait(agent::once(&settings()?, output)),
        Verb::Check => wait(check::check(&settings()?, output)),
        Verb::Diff => wait(agent::diff(&settings()?, output)),
        Verb::Clean { all } => agent::clean(&settings()?, *all, output).map(|()| true),
        Verb::Restore => agent::restore(&settings()?, output).map(|()| true),
        Verb::ConfigExample => {
            output.say(CONFIG_EXAMPLE.trim_end());
            Ok(true)
        }
        Verb::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "silo-downstream", &mut script);
            output.say(String::from_utf8_lossy(&script).trim_end());
            Ok(true)
        }
    }
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
