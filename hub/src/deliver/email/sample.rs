//! Events for the tests of this folder.

use std::net::IpAddr;

use silo_shared::silo::{Family, Hostname, SiloId};

use super::super::sink::{Event, EventKind};
use crate::domain::change::AddressChange;
use crate::domain::time::Time;

/// A change of one address; an empty text means no address.
pub(super) fn change(hostname: &str, old: &str, new: &str) -> AddressChange {
    let ip = |text: &str| text.parse::<IpAddr>().ok();
    AddressChange {
        hostname: Hostname::parse(hostname).unwrap(),
        family: Family::of(ip(old).or(ip(new)).unwrap()),
        old: ip(old),
        new: ip(new),
    }
}

/// An event of the silo `office`, `id` seconds after 2026-01-02T03:04:05Z.
pub(super) fn event(id: i64, changes: Vec<AddressChange>) -> Event {
    Event {
        id,
        kind: EventKind::Change,
        silo: SiloId::parse("office").unwrap(),
        revision: 1000 + id,
        at: Time::parse("2026-01-02T03:04:05Z")
            .unwrap()
            .plus_seconds(id),
        via: "rest".to_owned(),
        changes,
        notify: Vec::new(),
        last_seen: None,
        notified: Vec::new(),
        failure: None,
    }
}
