//! Reports one hostname to the hub, and removes an address whose family is missing.

use std::fmt::{self, Display};
use std::net::IpAddr;

use silo_shared::client::HubClient;
use silo_shared::fact::Fact;
use silo_shared::output::{Output, one_line};
use silo_shared::silo::{Addresses, Family};

use crate::agent::{RunTime, Seen};
use crate::discover::Found;
use crate::discover::select::Selection;
use crate::forget::{self, ForgetAfter};
use crate::hook::Change;
use crate::plan::{Plan, addresses_of, holds};
use crate::record::{Attributes, Record};
use crate::report_error::ReportError;
use crate::state::{Memory, StateError, monotonic_ms};

/// The result for one hostname.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// Only attributes of the record changed.
    Described {
        /// Its new attributes.
        attributes: Attributes,
        /// The hub's revision.
        revision: i64,
    },
    /// The record did not change.
    Unchanged {
        /// Its addresses.
        addresses: Addresses,
    },
}

impl Outcome {
    /// What is printed about it.
    pub(crate) fn fact(&self, record: &Record) -> Fact {
        let Record { silo, hostname, .. } = record;
        let event = match self {
            Self::Created { .. } => "created",
            Self::Changed { .. } => "changed",
            Self::Described { .. } => "attributes",
            Self::Unchanged { .. } => "unchanged",
        };
        let fact = Fact::of_silo(event, silo, format_args!("{hostname} {self}"));
        let fact = fact.with("hostname", hostname);
        match self {
            Self::Created { after, revision } => fact
                .with("addresses", ips(after))
                .with("revision", revision),
            Self::Changed {
                before,
                after,
                revision,
            } => fact
                .with("before", ips(before))
                .with("addresses", ips(after))
                .with("revision", revision),
            Self::Described {
                attributes,
                revision,
            } => fact
                .with("comment", &attributes.comment)
                .with("expires_after", attributes.expires_after)
                .with("revision", revision),
            Self::Unchanged { addresses } => fact.with("addresses", ips(addresses)),
        }
    }
}

impl Display for Outcome {
    /// Formats what follows the hostname in the line on stdout.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Created { after, revision } => write!(f, "set to {after}, revision {revision}"),
            Self::Changed {
                before,
                after,
                revision,
            } => write!(f, "{before} → {after}, revision {revision}"),
            Self::Described {
                attributes,
                revision,
            } => write!(f, "{attributes} set, revision {revision}"),
            Self::Unchanged { addresses } => write!(f, "unchanged ({addresses})"),
        }
    }
}

/// A hostname that was reported.
pub(crate) struct Report {
    /// The result for the record.
    pub(crate) outcome: Outcome,
    /// The addresses that this run selected.
    selection: Selection,
    /// The hub's addresses of the families that were sent; empty if nothing was sent.
    pub(crate) set: Addresses,
    before: Addresses,
    /// The hub's addresses now.
    pub(crate) after: Addresses,
    /// The record's entity tag.
    tag: Option<String>,
}

impl Report {
    /// Whether the record got another address of this family.
    pub(crate) fn changed(&self, family: Family) -> bool {
        self.before.get(family) != self.after.get(family)
    }

    /// What it says of the record, for which `found` was found regardless of the hub.
    pub(crate) fn seen(&self, found: Addresses) -> Seen {
        Seen {
            found,
            before: self.before,
            after: self.after,
        }
    }

    /// The change that a hook is told of; `None`: nothing changed.
    pub(crate) fn change(&self, record: &Record) -> Option<Change> {
        let revision = match self.outcome {
            Outcome::Created { revision, .. }
            | Outcome::Changed { revision, .. }
            | Outcome::Described { revision, .. } => revision,
            Outcome::Unchanged { .. } => return None,
        };
        Some(Change::made(
            record,
            &self.before,
            &self.after,
            Some(revision),
        ))
    }
}

/// Reports one record, unless the hub's is up to date. `before_change` is called before a change is sent.
pub(crate) async fn report(
    client: &HubClient,
    record: &Record,
    found: &Found<'_>,
    time: RunTime,
    before_change: impl FnOnce(Change) -> Result<(), StateError>,
) -> Result<Report, ReportError> {
    let Record { silo, hostname, .. } = record;
    let stored = client.record(silo, hostname).await?;
    let (stored, tag) = stored.unzip();
    let before = stored.as_ref().map(addresses_of);
    let held = before.and_then(|before| before.v6);
    let selection = found.select(record, held)?;
    let chosen = &selection.chosen;
    let ours = &record.attributes;
    let plan = Plan::of(chosen, ours, stored.as_ref(), time.now, time.heartbeat);
    tracing::debug!(silo = %silo, hostname = %hostname, ?plan, "compared with the hub");
    if let (Plan::Unchanged, Some(addresses)) = (plan, before) {
        return Ok(Report {
            outcome: Outcome::Unchanged { addresses },
            selection,
            set: Addresses::default(),
            before: addresses,
            after: addresses,
            tag: tag.flatten(),
        });
    }
    let attributes = ours.not_in(stored.as_ref());
    if !matches!(plan, Plan::Heartbeat) {
        before_change(Change::planned(record, &before.unwrap_or_default(), chosen))?;
    }
    let update = attributes.clone().with(*chosen);
    let (held, tag) = client.set_record(silo, hostname, &update).await?;
    // With a suffix of its own, the hub's IPv6 address may differ from the one sent.
    if held.hostname != hostname.as_str() || held.ipv6_suffix.is_none() && !holds(&held, chosen) {
        return Err(ReportError::Contradiction {
            sent: chosen.to_string(),
            held: one_line(&format!("{} {}", held.hostname, addresses_of(&held))),
        });
    }
    let ignored = attributes.not_in(Some(&held));
    if !ignored.is_empty() {
        return Err(ReportError::Contradiction {
            sent: attributes.to_string(),
            held: format!("another {ignored}"),
        });
    }
    let after = addresses_of(&held);
    let revision = held.revision;
    let outcome = match before {
        None => Outcome::Created { after, revision },
        Some(before) if before != after => Outcome::Changed {
            before,
            after,
            revision,
        },
        Some(_) if !attributes.is_empty() => Outcome::Described {
            attributes,
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

/// Records which families this machine lacks. Removes an address that this agent set and that the record still has, if
/// every run in the configured time found its family missing. Returns the addresses that the record has then.
pub(crate) async fn forget(
    client: &HubClient,
    record: &Record,
    found: &Found<'_>,
    report: &Report,
    memory: &mut Memory,
    output: &Output,
) -> Result<Addresses, ReportError> {
    let Record { silo, hostname, .. } = record;
    let mut tag = report.tag.clone();
    let mut left = report.after;
    for family in [Family::V4, Family::V6] {
        let Some(held) = report.after.get(family) else {
            memory.note_found(family);
            continue;
        };
        let is_lacking = found.lacks(family, &report.selection, record);
        if !is_lacking || !memory.has_set(family, &report.after) {
            // An address that others have set is none that was found here.
            if memory.note_found(family) && !is_lacking {
                let text = format_args!("{hostname}: {family} is found again");
                output.tell(&of_family("family_found", record, family, text));
            }
            continue;
        }
        let (limit, what) = match record.forget {
            ForgetAfter::Off => (forget::DEFAULT, "forget_family_after is off".to_owned()),
            ForgetAfter::Missing(limit) => (limit, format!("removed after {}", record.forget)),
        };
        if memory.note_missing(family, monotonic_ms(), limit.as_duration()) {
            let text = format_args!(
                "{hostname}: no {family} address found; {held} stays in the record ({what})"
            );
            output.tell(&of_family("family_missing", record, family, text).with("address", held));
        }
        if record.forget == ForgetAfter::Off || !memory.is_gone(family, limit.as_duration()) {
            continue;
        }
        let known = tag
            .take()
            .ok_or_else(|| client.not_a_hub("the record has no entity tag"))?;
        // If another program has changed the record meanwhile, the next run handles its new state.
        if client.remove_family(silo, hostname, family, &known).await? {
            memory.note_removed(family);
            left.clear(family);
            let text = format_args!(
                "{hostname}: {held} removed, no {family} address was found for {}",
                record.forget
            );
            output.tell(&of_family("family_removed", record, family, text).with("address", held));
        }
        // The tag belonged to the record before the change; at most one family is missing.
    }
    Ok(left)
}

fn of_family(event: &'static str, record: &Record, family: Family, text: impl Display) -> Fact {
    Fact::of_silo(event, &record.silo, text)
        .with("hostname", &record.hostname)
        .with("family", family.number())
}

/// The addresses, as they are in JSON.
pub(crate) fn ips(addresses: &Addresses) -> Vec<IpAddr> {
    addresses.iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(text: &str) -> Addresses {
        text.split(' ')
            .map(|ip| ip.parse::<std::net::IpAddr>().unwrap())
            .collect()
    }

    #[test]
    fn outcomes_are_printed_on_one_line() {
        let before = addresses("10.0.0.5 fd00::5");
        let after = addresses("10.0.0.6 fd00::5");
        let revision = 42;
        let attributes = Attributes {
            comment: Some("rack 3".to_owned()),
            expires_after: None,
        };
        for (outcome, words) in [
            (
                Outcome::Described {
                    attributes,
                    revision,
                },
                "comment set, revision 42",
            ),
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
