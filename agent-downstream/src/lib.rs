//! `silo-downstream` keeps marked blocks of the hosts file equal to silos of a hub.
//!
//! - `cli`, `settings`, `glob`: combine flags, environment and configuration file into one value.
//! - `pull`: pulls silos from the hub, `silo_pull`: one of them in a run.
//! - `policy`: which parts of the response are accepted. `hosts`: the file as bytes, `entry`: a line of it. `notes`:
//!   what earlier runs wrote. `suffix`: long names. `plan`, `change`: combine these into one run as a value. All are pure. `diff`, `tell`:
//!   output.
//! - `target`, `snapshot`: the present file. `replace` (with `replace_error`, `staged`, `metadata` and `read_only`), `in_place`:
//!   write the file atomically, or recoverably. `settle`, `replaced`, `merge`: handle concurrent writes of other
//!   programs.
//! - `own`: files of our own for DNS servers, instead of blocks in the hosts file.
//! - `state`: lock, backups, journal, and the hub's last responses (`remembered`). `digest`: SHA-256.
//! - `writer`: the part of a run that writes, with `write_gate`; `owed_hook`, `hook`: the hook of `on_change`.
//! - `agent`, `watch`, `undo`, `check` (with `room`), `status` (with `run_status`): the commands. `join`: what is
//!   its own in `install`, `join` and `leave`.
//!
//! The binary only calls [`run`].

mod agent;
mod agent_error;
mod change;
mod check;
mod checkconf;
mod cli;
mod clock;
mod diff;
mod digest;
mod entry;
mod format;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
mod glob;
mod hook;
mod hosts;
mod in_place;
mod join;
mod known;
mod leftover;
mod merge;
mod metadata;
mod notes;
mod outage;
mod owed_hook;
mod own;
mod own_plan;
mod own_text;
mod plan;
mod policy;
mod progress;
mod pull;
mod read_only;
mod recover;
mod remembered;
mod replace;
mod replace_error;
mod replaced;
mod room;
mod run_status;
mod run_time;
mod settings;
mod settle;
mod silo_pull;
mod snapshot;
mod staged;
mod state;
mod status;
mod suffix;
mod target;
mod tell;
mod undo;
mod watch;
mod write_gate;
mod writer;

use std::cell::Cell;
use std::process::ExitCode;

use clap::CommandFactory;
use silo_shared::agent::{print, wait};
use silo_shared::flags::read_command_line;
use silo_shared::install::{Agent, uninstall};
use silo_shared::join::leave;
use silo_shared::output::Output;
use silo_shared::program::{DONE, failed, misused};

use crate::agent_error::AgentError;
use crate::cli::{Cli, Flags, Verb};
use crate::join::Downstream;
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
        Verb::Watch => work_with_state(&flags, |settings, output| {
            wait(watch::watch(&flags, settings, output))
        }),
        Verb::Diff { exit_code } => run_diff(&flags, exit_code),
        Verb::Status { max_age } => work(&flags, |settings, output| {
            status::status(settings, max_age, output)
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
        Verb::Install(wanted) => join::schedule(&flags, &wanted, flags.force),
        Verb::Uninstall(wanted) => {
            let owner = flags.connection.trust_owner;
            uninstall(
                Agent::Downstream,
                &wanted,
                flags.force,
                owner,
                &flags.output,
            )
        }
        Verb::Join(wanted) => {
            silo_shared::join::join(&Downstream(&flags), &wanted, flags.force, &flags.output)
        }
        Verb::Leave => leave(&Downstream(&flags), false, flags.force, &flags.output),
        Verb::ConfigExample => print(PROGRAM, CONFIG_EXAMPLE.as_bytes()),
        Verb::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), PROGRAM, &mut script);
            print(PROGRAM, &script)
        }
    }
}

/// Runs `diff`; with `exit_code`, exits as diff(1) does.
fn run_diff(flags: &Flags, exit_code: bool) -> ExitCode {
    let found = Cell::new(None);
    let code = work(flags, |settings, output| {
        wait(async {
            let result = agent::diff(settings, output).await?;
            found.set(Some(result));
            Ok(result.is_complete)
        })
    });
    match found.get() {
        _ if !exit_code => code,
        // With code 0 otherwise, so that an error when writing stays one.
        Some(result) if result.is_complete && !result.differs => code,
        Some(result) if result.is_complete && code == DONE => failed(),
        _ => misused(),
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
