//! Publishes addresses to Plesk, whose command line requires root.
//!
//! The unprivileged hub writes a job to a spool folder; the command `plesk-worker`, run by root,
//! executes it and writes a result, which the hub turns into the delivery's state. Setup:
//! `docs/plesk.md`.

pub mod job;
mod spool;
#[cfg(unix)]
pub mod worker;
pub mod zone_name;

use std::net::IpAddr;
use std::path::PathBuf;

use serde::Deserialize;
use silo_shared::config::ConfigError;
use silo_shared::credential::Secret;
use silo_shared::silo::{Addresses, Hostname};

use self::job::{JobResult, Task, Verdict};
use self::spool::{Progress, Spool};
use self::zone_name::ZoneName;
use super::sink::{Answer, Outcome, Publication, ReceiverState, Sink, StateSink, Trouble};
use crate::config::sinks::OwnKeys;
use crate::domain::time::Clock;

/// The keys of a `plesk` sink.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PleskKeys {
    spool: PathBuf,
    zone: String,
}

/// A Plesk zone, reached through a spool folder.
#[derive(Clone, Debug)]
struct PleskSink {
    spool: Spool,
    zone: Hostname,
}

/// Reads the keys of a `plesk` sink: `spool`, the folder, and `zone`, the domain at Plesk.
pub fn open(keys: &OwnKeys) -> Result<(Sink, Vec<Secret>), ConfigError> {
    let own: PleskKeys = keys.parse()?;
    if !cfg!(unix) {
        return Err(keys.wrong("kind: plesk is for hubs on Linux, beside Plesk's own command line"));
    }
    if own.spool.as_os_str().is_empty() {
        return Err(keys.wrong("spool: must name a folder"));
    }
    let zone = Hostname::parse(&own.zone).map_err(|error| keys.wrong(format!("zone: {error}")))?;
    let sink = PleskSink {
        spool: Spool::new(&keys.path(&own.spool), Clock::System),
        zone,
    };
    Ok((Sink::State(Box::new(sink)), Vec::new()))
}

impl StateSink for PleskSink {
    fn published_name(&self, hostname: &Hostname) -> Result<String, String> {
        ZoneName::of_record(hostname, &self.zone).map(|zone_name| zone_name.name().to_string())
    }

    fn takes_host_names_only(&self) -> bool {
        true
    }

    fn publish<'a>(&'a self, publication: &'a Publication) -> Answer<'a, Outcome> {
        Box::pin(async move {
            let task = match self.task(publication) {
                Ok(task) => task,
                Err(why) => return Outcome::Failed(Trouble::of_name(why)),
            };
            let spool = self.spool.clone();
            let handed = tokio::task::spawn_blocking(move || spool.hand_over(&task)).await;
            match handed {
                Ok(Ok(progress)) => outcome(progress),
                Ok(Err(error)) => Outcome::Retry(Trouble::of_sink(error.to_string())),
                Err(error) => Outcome::Retry(Trouble::of_sink(format!("the spool: {error}"))),
            }
        })
    }

    fn observe<'a>(&'a self, _name: &'a str) -> Answer<'a, Option<Result<Addresses, Trouble>>> {
        Box::pin(async { None })
    }

    fn check(&self) -> Answer<'_, Result<String, String>> {
        Box::pin(async move {
            let spool = self.spool.clone();
            let checked = tokio::task::spawn_blocking(move || spool.check()).await;
            match checked {
                Ok(Ok(0)) => Ok("the spool folder is writable; no pending jobs".to_owned()),
                Ok(Ok(jobs)) => Ok(format!("the spool folder is writable; {jobs} pending jobs")),
                Ok(Err(error)) => Err(error.to_string()),
                Err(error) => Err(format!("the spool: {error}")),
            }
        })
    }
}

impl PleskSink {
    fn task(&self, publication: &Publication) -> Result<Task, String> {
        let name = Hostname::parse(&publication.name).map_err(|error| error.to_string())?;
        let wanted = publication.wanted;
        let (surely, perhaps) = match publication.standing {
            ReceiverState::Nothing => (Addresses::default(), Addresses::default()),
            ReceiverState::Claimed(sent) => (Addresses::default(), sent),
            ReceiverState::Published(published) => (published, Addresses::default()),
            ReceiverState::Replacing {
                published, sent, ..
            } => (published, sent),
        };
        // Without the wanted addresses, so that the task stays the same once the send is recorded.
        let mut published: Vec<IpAddr> = surely
            .iter()
            .chain(perhaps.iter())
            .filter(|ip| !wanted.iter().any(|wanted| wanted == *ip))
            .collect();
        published.sort();
        published.dedup();
        Ok(Task {
            zone_name: ZoneName::of_record(&name, &self.zone)?,
            wanted,
            published,
        })
    }
}

fn outcome(progress: Progress) -> Outcome {
    let JobResult { verdict, why, .. } = match progress {
        Progress::Waiting => return Outcome::Waiting,
        Progress::Forgotten => {
            let why = "no job was taken for 15 minutes: check that `silo-hub plesk-worker` runs";
            return Outcome::Retry(Trouble::of_sink(why));
        }
        Progress::Answered(result) => result,
    };
    match verdict {
        Verdict::Done => Outcome::Done,
        Verdict::RetryName => Outcome::Retry(Trouble::of_name(why)),
        Verdict::RetryZone => Outcome::Retry(Trouble::of_sink(why)),
        Verdict::FailedName => Outcome::Failed(Trouble::of_name(why)),
        Verdict::FailedZone => Outcome::Failed(Trouble::of_sink(why)),
    }
}

#[cfg(test)]
#[cfg(unix)]
#[path = "plesk/tests.rs"]
mod tests;
