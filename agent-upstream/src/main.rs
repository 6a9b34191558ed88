//! `silo-upstream` reports the addresses of its machine to a hub.
//!
//! - `cli`, `settings`, `source`: combine flags, environment and configuration file into one value.
//! - `discover`: finds the addresses; its `select` has the rules.
//! - `state`, `forget`: the state between runs; when an address of a missing family is removed.
//! - `failures`: prints failures, with `--quiet` once.
//! - `plan`, `report`, `report_error`: one hostname: the decision, the update, and its errors.
//! - `agent`, `check`: the commands.

mod agent;
mod check;
mod cli;
mod discover;
mod failures;
mod forget;
mod plan;
mod report;
mod report_error;
mod settings;
mod source;
mod state;

use std::process::ExitCode;
use std::time::Duration;

use clap::CommandFactory;
use jiff::Timestamp;
use silo_shared::agent::{AgentError, CannotStart, print, wait};
use silo_shared::config::ConfigError;
use silo_shared::flags::read_command_line;
use silo_shared::output::Output;
use tokio::time::Instant;

use crate::agent::RunTime;
use crate::cli::{Cli, Flags, Verb};
use crate::settings::Settings;

/// The program's name.
const PROGRAM: &str = "silo-upstream";

/// The commented configuration file.
const CONFIG_EXAMPLE: &str = include_str!("../../config/upstream.yaml");

/// A run ends after 30 s; one second is reserved for startup and exit.
const RUN_TIMEOUT: Duration = Duration::from_secs(29);

fn main() -> ExitCode {
    let Cli { verb, flags } = read_command_line::<Cli>("SILO_UPSTREAM", &[]);
    match verb.unwrap_or_default() {
        verb @ (Verb::Once | Verb::Check) => call_hub(&verb, &flags),
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
    /// Ctrl-C or SIGTERM.
    #[error("interrupted")]
    Interrupted,
}

impl AgentError for EarlyEnd {
    fn is_usage(&self) -> bool {
        matches!(self, Self::Config(_))
    }
}

fn call_hub(verb: &Verb, flags: &Flags) -> ExitCode {
    let settings = Settings::load(flags);
    silo_shared::agent::run(PROGRAM, settings, &flags.output, |settings, output| {
        if settings.needs_state && !matches!(verb, Verb::Check) {
            settings.check_state_folder()?;
        }
        settings.connection.warn_of_open_credential(output);
        wait(async {
            tokio::select! {
                ended = run(verb, settings, output) => ended,
                () = interrupted() => Err(EarlyEnd::Interrupted),
            }
        })
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place where the time of day enters"
)]
async fn run(verb: &Verb, settings: &Settings, output: &Output) -> Result<bool, EarlyEnd> {
    let time = RunTime {
        now: Timestamp::now(),
        deadline: Instant::now() + RUN_TIMEOUT,
    };
    Ok(match verb {
        Verb::Check => check::check(settings, time, output).await,
        _ => {
            let client = agent::hub_client(settings)
                .map_err(|error| ConfigError::Setting(error.to_string()))?;
            agent::once(settings, &client, time, output).await
        }
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
    if tokio::signal::ctrl_c().await.is_err() {
        // Signals can't be handled here: they have their default effect.
        std::future::pending::<()>().await;
    }
}
