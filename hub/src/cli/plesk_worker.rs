//! `plesk-worker`: carries out what the hub has dropped for Plesk. Reads no configuration file.

use std::path::PathBuf;
use std::time::Duration;

use crate::deliver::plesk::worker::{self, Until, WorkerError, WorkerSettings};
use clap::{ArgAction, Args};
use silo_shared::silo::Hostname;

use super::{Failure, stop_signal};

#[derive(Debug, Args)]
pub(super) struct PleskWorkerArgs {
    /// The folder with the folders `jobs` and `results`
    #[arg(long, value_name = "DIR")]
    spool: PathBuf,
    /// The user that the hub runs as, who owns `jobs`: a name or a number
    #[arg(long, value_name = "USER")]
    owner: String,
    /// The worker's own folder, in which it keeps what it has begun
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// The domains at Plesk that may be changed; may be repeated
    #[arg(long, value_name = "DOMAIN", required = true, value_delimiter = ',')]
    domains: Vec<Hostname>,
    /// Whether a name that Plesk does not have is refused
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    must_exist: bool,
    /// Do what lies there, then end
    #[arg(long, conflicts_with = "timeout")]
    once: bool,
    /// Go on for so many seconds, then end [default: until SIGTERM or SIGINT]
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Plesk's command line
    #[arg(long, value_name = "PATH", default_value = "plesk")]
    plesk: PathBuf,
    /// How many seconds one command of Plesk's may take
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    deadline: u64,
}

/// Carries out `plesk-worker`.
pub(super) async fn work(args: PleskWorkerArgs) -> Result<(), Failure> {
    let stop = stop_signal()
        .map_err(|error| Failure::Failed(format!("cannot listen for signals: {error}")))?;
    let settings = WorkerSettings {
        spool: args.spool,
        owner: args.owner,
        state: args.state,
        domains: args.domains,
        must_exist: args.must_exist,
        plesk: args.plesk,
        deadline: Duration::from_secs(args.deadline),
        until: match (args.once, args.timeout) {
            (true, _) => Until::Once,
            (false, Some(seconds)) => Until::After(Duration::from_secs(seconds)),
            (false, None) => Until::Stopped,
        },
    };
    worker::run(settings, stop)
        .await
        .map_err(|error| match error {
            WorkerError::Usage(why) => Failure::Usage(why),
            WorkerError::Failed(why) => Failure::Failed(why),
        })
}
