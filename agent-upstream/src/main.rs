//! `silo-upstream` reports the addresses of its machine to a hub.
//!
//! - `cli`, `settings`, `record`, `source`, `period`: combine flags, environment and configuration file into one value.
//! - `discover`: finds the addresses; its `select` has the rules.
//! - `state`, `forget`: the state between runs; when an address of a missing family is removed.
//! - `failures`: prints failures, with `--quiet` once.
//! - `plan`, `report`, `report_error`: one record: the decision, the update, and its errors.
//! - `agent`: one pass over all records; `hook`: the program that is told of changes.
//! - `watch`, `check`, `status`, `remove`: the other commands; `join`: what is its own in `install`, `join` and `leave`.

mod agent;
mod check;
mod cli;
mod discover;
mod failures;
mod forget;
mod hook;
mod join;
mod period;
mod plan;
mod record;
mod remove;
mod report;
mod report_error;
mod settings;
mod source;
mod state;
mod status;
mod watch;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::CommandFactory;
use jiff::Timestamp;
use silo_shared::agent::{AgentError, CannotStart, print, wait};
use silo_shared::config::ConfigError;
use silo_shared::flags::read_command_line;
use silo_shared::install::{Agent, uninstall};
use silo_shared::join::leave;
use silo_shared::output::Output;
use tokio::time::Instant;

use crate::agent::RunTime;
use crate::cli::{Cli, Flags, Verb};
use crate::join::Upstream;
use crate::period::Period;
use crate::plan::HEARTBEAT;
use crate::settings::Settings;

/// The program's name.
const PROGRAM: &str = "silo-upstream";

/// The commented configuration file.
const CONFIG_EXAMPLE: &str = include_str!("../../config/upstream.yaml");

/// How long a hook takes to end once it is killed.
const HOOK_END: Duration = Duration::from_millis(200);

/// A run ends after 30 s; one second is reserved for startup and exit.
const RUN_TIMEOUT: Duration = Duration::from_secs(29);

fn main() -> ExitCode {
    let Cli { verb, flags } = read_command_line::<Cli>("SILO_UPSTREAM", &[]);
    match verb.unwrap_or_default() {
        verb @ (Verb::Once | Verb::Check | Verb::Remove { .. }) => call_hub(&verb, &flags),
        Verb::Watch => stay(&flags),
        Verb::Status { max_age } => print_status(max_age, &flags),
        Verb::Install {
            flags: wanted,
            force,
        } => join::schedule(&flags, &wanted, force),
        Verb::Uninstall {
            flags: wanted,
            force,
        } => {
            let owner = flags.connection.trust_owner;
            uninstall(Agent::Upstream, &wanted, force, owner, &flags.output)
        }
        Verb::Join {
            flags: wanted,
            force,
        } => silo_shared::join::join(&Upstream(&flags), &wanted, force, &flags.output),
        Verb::Leave {
            keep_records,
            force,
        } => leave(&Upstream(&flags), keep_records, force, &flags.output),
        Verb::ConfigExample => print(PROGRAM, CONFIG_EXAMPLE.as_bytes()),
        Verb::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), PROGRAM, &mut script);
            print(PROGRAM, &script)
        }
    }
}

/// Why a command ended early. Failures of the hub or of one hostname are printed where they happen.
#[derive(Debug, thiserror::Error)]
enum EarlyEnd {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The run could not begin.
    #[error(transparent)]
    CannotStart(#[from] CannotStart),
    /// Signals can't be received.
    #[error("cannot receive signals: {0}")]
    Signals(std::io::Error),
    /// Ctrl-C or SIGTERM.
    #[error("interrupted")]
    Interrupted,
}

impl AgentError for EarlyEnd {
    fn is_usage(&self) -> bool {
        matches!(self, Self::Config(error) if error.is_usage())
    }
}

fn call_hub(verb: &Verb, flags: &Flags) -> ExitCode {
    let settings = Settings::load(flags);
    silo_shared::agent::run(PROGRAM, settings, &flags.output, |settings, output| {
        if settings.needs_state && !matches!(verb, Verb::Check) {
            settings.check_state_folder()?;
        }
        settings.connection.warn_of_open_credential(output);
        let stop = Arc::default();
        wait(async {
            tokio::select! {
                ended = run(verb, settings, output, &stop) => ended,
                () = interrupted() => {
                    // A hook that runs is killed.
                    stop.store(true, Ordering::Relaxed);
                    tokio::time::sleep(HOOK_END).await;
                    Err(EarlyEnd::Interrupted)
                }
            }
        })
    })
}

/// The command `watch`.
fn stay(flags: &Flags) -> ExitCode {
    let settings = Settings::load(flags);
    silo_shared::agent::run(PROGRAM, settings, &flags.output, |settings, output| {
        if settings.needs_state {
            settings.check_state_folder()?;
        }
        settings.connection.warn_of_open_credential(output);
        wait(watch::watch(flags, settings.clone(), &output.quieted()))
    })
}

fn print_status(max_age: Option<Period>, flags: &Flags) -> ExitCode {
    let settings = Settings::load(flags);
    silo_shared::agent::run(PROGRAM, settings, &flags.output, |settings, output| {
        Ok::<_, EarlyEnd>(status::status(settings, max_age, now(), output))
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place where the time of day enters"
)]
fn now() -> Timestamp {
    Timestamp::now()
}

/// The times of a run that begins now.
fn begin(heartbeat: Duration) -> RunTime {
    RunTime {
        now: now(),
        deadline: Instant::now() + RUN_TIMEOUT,
        heartbeat,
    }
}

async fn run(
    verb: &Verb,
    settings: &Settings,
    output: &Output,
    stop: &Arc<AtomicBool>,
) -> Result<bool, EarlyEnd> {
    let time = begin(HEARTBEAT);
    if matches!(verb, Verb::Check) {
        return Ok(check::check(settings, time, output).await);
    }
    let client =
        agent::hub_client(settings).map_err(|error| ConfigError::Setting(error.to_string()))?;
    Ok(match verb {
        Verb::Remove { dry_run } => remove::remove(settings, &client, time, *dry_run, output).await,
        _ => agent::once(settings, &client, time, output, stop).await,
    })
}

/// Waits for Ctrl-C or SIGTERM, so that a running address command is not left behind.
async fn interrupted() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = terminate.recv() => return,
                Ok(()) = tokio::signal::ctrl_c() => return,
            }
        }
    }
    // On Windows also Ctrl-Break and the end of the session.
    #[cfg(not(unix))]
    if let Ok(mut signals) = silo_shared::stay::Signals::listen() {
        signals.next().await;
        return;
    }
    if tokio::signal::ctrl_c().await.is_err() {
        // Signals can't be handled here: they have their default effect.
        std::future::pending::<()>().await;
    }
}
