//! One run as a value: from the bytes of the hosts file and what the hub said, the new bytes and what
//! there is to say of each silo. Nothing is touched here; a plan is printed by `diff` and tested alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use silo_shared::api::DnsRecord;
use silo_shared::silo::{Hostname, Records, SiloId};

use crate::glob::Glob;
use crate::hosts::{BrokenMarkers, Definer, HostsFile};
use crate::policy::{Guarded, Judged, Policy, Refusal, Skipped};

/// The most changes that are named one by one.
const NAMED_CHANGES: usize = 3;

/// What the hub said of one silo.
#[derive(Clone, Debug)]
pub(crate) struct Pulled {
    /// The silo.
    pub(crate) silo: SiloId,
    /// The records as the hub sent them; `None` when the pull failed and the block is kept.
    pub(crate) answer: Option<Answer>,
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
}

/// The new file, and a report for each silo whose pull succeeded.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The new bytes.
    pub(crate) bytes: Vec<u8>,
    /// In the order of the configuration.
    pub(crate) reports: Vec<Report>,
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
    /// What was passed over.
    pub(crate) skipped: Vec<Skipped>,
}

/// How a block differs from what it was.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Not at all.
    None,
    /// The records are the same, the text was not: somebody edited the block.
    Repaired,
    /// There was no block; this many names are in the new one.
    New(usize),
    /// Names were added, removed or moved.
    Names(Vec<NameChange>),
}

/// One name that differs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NameChange {
    /// A new name and its addresses.
    Added(Hostname, String),
    /// A name that went.
    Removed(Hostname),
    /// A name that moved, from and to.
    Moved(Hostname, String, String),
}

/// A silo whose answer was judged.
struct Decided<'a> {
    silo: &'a SiloId,
    answer: &'a Answer,
    present: Option<Records>,
    judged: Judged,
}

/// Plans a run over the bytes of the hosts file.
pub(crate) fn plan(bytes: &[u8], pulled: &[Pulled], rules: &Rules) -> Result<Plan, BrokenMarkers> {
    let file = HostsFile::parse(bytes)?;
    let mut refused: BTreeMap<&SiloId, Refusal> = BTreeMap::new();
    // A refused pull keeps its block, which then stands in the file like any foreign line: the others
    // are judged again with that known. Each turn refuses one more, so this ends.
    let decided = loop {
        match decide(&file, pulled, rules, &refused) {
            Ok(decided) => break decided,
            Err((silo, refusal)) => refused.insert(silo, refusal),
        };
    };
    let wanted: Vec<_> = decided
        .iter()
        .map(|decided| (decided.silo, &decided.judged.accepted))
        .collect();
    let new = file.render(&wanted);
    let mut updates: BTreeMap<&SiloId, Update> = decided
        .into_iter()
        .map(|decided| (decided.silo, decided.update(&file, bytes)))
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
    })
}

/// Judges every silo that has an answer and is not `refused`; fails with the first refusal.
fn decide<'a>(
    file: &HostsFile<'_>,
    pulled: &'a [Pulled],
    rules: &Rules,
    refused: &BTreeMap<&SiloId, Refusal>,
) -> Result<Vec<Decided<'a>>, (&'a SiloId, Refusal)> {
    let answered: Vec<(&SiloId, &Answer)> = pulled
        .iter()
        .filter(|pulled| !refused.contains_key(&pulled.silo))
        .filter_map(|pulled| Some((&pulled.silo, pulled.answer.as_ref()?)))
        .collect();
    let ours: Vec<&SiloId> = answered.iter().map(|(silo, _)| *silo).collect();
    let mut taken = file.definitions(&ours);
    let mut decided = Vec::with_capacity(answered.len());
    for (silo, answer) in answered {
        let present = file.records(silo);
        let judged = rules
            .policy
            .judge(&answer.records, &rules.hostnames, &rules.guarded, &taken)
            .map_err(|refusal| (silo, refusal))?;
        if let Some(present) = present.as_ref().filter(|_| !rules.force) {
            rules
                .policy
                .check_removed(present, &judged)
                .map_err(|refusal| (silo, refusal))?;
        }
        for name in judged.accepted.keys() {
            taken.insert(name.to_string(), Definer::Silo(silo.clone()));
        }
        decided.push(Decided {
            silo,
            answer,
            present,
            judged,
        });
    }
    Ok(decided)
}

impl Decided<'_> {
    fn update(self, file: &HostsFile<'_>, bytes: &[u8]) -> Update {
        let records = &self.judged.accepted;
        let change = match &self.present {
            None => Change::New(records.len()),
            Some(present) if present != records => Change::Names(compare(present, records)),
            Some(_) if file.render(&[(self.silo, records)]) != bytes => Change::Repaired,
            Some(_) => Change::None,
        };
        Update {
            change,
            revision: self.answer.revision,
            skipped: self.judged.skipped,
        }
    }
}

fn compare(old: &Records, new: &Records) -> Vec<NameChange> {
    let names: BTreeSet<&Hostname> = old.keys().chain(new.keys()).collect();
    names
        .into_iter()
        .filter_map(|name| match (old.get(name), new.get(name)) {
            (Some(old), Some(new)) if old == new => None,
            (Some(old), Some(new)) => Some(NameChange::Moved(
                name.clone(),
                old.to_string(),
                new.to_string(),
            )),
            (None, Some(new)) => Some(NameChange::Added(name.clone(), new.to_string())),
            (_, None) => Some(NameChange::Removed(name.clone())),
        })
        .collect()
}

impl fmt::Display for Update {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, revision {}", self.change, self.revision)
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("unchanged"),
            Self::Repaired => f.write_str("block put right"),
            Self::New(0) => f.write_str("new block without names"),
            Self::New(1) => f.write_str("new block with 1 name"),
            Self::New(count) => write!(f, "new block with {count} names"),
            Self::Names(changes) if changes.len() <= NAMED_CHANGES => {
                let words: Vec<String> = changes.iter().map(ToString::to_string).collect();
                f.write_str(&words.join(", "))
            }
            Self::Names(changes) => {
                let count = |kind: fn(&NameChange) -> bool, word: &str| {
                    let count = changes.iter().filter(|change| kind(change)).count();
                    (count > 0).then(|| format!("{count} {word}"))
                };
                let words: Vec<String> = [
                    count(|c| matches!(c, NameChange::Added(..)), "added"),
                    count(|c| matches!(c, NameChange::Moved(..)), "changed"),
                    count(|c| matches!(c, NameChange::Removed(..)), "removed"),
                ]
                .into_iter()
                .flatten()
                .collect();
                f.write_str(&words.join(", "))
            }
        }
    }
}

impl fmt::Display for NameChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added(name, addresses) => write!(f, "{name} {addresses} added"),
            Self::Removed(name) => write!(f, "{name} removed"),
            Self::Moved(name, old, new) => write!(f, "{name} {old} → {new}"),
        }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
