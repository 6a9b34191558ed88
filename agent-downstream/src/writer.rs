//! Brings the hosts file up to date with what the hub said: the part that `once` and `watch` share.
//!
//! Steps: wait until no other program writes the file → lock → plan → replace → print → save the state. Blocks its
//! thread.

use std::collections::{BTreeMap, BTreeSet};

use silo_shared::output::Output;
use silo_shared::silo::SiloId;

use crate::agent_error::{AgentError, markers};
use crate::hosts::HostsFile;
use crate::known::{known_of, known_without_lock};
use crate::owed_hook::OwedHook;
use crate::own;
use crate::own_plan::plan;
use crate::plan::{Known, Pulled, Report, Rules, StaleBlock};
use crate::recover::recover;
use crate::replace::{self, Contents};
use crate::run_status::RunStatus;
use crate::run_time::run_time;
use crate::settings::Settings;
use crate::silo_pull::SiloPull;
use crate::state::{LockedState, StateDir};
use crate::target::Target;
use crate::tell;
use crate::write_gate::{WriteGate, Writing};

/// What a run works with.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    pub(crate) settings: Settings,
    pub(crate) rules: Rules,
    pub(crate) state: StateDir,
    /// The hub, as the key of what is remembered about it.
    pub(crate) hub: String,
    pub(crate) output: Output,
    pub(crate) gate: WriteGate,
}

/// The result of a run that could plan and write.
#[derive(Clone, Debug, Default)]
pub(crate) struct Written {
    /// Whether each silo that was pulled has what the hub says.
    pub(crate) is_complete: bool,
    /// Whether the file was replaced.
    pub(crate) is_replaced: bool,
    /// The entity tags of the silos that the file has now.
    pub(crate) applied: BTreeMap<SiloId, String>,
}

impl Writer {
    /// Updates the file. `pulls` are the silos of the configuration; one without an answer keeps its block. What was
    /// remembered about them is updated.
    pub(crate) fn write(
        &self,
        target: Target,
        pulls: &mut [SiloPull],
        status: &mut RunStatus,
    ) -> Result<Written, AgentError> {
        let settings = &self.settings;
        own::create_missing(settings, &target, &self.state)?;
        let answers: Vec<Pulled> = pulls.iter().map(Pulled::from).collect();
        let known = known_without_lock(settings, &target)?;
        let target = target.settled(&self.state, |bytes| {
            // Broken markers may be an incomplete write of another program.
            plan(bytes, &answers, &self.rules, &known).map_or(true, |plan| plan.bytes != bytes)
        })?;
        let locked = self.state.lock_after(target.waited())?;
        self.recover(&target, &locked)?;
        for pull in pulls.iter_mut() {
            pull.prefer_newer(locked.remembered(&self.hub, &pull.silo)?);
        }
        let answers: Vec<Pulled> = pulls.iter().map(Pulled::from).collect();
        let notes = locked.notes(target.path(), |name| settings.wants(name))?;
        let at = run_time();
        let known = known_of(&notes, &settings.silos, at);
        let tags = tags_of(pulls);
        let (is_replaced, planned) = self.replace(&target, &locked, &answers, &known, &tags)?;
        let Planned {
            reports,
            stale,
            dropped,
            present,
        } = planned;

        let mut written = Written {
            is_complete: true,
            is_replaced,
            applied: applied(&reports, &tags),
        };
        for (report, pull) in with_pulls(&reports, pulls) {
            let before = pull.known.as_ref().map_or(&[][..], |known| &known.skipped);
            written.is_complete &= tell::tell(report, before, &self.output);
        }
        for fact in tell::facts_of_dropped(&dropped) {
            self.output.tell(&fact);
        }
        let mut next = notes.after_run(&settings.silos, &present, at);
        let notices = tell::notices_of_file(&reports, &stale);
        tell::tell_of_file(&notices, &notes.said, &self.output);
        next.said = notices.into_iter().map(|notice| notice.text).collect();
        for report in &reports {
            if let Ok(update) = &report.outcome {
                next.wrote(&report.silo, &update.records);
            }
        }
        if notes.needs_writing(&next) {
            locked.put_notes(target.path(), &next)?;
        }
        status.wrote(&reports, at.wall_ms);
        // Everything is printed by now: a failure to save only makes the next run download the whole response.
        for (report, pull) in with_pulls(&reports, pulls) {
            pull.remember(&self.hub, report, &locked)?;
        }
        Ok(written)
    }

    /// Finishes or takes back a write in place that was interrupted. If another run holds the lock, it does so.
    pub(crate) fn recover_if_interrupted(&self, target: &Target) -> Result<(), AgentError> {
        if self.state.has_journal(target.path())
            && let Some(locked) = self.state.try_lock()?
        {
            self.recover(target, &locked)?;
        }
        Ok(())
    }

    /// The same under the lock. The process does not end meanwhile.
    fn recover(&self, target: &Target, locked: &LockedState) -> Result<(), AgentError> {
        let path = target.path();
        let entered = locked.has_journal(path).then(|| self.gate.enter());
        let _writing = match entered {
            Some(None) => return Err(AgentError::Ending(path.to_owned())),
            other => other,
        };
        Ok(recover(target, locked, self.settings.in_place)?)
    }

    /// Plans and replaces under the lock. Notes the owed hook before; if nothing was written, none is owed for it.
    fn replace(
        &self,
        target: &Target,
        locked: &LockedState,
        answers: &[Pulled],
        known: &Known,
        tags: &BTreeMap<SiloId, String>,
    ) -> Result<(bool, Planned), AgentError> {
        let owed = locked.owed_hook(target.path())?;
        let mut run = Run {
            writer: self,
            target,
            locked,
            answers,
            known,
            tags,
            owed: owed.as_ref(),
            planned: Planned::default(),
            rendered: Vec::new(),
            writing: None,
        };
        let done = replace::update(target, locked, self.settings.in_place, &mut run);
        let has_noted = run.writing.is_some() && self.settings.on_change.is_some();
        let is_in_place = matches!(done, Ok(true)) || done.is_err() && run.is_in_place();
        if has_noted && !is_in_place {
            locked.owe_hook(target.path(), owed.as_ref())?;
        }
        done.map(|is_replaced| (is_replaced, run.planned))
    }
}

/// A plan without its bytes.
#[derive(Debug, Default)]
struct Planned {
    reports: Vec<Report>,
    stale: Vec<StaleBlock>,
    /// The silos that a file of our own no longer has.
    dropped: Vec<SiloId>,
    /// The silos that had a block.
    present: BTreeSet<SiloId>,
}

/// The contents of one run.
struct Run<'a> {
    writer: &'a Writer,
    target: &'a Target,
    locked: &'a LockedState,
    answers: &'a [Pulled],
    known: &'a Known,
    /// The entity tags of the answers.
    tags: &'a BTreeMap<SiloId, String>,
    /// The hook that earlier runs owe.
    owed: Option<&'a OwedHook>,
    planned: Planned,
    /// The bytes that were rendered last.
    rendered: Vec<u8>,
    /// Keeps the process from ending, from the first write on.
    writing: Option<Writing>,
}

impl Run<'_> {
    /// Whether the file has what was rendered last, although a step after the replacement failed. A file that can't be
    /// read counts as replaced: a hook that runs once too often does no harm.
    fn is_in_place(&self) -> bool {
        self.target
            .read()
            .map_or(true, |now| now.bytes.starts_with(&self.rendered))
    }
}

impl Contents<AgentError> for &mut Run<'_> {
    fn render(&mut self, bytes: &[u8]) -> Result<Vec<u8>, AgentError> {
        let plan = plan(bytes, self.answers, &self.writer.rules, self.known)
            .map_err(|cause| markers(self.target, cause))?;
        self.planned = Planned {
            reports: plan.reports,
            stale: plan.stale,
            dropped: plan.dropped,
            present: blocks(bytes),
        };
        own::verify(&self.writer.settings, self.locked, bytes, &plan.bytes)?;
        self.rendered.clone_from(&plan.bytes);
        Ok(plan.bytes)
    }

    fn before_write(&mut self) -> Result<(), AgentError> {
        let path = self.target.path();
        if self.writing.is_none() {
            let writing = self.writer.gate.enter();
            self.writing = Some(writing.ok_or_else(|| AgentError::Ending(path.to_owned()))?);
        }
        if let Some(progress) = self.target.progress() {
            progress.about_to_apply(applied(&self.planned.reports, self.tags));
        }
        if self.writer.settings.on_change.is_some() {
            let now = OwedHook::of_run(path, &self.planned.reports);
            let owed = match self.owed {
                Some(owed) => owed.clone().followed_by(now),
                None => now,
            };
            self.locked.owe_hook(path, Some(&owed))?;
        }
        Ok(())
    }
}

/// The entity tags of the pulled silos.
fn tags_of(pulls: &[SiloPull]) -> BTreeMap<SiloId, String> {
    let tag = |pull: &SiloPull| Some((pull.silo.clone(), pull.fresh.as_ref()?.tag.clone()?));
    pulls.iter().filter_map(tag).collect()
}

/// The entity tags of the silos that a plan accepts.
fn applied(reports: &[Report], tags: &BTreeMap<SiloId, String>) -> BTreeMap<SiloId, String> {
    let accepted = reports.iter().filter(|report| report.outcome.is_ok());
    let tag = |report: &Report| Some((report.silo.clone(), tags.get(&report.silo)?.clone()));
    accepted.filter_map(tag).collect()
}

/// The reports with their pulls.
fn with_pulls<'a>(
    reports: &'a [Report],
    pulls: &'a mut [SiloPull],
) -> impl Iterator<Item = (&'a Report, &'a mut SiloPull)> {
    pulls.iter_mut().filter_map(|pull| {
        let mut of_silo = reports.iter().filter(|report| report.silo == pull.silo);
        Some((of_silo.next()?, pull))
    })
}

/// The silos that have a block in the file.
fn blocks(bytes: &[u8]) -> BTreeSet<SiloId> {
    let file = HostsFile::parse(bytes);
    file.map_or_else(|_| BTreeSet::new(), |file| file.silos().cloned().collect())
}
