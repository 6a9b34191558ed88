//! Finishes what an interrupted run has left.

use crate::in_place::{self, InPlace, InPlaceError};
use crate::state::LockedState;
use crate::target::Target;

/// Completes an interrupted write in place, if writing in place is allowed.
pub(crate) fn recover(
    target: &Target,
    locked: &LockedState,
    allowed: InPlace,
) -> Result<(), InPlaceError> {
    if in_place::recover(target.path(), locked, allowed)? {
        tracing::info!(
            "{}: finished the write of an interrupted run",
            target.path().display()
        );
    }
    Ok(())
}
