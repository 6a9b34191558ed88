//! Checks that several kinds of export lines share.

use crate::domain::time::Time;

/// Limit of revisions: JSON readers represent integers exactly up to here.
const MAX_REVISION: i64 = 1 << 53;
/// How far a revision may be ahead of the time, in seconds.
pub(super) const MAX_AHEAD: i64 = 86_400;

/// Why a parsed line is rejected.
pub(super) type Wrong = String;

/// The highest revision that an import accepts at a time: revisions are microseconds, and a clock
/// may be a day off. A higher one would raise the counter beyond what an import accepts.
pub(super) fn highest_revision(now: Time) -> i64 {
    now.plus_seconds(MAX_AHEAD)
        .as_micros()
        .min(MAX_REVISION - 1)
}

/// Rejects an invalid or too high revision.
pub(super) fn check_revision(revision: i64, highest: i64) -> Result<(), Wrong> {
    match revision {
        1.. if revision <= highest => Ok(()),
        1..MAX_REVISION => Err(format!(
            "revision {revision} is more than a day ahead of this machine's clock: check the clock here and where the export was made"
        )),
        _ => Err(format!("{revision} is not a valid revision")),
    }
}
