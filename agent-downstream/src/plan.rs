//! One run as a value: from the bytes of the hosts file and the hub's answers, the new bytes and what
//! to print about each silo. Nothing is touched here; a plan is printed by `diff` and tested alone.

mod context;
mod strays;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use silo_shared::api::DnsRecord;
use silo_shared::silo::{Hostname, Records, SiloId};
use thiserror::Error;

use crate::change::Change;
use crate::glob::Glob;
use crate::hosts::{BrokenMarkers, HostsFile};
use crate::policy::{FoundLine, Guarded, Policy, Refusal, Skipped};
use crate::pull::Fresh;
use context::PlanContext;

pub(crate) use strays::strays;

/// The hub's answer for one silo.
#[derive(Clone, Debug)]
pub(crate) struct Pulled {
    /// The silo.
    pub(crate) silo: SiloId,
    /// The records as the hub sent them; `None` when the pull failed and the block is kept.
    pub(crate) answer: Option<Answer>,
}

impl Pulled {
    /// A silo and what was pulled of it, if anything.
    pub(crate) fn new(silo: SiloId, fresh: Option<&Fresh>) -> Self {
        let answer = fresh.map(|fresh| Answer {
            records: fresh.document.dnsrecords.clone(),
            revision: fresh.document.revision,
        });
        Self { silo, answer }
    }
}

/// Records and the revision at which they stood.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// The records as the hub sent them.
    pub(crate) records: Vec<DnsRecord>,
    /// The silo's revision.
    pub(crate) revision: i64,
}

/// By which rules answers become blocks.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// The policy of the configuration.
    pub(crate) policy: Policy,
    /// The globs of `hostnames`; empty: all.
    pub(crate) hostnames: Vec<Glob>,
    /// Names that no silo may redirect.
    pub(crate) guarded: Guarded,
    /// Whether `policy.max_removed` is set aside.
    pub(crate) force: bool,
    /// Whether lines outside the blocks that hold one name of a silo are taken into its block.
    pub(crate) adopt: bool,
}

/// What earlier runs of this state folder left in the file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// What was last written of each silo.
    pub(crate) written: BTreeMap<SiloId, Records>,
    /// Silos whose blocks no run names any more.
    pub(crate) stale: BTreeSet<SiloId>,
}

/// Why there is no plan; the file is left alone.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum NoPlan {
    /// The blocks can't be identified.
    #[error(transparent)]
    Markers(#[from] BrokenMarkers),
    /// A record that lost its block is there more than once.
    #[error("lines {} (`{} {}`): a record of silo {silo} that lost its block appears more than once: remove all but one of these lines, or run `once --adopt` to take them over", numbers(.lines), .record.1, .record.0)]
    Ambiguous {
        /// Whose record.
        silo: SiloId,
        /// The record.
        record: Box<(Hostname, IpAddr)>,
        /// Where it is, counted from 1.
        lines: Vec<usize>,
    },
}

/// `2, 5 and 9`
fn numbers(lines: &[usize]) -> String {
    let words: Vec<String> = lines.iter().map(ToString::to_string).collect();
    match words.split_last() {
        Some((last, firsts)) if !firsts.is_empty() => format!("{} and {last}", firsts.join(", ")),
        _ => words.concat(),
    }
}

/// The new file, and a report for each silo whose pull succeeded.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The new bytes.
    pub(crate) bytes: Vec<u8>,
    /// In the order of the configuration.
    pub(crate) reports: Vec<Report>,
    /// What to print about stale blocks.
    pub(crate) stale: Vec<StaleBlock>,
}

/// A block that this state folder wrote and that no run names any more.
#[derive(Debug)]
pub(crate) struct StaleBlock {
    silo: SiloId,
    /// Lines that were taken out, since a configured silo has their names.
    removed: usize,
}

impl fmt::Display for StaleBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { silo, removed } = self;
        write!(
            f,
            "the block of silo {silo} is stale: no run has configured that silo for a day"
        )?;
        match removed {
            0 => {}
            1 => f.write_str("; removed 1 line from it, whose name another silo has")?,
            more => write!(
                f,
                "; removed {more} lines from it, whose names other silos have"
            )?,
        }
        write!(f, "; `silo-downstream clean --silo {silo}` removes it")
    }
}

/// What becomes of one silo's block.
#[derive(Debug)]
pub(crate) struct Report {
    /// The silo.
    pub(crate) silo: SiloId,
    /// What was decided.
    pub(crate) outcome: Result<Update, Refusal>,
}

/// A block that follows the hub.
#[derive(Debug)]
pub(crate) struct Update {
    /// What differs from the present block.
    pub(crate) change: Change,
    /// The silo's revision.
    pub(crate) revision: i64,
    /// What was skipped.
    pub(crate) skipped: Vec<Skipped>,
    /// How many names `hostnames` leaves out.
    pub(crate) unselected: usize,
    /// Lines that went from outside into the block.
    pub(crate) adopted: Vec<FoundLine>,
    /// The records that the block now has.
    pub(crate) records: Records,
}

impl Update {
    /// Whether a name is left at a wrong address though nothing in the configuration asks for that.
    pub(crate) fn is_wrong(&self) -> bool {
        self.skipped.iter().any(Skipped::is_wrong)
    }
}

/// Plans a run over the bytes of the hosts file.
pub(crate) fn plan(
    bytes: &[u8],
    pulled: &[Pulled],
    rules: &Rules,
    known: &Known,
) -> Result<Plan, NoPlan> {
    let context = PlanContext::new(HostsFile::parse(bytes)?, pulled, rules, known)?;
    let mut refused: BTreeMap<&SiloId, Refusal> = BTreeMap::new();
    // A refused pull keeps its block, which then is in the file like any line of others: the others
    // are judged again with that known. Each turn refuses at least one more, so this ends.
    let decided = loop {
        let (decided, more) = context.decide(pulled, &refused);
        if more.is_empty() {
            break decided;
        }
        refused.extend(more);
    };
    let file = &context.file;
    let wanted: Vec<_> = decided
        .iter()
        .map(|decided| (decided.silo, &decided.judged.accepted))
        .collect();
    let mut removed: BTreeSet<usize> = decided
        .iter()
        .flat_map(|decided| decided.adopted.iter().map(|found| found.line - 1))
        .collect();
    let names: BTreeSet<&str> = decided
        .iter()
        .flat_map(|decided| decided.judged.accepted.keys().map(Hostname::as_str))
        .collect();
    let stale = file
        .silos()
        .filter(|silo| context.is_stale(silo))
        .map(|silo| {
            let lines = file.lines_of(silo, |name| names.contains(name));
            let (silo, count) = (silo.clone(), lines.len());
            removed.extend(lines);
            StaleBlock {
                silo,
                removed: count,
            }
        })
        .collect();
    let new = file.render(&wanted, &removed);
    let mut updates: BTreeMap<&SiloId, Update> = decided
        .into_iter()
        .map(|decided| (decided.silo, decided.update(file)))
        .collect();
    let reports = pulled
        .iter()
        .filter_map(|Pulled { silo, .. }| {
            let update = updates.remove(silo).map(Ok);
            let outcome = update.or_else(|| refused.remove(silo).map(Err))?;
            let silo = silo.clone();
            Some(Report { silo, outcome })
        })
        .collect();
    Ok(Plan {
        bytes: new,
        reports,
        stale,
    })
}

impl fmt::Display for Update {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, revision {}", self.change, self.revision)
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
