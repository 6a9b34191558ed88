//! `silo-downstream` keeps marked blocks of the hosts file equal to silos of a hub.
//!
//! - `cli`, `settings`, `glob`: combine flags, environment and configuration file into one value.
//! - `pull`: pulls silos from the hub.
//! - `policy`: which parts of the response are accepted. `hosts`: the file as bytes, `entry`: a line of it. `notes`:
//!   what earlier runs wrote. `plan`, `change`: combine these into one run as a value. All are pure. `diff`, `tell`:
//!   output.
//! - `target`, `snapshot`: the present file. `replace` (with `replace_error`, `staged` and `metadata`), `in_place`:
//!   write the file atomically, or recoverably. `settle`, `replaced`, `merge`: handle concurrent writes of other
//!   programs.
//! - `state`: lock, backups, journal, and the hub's last responses (`remembered`). `digest`: SHA-256.
//! - `agent`, `undo`, `check` (with `room`): the commands.
//!
//! The binary only calls [`run`].

mod agent;
mod change;
mod check;
mod cli;
mod clock;
mod diff;
mod digest;
mod entry;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
mod glob;
mod hosts;
mod in_place;
mod merge;
mod metadata;
mod notes;
mod outage;
mod plan;
mod policy;
mod pull;
mod remembered;
mod replace;
mod replace_error;
mod replaced;
mod room;
mod settings;
mod settle;
mod snapshot;
mod staged;
mod state;
mod target;
mod tell;
mod undo;

use std::process::ExitCode;

use clap::CommandFactory;
use silo_shared::agent::{print, wait};
use silo_shared::flags::read_command_line;
use silo_shared::output::Output;

use crate::agent::AgentError;
use crate::cli::{Cli, Flags, Verb};
use crate::settings::Settings;

/// The program's name.
const PROGRAM: &str = "silo-downstream";

/// The prefix of the flags' environment variables.
const VARIABLES: &str = "SILO_DOWNSTREAM";

/// Flags without a variable, since they are meant for a single run.
const WITHOUT_VARIABLE: &[&str] = &["adopt"];

/// The commented configuration file.
const CONFIG_EXAMPLE: &str = include_str!("../../config/downstream.yaml");

/// Reads the command line and runs the command.
pub fn run() -> ExitCode {
    let Cli { verb, flags } = read_command_line::<Cli>(VARIABLES, WITHOUT_VARIABLE);
    match verb.unwrap_or_default() {
        Verb::Once => work_with_state(&flags, |settings, output| {
            wait(agent::once(settings, output))
        }),
        Verb::Diff => work(&flags, |settings, output| {
            wait(agent::diff(settings, output))
        }),
        Verb::Check => work(&flags, |settings, output| {
            wait(check::check(settings, output))
        }),
        Verb::Clean { all } => work_with_state(&flags, |settings, output| {
            undo::clean(settings, all, output)
        }),
        Verb::Restore { number, list } => work_with_state(&flags, |settings, output| {
            if list {
                undo::list(settings, output)
            } else {
                undo::restore(settings, number, output)
            }
        }),
        Verb::ConfigExample => print(PROGRAM, CONFIG_EXAMPLE.as_bytes()),
        Verb::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), PROGRAM, &mut script);
            print(PROGRAM, &script)
        }
    }
}

/// Loads the settings and runs a command, which returns whether it succeeded completely.
fn work(
    flags: &Flags,
    verb: impl FnOnce(&Settings, &Output) -> Result<bool, AgentError>,
) -> ExitCode {
    silo_shared::agent::run(PROGRAM, Settings::load(flags), &flags.output, verb)
}

/// The same for a command that uses the state folder.
fn work_with_state(
    flags: &Flags,
    verb: impl FnOnce(&Settings, &Output) -> Result<bool, AgentError>,
) -> ExitCode {
    work(flags, |settings, output| {
        settings.check_state_folder()?;
        verb(settings, output)
    })
}
