//! Reports a sink's failures to the sink named by its `tell_failures`: once when a record starts to
//! be refused, once when that ends. Reports are recorded, so that neither a restart nor another hub
//! repeats them.

use std::collections::BTreeMap;

use silo_shared::silo::SiloId;

use crate::domain::delivery::SinkFailure;
use crate::domain::time::Time;
use crate::store::{
    Activity, DeliveryKind, DueName, EventDelivery, KnownSink, Queries, StoreError,
    WriteTransaction,
};

/// The results of records at a sink.
#[derive(Debug, Default)]
pub(super) struct RecordResults {
    /// Why a record is refused; `None`: it is no longer refused.
    pub(super) records: BTreeMap<DueName, Option<String>>,
    /// Why the sink as a whole is refused, and the record that revealed it.
    pub(super) whole: Option<(DueName, String)>,
    /// Whether the receiver accepted or refused a single record, which means that it does not
    /// refuse the sink as a whole.
    pub(super) is_served: bool,
}

/// What is to be noted and reported of a sink's failures.
#[derive(Debug, Default, PartialEq, Eq)]
struct Changes {
    /// Records that are refused from now on.
    failing: Vec<DueName>,
    /// Records, or those by which the sink's failure was noted, that are refused no longer.
    over: Vec<DueName>,
    /// The record by which the sink's failure as a whole is noted from now on.
    whole: Option<DueName>,
    /// The reports, each with the records that it is about; never none.
    reports: Vec<Report>,
}

/// One report.
#[derive(Debug, PartialEq, Eq)]
struct Report {
    names: Vec<DueName>,
    /// Why; `None`: it is over.
    why: Option<String>,
    /// Whether it is about the sink as a whole.
    of_all: bool,
}

impl RecordResults {
    /// Enqueues the reports, if the sink names another one for its failures.
    pub(super) async fn report(
        self,
        transaction: &mut WriteTransaction,
        sink: &KnownSink,
        now: Time,
    ) -> Result<(), StoreError> {
        let Some(to) = &sink.tell_failures else {
            return Ok(());
        };
        if self.records.is_empty() && self.whole.is_none() && !self.is_served {
            return Ok(());
        }
        let receiver = transaction.sink(to).await?;
        if !receiver.is_some_and(|to| to.active == Activity::Active) {
            return Ok(());
        }
        let named = self.records.keys();
        let named: Vec<&DueName> = named
            .chain(self.whole.iter().map(|(name, _)| name))
            .collect();
        let reported = transaction.told_failures(&sink.name, &named).await?;
        let changes = self.changes(&reported);
        transaction
            .remove_told_failures(&sink.name, &changes.over)
            .await?;
        transaction
            .put_told_failures(&sink.name, &changes.failing, false, now)
            .await?;
        if let Some(name) = changes.whole {
            transaction
                .put_told_failures(&sink.name, &[name], true, now)
                .await?;
        }
        for report in changes.reports {
            let Some(first) = report.names.first() else {
                continue;
            };
            let failure = SinkFailure {
                sink: sink.name.clone(),
                why: report.why,
                of_all: report.of_all,
            };
            let event = EventDelivery {
                sink: to,
                kind: match failure.why {
                    Some(_) => DeliveryKind::Failing,
                    None => DeliveryKind::Recovered,
                },
                silo: &first.silo,
                revision: transaction.revision(),
                at: now,
                last_seen: None,
                failure: Some(&failure),
            };
            let names = report.names.iter();
            let names: Vec<_> = names.map(|name| (name.hostname.clone(), None)).collect();
            transaction.enqueue_event(&event, &names).await?;
        }
        Ok(())
    }

    /// What these results change. `reported`: the failures that were reported and are not over, each with whether it
    /// is of the sink as a whole. Records of one silo with one reason share a report.
    fn changes(self, reported: &BTreeMap<DueName, bool>) -> Changes {
        let mut changes = Changes::default();
        let was_whole = reported.values().any(|of_all| *of_all);
        let ends_whole = self.whole.is_none() && self.is_served;
        if ends_whole {
            for (name, _) in reported.iter().filter(|(_, of_all)| **of_all) {
                changes.over.push(name.clone());
                changes.reports.push(Report {
                    names: vec![name.clone()],
                    why: None,
                    of_all: true,
                });
            }
        }
        let mut news: BTreeMap<(SiloId, Option<String>), Vec<DueName>> = BTreeMap::new();
        for (name, why) in self.records {
            let of_all = reported.get(&name).copied();
            let changed = match (of_all.filter(|of_all| !(*of_all && ends_whole)), &why) {
                (None, Some(_)) => &mut changes.failing,
                (Some(false), None) => &mut changes.over,
                _ => continue,
            };
            changed.push(name.clone());
            let of_reason = news.entry((name.silo.clone(), why)).or_default();
            of_reason.push(name);
        }
        changes
            .reports
            .extend(news.into_iter().map(|((_, why), names)| Report {
                names,
                why,
                of_all: false,
            }));
        if let Some((name, why)) = self.whole.filter(|_| !was_whole) {
            changes.whole = Some(name.clone());
            changes.reports.push(Report {
                names: vec![name],
                why: Some(why),
                of_all: true,
            });
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use silo_shared::silo::Hostname;

    use super::*;

    fn due(hostname: &str) -> DueName {
        DueName {
            silo: SiloId::parse("office").unwrap(),
            hostname: Hostname::parse(hostname).unwrap(),
        }
    }

    /// `failing: db; over: nas; whole: tv; db nas: why; all tv: ended` and the like.
    fn text(changes: &Changes) -> String {
        let list = |names: &[DueName]| {
            let names = names.iter().map(|name| name.hostname.as_str());
            names.collect::<Vec<_>>().join(" ")
        };
        let mut parts = Vec::new();
        for (what, names) in [
            ("failing", list(&changes.failing)),
            ("over", list(&changes.over)),
            ("whole", list(changes.whole.as_slice())),
        ] {
            if !names.is_empty() {
                parts.push(format!("{what}: {names}"));
            }
        }
        for report in &changes.reports {
            let all = if report.of_all { "all " } else { "" };
            let why = report.why.as_deref().unwrap_or("ended");
            parts.push(format!("{all}{}: {why}", list(&report.names)));
        }
        parts.join("; ")
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn each_failure_is_reported_once_when_it_begins_and_once_when_it_ends() {
        type Case = (
            &'static str,
            // Hostnames reported before, and whether of the sink as a whole.
            &'static [(&'static str, bool)],
            &'static [(&'static str, Option<&'static str>)],
            Option<(&'static str, &'static str)>,
            bool,
            &'static str,
        );
        let cases: [Case; 11] = [
            ("nothing", &[], &[], None, true, ""),
            (
                "two begin for one reason",
                &[],
                &[("db", Some("no")), ("nas", Some("no"))],
                None,
                true,
                "failing: db nas; db nas: no",
            ),
            (
                "two begin for two reasons",
                &[],
                &[("db", Some("a")), ("nas", Some("b"))],
                None,
                true,
                "failing: db nas; db: a; nas: b",
            ),
            (
                "one goes on",
                &[("db", false)],
                &[("db", Some("no"))],
                None,
                true,
                "",
            ),
            (
                "one ends",
                &[("db", false)],
                &[("db", None)],
                None,
                true,
                "over: db; db: ended",
            ),
            (
                "a success that never failed",
                &[],
                &[("db", None)],
                None,
                true,
                "",
            ),
            (
                "the sink fails",
                &[],
                &[],
                Some(("db", "login")),
                false,
                "whole: db; all db: login",
            ),
            (
                "the sink goes on failing",
                &[("db", true)],
                &[],
                Some(("nas", "login")),
                false,
                "",
            ),
            (
                "the sink recovers",
                &[("db", true)],
                &[("nas", None)],
                None,
                true,
                "over: db; all db: ended",
            ),
            (
                "the sink recovers and refuses the record that showed it",
                &[("db", true)],
                &[("db", Some("no"))],
                None,
                true,
                "failing: db; over: db; all db: ended; db: no",
            ),
            (
                "a record is refused while the sink's failure goes on",
                &[("db", true)],
                &[("db", Some("no"))],
                None,
                false,
                "",
            ),
        ];
        for (what, reported, records, whole, is_served, expected) in cases {
            let reported = reported.iter().map(|(name, of_all)| (due(name), *of_all));
            let records = records
                .iter()
                .map(|(name, why)| (due(name), why.map(str::to_owned)));
            let results = RecordResults {
                records: records.collect(),
                whole: whole.map(|(name, why)| (due(name), why.to_owned())),
                is_served,
            };
            let changes = results.changes(&reported.collect());
            assert_eq!(text(&changes), expected, "{what}");
        }
    }
}
