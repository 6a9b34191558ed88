//! The notes of the runs with one state folder on one hosts file: the silos that they were configured for, what they
//! last wrote of each, and what was printed about the file. A value without I/O; `state` stores it.
//!
//! Times of the wall clock are not to be trusted (a machine without a battery starts in the past, a laptop
//! sleeps), so durations are summed up from run to run, by the time since the machine started. Between two starts
//! only the wall clock tells something, and little of that counts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use silo_shared::silo::{Hostname, Records, SiloId, parse_address};

use crate::remembered::Remembered;

const HOUR_MS: i64 = 3_600_000;
/// A block that no run was configured for during this time is stale.
const STALE_AFTER_MS: i64 = 24 * HOUR_MS;
/// The interval for writing notes if nothing else has changed.
const WRITE_EVERY_MS: i64 = HOUR_MS;
/// What the time between two runs counts at most where the machine was started in between, or where it is not known
/// since when it runs: a wrong clock at a few starts makes no block stale within a day.
const UNSURE_COUNTS_MS: i64 = 6 * HOUR_MS;
/// What a pause between two runs counts at most for a silo that other runs name: the machine may have been off.
const PAUSE_COUNTS_MS: i64 = 12 * HOUR_MS;
/// A silo without a block is forgotten after this time.
const FORGET_AFTER_MS: i64 = 90 * 24 * HOUR_MS;

/// The clocks when a run begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunTime {
    /// The wall clock, in Unix milliseconds.
    pub(crate) wall_ms: i64,
    /// For how long the machine has run, if that is known.
    pub(crate) uptime: Option<Uptime>,
}

/// For how long a machine has run. Readings of one boot differ by the time between them; others say nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Uptime {
    /// A random number of the boot (random(4), `boot_id`).
    pub(crate) boot: u128,
    /// In milliseconds.
    pub(crate) ms: i64,
}

/// The notes on one hosts file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Notes {
    /// When time was last added, in Unix milliseconds.
    counted_at_ms: i64,
    /// The same by [`RunTime::uptime`]; version 0.1.0 has none and keeps none.
    #[serde(skip_serializing_if = "Option::is_none")]
    counted_uptime_ms: Option<i64>,
    /// The boot of `counted_uptime_ms`, in hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    counted_boot: Option<String>,
    /// By silo id.
    silos: BTreeMap<String, SiloNote>,
    /// The lines about the whole file that were last printed.
    pub(crate) said: Vec<String>,
}

/// The notes on one silo.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct SiloNote {
    /// The lines of the block as last written; `None` if none was written yet.
    lines: Option<Vec<String>>,
    /// How long no run was configured for the silo.
    unnamed_ms: i64,
    /// Whether there was a run without it since then.
    is_missed: bool,
    /// Whether it returned after a run without it: two schedules share this state folder.
    alternates: bool,
}

impl Notes {
    /// Notes from the hubs' last responses, for silos with a response from only one hub. Names that `wanted` does not
    /// select, and records that were skipped, were not written.
    pub(crate) fn of_answers(answers: &[Remembered], wanted: impl Fn(&str) -> bool) -> Self {
        let mut notes = Self::default();
        for answer in answers {
            let said = answers.iter().filter(|other| other.silo == answer.silo);
            let Ok(silo) = SiloId::parse(&answer.silo) else {
                continue;
            };
            if said.count() > 1 {
                continue;
            }
            let is_skipped = |name: &str, ip: &str| {
                let (whole, one) = (
                    format!("skipped {name}: "),
                    format!("skipped {name} {ip}: "),
                );
                let mut skipped = answer.skipped.iter();
                skipped.any(|line| line.starts_with(&whole) || line.starts_with(&one))
            };
            let records = answer.document.dnsrecords.iter();
            let lines: Vec<String> = records
                .filter(|record| wanted(&record.hostname))
                .filter(|record| !is_skipped(&record.hostname, &record.ip))
                .map(|record| format!("{} {}", record.ip, record.hostname))
                .collect();
            notes.wrote(&silo, &read_lines(&lines));
        }
        notes
    }

    /// The records last written of each silo.
    pub(crate) fn written(&self) -> BTreeMap<SiloId, Records> {
        self.silos
            .iter()
            .filter_map(|(silo, note)| {
                let lines = note.lines.as_ref()?;
                Some((SiloId::parse(silo).ok()?, read_lines(lines)))
            })
            .collect()
    }

    /// The silos whose blocks are stale when a run names `named`.
    pub(crate) fn stale(&self, named: &[SiloId], at: RunTime) -> BTreeSet<SiloId> {
        let elapsed = self.elapsed_ms(at);
        self.silos
            .iter()
            .filter(|(_, note)| note.lines.is_some())
            .filter(|(_, note)| note.unnamed_after(elapsed) >= STALE_AFTER_MS)
            .filter_map(|(silo, _)| SiloId::parse(silo).ok())
            .filter(|silo| !named.contains(silo))
            .collect()
    }

    /// These notes after a run that named `named`; silos with a block in the file are `present`.
    pub(crate) fn after_run(
        &self,
        named: &[SiloId],
        present: &BTreeSet<SiloId>,
        at: RunTime,
    ) -> Self {
        let elapsed = self.elapsed_ms(at);
        let mut next = self.clone();
        next.counted_at_ms = at.wall_ms;
        next.counted_uptime_ms = at.uptime.map(|uptime| uptime.ms);
        next.counted_boot = at.uptime.map(Uptime::boot_text);
        for silo in named {
            next.silos.entry(silo.to_string()).or_default();
        }
        for (silo, note) in &mut next.silos {
            if named.iter().any(|named| named.as_str() == silo) {
                note.alternates |= note.is_missed;
                note.is_missed = false;
                note.unnamed_ms = 0;
            } else {
                note.unnamed_ms = note.unnamed_after(elapsed);
                note.is_missed = true;
            }
        }
        next.silos.retain(|silo, note| {
            note.unnamed_ms < FORGET_AFTER_MS || present.iter().any(|id| id.as_str() == silo)
        });
        next
    }

    /// Records what was written of a silo.
    pub(crate) fn wrote(&mut self, silo: &SiloId, records: &Records) {
        let lines = records
            .iter()
            .flat_map(|(name, addresses)| addresses.iter().map(move |ip| format!("{ip} {name}")));
        let note = self.silos.entry(silo.to_string()).or_default();
        note.lines = Some(lines.collect());
    }

    /// Records that nothing of a silo is left in the file.
    pub(crate) fn cleaned(&mut self, silo: &SiloId) {
        self.silos.remove(silo.as_str());
    }

    /// Whether `next` contains a change that must be written now.
    pub(crate) fn needs_writing(&self, next: &Self) -> bool {
        let is_soon_after =
            |before: i64, after: i64| (0..WRITE_EVERY_MS).contains(&after.saturating_sub(before));
        let is_soon = is_soon_after(self.counted_at_ms, next.counted_at_ms)
            && self.counted_boot == next.counted_boot
            && match (self.counted_uptime_ms, next.counted_uptime_ms) {
                (Some(before), Some(after)) => is_soon_after(before, after),
                (before, after) => before == after,
            };
        if !is_soon {
            return true;
        }
        let mut now = next.clone();
        now.counted_at_ms = self.counted_at_ms;
        now.counted_uptime_ms = self.counted_uptime_ms;
        now.counted_boot.clone_from(&self.counted_boot);
        for (silo, note) in &mut now.silos {
            if let Some(old) = self.silos.get(silo) {
                // The time of an ongoing pause is added later.
                if note.unnamed_ms >= old.unnamed_ms {
                    note.unnamed_ms = old.unnamed_ms;
                }
                // Irrelevant for a silo that is known to alternate.
                if note.alternates && old.alternates {
                    note.is_missed = old.is_missed;
                }
            }
        }
        now != *self
    }

    /// The time since it was last counted: never more than has passed while the machine ran. Else the wall clock
    /// says it within a bound, so that an agent that runs once after each start comes to an end too.
    fn elapsed_ms(&self, at: RunTime) -> i64 {
        match (self.counted_uptime_ms, at.uptime) {
            (Some(before), Some(uptime))
                if before <= uptime.ms
                    && self.counted_boot.as_ref() == Some(&uptime.boot_text()) =>
            {
                uptime.ms - before
            }
            _ if self.counted_at_ms == 0 => 0,
            _ => {
                let elapsed = at.wall_ms.saturating_sub(self.counted_at_ms);
                elapsed.clamp(0, UNSURE_COUNTS_MS)
            }
        }
    }
}

impl Uptime {
    fn boot_text(self) -> String {
        format!("{:032x}", self.boot)
    }
}

impl SiloNote {
    fn unnamed_after(&self, elapsed_ms: i64) -> i64 {
        let counts = if self.alternates {
            elapsed_ms.min(PAUSE_COUNTS_MS)
        } else {
            elapsed_ms
        };
        self.unnamed_ms.saturating_add(counts)
    }
}

fn read_lines(lines: &[String]) -> Records {
    let mut records = Records::new();
    for line in lines {
        let parsed: Option<(Hostname, IpAddr)> = line
            .split_once(' ')
            .and_then(|(ip, name)| Some((Hostname::parse(name).ok()?, parse_address(ip).ok()?)));
        if let Some((name, ip)) = parsed {
            records.entry(name).or_default().set(ip);
        }
    }
    records
}

#[cfg(test)]
#[path = "notes_tests.rs"]
mod tests;
