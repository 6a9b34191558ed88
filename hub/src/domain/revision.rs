//! Revisions, the numbers of changes.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use silo_shared::named_schema;

use super::time::Time;

/// The revision of a change.
///
/// Each command that changes a silo takes the next revision from one counter, which all hubs on a
/// database share. So a revision is never taken twice, and of two commits the later one has the
/// higher revisions. A new database's revisions begin at the Unix time in microseconds
/// ([`Revision::at`]): a reinstalled hub does not reuse a revision that a client holds. A revision is
/// below 2^53, because JSON readers represent integers exactly up to there (RFC 8259 section 6).
///
/// It is a plain integer in JSON and in the database, and the entity tag of a silo.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Revision(i64);

named_schema!(Revision, "Revision", silo_shared::openapi::revision());

impl Revision {
    /// Below the revision of every change.
    pub const NONE: Self = Self(0);
    /// The highest valid revision.
    pub const MAX: Self = Self((1 << 53) - 1);
    /// Above the revision of every change.
    pub const ABOVE_ALL: Self = Self(i64::MAX);

    /// Where the revisions of a database that is created at this time begin.
    pub fn at(time: Time) -> Self {
        Self(time.as_micros())
    }

    /// The revision above this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The revision below this one.
    #[must_use]
    pub fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// Whether a change can have this revision.
    pub fn is_valid(self) -> bool {
        (Self::NONE.next()..=Self::MAX).contains(&self)
    }
}

impl From<i64> for Revision {
    fn from(number: i64) -> Self {
        Self(number)
    }
}

impl From<Revision> for i64 {
    fn from(revision: Revision) -> Self {
        revision.0
    }
}

impl FromStr for Revision {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        text.parse().map(Self)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_have_revisions_that_json_readers_represent_exactly() {
        for (revision, is_valid) in [
            (Revision::from(-1), false),
            (Revision::NONE, false),
            (Revision::NONE.next(), true),
            (Revision::at(Time::from_millis(1_767_323_045_678)), true),
            (Revision::MAX, true),
            (Revision::MAX.next(), false),
            (Revision::ABOVE_ALL, false),
        ] {
            assert_eq!(revision.is_valid(), is_valid, "{revision}");
        }
    }

    #[test]
    fn a_revision_is_a_plain_number_in_json() {
        let revision = Revision::at(Time::from_millis(41));
        assert_eq!(serde_json::to_string(&revision).unwrap(), "41000");
        assert_eq!(serde_json::from_str::<Revision>("41000").unwrap(), revision);
    }
}
