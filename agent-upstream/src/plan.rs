//! Decides what a run does about one hostname, from the addresses found and the hub's record.

use std::time::Duration;

use jiff::Timestamp;
use silo_shared::api::RecordDocument;
use silo_shared::silo::{Addresses, Family};

use crate::record::Attributes;

/// A record last seen by the hub longer ago than this is reported even without a change.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(10 * 60);

/// The action for one hostname; decided before anything is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// The hub has no such record.
    Create,
    /// The hub has other addresses.
    Change,
    /// The hub has these addresses, but other attributes.
    Describe,
    /// The hub has these addresses, but last received them a while ago.
    Heartbeat,
    /// The hub has these addresses, and received them recently.
    Unchanged,
}

impl Plan {
    /// Compares the addresses found and the configured attributes with the hub's record. Families that were not found
    /// and attributes that are not configured are ignored: the hub keeps them.
    pub(crate) fn of(
        found: &Addresses,
        attributes: &Attributes,
        record: Option<&RecordDocument>,
        now: Timestamp,
        heartbeat: Duration,
    ) -> Self {
        let Some(record) = record else {
            return Self::Create;
        };
        if !holds(record, found) {
            return Self::Change;
        }
        if !attributes.not_in(Some(record)).is_empty() {
            return Self::Describe;
        }
        // A wrong clock, here or at the hub, causes an additional report, never a missing one.
        let fresh = record
            .last_seen
            .parse::<Timestamp>()
            .is_ok_and(|seen| now.duration_since(seen).unsigned_abs() <= heartbeat);
        if fresh {
            Self::Unchanged
        } else {
            Self::Heartbeat
        }
    }
}

/// Whether the record has each of these addresses.
pub(crate) fn holds(record: &RecordDocument, addresses: &Addresses) -> bool {
    let held = addresses_of(record);
    [Family::V4, Family::V6]
        .into_iter()
        .all(|family| addresses.get(family).is_none() || addresses.get(family) == held.get(family))
}

/// The addresses of a record.
pub(crate) fn addresses_of(record: &RecordDocument) -> Addresses {
    record.ips.iter().map(|ip| ip.to_canonical()).collect()
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
            ("10.0.0.5", "10.0.0.5", fresh, Plan::Unchanged),
            ("10.0.0.5", "10.0.0.6", fresh, Plan::Change),
            ("10.0.0.5", "10.0.0.5 fd00::5", fresh, Plan::Unchanged),
            ("fd00::5", "10.0.0.5 fd00::5", fresh, Plan::Unchanged),
            ("fd00::6", "10.0.0.5 fd00::5", fresh, Plan::Change),
            ("10.0.0.5 fd00::5", "10.0.0.5", fresh, Plan::Change),
            ("10.0.0.5", "fd00::5", fresh, Plan::Change),
            (
                "10.0.0.5",
                "10.0.0.5",
                "2026-01-02T03:10:00Z",
                Plan::Unchanged,
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
            let planned = planned(found, &Attributes::default(), Some(&record));
            assert_eq!(planned, plan, "{found} {stored} {last_seen}");
        }
        assert_eq!(
            planned("10.0.0.5", &Attributes::default(), None),
            Plan::Create
        );
    }

    fn planned(found: &str, attributes: &Attributes, record: Option<&RecordDocument>) -> Plan {
        let now = NOW.parse().unwrap();
        Plan::of(&addresses(found), attributes, record, now, HEARTBEAT)
    }

    #[test]
    fn only_configured_attributes_count() {
        let ours = |comment: Option<&str>, expires_after| Attributes {
            comment: comment.map(str::to_owned),
            expires_after,
        };
        let fresh = "2026-01-02T03:19:00.000Z";
        for (configured, stored, plan) in [
            (ours(None, None), ours(None, None), Plan::Unchanged),
            (
                ours(None, None),
                ours(Some("x"), Some(3600)),
                Plan::Unchanged,
            ),
            (
                ours(Some("x"), None),
                ours(Some("x"), Some(3600)),
                Plan::Unchanged,
            ),
            (ours(Some("x"), None), ours(None, None), Plan::Describe),
            (ours(Some("x"), None), ours(Some("y"), None), Plan::Describe),
            (
                ours(None, Some(3600)),
                ours(None, Some(7200)),
                Plan::Describe,
            ),
            (
                ours(None, Some(3600)),
                ours(Some("x"), Some(3600)),
                Plan::Unchanged,
            ),
        ] {
            let record = RecordDocument {
                comment: stored.comment.clone(),
                expires_after: stored.expires_after,
                ..record("10.0.0.5", fresh)
            };
            let case = format!("{configured:?} {stored:?}");
            assert_eq!(
                planned("10.0.0.5", &configured, Some(&record)),
                plan,
                "{case}"
            );
            // Addresses and attributes are sent together.
            assert_eq!(
                planned("10.0.0.6", &configured, Some(&record)),
                Plan::Change,
                "{case}"
            );
            assert_eq!(
                planned("10.0.0.5", &configured, None),
                Plan::Create,
                "{case}"
            );
        }
    }
}
