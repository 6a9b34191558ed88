//! Why a whole pull is refused.

use std::fmt;
use std::net::IpAddr;

use silo_shared::silo::{Hostname, MAX_RECORDS};
use thiserror::Error;

use super::skipped::Reason;

/// Why a whole pull is refused; the block stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum Refusal {
    /// More records than a silo may hold.
    #[error("the hub sent {0} records, more than the {MAX_RECORDS} that a silo may hold")]
    TooMany(usize),
    /// `conflicts: refuse`.
    #[error("{name} is defined elsewhere ({reason}) and `policy.conflicts` is `refuse`")]
    Conflict {
        /// The first such name.
        name: Hostname,
        /// Where it is defined.
        reason: Reason,
    },
    /// Lines that look like ours, but are unknown to the state folder.
    #[error("{} in the form that this program writes, but not recorded in the state folder: run `once --adopt` to move such lines into the block, remove them, or keep them with `policy.conflicts: skip`", found(.0))]
    Unclaimed(Vec<FoundLine>),
    /// Too many names removed at once.
    #[error(
        "the hub dropped {dropped} of {present} names (or lists them with refused addresses, or in another silo), more than `policy.max_removed` allows ({percent} %): if this is intended, run once with --force"
    )]
    Dropped {
        /// The number of names that the block loses through the hub.
        dropped: usize,
        /// The number of names in the block.
        present: usize,
        /// The limit.
        percent: u8,
    },
}

/// A line of the hosts file with one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FoundLine {
    /// Counted from 1.
    pub(crate) line: usize,
    /// The address.
    pub(crate) ip: IpAddr,
    /// The name.
    pub(crate) name: Hostname,
}

impl fmt::Display for FoundLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} (`{} {}`)", self.line, self.ip, self.name)
    }
}

/// The maximum number of lines listed in one message.
const NAMED_LINES: usize = 5;

fn found(lines: &[FoundLine]) -> String {
    let named: Vec<String> = lines
        .iter()
        .take(NAMED_LINES)
        .map(ToString::to_string)
        .collect();
    let named = named.join(", ");
    match lines.len() {
        1 => format!("{named} is a record of this silo"),
        2..=NAMED_LINES => format!("{named} are records of this silo, each"),
        count => format!(
            "{named} and {} more are records of this silo, each",
            count - NAMED_LINES
        ),
    }
}
