//! One run: discover → compare with the hub → report.

use std::fmt::{self, Display};
use std::time::Duration;

use jiff::Timestamp;
use silo_shared::api::RecordDocument;
use silo_shared::client::{ClientError, HubClient, Route};
use silo_shared::output::Output;
use silo_shared::silo::{Addresses, Family, Hostname, SiloId};
use thiserror::Error;
use tokio::time::Instant;

use crate::discover::discover;
use crate::settings::Settings;

/// A record that the hub saw longer ago is reported again though nothing changed.
const HEARTBEAT: Duration = Duration::from_secs(10 * 60);

/// When a run began and when it must have ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunTime {
    /// The time of day.
    pub(crate) now: Timestamp,
    /// Nothing is waited for beyond this.
    pub(crate) deadline: Instant,
}

/// Why a hostname could not be reported, or the hub not be asked.
#[derive(Debug, Error)]
pub(crate) enum ReportError {
    /// The hub could not be called or refused.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The hub answered that all is well but holds something else.
    #[error("the hub accepted {sent} but answered with {held}")]
    Contradiction {
        /// What was sent.
        sent: Addresses,
        /// What the hub says that it holds.
        held: String,
    },
    /// The run's time is over.
    #[error("no time left: a run ends after 30 s")]
    OutOfTime,
}

/// What is to be done about one hostname; decided before anything is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// The hub has no such record.
    Create,
    /// The hub has other addresses.
    Change,
    /// The hub has these addresses, but last heard of them a while ago.
    Heartbeat,
    /// Nothing.
    Nothing,
}

impl Plan {
    /// Compares what was found with the hub's record. Families that were not found do not count: the
    /// hub keeps them.
    pub(crate) fn of(found: &Addresses, record: Option<&RecordDocument>, now: Timestamp) -> Self {
        let Some(record) = record else {
            return Self::Create;
        };
        if !holds(record, found) {
            return Self::Change;
        }
        // A clock that is off, here or at the hub, costs a report too many and never one too few.
        let fresh = record
            .last_seen
            .parse::<Timestamp>()
            .is_ok_and(|seen| now.duration_since(seen).unsigned_abs() <= HEARTBEAT);
        if fresh {
            Self::Nothing
        } else {
            Self::Heartbeat
        }
    }
}

/// Whether the record has each of these addresses.
fn holds(record: &RecordDocument, addresses: &Addresses) -> bool {
    let held = addresses_of(record);
    [Family::V4, Family::V6]
        .into_iter()
        .all(|family| addresses.get(family).is_none() || addresses.get(family) == held.get(family))
}

/// The addresses that a record holds.
pub(crate) fn addresses_of(record: &RecordDocument) -> Addresses {
    record.ips.iter().map(|ip| ip.to_canonical()).collect()
}

/// What became of one hostname.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The record is new.
    Created {
        /// Its addresses.
        after: Addresses,
        /// The hub's revision.
        revision: i64,
    },
    /// The record changed.
    Changed {
        /// Its addresses before.
        before: Addresses,
        /// Its addresses now.
        after: Addresses,
        /// The hub's revision.
        revision: i64,
    },
    /// The record stays as it was.
    Unchanged {
        /// Its addresses.
        addresses: Addresses,
    },
}

impl Display for Outcome {
    /// What comes behind the hostname in the line on stdout.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Created { after, revision } => write!(f, "set to {after}, revision {revision}"),
            Self::Changed {
                before,
                after,
                revision,
            } => write!(f, "{before} → {after}, revision {revision}"),
            Self::Unchanged { addresses } => write!(f, "unchanged ({addresses})"),
        }
    }
}

/// Reports every hostname; answers whether all succeeded.
pub(crate) async fn once(settings: &Settings, time: RunTime, output: &Output) -> bool {
    let silo = &settings.silo;
    let found = match tokio::time::timeout_at(time.deadline, discover(settings)).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => {
            output.complain(format_args!("{silo}: {}: {error}", names(settings)));
            return false;
        }
        Err(_) => {
            let error = ReportError::OutOfTime;
            output.complain(format_args!("{silo}: {}: {error}", names(settings)));
            return false;
        }
    };
    let client = match hub_client(settings) {
        Ok(client) => client,
        Err(error) => {
            output.complain(format_args!("{silo}: {}: {error}", names(settings)));
            return false;
        }
    };
    let mut all_succeeded = true;
    for hostname in &settings.hostnames {
        let report = report(settings, &client, hostname, &found, time.now);
        let result = tokio::time::timeout_at(time.deadline, report)
            .await
            .unwrap_or(Err(ReportError::OutOfTime));
        match result {
            Ok(outcome @ Outcome::Unchanged { .. }) => {
                output.mention(format_args!("{silo}: {hostname} {outcome}"));
            }
            Ok(outcome) => output.say(format_args!("{silo}: {hostname} {outcome}")),
            Err(error) => {
                all_succeeded = false;
                output.complain(format_args!(
                    "{silo}: {hostname}: {}",
                    explain(&error, settings, hostname, client.hub())
                ));
            }
        }
    }
    all_succeeded
}

/// The hostnames in one line.
pub(crate) fn names(settings: &Settings) -> String {
    let names: Vec<&str> = settings.hostnames.iter().map(Hostname::as_str).collect();
    names.join(", ")
}

/// The client for everything but the question for the own address.
pub(crate) fn hub_client(settings: &Settings) -> Result<HubClient, ClientError> {
    let route = Route {
        interface: settings.bind_interface.clone(),
        ..Route::default()
    };
    HubClient::new(&settings.connection, route)
}

async fn report(
    settings: &Settings,
    client: &HubClient,
    hostname: &Hostname,
    found: &Addresses,
    now: Timestamp,
) -> Result<Outcome, ReportError> {
    let stored = client.record(&settings.silo, hostname).await?;
    let before = stored.as_ref().map(addresses_of);
    let plan = Plan::of(found, stored.as_ref(), now);
    tracing::debug!(silo = %settings.silo, hostname = %hostname, ?plan, "compared with the hub");
    if let (Plan::Nothing, Some(addresses)) = (plan, before) {
        return Ok(Outcome::Unchanged { addresses });
    }
    let record = client
        .set_addresses(&settings.silo, hostname, found)
        .await?;
    // With a suffix of its own the hub may keep another IPv6 address than the one sent.
    if record.hostname != hostname.as_str()
        || record.ipv6_suffix.is_none() && !holds(&record, found)
    {
        return Err(ReportError::Contradiction {
            sent: *found,
            held: format!("{} {}", record.hostname, addresses_of(&record)),
        });
    }
    let after = addresses_of(&record);
    let revision = record.revision;
    Ok(match before {
        None => Outcome::Created { after, revision },
        Some(before) if before != after => Outcome::Changed {
            before,
            after,
            revision,
        },
        Some(addresses) => Outcome::Unchanged { addresses },
    })
}

/// An error with the hub, and what to do about it.
pub(crate) fn explain(
    error: &ReportError,
    settings: &Settings,
    hostname: &Hostname,
    hub: &str,
) -> String {
    let ReportError::Client(error) = error else {
        return format!("{hub}: {error}");
    };
    match error {
        ClientError::Status { status, .. } => {
            let silo = &settings.silo;
            let hint = match status {
                401 if !settings.connection.signs() => {
                    " (the token is unknown, mistyped, expired or revoked)".to_owned()
                }
                403 => format!(" ({})", lacks_right(silo, hostname)),
                404 => format!(
                    " (the token may not read silo {silo}, or this is not the hub's own URL)"
                ),
                _ => String::new(),
            };
            format!("{error}{hint}")
        }
        error => error.to_string(),
    }
}

/// What a token is missing that may not write a record.
pub(crate) fn lacks_right(silo: &SiloId, hostname: &Hostname) -> String {
    format!(
        "the token lacks the right to write {hostname} in silo {silo}: role write, and both in its lists"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-01-02T03:20:00Z";

    fn record(ips: &str, last_seen: &str) -> RecordDocument {
        RecordDocument {
            hostname: "db".to_owned(),
            ips: ips.split(' ').map(|ip| ip.parse().unwrap()).collect(),
            revision: 41,
            updated_at: "2026-01-02T03:04:05.678Z".to_owned(),
            last_seen: last_seen.to_owned(),
            comment: None,
            notify: None,
            ipv6_suffix: None,
            expires_after: None,
        }
    }

    fn addresses(text: &str) -> Addresses {
        text.split(' ')
            .map(|ip| ip.parse::<std::net::IpAddr>().unwrap())
            .collect()
    }

    #[test]
    fn the_plan_follows_from_what_the_hub_holds() {
        let fresh = "2026-01-02T03:19:00.000Z";
        for (found, stored, last_seen, plan) in [
            ("10.0.0.5", "10.0.0.5", fresh, Plan::Nothing),
            ("10.0.0.5", "10.0.0.6", fresh, Plan::Change),
            ("10.0.0.5", "10.0.0.5 fd00::5", fresh, Plan::Nothing),
            ("fd00::5", "10.0.0.5 fd00::5", fresh, Plan::Nothing),
            ("fd00::6", "10.0.0.5 fd00::5", fresh, Plan::Change),
            ("10.0.0.5 fd00::5", "10.0.0.5", fresh, Plan::Change),
            ("10.0.0.5", "fd00::5", fresh, Plan::Change),
            (
                "10.0.0.5",
                "10.0.0.5",
                "2026-01-02T03:10:00Z",
                Plan::Nothing,
            ),
            (
                "10.0.0.5",
                "10.0.0.5",
                "2026-01-02T03:09:59Z",
                Plan::Heartbeat,
            ),
            (
                "10.0.0.5",
                "10.0.0.5",
                "2026-01-02T03:30:01Z",
                Plan::Heartbeat,
            ),
            ("10.0.0.5", "10.0.0.5", "yesterday", Plan::Heartbeat),
        ] {
            let record = record(stored, last_seen);
            let planned = Plan::of(&addresses(found), Some(&record), NOW.parse().unwrap());
            assert_eq!(planned, plan, "{found} {stored} {last_seen}");
        }
        assert_eq!(
            Plan::of(&addresses("10.0.0.5"), None, NOW.parse().unwrap()),
            Plan::Create
        );
    }

    #[test]
    fn outcomes_read_well() {
        let before = addresses("10.0.0.5 fd00::5");
        let after = addresses("10.0.0.6 fd00::5");
        let revision = 42;
        for (outcome, words) in [
            (
                Outcome::Created { after, revision },
                "set to 10.0.0.6 fd00::5, revision 42",
            ),
            (
                Outcome::Changed {
                    before,
                    after,
                    revision,
                },
                "10.0.0.5 fd00::5 → 10.0.0.6 fd00::5, revision 42",
            ),
            (
                Outcome::Unchanged { addresses: before },
                "unchanged (10.0.0.5 fd00::5)",
            ),
        ] {
            assert_eq!(outcome.to_string(), words);
        }
    }
}
