//! Reports one hostname to the hub, and removes an address whose family is missing.

use std::fmt::{self, Display};
use std::net::IpAddr;

use jiff::Timestamp;
use silo_shared::client::HubClient;
use silo_shared::output::{Output, one_line};
use silo_shared::silo::{Addresses, Family, Hostname};

use crate::discover::Found;
use crate::discover::select::Selection;
use crate::forget::{self, ForgetAfter};
use crate::plan::{Plan, addresses_of, holds};
use crate::report_error::ReportError;
use crate::settings::Settings;
use crate::state::{Memory, monotonic_ms};

/// The result for one hostname.
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
    /// The record did not change.
    Unchanged {
        /// Its addresses.
        addresses: Addresses,
    },
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
    after: Addresses,
    /// The record's entity tag.
    tag: Option<String>,
}

impl Report {
    /// Whether the record got another address of this family.
    pub(crate) fn changed(&self, family: Family) -> bool {
        self.before.get(family) != self.after.get(family)
    }
}

/// Reports one hostname, unless the hub's record is up to date.
pub(crate) async fn report(
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
    let (record, tag) = client
        .set_addresses(&settings.silo, hostname, chosen)
        .await?;
    // With a suffix of its own, the hub's IPv6 address may differ from the one sent.
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

/// Records which families this machine lacks. Removes an address that this agent set and that the record still has, if
/// every run in the configured time found its family missing.
pub(crate) async fn forget(
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
        let is_lacking = found.lacks(family, &report.selection, settings);
        if !is_lacking || !memory.has_set(family, &report.after) {
            // An address that others have set is none that was found here.
            if memory.note_found(family) && !is_lacking {
                output.print(format_args!("{silo}: {hostname}: {family} is found again"));
            }
            continue;
        }
        let (limit, what) = match settings.forget {
            ForgetAfter::Off => (forget::DEFAULT, "forget_family_after is off".to_owned()),
            ForgetAfter::Missing(limit) => (limit, format!("removed after {}", settings.forget)),
        };
        if memory.note_missing(family, monotonic_ms(), limit) {
            output.print(format_args!(
                "{silo}: {hostname}: no {family} address found; {held} stays in the record ({what})"
            ));
        }
        if settings.forget == ForgetAfter::Off || !memory.is_gone(family, limit) {
            continue;
        }
        let known = tag
            .take()
            .ok_or_else(|| client.not_a_hub("the record has no entity tag"))?;
        // If another program has changed the record meanwhile, the next run handles its new state.
        if client.remove_family(silo, hostname, family, &known).await? {
            memory.note_removed(family);
            output.print(format_args!(
                "{silo}: {hostname}: {held} removed, no {family} address was found for {}",
                settings.forget
            ));
        }
        // The tag belonged to the record before the change; at most one family is missing.
    }
    Ok(())
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
