//! The command `check`: checks everything, and changes nothing.

use std::fmt::Display;

use silo_shared::api::RecordDocument;
use silo_shared::checklist::Checklist;
use silo_shared::client::{ClientError, HubClient, TokenVerdict};
use silo_shared::output::Output;
use silo_shared::silo::{Addresses, Family};
use tokio::time::Instant;

use crate::agent::{RunTime, behind_relay, hub_client};
use crate::discover::select::Selection;
use crate::discover::{DiscoverError, Discovery, Found};
use crate::forget::ForgetAfter;
use crate::hook::Owed;
use crate::plan::{Plan, addresses_of};
use crate::record::Record;
use crate::report_error::{ReportError, explain, lacks_right};
use crate::settings::Settings;
use crate::state::{StateDir, StateError};

/// Checks hub, token, addresses and records; returns whether everything is correct.
pub(crate) async fn check(settings: &Settings, time: RunTime, output: &Output) -> bool {
    let mut said = Checklist::new(output);
    said.configuration(settings.file.as_deref());
    said.authentication(&settings.connection);
    check_state(settings, &mut said);
    check_hook(settings, &mut said);
    let client = match hub_client(settings) {
        Ok(client) => client,
        Err(error) => {
            said.failed("hub", error);
            return false;
        }
    };
    let hub = client.hub();
    let called = within(time.deadline, client.caller_address()).await;
    match &called {
        Ok(ip) => said.ok(
            "hub",
            format_args!("{hub} answers and sees this machine at {ip}"),
        ),
        // The token is refused, which has its own line.
        Err(error) if verdict(error) == Some(TokenVerdict::Refused) => {
            said.ok("hub", format_args!("{hub} answers"));
        }
        Err(error) => said.failed("hub", error),
    }
    let found = check_addresses(settings, time, &mut said).await;
    let mut seen = Vec::new();
    for (record, found) in settings.records.iter().zip(&found) {
        let looked = within(time.deadline, look(&client, record, found.as_ref())).await;
        seen.push((record, looked));
    }
    let of_records = seen.iter().filter_map(|(_, looked)| match looked {
        Ok(_) => Some(TokenVerdict::Accepted),
        Err(error) => verdict(error),
    });
    said.token(
        called
            .as_ref()
            .err()
            .and_then(verdict)
            .into_iter()
            .chain(of_records),
    );
    for (record, looked) in seen {
        match looked {
            Ok(looked) if looked.may_write == Some(false) => {
                said.failed(record, lacks_right(record));
            }
            Ok(looked) => said.ok(record, looked.explain(record, time)),
            Err(error) => said.failed(record, explain(&error, record, hub)),
        }
    }
    said.is_ok()
}

/// Prints the path of the state folder, and what does not work without it.
fn check_state(settings: &Settings, said: &mut Checklist<'_>) {
    let trusted = settings.check_state_folder().map_err(StateError::from);
    match trusted.and_then(|()| StateDir::probe(&settings.state_dir)) {
        Ok(dir) => {
            let limits = settings.records.iter().map(|record| record.forget);
            let limit = limits.into_iter().find(|limit| *limit != ForgetAfter::Off);
            let forget = match limit {
                None => "no address is removed (forget_family_after is off)".to_owned(),
                Some(limit) => {
                    format!("an address whose family is missing for {limit} is removed")
                }
            };
            said.ok("state", format_args!("{}; {forget}", dir.path().display()));
        }
        Err(error) if settings.needs_state => said.failed("state", error),
        Err(error) => said.ok(
            "state",
            format_args!("off: no address is removed and --quiet repeats failures: {error}"),
        ),
    }
}

/// Whether the hook can be run, and is owed.
fn check_hook(settings: &Settings, said: &mut Checklist<'_>) {
    let Some(hook) = &settings.hook else {
        return;
    };
    match hook.program() {
        Ok(program) => said.ok("on_change", program.display()),
        Err(error) => said.failed("on_change", error),
    }
    let dir = StateDir::probe(&settings.state_dir);
    let owed = dir.and_then(|dir| Owed::recall(settings, &dir));
    if owed.is_ok_and(|owed| owed.is_owed()) {
        said.failed(
            "on_change",
            "it has failed and is owed: the next run runs it again",
        );
    }
}

/// What was found for each record. Records with the same sources and rules are checked together.
async fn check_addresses<'a>(
    settings: &'a Settings,
    time: RunTime,
    said: &mut Checklist<'_>,
) -> Vec<Option<Found<'a>>> {
    let mut discovery = Discovery::new(settings);
    let mut all = Vec::new();
    for (at, record) in settings.records.iter().enumerate() {
        let found = tokio::time::timeout_at(time.deadline, discovery.find(record)).await;
        let is_same =
            |other: &Record| (&other.sources, &other.rules) == (&record.sources, &record.rules);
        let is_said = settings.records[..at].iter().any(is_same);
        let found = match found {
            Ok(Ok(found)) => Some(found),
            Ok(Err(error)) if !is_said => {
                said.failed(what(&record.sources), error);
                None
            }
            Err(_) if !is_said => {
                said.failed(what(&record.sources), ReportError::OutOfTime);
                None
            }
            Ok(Err(_)) | Err(_) => None,
        };
        if let Some(found) = &found
            && !is_said
        {
            explain_found(record, found, said);
        }
        all.push(found.filter(|found| found.select(record, None).is_ok()));
    }
    all
}

fn what(source: impl Display) -> String {
    format!("addresses from {source}")
}

fn explain_found(record: &Record, found: &Found<'_>, said: &mut Checklist<'_>) {
    let what = what(found.source);
    let selection = match found.select(record, None) {
        Ok(selection) => selection,
        // Their source is printed already.
        Err(DiscoverError::Unusable { unusable, hint, .. }) => {
            return said.failed(what, format_args!("{unusable}{hint}"));
        }
        Err(error) => return said.failed(what, error),
    };
    said.ok(&what, selection.chosen);
    if !selection.wrong.is_empty() {
        said.failed(&what, &selection.wrong);
    }
    for error in &found.wrong {
        said.failed(&what, error);
    }
    for error in &found.failed {
        said.ok("earlier source", error);
    }
    for ip in &found.relayed {
        said.ok("path to the hub", behind_relay(*ip));
    }
}

/// The hub's record of one hostname, and what a run would do about it.
struct CheckedRecord {
    stored: Option<RecordDocument>,
    /// `None` if there is no address to ask with.
    may_write: Option<bool>,
    selection: Option<Selection>,
    /// The addresses that the record keeps although this machine has none of their family.
    kept: Addresses,
}

async fn look(
    client: &HubClient,
    record: &Record,
    found: Option<&Found<'_>>,
) -> Result<CheckedRecord, ClientError> {
    let Record { silo, hostname, .. } = record;
    let (stored, _) = client.record(silo, hostname).await?.unzip();
    let held = stored.as_ref().map(addresses_of);
    let held_v6 = held.and_then(|held| held.v6);
    // Addresses that can't be reported are printed already.
    let selection = found.and_then(|found| found.select(record, held_v6).ok());
    // With the addresses that the hub has, nothing could change even if the condition were lost.
    let chosen = selection.as_ref().map(|selection| selection.chosen);
    let may_write = match held.or(chosen) {
        Some(ips) => Some(client.may_set_addresses(silo, hostname, &ips).await?),
        None => None,
    };
    let lacks = |family| {
        found
            .zip(selection.as_ref())
            .is_some_and(|(found, selection)| found.lacks(family, selection, record))
    };
    let held = held.unwrap_or_default();
    Ok(CheckedRecord {
        kept: held.iter().filter(|ip| lacks(Family::of(*ip))).collect(),
        stored,
        may_write,
        selection,
    })
}

impl CheckedRecord {
    /// Describes the hub's record, and what a run would do about it.
    fn explain(&self, record: &Record, time: RunTime) -> String {
        let held = match &self.stored {
            Some(record) => {
                let ips: Vec<String> = record.ips.iter().map(ToString::to_string).collect();
                format!("{} at the hub", ips.join(" "))
            }
            None => "not at the hub".to_owned(),
        };
        let chosen = self.selection.as_ref().map(|selection| selection.chosen);
        let stored = self.stored.as_ref();
        let ours = &record.attributes;
        let plan = chosen.map(|chosen| {
            let plan = Plan::of(&chosen, ours, stored, time.now, time.heartbeat);
            (chosen, plan)
        });
        let planned = match plan {
            Some((chosen, Plan::Create | Plan::Change)) => {
                format!("{held}; a run would set {chosen}")
            }
            Some((_, Plan::Describe)) => {
                format!("{held}; a run would set its {}", ours.not_in(stored))
            }
            Some((_, Plan::Heartbeat)) => format!("{held}; a run would report it again"),
            Some((_, Plan::Unchanged)) => format!("{held}; a run would change nothing"),
            None => held,
        };
        if self.kept.is_empty() {
            return planned;
        }
        format!(
            "{planned}; {} stays, although no address of its family was found",
            self.kept
        )
    }
}

fn verdict(error: &ReportError) -> Option<TokenVerdict> {
    match error {
        ReportError::Client(error) => error.token(),
        _ => None,
    }
}

async fn within<T>(
    deadline: Instant,
    call: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ReportError> {
    match tokio::time::timeout_at(deadline, call).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(ReportError::OutOfTime),
    }
}
