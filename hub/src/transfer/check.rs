//! Checks that several kinds of export lines share.

use crate::domain::revision::Revision;
use crate::domain::time::Time;

/// How far a revision may be ahead of the time, in seconds.
pub(super) const MAX_AHEAD: i64 = 86_400;

/// Why a parsed line is rejected.
pub(super) type Wrong = String;

/// The highest revision that an import accepts at a time: revisions are microseconds, and a clock
/// may be a day off. A higher one would raise the counter beyond what an import accepts.
pub(super) fn highest_revision(now: Time) -> Revision {
    Revision::at(now.plus_seconds(MAX_AHEAD)).min(Revision::MAX)
}

/// Rejects an invalid or too high revision.
pub(super) fn check_revision(revision: Revision, highest: Revision) -> Result<(), Wrong> {
    if revision > Revision::NONE && revision <= highest {
        Ok(())
    } else if revision.is_valid() {
        Err(format!(
            "revision {revision} is more than a day ahead of this machine's clock: check the clock here and where the export was made"
        ))
    } else {
        Err(format!("{revision} is not a valid revision"))
    }
}
