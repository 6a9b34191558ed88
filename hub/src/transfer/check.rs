//! What a line of an export must be to be believed, as far as several kinds of lines need it.

use crate::domain::time::Time;

/// Revisions stay below this: JSON readers hold whole numbers up to here.
const MAX_REVISION: i64 = 1 << 53;
/// By how much a revision may be ahead of the time, in seconds.
pub(super) const MAX_AHEAD: i64 = 86_400;

/// Why a line that can be read is not believed.
pub(super) type Wrong = String;

/// The highest revision that an import takes at a time: revisions are microseconds, and a clock may be a day off. A
/// higher one would move the counter to where no export can be read in any more.
pub(super) fn highest_revision(now: Time) -> i64 {
    now.plus_seconds(MAX_AHEAD)
        .as_micros()
        .min(MAX_REVISION - 1)
}

/// Refuses a revision that is none, or is too high.
pub(super) fn check_revision(revision: i64, highest: i64) -> Result<(), Wrong> {
    match revision {
        1.. if revision <= highest => Ok(()),
        1..MAX_REVISION => Err(format!(
            "revision {revision} is more than a day ahead of this machine's clock: is the clock right, here and where the export was made?"
        )),
        _ => Err(format!("{revision} is no revision")),
    }
}
