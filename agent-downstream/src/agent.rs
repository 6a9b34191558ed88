//! The commands that pull silos from the hub: `once` and `diff`.
//!
//! Steps of `once`: load the state → pull (without the lock) → lock → plan → replace → save the state. A silo that
//! can't be pulled keeps its block and does not delay the others.

use std::collections::BTreeSet;
use std::path::PathBuf;

use silo_shared::agent::CannotStart;
use silo_shared::client::{HubClient, Route};
use silo_shared::config::ConfigError;
use silo_shared::connection::Connection;
use silo_shared::output::Output;
use silo_shared::silo::SiloId;
use thiserror::Error;

use crate::diff;
use crate::hosts::HostsFile;
use crate::in_place::{self, InPlace, InPlaceError};
use crate::notes::{Notes, RunTime, Uptime};
use crate::outage::Outage;
use crate::plan::{Known, NoPlan, Pulled, Report, Rules, plan};
use crate::pull::{Fresh, pull};
use crate::remembered::Remembered;
use crate::replace;
use crate::replace_error::ReplaceError;
use crate::settings::{Settings, guarded};
use crate::state::{LockedState, StateDir, StateError};
use crate::target::Target;
use crate::tell;

/// Why a command ended early.
#[derive(Debug, Error)]
pub(crate) enum AgentError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The state folder can't be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The hosts file was not replaced.
    #[error(transparent)]
    Replace(#[from] ReplaceError),
    /// The blocks in the hosts file can't be identified.
    #[error("{}: {cause}; the file was not changed", .path.display())]
    Markers {
        /// The hosts file.
        path: PathBuf,
        /// The reason.
        cause: NoPlan,
    },
    /// There is nothing to restore.
    #[error("{}: there is no backup of it in the state folder {}", .path.display(), .state.display())]
    NoBackup {
        /// The hosts file.
        path: PathBuf,
        /// The state folder.
        state: PathBuf,
    },
    /// There is no backup with this number.
    #[error(
        "there is no backup {number}, only {count}: `silo-downstream restore --list` shows which"
    )]
    NoSuchBackup {
        /// The requested number.
        number: usize,
        /// The number of backups.
        count: usize,
    },
    /// Lines of other programs or users would be lost.
    #[error("{}: {lost} lines outside our blocks would be lost, those with `-` above; the file was not changed. Use --force to restore it anyway; the present file is kept as a backup", .path.display())]
    WouldLose {
        /// The hosts file.
        path: PathBuf,
        /// The number of lines.
        lost: usize,
    },
    /// The run could not begin.
    #[error(transparent)]
    CannotStart(#[from] CannotStart),
}

impl From<InPlaceError> for AgentError {
    fn from(error: InPlaceError) -> Self {
        Self::Replace(error.into())
    }
}

impl silo_shared::agent::AgentError for AgentError {
    fn is_usage(&self) -> bool {
        match self {
            Self::Config(_) => true,
            Self::State(StateError::NotAFolder(_)) => true,
            #[cfg(unix)]
            Self::State(StateError::Open { .. }) => true,
            _ => false,
        }
    }
}

/// Pulls every silo and updates the hosts file. Returns whether everything succeeded.
pub(crate) async fn once(settings: &Settings, output: &Output) -> Result<bool, AgentError> {
    let silos = settings.some_silos()?;
    let (connection, client) = connect(settings, output)?;
    let target = Target::find(&settings.hosts_file)?;
    let state = StateDir::open(&settings.state_dir)?;
    // An interrupted write is repaired even if the hub is down. If another run holds the lock, it has done so.
    if state.has_journal(target.path())
        && let Some(locked) = state.try_lock()?
    {
        recover(&target, &locked, settings.in_place)?;
    }
    let mut pulls = pull_all(silos, &client, &state, output).await?;
    if pulls.iter().all(|pull| pull.fresh.is_none()) {
        return Ok(false);
    }

    let rules = rules(settings, &connection);
    let answers: Vec<Pulled> = pulls.iter().map(Pulled::from).collect();
    let known = known_without_lock(settings, &target)?;
    let target = target.settled(&state, |bytes| {
        // Broken markers may be an incomplete write of another program.
        plan(bytes, &answers, &rules, &known).map_or(true, |plan| plan.bytes != bytes)
    })?;
    let locked = state.lock_after(target.waited())?;
    recover(&target, &locked, settings.in_place)?;
    for pull in &mut pulls {
        pull.prefer_newer(locked.remembered(client.hub(), &pull.silo)?);
    }
    let answers: Vec<Pulled> = pulls.iter().map(Pulled::from).collect();
    let notes = locked.notes(target.path(), |name| settings.wants(name))?;
    let at = run_time();
    let known = known_of(&notes, silos, at);
    let mut reports = Vec::new();
    let mut stale = Vec::new();
    let mut present = BTreeSet::new();
    replace::update(&target, &locked, settings.in_place, |bytes| {
        let plan =
            plan(bytes, &answers, &rules, &known).map_err(|cause| markers(&target, cause))?;
        reports = plan.reports;
        stale = plan.stale;
        present = blocks(bytes);
        Ok::<_, AgentError>(plan.bytes)
    })?;
    let mut succeeded = pulls.iter().all(|pull| pull.fresh.is_some());
    let find = |report: &Report| pulls.iter().find(|pull| pull.silo == report.silo);
    for (report, pull) in reports.iter().filter_map(|r| Some((r, find(r)?))) {
        let before = pull.known.as_ref().map_or(&[][..], |known| &known.skipped);
        succeeded &= tell::tell(report, before, output);
    }
    let mut next = notes.after_run(silos, &present, at);
    let notices = tell::notices_of_file(&reports, &stale);
    tell::tell_of_file(&notices, &notes.said, output);
    next.said = notices.into_iter().map(|notice| notice.text).collect();
    for report in &reports {
        if let Ok(update) = &report.outcome {
            next.wrote(&report.silo, &update.records);
        }
    }
    if notes.needs_writing(&next) {
        locked.put_notes(target.path(), &next)?;
    }
    // Everything is printed by now: a failure to save only makes the next run download the whole response.
    for (report, pull) in reports.iter().filter_map(|r| Some((r, find(r)?))) {
        pull.remember(client.hub(), report, &locked)?;
    }
    Ok(succeeded)
}

/// Pulls the silos and prints which ones could not be pulled.
async fn pull_all(
    silos: &[SiloId],
    client: &HubClient,
    state: &StateDir,
    output: &Output,
) -> Result<Vec<Pull>, AgentError> {
    let known = silos
        .iter()
        .map(|silo| Ok((silo.clone(), state.remembered(client.hub(), silo)?)))
        .collect::<Result<Vec<_>, StateError>>()?;
    let results = pull(client, known.clone()).await;
    let mut outage = Outage::recall(state, client.hub(), output)?;
    let pulls = known
        .into_iter()
        .zip(results)
        .map(|((silo, known), (_, fresh))| {
            match &fresh {
                Ok(_) => outage.pulled(&silo),
                Err(error) => outage.failed(&silo, error),
            }
            let fresh = fresh.ok();
            Pull { silo, known, fresh }
        })
        .collect();
    outage.finish(state, client.hub())?;
    Ok(pulls)
}

/// The silos that have a block in the file.
fn blocks(bytes: &[u8]) -> BTreeSet<SiloId> {
    let file = HostsFile::parse(bytes);
    file.map_or_else(|_| BTreeSet::new(), |file| file.silos().cloned().collect())
}

/// Prints what `once` would change. Returns whether every silo could be pulled.
pub(crate) async fn diff(settings: &Settings, output: &Output) -> Result<bool, AgentError> {
    let silos = settings.some_silos()?;
    let (connection, client) = connect(settings, output)?;
    let target = Target::find(&settings.hosts_file)?;
    let bytes = target.read_text()?;
    let unknown = silos.iter().map(|silo| (silo.clone(), None)).collect();
    let mut succeeded = true;
    let mut answers = Vec::new();
    for (silo, fresh) in pull(&client, unknown).await {
        let fresh = fresh
            .map_err(|error| output.print_error(format!("{silo}: {error}; the block is kept")))
            .ok();
        succeeded &= fresh.is_some();
        let known = None;
        answers.push(Pulled::from(&Pull { silo, known, fresh }));
    }
    let known = known_without_lock(settings, &target)?;
    let plan = plan(&bytes, &answers, &rules(settings, &connection), &known)
        .map_err(|cause| markers(&target, cause))?;
    // stdout contains only the diff.
    for stale in &plan.stale {
        output.print_note(stale);
    }
    for report in &plan.reports {
        match &report.outcome {
            Ok(update) => {
                let skipped = update.skipped.iter();
                tell::print_lines(&report.silo, skipped, "skipped", |line| {
                    output.print_note(line)
                });
            }
            Err(refusal) => {
                succeeded = false;
                output.print_error(format!("{}: {refusal}; the block is kept", report.silo));
            }
        }
    }
    let name = target.path().display().to_string();
    output.write(&diff::unified(&name, "once", &bytes, &plan.bytes));
    Ok(succeeded)
}

/// Creates the client; warns if the credential will be sent unencrypted.
fn connect(settings: &Settings, output: &Output) -> Result<(Connection, HubClient), AgentError> {
    let connection = settings.connection()?;
    let client = HubClient::new(&connection, Route::default())
        .map_err(|error| ConfigError::Setting(error.to_string()))?;
    connection.warn_of_open_credential(output);
    Ok((connection, client))
}

/// What earlier runs left in the file, as notes of this state folder know it.
fn known_of(notes: &Notes, silos: &[SiloId], at: RunTime) -> Known {
    Known {
        written: notes.written(),
        stale: notes.stale(silos, at),
    }
}

/// The same for commands that change nothing: without a state folder, nothing is known.
pub(crate) fn known_without_lock(
    settings: &Settings,
    target: &Target,
) -> Result<Known, StateError> {
    let Some(state) = StateDir::existing(&settings.state_dir)? else {
        return Ok(Known::default());
    };
    let notes = state.notes(target.path(), |name| settings.wants(name))?;
    Ok(known_of(&notes, &settings.silos, run_time()))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the agent's only look at the wall clock: what is made of it takes it as a value"
)]
fn run_time() -> RunTime {
    RunTime {
        wall_ms: std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| {
                i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
            }),
        uptime: uptime(),
    }
}

/// A clock that no step of the wall clock moves and that counts from the machine's start, with the time for which it
/// slept (clock_gettime(2), `CLOCK_BOOTTIME`).
#[cfg(target_os = "linux")]
fn uptime() -> Option<Uptime> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let boot = u128::from_str_radix(&boot.trim().replace('-', ""), 16).ok()?;
    let at = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(at.tv_sec).unwrap_or_default();
    let nanoseconds = u64::try_from(at.tv_nsec).unwrap_or_default();
    let ms = i64::try_from(seconds * 1000 + nanoseconds / 1_000_000).ok()?;
    Some(Uptime { boot, ms })
}

/// No such clock is known here.
#[cfg(not(target_os = "linux"))]
fn uptime() -> Option<Uptime> {
    None
}

pub(crate) fn rules(settings: &Settings, connection: &Connection) -> Rules {
    Rules {
        policy: settings.policy.clone(),
        hostnames: settings.hostnames.clone(),
        guarded: guarded(connection),
        force: settings.force,
        adopt: settings.adopt,
    }
}

/// Completes an interrupted write in place, if writing in place is allowed.
pub(crate) fn recover(
    target: &Target,
    locked: &LockedState,
    allowed: InPlace,
) -> Result<(), InPlaceError> {
    if in_place::recover(target.path(), locked, allowed)? {
        tracing::info!(
            "{}: finished the write of an interrupted run",
            target.path().display()
        );
    }
    Ok(())
}

/// The error for a hosts file whose blocks can't be identified.
pub(crate) fn markers(target: &Target, cause: impl Into<NoPlan>) -> AgentError {
    let (path, cause) = (target.path().to_owned(), cause.into());
    AgentError::Markers { path, cause }
}

/// The state of one silo in a run.
struct Pull {
    silo: SiloId,
    /// The saved state when the run began.
    known: Option<Remembered>,
    /// The hub's response; `None` if the pull failed.
    fresh: Option<Fresh>,
}

impl Pull {
    /// Uses the response that another run saved while this one waited, if it is newer.
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

    /// Saves the hub's response, unless it was refused: then the next run requests it again.
    fn remember(&self, hub: &str, report: &Report, state: &LockedState) -> Result<(), StateError> {
        let (Some(fresh), Ok(update)) = (&self.fresh, &report.outcome) else {
            return Ok(());
        };
        let now = Remembered {
            hub: hub.to_owned(),
            silo: self.silo.to_string(),
            tag: fresh.tag.clone(),
            document: fresh.document.clone(),
            skipped: tell::notices(update)
                .into_iter()
                .map(|notice| notice.text)
                .collect(),
        };
        if self.known.as_ref() == Some(&now) {
            return Ok(());
        }
        state.remember(&self.silo, &now)
    }
}

impl From<&Pull> for Pulled {
    fn from(pull: &Pull) -> Self {
        Self::new(pull.silo.clone(), pull.fresh.as_ref())
    }
}
