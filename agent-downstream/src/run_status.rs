//! The status of the last runs, which the command `status` prints: what was pulled and written, and what fails since
//! when. A value; `state` stores it, and each run changes it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use silo_shared::silo::SiloId;

use crate::plan::Report;
use crate::tell;

/// How much older the saved times may be than the present ones if nothing else has changed.
const SAVE_EVERY_MS: i64 = 60_000;

/// The status of the runs on one hosts file. Times are Unix milliseconds of the wall clock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RunStatus {
    /// When a run last succeeded completely.
    pub(crate) succeeded_at_ms: Option<i64>,
    /// When the failure of the runs began; `None` if the last run succeeded.
    pub(crate) failing_since_ms: Option<i64>,
    /// What failed for all silos, such as writing the hosts file.
    pub(crate) failure: Option<String>,
    /// By silo id.
    pub(crate) silos: BTreeMap<String, SiloStatus>,
}

/// The status of one silo.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SiloStatus {
    /// When the hub last answered with the silo.
    pub(crate) pulled_at_ms: Option<i64>,
    /// The revision in the hosts file.
    pub(crate) revision: Option<i64>,
    /// How many names the block has.
    pub(crate) names: usize,
    /// When its failure began; `None` if it was pulled and written last.
    pub(crate) failing_since_ms: Option<i64>,
    /// Why it could not be pulled.
    pub(crate) failure: Option<String>,
    /// Why the last state that was pulled was refused. A later answer that the silo is unchanged does not end that.
    pub(crate) refusal: Option<String>,
    /// What was skipped, and why.
    pub(crate) skipped: Vec<String>,
}

impl RunStatus {
    /// Forgets silos that are not in the configuration.
    pub(crate) fn keep_only(&mut self, silos: &[SiloId]) {
        self.silos
            .retain(|id, _| silos.iter().any(|silo| silo.as_str() == id));
        for silo in silos {
            self.silos.entry(silo.to_string()).or_default();
        }
    }

    /// The hub answered with a silo, or not.
    pub(crate) fn pulled(&mut self, silo: &SiloId, result: Result<(), String>, now_ms: i64) {
        let status = self.silos.entry(silo.to_string()).or_default();
        match result {
            Ok(()) => {
                status.pulled_at_ms = Some(now_ms);
                status.failure = None;
                status.note_end();
            }
            Err(failure) => {
                status.failing_since_ms.get_or_insert(now_ms);
                status.failure = Some(failure);
            }
        }
    }

    /// What a run found and wrote.
    pub(crate) fn wrote(&mut self, reports: &[Report], now_ms: i64) {
        self.failure = None;
        for report in reports {
            let status = self.silos.entry(report.silo.to_string()).or_default();
            match &report.outcome {
                Ok(update) => {
                    status.revision = Some(update.revision);
                    status.names = update.records.len();
                    let notices = tell::notices(update).into_iter();
                    status.skipped = notices.map(|notice| notice.text).collect();
                    status.refusal = None;
                    status.note_end();
                }
                Err(refusal) => {
                    status.failing_since_ms.get_or_insert(now_ms);
                    status.refusal = Some(refusal.to_string());
                }
            }
        }
    }

    /// The end of a run: whether it succeeded completely, or what failed for all silos.
    pub(crate) fn ended(&mut self, result: Result<bool, String>, now_ms: i64) {
        match result {
            Ok(true) => {
                self.succeeded_at_ms = Some(now_ms);
                self.failing_since_ms = None;
                self.failure = None;
            }
            Ok(false) => {
                self.failing_since_ms.get_or_insert(now_ms);
            }
            Err(failure) => {
                self.failing_since_ms.get_or_insert(now_ms);
                self.failure = Some(failure);
            }
        }
    }

    /// Whether this status has to be saved over `saved`.
    pub(crate) fn needs_saving(&self, saved: &Self) -> bool {
        let without_times = |status: &Self| {
            let mut status = status.clone();
            status.succeeded_at_ms = None;
            for silo in status.silos.values_mut() {
                silo.pulled_at_ms = None;
            }
            status
        };
        let age = |now: Option<i64>, before: Option<i64>| match (now, before) {
            (Some(now), Some(before)) => !(0..SAVE_EVERY_MS).contains(&(now - before)),
            (now, before) => now != before,
        };
        without_times(self) != without_times(saved)
            || age(self.succeeded_at_ms, saved.succeeded_at_ms)
            || self.silos.iter().any(|(id, silo)| {
                let saved = saved.silos.get(id).and_then(|saved| saved.pulled_at_ms);
                age(silo.pulled_at_ms, saved)
            })
    }
}

impl SiloStatus {
    /// What fails.
    pub(crate) fn trouble(&self) -> Option<&str> {
        self.failure.as_deref().or(self.refusal.as_deref())
    }

    /// What a write found, without what was pulled meanwhile.
    pub(crate) fn wrote(&mut self, written: Self) {
        (self.revision, self.names) = (written.revision, written.names);
        (self.skipped, self.refusal) = (written.skipped, written.refusal);
        if self.refusal.is_some() {
            self.failing_since_ms = self.failing_since_ms.or(written.failing_since_ms);
        }
        self.note_end();
    }

    fn note_end(&mut self) {
        if self.trouble().is_none() {
            self.failing_since_ms = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_keeps_the_time_at_which_it_began() {
        let office = SiloId::parse("office").unwrap();
        let mut status = RunStatus::default();
        status.pulled(&office, Ok(()), 1_000);
        status.ended(Ok(true), 1_000);
        for now_ms in [2_000, 3_000] {
            status.pulled(&office, Err("down".to_owned()), now_ms);
            status.ended(Ok(false), now_ms);
        }
        status.ended(Err("full".to_owned()), 4_000);
        let silo = &status.silos["office"];
        assert_eq!(
            (silo.pulled_at_ms, silo.failing_since_ms),
            (Some(1_000), Some(2_000))
        );
        assert_eq!(silo.failure.as_deref(), Some("down"));
        assert_eq!(
            (status.succeeded_at_ms, status.failing_since_ms),
            (Some(1_000), Some(2_000))
        );
        assert_eq!(status.failure.as_deref(), Some("full"));
        status.pulled(&office, Ok(()), 5_000);
        status.ended(Ok(true), 5_000);
        assert_eq!(status.silos["office"].failing_since_ms, None);
        assert_eq!(
            (status.failing_since_ms, status.failure.clone()),
            (None, None)
        );
        status.keep_only(&[SiloId::parse("home").unwrap()]);
        assert_eq!(status.silos.keys().collect::<Vec<_>>(), ["home"]);
    }

    #[test]
    fn a_refusal_lasts_until_a_state_is_accepted() {
        let office = SiloId::parse("office").unwrap();
        let mut status = RunStatus::default();
        status.pulled(&office, Ok(()), 1_000);
        let refused = SiloStatus {
            refusal: Some("too many would go".to_owned()),
            failing_since_ms: Some(1_000),
            ..SiloStatus::default()
        };
        let silo = |status: &RunStatus| {
            let silo = &status.silos["office"];
            (silo.trouble().map(str::to_owned), silo.failing_since_ms)
        };
        let expected = |words: &str| (Some(words.to_owned()), Some(1_000));
        status.silos.get_mut("office").unwrap().wrote(refused);
        assert_eq!(silo(&status), expected("too many would go"));
        // Unchanged at the hub.
        status.pulled(&office, Ok(()), 2_000);
        assert_eq!(silo(&status), expected("too many would go"));
        status.pulled(&office, Err("down".to_owned()), 3_000);
        assert_eq!(silo(&status), expected("down"));
        status.pulled(&office, Ok(()), 4_000);
        assert_eq!(silo(&status), expected("too many would go"));
        let accepted = SiloStatus::default();
        status.silos.get_mut("office").unwrap().wrote(accepted);
        assert_eq!(silo(&status), (None, None));
    }

    #[test]
    fn times_alone_are_saved_once_a_minute() {
        let office = SiloId::parse("office").unwrap();
        let at = |now_ms| {
            let mut status = RunStatus::default();
            status.pulled(&office, Ok(()), now_ms);
            status.ended(Ok(true), now_ms);
            status
        };
        for (saved, now, expected) in [
            (100_000, 100_000, false),
            (100_000, 159_999, false),
            (100_000, 160_000, true),
            // The wall clock went back.
            (100_000, 99_999, true),
        ] {
            assert_eq!(at(now).needs_saving(&at(saved)), expected, "{saved} {now}");
        }
        let mut failed = at(100_000);
        failed.ended(Ok(false), 100_001);
        assert!(failed.needs_saving(&at(100_000)));
        assert!(at(100_000).needs_saving(&RunStatus::default()));
    }
}
