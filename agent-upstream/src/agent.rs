//! One run: discover → compare with the hub → report.

use std::net::IpAddr;

use jiff::Timestamp;
use silo_shared::client::{ClientError, HubClient, Route};
use silo_shared::output::Output;
use silo_shared::silo::Family;
use tokio::time::Instant;

use crate::discover::discover;
use crate::failures::Notes;
use crate::report::{Outcome, forget, report};
use crate::report_error::{ReportError, explain};
use crate::settings::Settings;

/// When a run began, and its deadline.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunTime {
    /// The current time.
    pub(crate) now: Timestamp,
    /// Nothing waits beyond this.
    pub(crate) deadline: Instant,
}

/// Reports every hostname; returns whether all succeeded.
pub(crate) async fn once(
    settings: &Settings,
    client: &HubClient,
    time: RunTime,
    output: &Output,
) -> bool {
    let mut notes = Notes::recall(settings, output);
    run(settings, client, time, output, &mut notes).await;
    notes.finish()
}

async fn run<'a>(
    settings: &'a Settings,
    client: &HubClient,
    time: RunTime,
    output: &Output,
    notes: &mut Notes<'a>,
) {
    let silo = &settings.silo;
    let found = match tokio::time::timeout_at(time.deadline, discover(settings)).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => return notes.fail_before_discovery(&error.kind(), &error.to_string()),
        Err(_) => {
            let error = ReportError::OutOfTime;
            return notes.fail_before_discovery(&error.kind(), &error.to_string());
        }
    };
    let selection = match found.select(settings, None) {
        Ok(selection) => selection,
        Err(error) => return notes.fail_before_discovery(&error.kind(), &error.to_string()),
    };
    if !selection.wrong.is_empty() {
        let words = format!("addresses from {}: {}", settings.addresses, selection.wrong);
        notes.fail_all("addresses", &words);
    }
    for error in &found.wrong {
        notes.fail_all(&error.kind(), &error.to_string());
    }
    let mut said_relayed = Vec::new();
    for hostname in &settings.hostnames {
        let report = report(settings, client, hostname, &found, time.now);
        let result = tokio::time::timeout_at(time.deadline, report)
            .await
            .unwrap_or(Err(ReportError::OutOfTime));
        let report = match result {
            Ok(report) => report,
            Err(error) => {
                let words = explain(&error, settings, hostname, client.hub());
                notes.fail(&[hostname], &error.kind(), &words);
                for family in [Family::V4, Family::V6] {
                    if !found.lacks(family, &selection, settings)
                        && let Some(memory) = notes.memory(hostname)
                    {
                        memory.note_found(family);
                    }
                }
                continue;
            }
        };
        match report.outcome {
            outcome @ Outcome::Unchanged { .. } => {
                output.print_unless_quiet(format_args!("{silo}: {hostname} {outcome}"));
            }
            outcome => output.print(format_args!("{silo}: {hostname} {outcome}")),
        }
        for ip in &found.relayed {
            if report.changed(Family::of(*ip)) && !said_relayed.contains(ip) {
                output.print(format_args!("{silo}: {}", behind_relay(*ip)));
                said_relayed.push(*ip);
            }
        }
        let forgotten = match notes.memory(hostname) {
            None => continue,
            Some(memory) => {
                memory.note_set(&report.set);
                let forgetting =
                    forget(settings, client, hostname, &found, &report, memory, output);
                tokio::time::timeout_at(time.deadline, forgetting)
                    .await
                    .unwrap_or(Err(ReportError::OutOfTime))
            }
        };
        if let Err(error) = forgotten {
            let words = explain(&error, settings, hostname, client.hub());
            notes.fail(&[hostname], &error.kind(), &words);
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
    HubClient::new(&settings.connection, route)
}
