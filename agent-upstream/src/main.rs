//! `silo-upstream` tells a hub the addresses of the machine it runs on.
//!
//! - `cli`, `settings`, `source`: flags, environment and configuration file into one value.
//! - `discover`: finds the addresses; its `select` has the rules.
//! - `state`, `forget`: what one run tells the next; when an address of a family that is gone is removed.
//! - `failures`: prints what failed, with `--quiet` once.
//! - `plan`, `report`, `report_error`: one hostname: what to do, doing it, and why that failed.
//! - `agent`, `check`: the verbs.

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

/// A run has ended after 30 s; a second is left for its own beginning and end.
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

/// Why a verb ended early. Failures of the hub or of one hostname are printed where they happen.
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
        if !matches!(verb, Verb::Check) {
            settings.check_state_folder()?;
        }
        settings.connection.warn_of_open_credential(output);
        wait(async {
            tokio::select! {
                succeeded = run(verb, settings, output) => Ok(succeeded),
                () = interrupted() => Err(EarlyEnd::Interrupted),
            }
        })
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place where the time of day enters"
)]
async fn run(verb: &Verb, settings: &Settings, output: &Output) -> bool {
    let time = RunTime {
        now: Timestamp::now(),
        deadline: Instant::now() + RUN_TIMEOUT,
    };
    match verb {
        Verb::Check => check::check(settings, time, output).await,
        _ => agent::once(settings, time, output).await,
    }
}

/// Waits for Ctrl-C or SIGTERM, so that a command that prints addresses is not left behind.
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
        // Signals can't be waited for here: they end the program as they always do.
        std::future::pending::<()>().await;
    }
}
