//! What is known of each record, and which of them a pass reports.

use silo_shared::silo::{Addresses, Family};

use super::contest::Contest;
use crate::agent::{Scope, Seen};

/// Why a pass is made, which decides what it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// At the start, and after the configuration was read again: everything is compared.
    Everything,
    /// After a failure: only the records that failed.
    Retry,
    /// The hub is to see that this machine is alive.
    Heartbeat,
    /// This machine's addresses may have changed: only records whose addresses differ are compared.
    Addresses,
    /// Others have changed these records at the hub.
    Corrections(Vec<usize>),
}

/// What is known of one record.
#[derive(Debug, Default)]
pub(super) struct Tracked {
    /// What the last pass saw; `None`: nothing could be reported.
    pub(super) known: Option<Seen>,
    /// Whether something of the last pass failed.
    pub(super) is_failing: bool,
    pub(super) contest: Contest,
}

impl Tracked {
    /// Whether it is tried again after a pause. One over which another agent fights waits for the heartbeat: each try
    /// would correct it.
    pub(super) fn is_retried(&self) -> bool {
        self.is_failing && self.contest.corrects_at_once()
    }
}

/// Whether the hub has another address of a family that this agent reports.
pub(super) fn is_changed(known: &Seen, held: &Addresses) -> bool {
    [Family::V4, Family::V6].into_iter().any(|family| {
        known.found.get(family).is_some() && known.after.get(family) != held.get(family)
    })
}

/// Which records a pass reports.
pub(super) struct Wanted<'a> {
    pub(super) tracked: &'a [Tracked],
    pub(super) reason: &'a Reason,
}

impl Scope for Wanted<'_> {
    fn includes(&self, at: usize) -> bool {
        match self.reason {
            Reason::Everything | Reason::Heartbeat | Reason::Addresses => true,
            Reason::Retry => self.tracked[at].is_retried(),
            Reason::Corrections(wrong) => wrong.contains(&at),
        }
    }

    fn needs_report(&self, at: usize, found: &Addresses) -> bool {
        match self.reason {
            Reason::Everything | Reason::Retry | Reason::Heartbeat | Reason::Corrections(_) => true,
            Reason::Addresses => {
                let known = self.tracked[at].known;
                known.is_none_or(|known| known.found != *found)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(text: &str) -> Addresses {
        let words = text.split_whitespace();
        words
            .map(|ip| ip.parse::<std::net::IpAddr>().unwrap())
            .collect()
    }

    #[test]
    fn only_families_that_this_agent_reports_are_corrected() {
        for (found, after, held, changed) in [
            ("10.0.0.5", "10.0.0.5", "10.0.0.5", false),
            ("10.0.0.5", "10.0.0.5", "10.0.0.6", true),
            ("10.0.0.5", "10.0.0.5", "", true),
            ("10.0.0.5", "10.0.0.5", "fd00::5", true),
            ("10.0.0.5", "10.0.0.5 fd00::5", "10.0.0.5", false),
            ("10.0.0.5", "10.0.0.5", "10.0.0.5 fd00::6", false),
            // The hub has a suffix of its own.
            ("2001:db8::1", "2001:db8::5", "2001:db8::5", false),
            ("2001:db8::1", "2001:db8::5", "2001:db8::1", true),
        ] {
            let known = Seen {
                found: addresses(found),
                before: Addresses::default(),
                after: addresses(after),
            };
            let case = format!("{found}, {after}, {held}");
            assert_eq!(is_changed(&known, &addresses(held)), changed, "{case}");
        }
    }
}
