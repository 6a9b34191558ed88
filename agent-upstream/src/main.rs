//! `silo-upstream` tells a hub the addresses of the machine it runs on.
//!
//! - `cli`, `settings`, `source`: flags, environment and configuration file into one value.
//! - `discover`: finds the addresses; its `select` has the rules.
//! - `state`, `forget`: what one run tells the next; when an address of a family that is gone is removed.
//! - `trouble`: says what is wrong, with `--quiet` once.
//! - `agent`, `check`: the verbs.

mod agent;
mod check;
mod cli;
mod discover;
mod forget;
mod settings;
mod source;
mod state;
mod trouble;

use std::process::ExitCode;
use std::time::Duration;

use clap::CommandFactory;
use jiff::Timestamp;
use silo_shared::output::Output;
use silo_shared::program::{
    DONE, LogFormat, OWN_WARNINGS, failed, misused, read_command_line, start_logging,
};
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
    let Cli { verb, flags } = read_command_line::<Cli>();
    match verb.unwrap_or_default() {
        verb @ (Verb::Once | Verb::Check) => call_hub(&verb, &flags),
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

fn call_hub(verb: &Verb, flags: &Flags) -> ExitCode {
    let settings = Settings::load(flags);
    let (quiet, format) = match &settings {
        Ok(settings) => (settings.quiet, settings.log_format),
        Err(_) => (false, flags.log_format.unwrap_or_default()),
    };
    start_logging(format, OWN_WARNINGS);
    let output = Output::new(PROGRAM, quiet, format);
    let settings = match settings {
        Ok(settings) => settings,
        Err(error) => {
            output.complain(error);
            return misused();
        }
    };
    settings.connection.warn_of_open_credential(&output);
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            output.complain(format_args!("cannot start: {error}"));
            return failed();
        }
    };
    let succeeded = runtime.block_on(async {
        tokio::select! {
            succeeded = run(verb, &settings, &output) => succeeded,
            () = interrupted() => {
                output.complain("interrupted");
                false
            }
        }
    });
    // A name server that does not answer must not hold up the end of the run.
    runtime.shutdown_background();
    output.finish(if succeeded { DONE } else { failed() })
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
