//! A file of our own for a DNS server: the whole file is ours, unlike the hosts file, in which we have blocks.
//!
//! The first line says that we keep the file and in which format. The lines of each silo follow a comment with its id,
//! so that a silo that can't be pulled keeps its lines, also if the state folder is lost. `own_text` reads and writes
//! such a file, `own_plan` plans it, `checkconf` asks unbound about a new one, and this module finds, creates and
//! removes it.

use std::path::Path;

use silo_shared::output::Output;
use silo_shared::silo::SiloId;

use crate::agent_error::{AgentError, markers};
use crate::checkconf;
use crate::format::Format;
use crate::own_text::{encode, pairs, sections};
use crate::plan::NoPlan;
use crate::recover::recover;
use crate::replace;
use crate::replace_error::ReplaceError;
use crate::settings::Settings;
use crate::state::{LockedState, StateDir};
use crate::target::{Target, deleted_path};

/// The file to update. One of our own need not exist yet.
pub(crate) fn find(settings: &Settings) -> Result<Target, AgentError> {
    match Target::find(&settings.hosts_file) {
        Err(ReplaceError::Missing(path)) if settings.format.is_some() => {
            Ok(Target::at(deleted_path(&path).map_err(|_| {
                let cause = std::io::ErrorKind::NotFound.into();
                ReplaceError::NotMade { path, cause }
            })?))
        }
        found => Ok(found?),
    }
}

/// The bytes of the file; a missing file of our own is empty.
pub(crate) fn read(settings: &Settings, target: &Target) -> Result<Vec<u8>, ReplaceError> {
    match target.read_text() {
        Err(ReplaceError::Missing(_)) if settings.format.is_some() => Ok(Vec::new()),
        read => read,
    }
}

/// Opens the state folder; a file of our own has its own responses in it.
pub(crate) fn state_dir(settings: &Settings) -> Result<StateDir, AgentError> {
    let state = StateDir::open(&settings.state_dir)?;
    match settings.format {
        None => Ok(state),
        Some(_) => Ok(state.scoped_to(find(settings)?.path())),
    }
}

/// Creates a missing file of our own, without names.
pub(crate) fn create_missing(
    settings: &Settings,
    target: &Target,
    state: &StateDir,
) -> Result<(), AgentError> {
    let Some(format) = settings.format.filter(|_| !target.path().exists()) else {
        return Ok(());
    };
    let locked = state.lock()?;
    if target.path().exists() {
        return Ok(());
    }
    let bytes = encode(format, &[], None);
    replace::create(target.path(), &locked, &bytes)?;
    Ok(locked.note_created(target.path(), &bytes)?)
}

/// Asks the DNS server's own program about a new file, before it is put in place.
pub(crate) fn verify(
    settings: &Settings,
    state: &LockedState,
    old: &[u8],
    new: &[u8],
) -> Result<(), AgentError> {
    if settings.format == Some(Format::Unbound) && old != new {
        checkconf::check(state, &settings.hosts_file, new)?;
    }
    Ok(())
}

/// Removes the configured silos' lines from a file of our own, or with `all` those of every silo; removes the file if no
/// silo is left in it.
pub(crate) fn clean(
    settings: &Settings,
    format: Format,
    all: bool,
    output: &Output,
) -> Result<bool, AgentError> {
    let silos = if all { &[] } else { settings.some_silos()? };
    let target = find(settings)?;
    let path = target.path();
    let shown = path.display();
    let locked = StateDir::open(&settings.state_dir)?.lock()?;
    if !path.exists() {
        output.print_unless_quiet(format!("{shown}: no such file"));
        return forget(settings, &locked, path, |silo| all || silos.contains(silo));
    }
    recover(&target, &locked, settings.in_place)?;
    let Some(present) = sections(&target.read()?.bytes) else {
        return Err(markers(&target, NoPlan::NotOurs));
    };
    let goes = |silo: &SiloId| all || silos.contains(silo);
    if present.iter().all(|section| goes(&section.silo)) {
        replace::remove_file(&target)?;
        output.print(format!("{shown}: removed"));
    } else {
        replace::update(&target, &locked, settings.in_place, |bytes: &[u8]| {
            let present = sections(bytes).ok_or_else(|| markers(&target, NoPlan::NotOurs))?;
            let kept: Vec<_> = pairs(&present)
                .into_iter()
                .filter(|(silo, _)| !goes(silo))
                .collect();
            let new = encode(format, &kept, settings.suffix.as_ref());
            verify(settings, &locked, bytes, &new)?;
            Ok::<_, AgentError>(new)
        })?;
        for section in present.iter().filter(|section| goes(&section.silo)) {
            output.print(format!("{}: removed from {shown}", section.silo));
        }
    }
    forget(settings, &locked, path, goes)
}

/// Forgets what was written of silos that are no longer in the file.
fn forget(
    settings: &Settings,
    locked: &LockedState,
    path: &Path,
    goes: impl Fn(&SiloId) -> bool,
) -> Result<bool, AgentError> {
    let mut notes = locked.notes(path, |name| settings.wants(name))?;
    let before = notes.clone();
    for silo in notes.written().into_keys().filter(|silo| goes(silo)) {
        notes.cleaned(&silo);
    }
    if notes != before {
        locked.put_notes(path, &notes)?;
    }
    Ok(true)
}
