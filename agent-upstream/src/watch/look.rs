//! Whether this machine's addresses have changed.

use crate::agent::Seen;
use crate::discover::{Discovery, OwnAddress, own_addresses};
use crate::settings::Settings;

/// The addresses at the last look from which this machine may reach a hub; `None`: unknown. Lifetimes are not in it:
/// routers renew them all the time. Nor are link-local IPv6 addresses, which come and go without any effect on a
/// connection: polls that wait are made again only for a reason.
#[derive(Debug)]
pub(super) struct Look(Option<Vec<OwnAddress>>);

impl Look {
    /// The present ones.
    pub(super) fn now() -> Self {
        Self(own_addresses())
    }

    /// Whether they differ from the last look.
    pub(super) fn differs(&mut self) -> bool {
        let Some(now) = own_addresses() else {
            return false;
        };
        let before = self.0.replace(now);
        before.is_some() && before != self.0
    }
}

/// Whether the addresses of a record differ from those of the last pass, if this machine alone knows them.
pub(super) async fn differs(
    settings: &Settings,
    known: impl Iterator<Item = Option<Seen>>,
) -> bool {
    let mut discovery = Discovery::new(settings);
    for (record, known) in settings.records.iter().zip(known) {
        // If the last pass failed, it is tried again anyway.
        let Some(known) = known.filter(|_| record.sources.are_local()) else {
            continue;
        };
        let found = match discovery.find(record).await {
            Ok(found) => found.select(record, None).ok(),
            Err(_) => None,
        };
        if found.is_none_or(|found| found.chosen != known.found) {
            return true;
        }
    }
    false
}
