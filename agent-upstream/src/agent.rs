//! One pass over the records: discover → compare with the hub → report. `once` is one pass; `watch` makes one whenever
//! something may have changed.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use jiff::Timestamp;
use silo_shared::agent_name::AgentKind;
use silo_shared::client::{ClientError, HubClient, Route, TokenVerdict};
use silo_shared::fact::Fact;
use silo_shared::output::Output;
use silo_shared::silo::{Addresses, Family};
use tokio::time::Instant;

use crate::discover::select::Selection;
use crate::discover::{Discovery, Found};
use crate::failures::{Finished, Notes};
use crate::hook::{self, Change};
use crate::record::Record;
use crate::report::{Outcome, Report, forget, report};
use crate::report_error::{ReportError, explain};
use crate::settings::Settings;

/// When a run began, and its deadline.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunTime {
    /// The current time.
    pub(crate) now: Timestamp,
    /// Nothing waits beyond this.
    pub(crate) deadline: Instant,
    /// A record that the hub last saw longer ago than this is reported without a change.
    pub(crate) heartbeat: Duration,
}

/// Which records a pass reports.
pub(crate) trait Scope {
    /// Whether this record's addresses are looked for.
    fn includes(&self, at: usize) -> bool;
    /// Whether the hub is asked about this record, for which these addresses were found.
    fn needs_report(&self, at: usize, found: &Addresses) -> bool;
}

/// All of them.
pub(crate) struct All;

impl Scope for All {
    fn includes(&self, _: usize) -> bool {
        true
    }

    fn needs_report(&self, _: usize, _: &Addresses) -> bool {
        true
    }
}

/// What a pass learned of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The addresses that were found, regardless of what the hub has.
    pub(crate) found: Addresses,
    /// The hub's before.
    pub(crate) before: Addresses,
    /// The hub's now.
    pub(crate) after: Addresses,
}

/// The result of a pass.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    /// What was reported, by the place of the record in the settings.
    pub(crate) seen: Vec<(usize, Seen)>,
    /// Which records failed.
    pub(crate) failed: Vec<usize>,
    /// Whether the hub refused the token.
    pub(crate) is_token_refused: bool,
}

/// Reports every record, and runs the hook that is owed; returns whether all succeeded.
pub(crate) async fn once(
    settings: &Settings,
    client: &HubClient,
    time: RunTime,
    output: &Output,
    stop: &Arc<AtomicBool>,
) -> bool {
    let mut notes = Notes::recall(settings, output, time.now);
    let pass = Pass {
        settings,
        client,
        time,
        output,
    };
    pass.run(&mut notes, &All).await;
    let Finished { is_ok, kept, .. } = notes.finish();
    let mut owed = kept.owed;
    match hook::pay(&mut owed, settings.hook.as_ref(), stop).await {
        Ok(()) => is_ok,
        Err(error) => {
            output.print_error(error);
            false
        }
    }
}

/// What a pass needs.
pub(crate) struct Pass<'a> {
    /// The settings.
    pub(crate) settings: &'a Settings,
    /// The client of the hub.
    pub(crate) client: &'a HubClient,
    /// Its times.
    pub(crate) time: RunTime,
    /// Where it prints.
    pub(crate) output: &'a Output,
}

impl<'a> Pass<'a> {
    /// Reports the records in scope.
    pub(crate) async fn run(&self, notes: &mut Notes<'a>, scope: &impl Scope) -> Passed {
        notes.expect_database(self.client);
        let mut passed = Passed::default();
        let mut said_relayed = Vec::new();
        for ready in self.find_all(notes, scope, &mut passed).await {
            let Ready {
                at, record, found, ..
            } = &ready;
            let report = match self.report(&ready, notes).await {
                Ok(report) => report,
                Err(error) => {
                    passed.is_token_refused |= error.token() == Some(TokenVerdict::Refused);
                    passed.failed.push(*at);
                    let words = explain(&error, record, self.client.hub());
                    notes.fail(&[record], &error.kind(), &words);
                    continue;
                }
            };
            for ip in &found.relayed {
                let silo = &record.silo;
                if report.changed(Family::of(*ip)) && !said_relayed.contains(&(silo, *ip)) {
                    let fact = Fact::of_silo("relay", silo, behind_relay(*ip));
                    self.output.tell(&fact.with("address", ip));
                    said_relayed.push((silo, *ip));
                }
            }
            passed.seen.push((*at, report.seen(ready.selection.chosen)));
            notes.succeed(record, &report.after);
        }
        notes.keep_database(self.client);
        passed
    }

    /// Reports one record, and removes an address whose family is missing.
    async fn report(
        &self,
        ready: &Ready<'a>,
        notes: &mut Notes<'a>,
    ) -> Result<Report, ReportError> {
        let Ready {
            record,
            found,
            selection,
            ..
        } = ready;
        let Pass {
            client,
            time,
            output,
            ..
        } = self;
        let reporting = report(client, record, found, *time, |change| {
            notes.owe(record, change)
        });
        let reported = tokio::time::timeout_at(time.deadline, reporting)
            .await
            .unwrap_or(Err(ReportError::OutOfTime));
        let report = match reported {
            Ok(report) => report,
            Err(error) => {
                for family in [Family::V4, Family::V6] {
                    if !found.lacks(family, selection, record)
                        && let Some(memory) = notes.memory(record)
                    {
                        memory.note_found(family);
                    }
                }
                if error.is_refusal() {
                    notes.cancel(record)?;
                }
                return Err(error);
            }
        };
        notes.settle(record, report.change(record))?;
        let fact = report.outcome.fact(record);
        match &report.outcome {
            Outcome::Unchanged { .. } => output.tell_unless_quiet(&fact),
            _ => output.tell(&fact),
        }
        if let Some(memory) = notes.memory(record) {
            memory.note_set(&report.set);
            let forgetting = forget(client, record, found, &report, memory, output);
            let left = tokio::time::timeout_at(time.deadline, forgetting)
                .await
                .unwrap_or(Err(ReportError::OutOfTime))?;
            if left != report.after {
                let change = Change::made(record, &report.after, &left, None);
                notes.settle(record, Some(change))?;
            }
        }
        Ok(report)
    }

    /// The records whose addresses were found, with what is to be reported. Those that failed are noted; records that
    /// failed alike are named together.
    async fn find_all(
        &self,
        notes: &mut Notes<'a>,
        scope: &impl Scope,
        passed: &mut Passed,
    ) -> Vec<Ready<'a>> {
        let settings = self.settings;
        let mut discovery = Discovery::new(settings);
        let mut all = Vec::new();
        let mut failures = Failures::default();
        let in_scope = settings.records.iter().enumerate();
        for (at, record) in in_scope.filter(|(at, _)| scope.includes(*at)) {
            let found = tokio::time::timeout_at(self.time.deadline, discovery.find(record))
                .await
                .map_err(|_| ReportError::OutOfTime)
                .and_then(|found| Ok(found?))
                .and_then(|found| {
                    let selection = found.select(record, None)?;
                    Ok((found, selection))
                });
            let (found, selection) = match found {
                Ok(found) => found,
                Err(error) => {
                    notes.note_undiscovered(record);
                    passed.failed.push(at);
                    failures.add(record, error.kind(), error.to_string());
                    continue;
                }
            };
            if !selection.wrong.is_empty() {
                let words = format!("addresses from {}: {}", found.source, selection.wrong);
                failures.add(record, "addresses".to_owned(), words);
            }
            for error in &found.wrong {
                failures.add(record, error.kind(), error.to_string());
            }
            if !selection.wrong.is_empty() || !found.wrong.is_empty() {
                passed.failed.push(at);
            }
            if scope.needs_report(at, &selection.chosen) {
                all.push(Ready {
                    at,
                    record,
                    found,
                    selection,
                });
            }
        }
        for failure in failures.0 {
            notes.fail(&failure.records, &failure.kind, &failure.words);
        }
        all
    }
}

/// A record whose addresses were found.
struct Ready<'a> {
    /// Its place in the settings.
    at: usize,
    record: &'a Record,
    found: Found<'a>,
    selection: Selection,
}

/// Failures before anything is sent.
#[derive(Default)]
struct Failures<'a>(Vec<Failure<'a>>);

struct Failure<'a> {
    records: Vec<&'a Record>,
    kind: String,
    words: String,
}

impl<'a> Failures<'a> {
    fn add(&mut self, record: &'a Record, kind: String, words: String) {
        let is_same = |known: &&mut Failure| known.kind == kind && known.words == words;
        match self.0.iter_mut().find(is_same) {
            Some(known) => known.records.push(record),
            None => self.0.push(Failure {
                records: vec![record],
                kind,
                words,
            }),
        }
    }
}

/// The message if the hub does not see this machine's own address.
pub(crate) fn behind_relay(ip: IpAddr) -> String {
    format!("the hub sees this machine behind NAT or a relay as {ip}")
}

/// The client for all requests except the one for this machine's address.
pub(crate) fn hub_client(settings: &Settings) -> Result<HubClient, ClientError> {
    let route = Route {
        interface: settings.bind_interface.clone(),
        ..Route::default()
    };
    HubClient::new(&settings.connection, AgentKind::Upstream, &route)
}
