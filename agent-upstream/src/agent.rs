//! One run: discover → compare with the hub → report.

use std::fmt::{self, Display};
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use silo_shared::api::RecordDocument;
use silo_shared::client::{ClientError, HubClient, Route};
use silo_shared::output::{Output, one_line};
use silo_shared::silo::{Addresses, Family, Hostname, SiloId};
use thiserror::Error;
use tokio::time::Instant;

use crate::discover::select::Selection;
use crate::discover::{DiscoverError, Found, discover};
use crate::forget::{self, ForgetAfter};
use crate::settings::Settings;
use crate::state::{Memory, monotonic_ms};
use crate::trouble::Notes;

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
    /// No address can be reported.
    #[error(transparent)]
    Discover(#[from] DiscoverError),
}

impl ReportError {
    /// What kind of trouble it is; see [`ClientError::kind`].
    fn kind(&self) -> String {
        match self {
            Self::Client(error) => error.kind(),
            Self::Contradiction { .. } => "contradiction".to_owned(),
            Self::OutOfTime => "unreachable".to_owned(),
            Self::Discover(error) => error.kind(),
        }
    }
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
    let mut notes = Notes::recall(settings, output);
    run(settings, time, output, &mut notes).await;
    notes.finish()
}

async fn run<'a>(settings: &'a Settings, time: RunTime, output: &Output, notes: &mut Notes<'a>) {
    let silo = &settings.silo;
    let found = match tokio::time::timeout_at(time.deadline, discover(settings)).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => return notes.trouble_before(&error.kind(), &error.to_string()),
        Err(_) => {
            let error = ReportError::OutOfTime;
            return notes.trouble_before(&error.kind(), &error.to_string());
        }
    };
    let selection = match found.select(settings, None) {
        Ok(selection) => selection,
        Err(error) => return notes.trouble_before(&error.kind(), &error.to_string()),
    };
    if !selection.wrong.is_empty() {
        let words = format!("addresses from {}: {}", settings.addresses, selection.wrong);
        notes.trouble_of_all("addresses", &words);
    }
    for error in &found.wrong {
        notes.trouble_of_all(&error.kind(), &error.to_string());
    }
    let client = match hub_client(settings) {
        Ok(client) => client,
        Err(error) => return notes.trouble_before(&error.kind(), &error.to_string()),
    };
    let mut said_relayed = Vec::new();
    for hostname in &settings.hostnames {
        let report = report(settings, &client, hostname, &found, time.now);
        let result = tokio::time::timeout_at(time.deadline, report)
            .await
            .unwrap_or(Err(ReportError::OutOfTime));
        let report = match result {
            Ok(report) => report,
            Err(error) => {
                let words = explain(&error, settings, hostname, client.hub());
                notes.trouble(&[hostname], &error.kind(), &words);
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
                output.mention(format_args!("{silo}: {hostname} {outcome}"));
            }
            outcome => output.say(format_args!("{silo}: {hostname} {outcome}")),
        }
        for ip in &found.relayed {
            if report.changed(Family::of(*ip)) && !said_relayed.contains(ip) {
                output.say(format_args!("{silo}: {}", behind_relay(*ip)));
                said_relayed.push(*ip);
            }
        }
        let forgotten = match notes.memory(hostname) {
            None => continue,
            Some(memory) => {
                memory.note_set(&report.set);
                let forgetting =
                    forget(settings, &client, hostname, &found, &report, memory, output);
                tokio::time::timeout_at(time.deadline, forgetting)
                    .await
                    .unwrap_or(Err(ReportError::OutOfTime))
            }
        };
        if let Err(error) = forgotten {
            let words = explain(&error, settings, hostname, client.hub());
            notes.trouble(&[hostname], &error.kind(), &words);
        }
    }
}

/// What the user is to know where the hub does not see this machine itself.
pub(crate) fn behind_relay(ip: IpAddr) -> String {
    format!("the hub sees this machine behind NAT or a relay as {ip}")
}

/// The client for everything but the question for the own address.
pub(crate) fn hub_client(settings: &Settings) -> Result<HubClient, ClientError> {
    let route = Route {
        interface: settings.bind_interface.clone(),
        ..Route::default()
    };
    HubClient::new(&settings.connection, route)
}

/// A hostname that was reported.
struct Report {
    outcome: Outcome,
    /// What of each family this run chose to report.
    selection: Selection,
    /// What the hub holds now of the families that were sent; nothing where nothing was sent.
    set: Addresses,
    before: Addresses,
    after: Addresses,
    /// The record's entity tag.
    tag: Option<String>,
}

impl Report {
    /// Whether the record got another address of this family.
    fn changed(&self, family: Family) -> bool {
        self.before.get(family) != self.after.get(family)
    }
}

async fn report(
    settings: &Settings,
    client: &HubClient,
    hostname: &Hostname,
    found: &Found,
    now: Timestamp,
) -> Result<Report, ReportError> {
    let stored = client.record(&settings.silo, hostname).await?;
    let (stored, tag) = stored.unzip();
    let before = stored.as_ref().map(addresses_of);
    let held = before.and_then(|before| before.v6);
    let selection = found.select(settings, held)?;
    let chosen = &selection.chosen;
    let plan = Plan::of(chosen, stored.as_ref(), now);
    tracing::debug!(silo = %settings.silo, hostname = %hostname, ?plan, "compared with the hub");
    if let (Plan::Nothing, Some(addresses)) = (plan, before) {
        return Ok(Report {
            outcome: Outcome::Unchanged { addresses },
            selection,
            set: Addresses::default(),
            before: addresses,
            after: addresses,
            tag: tag.flatten(),
        });
    }
    let (record, tag) = client
        .set_addresses(&settings.silo, hostname, chosen)
        .await?;
    // With a suffix of its own the hub may keep another IPv6 address than the one sent.
    if record.hostname != hostname.as_str()
        || record.ipv6_suffix.is_none() && !holds(&record, chosen)
    {
        return Err(ReportError::Contradiction {
            sent: *chosen,
            held: one_line(&format!("{} {}", record.hostname, addresses_of(&record))),
        });
    }
    let after = addresses_of(&record);
    let revision = record.revision;
    let outcome = match before {
        None => Outcome::Created { after, revision },
        Some(before) if before != after => Outcome::Changed {
            before,
            after,
            revision,
        },
        Some(addresses) => Outcome::Unchanged { addresses },
    };
    let sent = |ip: &IpAddr| chosen.get(Family::of(*ip)).is_some();
    Ok(Report {
        outcome,
        set: after.iter().filter(sent).collect(),
        selection,
        before: before.unwrap_or_default(),
        after,
        tag,
    })
}

/// Notes which families this machine lacks, and removes an address that this agent set, that the record still holds,
/// and whose family every run of the time configured found missing.
async fn forget(
    settings: &Settings,
    client: &HubClient,
    hostname: &Hostname,
    found: &Found,
    report: &Report,
    memory: &mut Memory,
    output: &Output,
) -> Result<(), ReportError> {
    let silo = &settings.silo;
    let mut tag = report.tag.clone();
    for family in [Family::V4, Family::V6] {
        let Some(held) = report.after.get(family) else {
            memory.note_found(family);
            continue;
        };
        if !found.lacks(family, &report.selection, settings)
            || !memory.has_set(family, &report.after)
        {
            if memory.note_found(family) {
                output.say(format_args!("{silo}: {hostname}: {family} is found again"));
            }
            continue;
        }
        let (limit, what) = match settings.forget {
            ForgetAfter::Off => (forget::DEFAULT, "forget_family_after is off".to_owned()),
            ForgetAfter::Missing(limit) => (limit, format!("removed after {}", settings.forget)),
        };
        if memory.note_missing(family, monotonic_ms(), limit) {
            output.say(format_args!(
                "{silo}: {hostname}: no {family} address is found, {held} stays in the record ({what})"
            ));
        }
        if settings.forget == ForgetAfter::Off || !memory.is_gone(family, limit) {
            continue;
        }
        let known = tag
            .take()
            .ok_or_else(|| client.not_a_hub("the record came without an entity tag"))?;
        // Where somebody else has changed the record meanwhile, the next run looks at it as it is then.
        if client.remove_family(silo, hostname, family, &known).await? {
            memory.note_removed(family);
            output.say(format_args!(
                "{silo}: {hostname}: {held} removed, no {family} address was found for {}",
                settings.forget
            ));
        }
        // The tag was of the record before; at most one family is missing.
    }
    Ok(())
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
