//! One run as a value: from the bytes of the hosts file and the hub's responses, the new bytes and what to print about
//! each silo. Changes nothing; `diff` prints a plan, and tests check it separately.

mod context;
mod strays;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use silo_shared::api::DnsRecord;
use silo_shared::silo::{Hostname, Records, SiloId};
use thiserror::Error;

use crate::change::Change;
use crate::format::Format;
use crate::glob::Glob;
use crate::hosts::{BrokenMarkers, HostsFile};
use crate::policy::{FoundLine, Guarded, Policy, Refusal, Skipped};
use crate::pull::Fresh;
use crate::suffix::Suffix;
use context::PlanContext;

pub(crate) use strays::strays;

/// The hub's response for one silo.
#[derive(Clone, Debug)]
pub(crate) struct Pulled {
    /// The silo.
    pub(crate) silo: SiloId,
    /// The records as the hub sent them; `None` if the pull failed and the block is kept.
    pub(crate) answer: Option<Answer>,
}

impl Pulled {
    /// A silo and its pulled response, if any.
    pub(crate) fn new(silo: SiloId, fresh: Option<&Fresh>) -> Self {
        let answer = fresh.map(|fresh| Answer {
            records: fresh.document.dnsrecords.clone(),
            revision: fresh.document.revision,
        });
        Self { silo, answer }
    }
}

/// Records and their revision.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// The records as the hub sent them.
    pub(crate) records: Vec<DnsRecord>,
    /// The silo's revision.
    pub(crate) revision: i64,
}

/// The rules for turning responses into blocks.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// The policy of the configuration.
    pub(crate) policy: Policy,
    /// The globs of `hostnames`; empty: all.
    pub(crate) hostnames: Vec<Glob>,
    /// Names that no silo may redirect.
    pub(crate) guarded: Guarded,
    /// Whether to ignore `policy.max_removed`.
    pub(crate) force: bool,
    /// Whether to move lines outside the blocks that define only one name of a silo into its block.
    pub(crate) adopt: bool,
    /// The suffix under which single-label names are defined as well.
    pub(crate) suffix: Option<Suffix>,
    /// The format of a file of our own; `None`: blocks in a hosts file.
    pub(crate) format: Option<Format>,
}

/// What earlier runs of this state folder left in the file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// The records last written of each silo.
    pub(crate) written: BTreeMap<SiloId, Records>,
    /// Silos with blocks that no run is configured for any more.
    pub(crate) stale: BTreeSet<SiloId>,
}

/// Why there is no plan; the file is not changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum NoPlan {
    /// The blocks can't be identified.
    #[error(transparent)]
    Markers(#[from] BrokenMarkers),
    /// The file is to be ours, but another program or a user wrote it.
    #[error(
        "this file was not written by silo-downstream: set `file` to another path, or run `once --force` to replace its contents, which are kept as a backup"
    )]
    NotOurs,
    /// A record that lost its block occurs more than once.
    #[error("lines {} (`{} {}`): a record of silo {silo} that lost its block appears more than once: remove all but one of these lines, or run `once --adopt` to take them over", numbers(.lines), .record.1, .record.0)]
    Ambiguous {
        /// The record's silo.
        silo: SiloId,
        /// The record.
        record: Box<(Hostname, IpAddr)>,
        /// Its lines, counted from 1.
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
    /// Silos that are removed from a file of our own, since the configuration does not name them.
    pub(crate) dropped: Vec<SiloId>,
}

/// A block that this state folder wrote and that no run is configured for any more.
#[derive(Debug)]
pub(crate) struct StaleBlock {
    silo: SiloId,
    /// The number of lines removed because a configured silo has their names.
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

/// The result for one silo's block.
#[derive(Debug)]
pub(crate) struct Report {
    /// The silo.
    pub(crate) silo: SiloId,
    /// The decision.
    pub(crate) outcome: Result<Update, Refusal>,
}

/// A block that is updated.
#[derive(Debug)]
pub(crate) struct Update {
    /// The difference from the present block.
    pub(crate) change: Change,
    /// The silo's revision.
    pub(crate) revision: i64,
    /// The skipped records.
    pub(crate) skipped: Vec<Skipped>,
    /// The number of names that `hostnames` excludes.
    pub(crate) unselected: usize,
    /// Lines moved from outside into the block.
    pub(crate) adopted: Vec<FoundLine>,
    /// The records of the block now.
    pub(crate) records: Records,
}

impl Update {
    /// Whether a name keeps a wrong address although the configuration does not request that.
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
    let file = HostsFile::parse(bytes)?.with_suffix(rules.suffix.clone());
    let context = PlanContext::new(file, pulled, rules, known)?;
    let mut refused: BTreeMap<&SiloId, Refusal> = BTreeMap::new();
    // A refused pull keeps its block, whose lines then count like other lines in the file, so the other silos are
    // judged again. Each iteration refuses at least one more, so this terminates.
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
        .map(|decided| (decided.silo, decided.update(file, rules)))
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
        dropped: Vec::new(),
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
