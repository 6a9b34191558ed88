//! What a killed run has left beside the hosts file.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use silo_shared::held;

use crate::read_only;
use crate::replace_error::{ReplaceError, fail};
use crate::staged::{self, part_path};
use crate::state::LockedState;
use crate::target::Target;

/// Errors for a folder in which no file can be created: read-only, or not ours.
pub(crate) fn takes_no_file(cause: &io::Error) -> bool {
    matches!(
        cause.kind(),
        ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied
    )
}

/// Removes the leftover of a killed run next to the hosts file. If this program can't have written it, it is a replaced
/// hosts file with changes of another program, and is kept.
pub(crate) fn clear(target: &Target, state: &LockedState) -> Result<(), ReplaceError> {
    let temp = target.temp_path(state);
    // Perhaps incomplete, and never visible to other programs as the hosts file.
    let part = part_path(&temp);
    restore_read_only(&part, &target.path)?;
    remove(&part)?;
    let is_file = fs::symlink_metadata(&temp).is_ok_and(|found| found.is_file());
    let bytes = match is_file.then(|| held::read(&temp)).transpose() {
        Ok(bytes) => bytes,
        Err(cause) if cause.kind() == ErrorKind::NotFound || takes_no_file(&cause) => None,
        Err(cause) => return Err(fail(&temp, "read what a killed run left", cause)),
    };
    if let Some(bytes) = bytes
        && !state.knows(&target.path, &bytes)?
    {
        state.put_backup(&target.path, &bytes)?;
        tracing::warn!(
            "{}: left by an interrupted run and changed by another program since: kept as {}",
            temp.display(),
            state.backup_path(&target.path).display()
        );
    }
    remove(&temp)
}

/// Removes a file left by a killed run.
pub(crate) fn remove(path: &Path) -> Result<(), ReplaceError> {
    match staged::remove(path) {
        Ok(()) => {
            tracing::info!("{}: left by an interrupted run; removed", path.display());
            Ok(())
        }
        Err(cause) if cause.kind() == ErrorKind::NotFound || takes_no_file(&cause) => Ok(()),
        Err(cause) => Err(fail(path, "remove what a killed run left", cause)),
    }
}

/// Makes the hosts file read-only again if a run was killed after it had cleared that: the file that it left is.
fn restore_read_only(part: &Path, hosts: &Path) -> Result<(), ReplaceError> {
    if read_only::is_set(part) {
        read_only::set(hosts, true)
            .map_err(|cause| fail(hosts, "make it read-only again", cause))?;
    }
    Ok(())
}
