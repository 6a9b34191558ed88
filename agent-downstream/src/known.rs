//! What earlier runs have left in the file.

use silo_shared::silo::SiloId;

use crate::notes::{Notes, RunTime};
use crate::plan::Known;
use crate::run_time::run_time;
use crate::settings::Settings;
use crate::state::{StateDir, StateError};
use crate::target::Target;

/// What earlier runs left in the file, as notes of this state folder know it.
pub(crate) fn known_of(notes: &Notes, silos: &[SiloId], at: RunTime) -> Known {
    Known {
        written: notes.written(),
        stale: notes.stale(silos, at),
    }
}

/// The same for commands that change nothing: without a state folder, nothing is known.
pub(crate) fn known_without_lock(
    settings: &Settings,
    target: &Target,
) -> Result<Known, StateError> {
    let Some(state) = StateDir::existing(&settings.state_dir)? else {
        return Ok(Known::default());
    };
    let notes = state.notes(target.path(), |name| settings.wants(name))?;
    Ok(known_of(&notes, &settings.silos, run_time()))
}
