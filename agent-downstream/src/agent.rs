//! The verbs that ask the hub for blocks: `once` and `diff`.
//!
//! A run of `once`: what is remembered → pull (no lock is held meanwhile) → lock → plan → replace →
//! remember. A silo that can't be pulled keeps its block and does not hold up the others.

use std::path::PathBuf;

use silo_shared::client::{ClientError, HubClient, Route};
use silo_shared::config::ConfigError;
use silo_shared::connection::Connection;
use silo_shared::output::Output;
use silo_shared::silo::SiloId;
use thiserror::Error;

use crate::diff;
use crate::hosts::BrokenMarkers;
use crate::in_place::{self, InPlaceError};
use crate::plan::{Answer, Change, Pulled, Report, Rules, plan};
use crate::pull::{Fresh, pull};
use crate::replace::{self, ReplaceError, Target};
use crate::settings::{Settings, guarded};
use crate::state::{LockedState, Remembered, StateDir, StateError};

/// The most skipped records that a run names.
const NAMED_SKIPS: usize = 20;

/// Why a verb ended early.
#[derive(Debug, Error)]
pub(crate) enum AgentError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The state folder is no help.
    #[error(transparent)]
    State(#[from] StateError),
    /// The hosts file was not replaced.
    #[error(transparent)]
    Replace(#[from] ReplaceError),
    /// The hosts file's markers do not pair up.
    #[error("{}: {cause}; the file is as it was", .path.display())]
    Markers {
        /// The hosts file.
        path: PathBuf,
        /// What is wrong.
        cause: BrokenMarkers,
    },
    /// There is nothing to restore.
    #[error("{}: there is no backup of it in the state folder {}", .path.display(), .state.display())]
    NoBackup {
        /// The hosts file.
        path: PathBuf,
        /// The state folder.
        state: PathBuf,
    },
    /// The system gives no means to wait for the network.
    #[error("cannot start: {0}")]
    Runtime(std::io::Error),
}

impl From<InPlaceError> for AgentError {
    fn from(error: InPlaceError) -> Self {
        Self::Replace(error.into())
    }
}

impl AgentError {
    /// Whether a later run can't succeed until somebody changes the configuration.
    pub(crate) fn is_misuse(&self) -> bool {
        match self {
            Self::Config(_) => true,
            Self::State(StateError::NotAFolder(_)) => true,
            #[cfg(unix)]
            Self::State(StateError::Open { .. }) => true,
            _ => false,
        }
    }
}

/// Pulls every silo and brings the hosts file up to date. Answers whether all of it succeeded.
pub(crate) async fn once(settings: &Settings, output: &Output) -> Result<bool, AgentError> {
    let silos = settings.some_silos()?;
    let (connection, client) = connect(settings, output)?;
    let target = Target::find(&settings.hosts_file)?;
    let state = StateDir::open(&settings.state_dir)?;
    // A file that was cut off is mended also when the hub is down. Whoever holds the lock has done so.
    if state.has_journal(target.path())
        && let Some(locked) = state.try_lock()?
    {
        recover(&target, &locked)?;
    }
    let known = silos
        .iter()
        .map(|silo| Ok((silo.clone(), state.remembered(client.hub(), silo)?)))
        .collect::<Result<Vec<_>, StateError>>()?;
    let results = pull(&client, known.clone()).await;
    let mut pulls: Vec<Pull> = known
        .into_iter()
        .zip(results)
        .map(|((silo, known), (_, fresh))| {
            let fresh = fresh
                .map_err(|error| output.complain(format!("{silo}: {error}; the block is kept")))
                .ok();
            Pull { silo, known, fresh }
        })
        .collect();
    if pulls.iter().all(|pull| pull.fresh.is_none()) {
        return Ok(false);
    }

    let locked = state.lock()?;
    recover(&target, &locked)?;
    for pull in &mut pulls {
        pull.prefer_newer(locked.remembered(client.hub(), &pull.silo)?);
    }
    let rules = rules(settings, &connection);
    let answers: Vec<Pulled> = pulls.iter().map(Pull::answer).collect();
    let mut reports = Vec::new();
    replace::update(&target, &locked, settings.in_place, |bytes| {
        let plan = plan(bytes, &answers, &rules).map_err(|cause| markers(&target, cause))?;
        reports = plan.reports;
        Ok::<_, AgentError>(plan.bytes)
    })?;
    let mut well = pulls.iter().all(|pull| pull.fresh.is_some());
    let find = |report: &Report| pulls.iter().find(|pull| pull.silo == report.silo);
    for (report, pull) in reports.iter().filter_map(|r| Some((r, find(r)?))) {
        well &= tell(report, pull, output);
    }
    // Everything is said by now: failing to remember costs the next run a whole answer, no more.
    for (report, pull) in reports.iter().filter_map(|r| Some((r, find(r)?))) {
        pull.remember(client.hub(), report, &locked)?;
    }
    Ok(well)
}

/// Shows what `once` would change. Answers whether every silo could be pulled.
pub(crate) async fn diff(settings: &Settings, output: &Output) -> Result<bool, AgentError> {
    let silos = settings.some_silos()?;
    let (connection, client) = connect(settings, output)?;
    let target = Target::find(&settings.hosts_file)?;
    let bytes = target.read()?.bytes;
    let unknown = silos.iter().map(|silo| (silo.clone(), None)).collect();
    let mut well = true;
    let mut answers = Vec::new();
    for (silo, fresh) in pull(&client, unknown).await {
        let fresh = fresh
            .map_err(|error| output.complain(format!("{silo}: {error}; the block is kept")))
            .ok();
        well &= fresh.is_some();
        let known = None;
        answers.push(Pull { silo, known, fresh }.answer());
    }
    let plan = plan(&bytes, &answers, &rules(settings, &connection))
        .map_err(|cause| markers(&target, cause))?;
    for report in &plan.reports {
        // stdout is for the diff alone.
        match &report.outcome {
            Ok(update) => say_skips(&report.silo, &update.skipped, |line| output.note(line)),
            Err(refusal) => {
                well = false;
                output.complain(format!("{}: {refusal}; the block is kept", report.silo));
            }
        }
    }
    let name = target.path().display().to_string();
    output.write(&diff::unified(&name, &bytes, &plan.bytes));
    Ok(well)
}

/// Sets up the client, with a warning when the credential will travel in the open.
pub(crate) fn connect(
    settings: &Settings,
    output: &Output,
) -> Result<(Connection, HubClient), AgentError> {
    let connection = settings.connection()?;
    let client = HubClient::new(&connection, Route::default()).map_err(|error| match error {
        ClientError::Setup(what) => ConfigError::Setting(what),
        other => ConfigError::Setting(other.to_string()),
    })?;
    connection.warn_of_open_credential(output);
    Ok((connection, client))
}

fn rules(settings: &Settings, connection: &Connection) -> Rules {
    Rules {
        policy: settings.policy.clone(),
        hostnames: settings.hostnames.clone(),
        guarded: guarded(connection),
        force: settings.force,
    }
}

/// Finishes a write in place that was cut off.
pub(crate) fn recover(target: &Target, locked: &LockedState) -> Result<(), InPlaceError> {
    if in_place::recover(target.path(), locked)? {
        tracing::info!(
            "{}: finished the work of a run that was cut off",
            target.path().display()
        );
    }
    Ok(())
}

/// Names the hosts file whose markers are broken.
pub(crate) fn markers(target: &Target, cause: BrokenMarkers) -> AgentError {
    let path = target.path().to_owned();
    AgentError::Markers { path, cause }
}

/// One silo on its way through a run.
struct Pull {
    silo: SiloId,
    /// What was remembered when the run began.
    known: Option<Remembered>,
    /// What the hub said; `None` when the pull failed.
    fresh: Option<Fresh>,
}

impl Pull {
    /// Takes over what another run learnt while this one waited, if it is newer.
    fn prefer_newer(&mut self, now: Option<Remembered>) {
        if self.known == now {
            return;
        }
        if let (Some(fresh), Some(now)) = (&mut self.fresh, &now)
            && now.document.revision > fresh.document.revision
        {
            fresh.document = now.document.clone();
            fresh.tag = now.tag.clone();
        }
        self.known = now;
    }

    fn answer(&self) -> Pulled {
        Pulled {
            silo: self.silo.clone(),
            answer: self.fresh.as_ref().map(|fresh| Answer {
                records: fresh.document.dnsrecords.clone(),
                revision: fresh.document.revision,
            }),
        }
    }

    /// Remembers the hub's answer, unless it was refused: then the next run asks again.
    fn remember(&self, hub: &str, report: &Report, state: &LockedState) -> Result<(), StateError> {
        let (Some(fresh), Ok(update)) = (&self.fresh, &report.outcome) else {
            return Ok(());
        };
        let now = Remembered {
            hub: hub.to_owned(),
            silo: self.silo.to_string(),
            tag: fresh.tag.clone(),
            document: fresh.document.clone(),
            skipped: update.skipped.iter().map(ToString::to_string).collect(),
        };
        if self.known.as_ref() == Some(&now) {
            return Ok(());
        }
        state.remember(&self.silo, &now)
    }
}

/// Says what became of a silo; answers whether it is well.
fn tell(report: &Report, pull: &Pull, output: &Output) -> bool {
    let silo = &report.silo;
    let update = match &report.outcome {
        Ok(update) => update,
        Err(refusal) => {
            output.complain(format!("{silo}: {refusal}; the block is kept"));
            return false;
        }
    };
    let line = format!("{silo}: {update}");
    if update.change == Change::None {
        output.mention(line);
    } else {
        output.say(line);
    }
    let said = pull.known.as_ref().map_or(&[][..], |known| &known.skipped);
    // A quiet run names a skipped record once, not every five minutes.
    let skipped = update
        .skipped
        .iter()
        .filter(|skip| !output.is_quiet() || !said.contains(&skip.to_string()));
    say_skips(silo, skipped, |line| output.say(line));
    true
}

fn say_skips<T: ToString>(
    silo: &SiloId,
    skipped: impl IntoIterator<Item = T>,
    say: impl Fn(String),
) {
    let skipped: Vec<T> = skipped.into_iter().collect();
    for skip in skipped.iter().take(NAMED_SKIPS) {
        say(format!("{silo}: {}", skip.to_string()));
    }
    if let more @ 1.. = skipped.len().saturating_sub(NAMED_SKIPS) {
        say(format!("{silo}: skipped {more} more"));
    }
}
