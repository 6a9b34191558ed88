//! The hosts file during one plan; judges each response against it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use silo_shared::silo::{Hostname, Records, SiloId};

use super::strays::strays;
use super::{Answer, Known, NoPlan, Pulled, Rules, Update};
use crate::change::{Change, compare};
use crate::hosts::{Definer, Definition, HostsFile, OutsideRecords};
use crate::policy::{Conflicts, FoundLine, Judged, Refusal, Taken};

/// A silo whose response was judged.
pub(super) struct Decided<'a> {
    pub(super) silo: &'a SiloId,
    answer: &'a Answer,
    present: Option<Records>,
    pub(super) judged: Judged,
    pub(super) adopted: Vec<FoundLine>,
}

/// The file, and the owners of its lines.
pub(super) struct PlanContext<'a> {
    pub(super) file: HostsFile<'a>,
    known: &'a Known,
    rules: &'a Rules,
    /// Lines outside the blocks with the form of our records, counted from 0.
    outside: OutsideRecords,
    /// For each silo with a response, the lines that lost its block.
    strays: BTreeMap<&'a SiloId, Vec<FoundLine>>,
    /// Definitions in lines and blocks that do not belong to the configured silos, without stale blocks.
    elsewhere: HashMap<String, Definition>,
}

impl<'a> PlanContext<'a> {
    pub(super) fn new(
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

    pub(super) fn is_stale(&self, silo: &SiloId) -> bool {
        self.known.stale.contains(silo)
    }

    /// Judges every silo that has a response and is not `refused`; returns also the new refusals.
    pub(super) fn decide<'b>(
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
            for FoundLine { line, ip, name } in self.strays.get(silo).into_iter().flatten() {
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
            suffix,
            ..
        } = self.rules;
        let present = self.file.records(silo);
        let mut judged = policy.judge(&answer.records, hostnames, guarded, taken)?;
        if let Some(suffix) = suffix {
            policy.add_long_names(&mut judged, suffix, guarded, taken)?;
        }
        self.check_unclaimed(silo, present.as_ref(), &judged)?;
        let mut adopted = self.strays.get(silo).cloned().unwrap_or_default();
        // Lines that lost the block count as part of it.
        let mut had = present.clone().unwrap_or_default();
        for FoundLine { ip, name, .. } in &adopted {
            had.entry(name.clone()).or_default().set(*ip);
        }
        if !self.rules.force {
            if let Some(suffix) = suffix {
                // A long name does not count: it is this machine's wish, and goes with its short name.
                let all = had.clone();
                had.retain(|name, _| !suffix.is_long_name_in(name, &all));
            }
            policy.check_removed(&had, &judged)?;
        }
        if self.rules.adopt {
            let known: BTreeSet<usize> = adopted.iter().map(|found| found.line).collect();
            let names = |name: &Hostname| judged.accepted.contains_key(name);
            let acceptable = |ip: IpAddr| policy.judge_address(ip).is_ok();
            for ((name, ip), lines) in &self.outside {
                if names(name) && acceptable(*ip) {
                    let lines = lines.iter().map(|line| line + 1);
                    adopted.extend(lines.filter(|line| !known.contains(line)).map(|line| {
                        FoundLine {
                            line,
                            ip: *ip,
                            name: name.clone(),
                        }
                    }));
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

    /// Refuses a silo of which the state folder knows nothing while lines outside look like its block: it has a
    /// block beside them, or more than half of its records are there. Fewer are the user's own.
    fn check_unclaimed(
        &self,
        silo: &SiloId,
        present: Option<&Records>,
        judged: &Judged,
    ) -> Result<(), Refusal> {
        let is_known = self.known.written.contains_key(silo);
        // What `--adopt` has left outside, another line defines too.
        let is_decided = self.rules.adopt || self.rules.policy.conflicts == Some(Conflicts::Skip);
        if is_known || is_decided {
            return Ok(());
        }
        let mut offered: usize = judged.accepted.values().map(|ips| ips.iter().count()).sum();
        let mut outside = 0;
        let mut found = Vec::new();
        for (name, addresses) in &judged.elsewhere {
            for ip in addresses.iter() {
                offered += 1;
                let Some(lines) = self.outside.get(&(name.clone(), ip)) else {
                    continue;
                };
                outside += 1;
                found.extend(lines.iter().map(|line| FoundLine {
                    line: line + 1,
                    ip,
                    name: name.clone(),
                }));
            }
        }
        found.sort_by_key(|found| found.line);
        let is_most = 2 * outside > offered;
        if !found.is_empty() && (is_most || present.is_some()) {
            return Err(Refusal::Unclaimed(found));
        }
        Ok(())
    }
}

impl Decided<'_> {
    /// The update of the silo's block in `file`.
    pub(super) fn update(self, file: &HostsFile<'_>, rules: &Rules) -> Update {
        let records = self.judged.accepted;
        let change = match &self.present {
            None => Change::New(records.len()),
            Some(present) if *present != records => {
                let changes = compare(present, &records);
                Change::Names(match &rules.suffix {
                    Some(suffix) => suffix.without_repeated(changes),
                    None => changes,
                })
            }
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
