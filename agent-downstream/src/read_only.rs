//! The attribute "read-only" of a file on Windows, which keeps the file from being written and from being replaced. It is
//! cleared for that, and set again, also after a run that was killed. Elsewhere there is no such attribute, and a mode
//! does not keep a file from being replaced.

use std::io;
use std::path::Path;

use crate::state::{LockedState, StateError};

/// Whether the file has the attribute.
pub(crate) fn is_set(path: &Path) -> bool {
    cfg!(windows)
        && std::fs::symlink_metadata(path).is_ok_and(|found| found.permissions().readonly())
}

/// Sets or clears the attribute. Returns whether that changed it.
#[cfg(windows)]
pub(crate) fn set(path: &Path, read_only: bool) -> io::Result<bool> {
    let mut permissions = std::fs::metadata(path)?.permissions();
    if permissions.readonly() == read_only {
        return Ok(false);
    }
    permissions.set_readonly(read_only);
    std::fs::set_permissions(path, permissions)?;
    Ok(true)
}

/// Changes nothing.
#[cfg(not(windows))]
pub(crate) fn set(_path: &Path, _read_only: bool) -> io::Result<bool> {
    Ok(false)
}

/// Why the attribute of the hosts file was not changed.
#[derive(Debug)]
pub(crate) enum Failed {
    State(StateError),
    File(io::Error),
}

/// Clears the attribute of the hosts file for a write in place. A note in the state folder says so until [`restore`].
pub(crate) fn clear_for_write(hosts: &Path, state: &LockedState) -> Result<(), Failed> {
    if !is_set(hosts) {
        return Ok(());
    }
    state.note_read_only(hosts).map_err(Failed::State)?;
    set(hosts, false).map_err(Failed::File)?;
    Ok(())
}

/// Sets the attribute again if [`clear_for_write`] has cleared it, in this run or in one that was killed. If that fails,
/// the note stays, and the next run tries again.
pub(crate) fn restore(hosts: &Path, state: &LockedState) -> Result<(), StateError> {
    if !state.was_read_only(hosts) {
        return Ok(());
    }
    match set(hosts, true) {
        Ok(_) => state.forget_read_only(hosts),
        Err(error) => {
            tracing::warn!(
                "{}: cannot make it read-only again: {error}; the next run tries again",
                hosts.display()
            );
            Ok(())
        }
    }
}
