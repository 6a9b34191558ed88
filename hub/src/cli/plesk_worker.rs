//! `plesk-worker`: processes the hub's jobs for Plesk. Reads no configuration file.

use std::path::PathBuf;
use std::time::Duration;

use crate::deliver::plesk::worker::{self, Until, WorkerError, WorkerSettings};
use clap::{ArgAction, Args};
use silo_shared::silo::Hostname;

use super::{Failure, stop_signal};

#[derive(Debug, Args)]
pub(super) struct PleskWorkerArgs {
    /// The directory with `jobs` and `results`
    #[arg(long, value_name = "DIR")]
    spool: PathBuf,
    /// The owner of `jobs`: the user that the hub runs as, by name or number
    #[arg(long, value_name = "USER")]
    owner: String,
    /// The worker's own directory: what it set for each name, and jobs in progress
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// The domains that may be changed; may be repeated
    #[arg(long, value_name = "DOMAIN", required = true, value_delimiter = ',')]
    domains: Vec<Hostname>,
    /// Whether a name that Plesk does not have is refused
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    must_exist: bool,
    /// Process the waiting jobs, then exit
    #[arg(long, conflicts_with = "timeout")]
    once: bool,
    /// Exit after this many seconds [default: on SIGTERM or SIGINT]
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Plesk's command line
    #[arg(long, value_name = "PATH", default_value = "plesk")]
    plesk: PathBuf,
    /// Timeout for one Plesk command, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    deadline: u64,
}

/// Runs `plesk-worker`.
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
