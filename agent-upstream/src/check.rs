//! The command `check`: checks everything, and changes nothing.

use silo_shared::api::RecordDocument;
use silo_shared::checklist::Checklist;
use silo_shared::client::{ClientError, HubClient, TokenVerdict};
use silo_shared::output::Output;
use silo_shared::silo::{Addresses, Family, Hostname};
use tokio::time::Instant;

use crate::agent::{RunTime, behind_relay, hub_client};
use crate::discover::select::Selection;
use crate::discover::{DiscoverError, Found, discover};
use crate::forget::ForgetAfter;
use crate::plan::{Plan, addresses_of};
use crate::report_error::{ReportError, explain, lacks_right};
use crate::settings::Settings;
use crate::state::{StateDir, StateError};

/// Checks hub, token, addresses and records; returns whether everything is correct.
pub(crate) async fn check(settings: &Settings, time: RunTime, output: &Output) -> bool {
    let mut said = Checklist::new(output);
    said.configuration(settings.file.as_deref());
    said.authentication(&settings.connection);
    check_state(settings, &mut said);
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
    let silo = &settings.silo;
    let found = check_addresses(settings, time, &mut said).await;
    let mut seen = Vec::new();
    for hostname in &settings.hostnames {
        let looked = within(
            time.deadline,
            look(&client, settings, hostname, found.as_ref()),
        )
        .await;
        seen.push((hostname, looked));
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
    for (hostname, looked) in seen {
        let what = format!("{hostname} in silo {silo}");
        match looked {
            Ok(record) if record.may_write == Some(false) => {
                said.failed(what, lacks_right(silo, hostname))
            }
            Ok(record) => said.ok(what, record.explain(time)),
            Err(error) => said.failed(what, explain(&error, settings, hostname, hub)),
        }
    }
    said.is_ok()
}

/// Prints the path of the state folder, and what does not work without it.
fn check_state(settings: &Settings, said: &mut Checklist<'_>) {
    let trusted = settings.check_state_folder().map_err(StateError::from);
    match trusted.and_then(|()| StateDir::probe(&settings.state_dir)) {
        Ok(dir) => {
            let forget = match settings.forget {
                ForgetAfter::Off => "no address is removed (forget_family_after is off)".to_owned(),
                ForgetAfter::Missing(_) => format!(
                    "an address whose family is missing for {} is removed",
                    settings.forget
                ),
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

async fn check_addresses(
    settings: &Settings,
    time: RunTime,
    said: &mut Checklist<'_>,
) -> Option<Found> {
    let what = format!("addresses from {}", settings.addresses);
    let found = match tokio::time::timeout_at(time.deadline, discover(settings)).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => {
            said.failed(what, error);
            return None;
        }
        Err(_) => {
            said.failed(what, ReportError::OutOfTime);
            return None;
        }
    };
    let selection = match found.select(settings, None) {
        Ok(selection) => selection,
        // Their source is printed already.
        Err(DiscoverError::Unusable { unusable, hint, .. }) => {
            said.failed(what, format_args!("{unusable}{hint}"));
            return None;
        }
        Err(error) => {
            said.failed(what, error);
            return None;
        }
    };
    said.ok(&what, selection.chosen);
    if !selection.wrong.is_empty() {
        said.failed(&what, &selection.wrong);
    }
    for error in &found.wrong {
        said.failed(&what, error);
    }
    for ip in &found.relayed {
        said.ok("path to the hub", behind_relay(*ip));
    }
    Some(found)
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
    settings: &Settings,
    hostname: &Hostname,
    found: Option<&Found>,
) -> Result<CheckedRecord, ClientError> {
    let silo = &settings.silo;
    let (stored, _) = client.record(silo, hostname).await?.unzip();
    let held = stored.as_ref().map(addresses_of);
    let held_v6 = held.and_then(|held| held.v6);
    // Addresses that can't be reported are printed already.
    let selection = found.and_then(|found| found.select(settings, held_v6).ok());
    // With the addresses that the hub has, nothing could change even if the condition were lost.
    let chosen = selection.as_ref().map(|selection| selection.chosen);
    let may_write = match held.or(chosen) {
        Some(ips) => Some(client.may_set_addresses(silo, hostname, &ips).await?),
        None => None,
    };
    let lacks = |family| {
        found
            .zip(selection.as_ref())
            .is_some_and(|(found, selection)| found.lacks(family, selection, settings))
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
    fn explain(&self, time: RunTime) -> String {
        let held = match &self.stored {
            Some(record) => {
                let ips: Vec<String> = record.ips.iter().map(ToString::to_string).collect();
                format!("{} at the hub", ips.join(" "))
            }
            None => "not at the hub".to_owned(),
        };
        let chosen = self.selection.as_ref().map(|selection| selection.chosen);
        let plan = chosen.map(|chosen| (chosen, Plan::of(&chosen, self.stored.as_ref(), time.now)));
        let planned = match plan {
            Some((chosen, Plan::Create | Plan::Change)) => {
                format!("{held}; a run would set {chosen}")
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
