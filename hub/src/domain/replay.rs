//! Replays a silo's history from a revision to the present, to find the silo's content at that revision.

use std::collections::BTreeMap;
use std::net::IpAddr;

use silo_shared::silo::{Family, Hostname, Records};
use thiserror::Error;

use crate::domain::revision::Revision;

/// One address of a record: a hostname has at most one of each family.
pub type Slot = (Hostname, Family);

/// A row of the history, with the columns that a replay needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayRow {
    /// The revision of the command that made the change.
    pub revision: Revision,
    /// Which address changed.
    pub slot: Slot,
    /// The address before.
    pub old: Option<IpAddr>,
    /// The address after.
    pub new: Option<IpAddr>,
}

/// Why a history can't be replayed: rows are missing, or belong to another silo's past.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unfitting {
    /// The first row whose `old_ip` differs from the result of the rows before it.
    #[error(
        "the row of revision {} for {} has old_ip {}, but the rows before it lead to {}",
        row.revision, row.slot.0, in_words(row.old), in_words(*held)
    )]
    Row {
        /// The row.
        row: ReplayRow,
        /// The result of the rows before it.
        held: Option<IpAddr>,
    },
    /// The result of the rows differs from the silo's current address.
    #[error(
        "the rows lead to {} for {}, but the silo holds {}",
        in_words(*held), slot.0, in_words(*present)
    )]
    Present {
        /// The address.
        slot: Slot,
        /// The result of the rows.
        held: Option<IpAddr>,
        /// The silo's current address.
        present: Option<IpAddr>,
    },
}

fn in_words(address: Option<IpAddr>) -> String {
    address.map_or_else(|| "null".to_owned(), |ip| ip.to_string())
}

/// A replay in progress. Addresses without rows have their current value.
#[derive(Clone, Debug)]
pub struct Replay {
    /// The addresses at the revision where the replay begins.
    at: BTreeMap<Slot, Option<IpAddr>>,
    /// The result of the rows so far.
    held: BTreeMap<Slot, Option<IpAddr>>,
}

impl Replay {
    /// Begins with the addresses of the last rows up to the revision.
    pub fn begin(at: BTreeMap<Slot, Option<IpAddr>>) -> Self {
        Self {
            held: at.clone(),
            at,
        }
    }

    /// Applies the next row after the revision.
    pub fn follow(&mut self, row: &ReplayRow) -> Result<(), Unfitting> {
        match self.held.insert(row.slot.clone(), row.new) {
            Some(held) if held != row.old => Err(Unfitting::Row {
                row: row.clone(),
                held,
            }),
            Some(_) => Ok(()),
            // Its earlier rows were purged after their retention, or there were none.
            None => {
                self.at.insert(row.slot.clone(), row.old);
                Ok(())
            }
        }
    }

    /// Ends at the current records; returns the silo's content at the revision.
    pub fn end(self, mut records: Records) -> Result<Records, Unfitting> {
        for ((hostname, family), held) in self.held {
            let present = records
                .get(&hostname)
                .and_then(|addresses| addresses.get(family));
            if present != held {
                return Err(Unfitting::Present {
                    slot: (hostname, family),
                    held,
                    present,
                });
            }
        }
        for ((hostname, family), held) in self.at {
            let addresses = records.entry(hostname).or_default();
            match held {
                Some(ip) => {
                    addresses.set(ip);
                }
                None => addresses.clear(family),
            }
        }
        records.retain(|_, addresses| !addresses.is_empty());
        Ok(records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Option<IpAddr> {
        (!text.is_empty()).then(|| text.parse().unwrap())
    }

    fn slot(hostname: &str, ip: &str, other: &str) -> Slot {
        let family = Family::of(address(ip).or(address(other)).unwrap());
        (Hostname::parse(hostname).unwrap(), family)
    }

    fn records(rows: &[(&str, &str)]) -> Records {
        let mut records = Records::new();
        for (hostname, ip) in rows {
            let addresses = records.entry(Hostname::parse(hostname).unwrap());
            addresses.or_default().set(ip.parse().unwrap());
        }
        records
    }

    /// Hostname, old, new: one revision per row, from 1.
    type Rows<'a> = &'a [(&'a str, &'a str, &'a str)];

    fn replay(
        before: &[(&str, &str, Family)],
        rows: Rows,
        present: &[(&str, &str)],
    ) -> Result<Records, Unfitting> {
        let before = before.iter().map(|(hostname, ip, family)| {
            ((Hostname::parse(hostname).unwrap(), *family), address(ip))
        });
        let mut replay = Replay::begin(before.collect());
        for (revision, (hostname, old, new)) in (1..).zip(rows) {
            replay.follow(&ReplayRow {
                revision: Revision::from(revision),
                slot: slot(hostname, old, new),
                old: address(old),
                new: address(new),
            })?;
        }
        replay.end(records(present))
    }

    #[test]
    fn a_whole_history_leads_back() {
        type Pairs = &'static [(&'static str, &'static str)];
        type Case = (
            &'static [(&'static str, &'static str, Family)],
            Rows<'static>,
            Pairs,
            Pairs,
        );
        let cases: [Case; 6] = [
            (&[], &[], &[("a", "10.0.0.1")], &[("a", "10.0.0.1")]),
            (&[], &[("a", "", "10.0.0.1")], &[("a", "10.0.0.1")], &[]),
            (&[], &[("a", "10.0.0.1", "")], &[], &[("a", "10.0.0.1")]),
            (
                &[("a", "10.0.0.1", Family::V4)],
                &[("a", "10.0.0.1", "10.0.0.2"), ("a", "10.0.0.2", "10.0.0.3")],
                &[("a", "10.0.0.3")],
                &[("a", "10.0.0.1")],
            ),
            // The families of a hostname are independent.
            (
                &[("a", "", Family::V4)],
                &[("a", "fd00::1", "fd00::2"), ("a", "", "10.0.0.1")],
                &[("a", "fd00::2"), ("a", "10.0.0.1")],
                &[("a", "fd00::1")],
            ),
            // Removed before, and still absent.
            (
                &[("a", "", Family::V4)],
                &[],
                &[("b", "10.0.0.1")],
                &[("b", "10.0.0.1")],
            ),
        ];
        for (before, rows, present, wanted) in cases {
            let led = replay(before, rows, present);
            assert_eq!(led, Ok(records(wanted)), "{before:?} {rows:?}");
        }
    }

    #[test]
    fn the_first_row_that_does_not_fit_is_named() {
        let said = |before: &[(&str, &str, Family)], rows, present| {
            replay(before, rows, present).unwrap_err().to_string()
        };
        let known = [("a", "10.0.0.1", Family::V4)];
        assert_eq!(
            said(&known, &[("a", "", "10.0.0.2"), ("a", "", "10.0.0.3")], &[]),
            "the row of revision 1 for a has old_ip null, but the rows before it lead to 10.0.0.1"
        );
        assert_eq!(
            said(&[], &[("a", "", "10.0.0.2"), ("a", "10.0.0.9", "")], &[]),
            "the row of revision 2 for a has old_ip 10.0.0.9, but the rows before it lead to 10.0.0.2"
        );
        assert_eq!(
            said(&known, &[], &[]),
            "the rows lead to 10.0.0.1 for a, but the silo holds null"
        );
    }
}
