//! One run as a value: from the bytes of the hosts file and what the hub said, the new bytes and what
//! there is to say of each silo. Nothing is touched here; a plan is printed by `diff` and tested alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::net::IpAddr;

use silo_shared::api::DnsRecord;
use silo_shared::silo::{Hostname, Records, SiloId};
use thiserror::Error;

use crate::change::{Change, compare};
use crate::glob::Glob;
use crate::hosts::{BrokenMarkers, Definer, Definition, HostsFile, OutsideRecords};
use crate::policy::{Conflicts, Found, Guarded, Judged, Policy, Refusal, Skipped, Taken};
use crate::pull::Fresh;

/// What the hub said of one silo.
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
    /// Which lines are ours can't be told.
    #[error(transparent)]
    Markers(#[from] BrokenMarkers),
    /// A record that lost its block is there more than once.
    #[error("lines {} (`{} {}`): a record of silo {silo} that lost its block is there more than once: remove all but one of these lines, or let `once --adopt` take them all", numbers(.lines), .record.1, .record.0)]
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
    /// What is to be said of stale blocks.
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
            "the block of silo {silo} is stale: no run has named that silo for a day"
        )?;
        match removed {
            0 => {}
            1 => f.write_str("; took out 1 line of it, whose name another silo has")?,
            more => write!(
                f,
                "; took out {more} lines of it, whose names other silos have"
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
    /// What was passed over.
    pub(crate) skipped: Vec<Skipped>,
    /// How many names `hostnames` leaves out.
    pub(crate) unselected: usize,
    /// Lines that went from outside into the block.
    pub(crate) adopted: Vec<Found>,
    /// The records that the block now has.
    pub(crate) records: Records,
}

impl Update {
    /// Whether a name is left at a wrong address though nothing in the configuration asks for that.
    pub(crate) fn is_wrong(&self) -> bool {
        self.skipped.iter().any(Skipped::is_wrong)
    }
}

/// A silo whose answer was judged.
struct Decided<'a> {
    silo: &'a SiloId,
    answer: &'a Answer,
    present: Option<Records>,
    judged: Judged,
    adopted: Vec<Found>,
}

/// The file, and what of it belongs to whom.
struct Scene<'a> {
    file: HostsFile<'a>,
    known: &'a Known,
    rules: &'a Rules,
    /// Lines outside the blocks with the form of a record of ours, counted from 0.
    outside: OutsideRecords,
    /// Of each silo with an answer, the lines that lost its block.
    strays: BTreeMap<&'a SiloId, Vec<Found>>,
    /// What lines and blocks define that are not of the silos of the configuration, stale ones not counted.
    elsewhere: HashMap<String, Definition>,
}

/// Plans a run over the bytes of the hosts file.
pub(crate) fn plan(
    bytes: &[u8],
    pulled: &[Pulled],
    rules: &Rules,
    known: &Known,
) -> Result<Plan, NoPlan> {
    let scene = Scene::new(HostsFile::parse(bytes)?, pulled, rules, known)?;
    let mut refused: BTreeMap<&SiloId, Refusal> = BTreeMap::new();
    // A refused pull keeps its block, which then stands in the file like any foreign line: the others
    // are judged again with that known. Each turn refuses at least one more, so this ends.
    let decided = loop {
        let (decided, more) = scene.decide(pulled, &refused);
        if more.is_empty() {
            break decided;
        }
        refused.extend(more);
    };
    let file = &scene.file;
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
        .filter(|silo| scene.is_stale(silo))
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

/// The lines outside the blocks that are records of these silos and lost their block: with the address and the
/// one name that was last written, missing from the block, and there once. With `all`, also those that are there
/// more than once.
pub(crate) fn strays<'a>(
    file: &HostsFile<'_>,
    outside: &OutsideRecords,
    silos: impl IntoIterator<Item = &'a SiloId>,
    known: &Known,
    all: bool,
) -> Result<BTreeMap<&'a SiloId, Vec<Found>>, NoPlan> {
    let mut assigned = BTreeSet::new();
    let mut strays: BTreeMap<&SiloId, Vec<Found>> = BTreeMap::new();
    for silo in silos {
        let Some(written) = known.written.get(silo) else {
            continue;
        };
        let present = file.records(silo).unwrap_or_default();
        let lost = written
            .iter()
            .flat_map(|(name, addresses)| addresses.iter().map(move |ip| (name.clone(), ip)))
            .filter(|(name, ip)| {
                !present
                    .get(name)
                    .is_some_and(|had| had.iter().any(|other| other == *ip))
            });
        for record in lost {
            let lines = outside.get(&record).map_or(&[][..], Vec::as_slice);
            if lines.len() > 1 && !all {
                return Err(NoPlan::Ambiguous {
                    silo: silo.clone(),
                    record: Box::new(record),
                    lines: lines.iter().map(|line| line + 1).collect(),
                });
            }
            let (name, ip) = record;
            for line in lines.iter().copied().filter(|line| assigned.insert(*line)) {
                let (name, line) = (name.clone(), line + 1);
                strays
                    .entry(silo)
                    .or_default()
                    .push(Found { line, ip, name });
            }
        }
    }
    Ok(strays)
}

impl<'a> Scene<'a> {
    fn new(
        file: HostsFile<'a>,
        pulled: &'a [Pulled],
        rules: &'a Rules,
        known: &'a Known,
    ) -> Result<Self, NoPlan> {
        let outside = file.outside_records();
        let answered = pulled.iter().filter(|pulled| pulled.answer.is_some());
        let answered = answered.map(|pulled| &pulled.silo);
        let strays = strays(&file, &outside, answered, known, rules.adopt)?;
        let ours: BTreeSet<&SiloId> = pulled.iter().map(|pulled| &pulled.silo).collect();
        let mut passed: BTreeSet<usize> = strays
            .values()
            .flatten()
            .map(|found| found.line - 1)
            .collect();
        if rules.adopt {
            let is_acceptable = |ip: IpAddr| rules.policy.judge_address(ip).is_ok();
            let candidates = outside.iter().filter(|((_, ip), _)| is_acceptable(*ip));
            passed.extend(candidates.flat_map(|(_, lines)| lines));
        }
        let skips = |silo: &SiloId| ours.contains(silo) || known.stale.contains(silo);
        let elsewhere = file.definitions(skips, &passed);
        Ok(Self {
            file,
            known,
            rules,
            outside,
            strays,
            elsewhere,
        })
    }

    fn is_stale(&self, silo: &SiloId) -> bool {
        self.known.stale.contains(silo)
    }

    /// Judges every silo that has an answer and is not `refused`; with the refusals that come to those.
    fn decide<'b>(
        &self,
        pulled: &'b [Pulled],
        refused: &BTreeMap<&SiloId, Refusal>,
    ) -> (Vec<Decided<'b>>, Vec<(&'b SiloId, Refusal)>) {
        let mut taken = Taken {
            elsewhere: Some(&self.elsewhere),
            ..Taken::default()
        };
        // Blocks that are kept.
        for Pulled { silo, answer } in pulled {
            if answer.is_some() && !refused.contains_key(silo) {
                continue;
            }
            for name in self.file.records(silo).unwrap_or_default().keys() {
                taken
                    .silos
                    .entry(name.to_string())
                    .or_insert_with(|| silo.clone());
            }
            for Found { line, ip, name } in self.strays.get(silo).into_iter().flatten() {
                let definition =
                    taken
                        .lines
                        .entry(name.to_string())
                        .or_insert_with(|| Definition {
                            by: Definer::Line(*line),
                            addresses: Vec::new(),
                        });
                definition.addresses.push(*ip);
            }
        }
        let mut decided = Vec::with_capacity(pulled.len());
        let mut more = Vec::new();
        for Pulled { silo, answer } in pulled {
            let Some(answer) = answer.as_ref().filter(|_| !refused.contains_key(silo)) else {
                continue;
            };
            match self.judge(silo, answer, &taken) {
                Ok(one) => {
                    for name in one.judged.accepted.keys() {
                        taken.silos.insert(name.to_string(), silo.clone());
                    }
                    decided.push(one);
                }
                Err(refusal) => more.push((silo, refusal)),
            }
        }
        (decided, more)
    }

    fn judge<'b>(
        &self,
        silo: &'b SiloId,
        answer: &'b Answer,
        taken: &Taken<'_>,
    ) -> Result<Decided<'b>, Refusal> {
        let Rules {
            policy,
            hostnames,
            guarded,
            ..
        } = self.rules;
        let present = self.file.records(silo);
        let judged = policy.judge(&answer.records, hostnames, guarded, taken)?;
        self.check_unclaimed(silo, present.as_ref(), &judged)?;
        let mut adopted = self.strays.get(silo).cloned().unwrap_or_default();
        // Lines that lost the block count as part of it.
        let mut had = present.clone().unwrap_or_default();
        for Found { ip, name, .. } in &adopted {
            had.entry(name.clone()).or_default().set(*ip);
        }
        if !self.rules.force {
            policy.check_removed(&had, &judged)?;
        }
        if self.rules.adopt {
            let known: BTreeSet<usize> = adopted.iter().map(|found| found.line).collect();
            let names = |name: &Hostname| judged.accepted.contains_key(name);
            let acceptable = |ip: IpAddr| policy.judge_address(ip).is_ok();
            for ((name, ip), lines) in &self.outside {
                if names(name) && acceptable(*ip) {
                    let lines = lines.iter().map(|line| line + 1);
                    adopted.extend(
                        lines
                            .filter(|line| !known.contains(line))
                            .map(|line| Found {
                                line,
                                ip: *ip,
                                name: name.clone(),
                            }),
                    );
                }
            }
        }
        adopted.sort_by_key(|found| found.line);
        Ok(Decided {
            silo,
            answer,
            present,
            judged,
            adopted,
        })
    }

    /// Refuses a silo of which the state folder knows nothing while lines outside look like its block.
    fn check_unclaimed(
        &self,
        silo: &SiloId,
        present: Option<&Records>,
        judged: &Judged,
    ) -> Result<(), Refusal> {
        let is_known = self.known.written.contains_key(silo);
        if is_known || self.rules.policy.conflicts == Some(Conflicts::Skip) {
            return Ok(());
        }
        let mut found = Vec::new();
        let mut is_whole = judged.accepted.is_empty();
        for (name, addresses) in &judged.elsewhere {
            for ip in addresses.iter() {
                let lines = self.outside.get(&(name.clone(), ip));
                is_whole &= lines.is_some();
                found.extend(lines.into_iter().flatten().map(|line| Found {
                    line: line + 1,
                    ip,
                    name: name.clone(),
                }));
            }
        }
        found.sort_by_key(|found| found.line);
        if !found.is_empty() && (is_whole || present.is_some()) {
            return Err(Refusal::Unclaimed(found));
        }
        Ok(())
    }
}

impl Decided<'_> {
    fn update(self, file: &HostsFile<'_>) -> Update {
        let records = self.judged.accepted;
        let change = match &self.present {
            None => Change::New(records.len()),
            Some(present) if *present != records => Change::Names(compare(present, &records)),
            Some(_) if file.differs(self.silo, &records) => Change::Repaired,
            Some(_) => Change::None,
        };
        Update {
            change,
            revision: self.answer.revision,
            skipped: self.judged.skipped,
            unselected: self.judged.unselected.len(),
            adopted: self.adopted,
            records,
        }
    }
}

impl fmt::Display for Update {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, revision {}", self.change, self.revision)
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
