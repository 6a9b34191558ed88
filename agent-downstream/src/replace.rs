//! Replaces the hosts file atomically: it always contains the old or the new bytes, even after a failure.
//!
//! Reads, renders, waits until no other program writes the file ([`crate::settle`]), writes a temporary file next to
//! it, copies the metadata (owner, mode, extended attributes), fsyncs, checks for writes of other programs, exchanges
//! both files (or renames), fsyncs the folder, and checks the replaced file ([`crate::replaced`]): what others wrote
//! into it is merged ([`crate::merge`]) and put in place again. If no rename is possible, and the user allowed it,
//! [`crate::in_place`] writes into the file.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Duration;

use crate::clock::{Clock, Monotonic};
use crate::in_place::{self, InPlace, Written};
use crate::merge::{self, Foreign};
use crate::metadata;
use crate::replace_error::{ReplaceError, fail, unsynced};
use crate::replaced::{LOOK_AGAIN, OldFile};
use crate::settle::{self, ATTEMPTS, WaitResult};
use crate::snapshot::{Mark, Snapshot};
use crate::staged::{Staged, part_path, temp_path};
use crate::state::{LockedState, sync_folder};
use crate::target::{Target, WaitBudget, refuse_encoding};

/// The delay of the next attempt when no waiting time for a stable file is left; increases each time.
const PAUSE: Duration = Duration::from_millis(100);
/// The minimum wait for a program that was detected while writing.
const LEAST_WAIT: Duration = Duration::from_secs(3);

/// Reads, renders and replaces; repeats this if another program writes meanwhile. Returns whether the file was
/// replaced; if `render` returns the bytes that it got, nothing is written. Refuses files that are not text.
pub(crate) fn update<E: From<ReplaceError>>(
    target: &Target,
    state: &LockedState,
    in_place: InPlace,
    mut render: impl FnMut(&[u8]) -> Result<Vec<u8>, E>,
) -> Result<bool, E> {
    update_any(target, state, in_place, |bytes| {
        refuse_encoding(&target.path, bytes)?;
        render(bytes)
    })
}

/// The same for a file with any bytes.
pub(crate) fn update_any<E: From<ReplaceError>>(
    target: &Target,
    state: &LockedState,
    in_place: InPlace,
    render: impl FnMut(&[u8]) -> Result<Vec<u8>, E>,
) -> Result<bool, E> {
    update_by(&Monotonic, target, state, in_place, render)
}

/// The same, with this clock for the pauses between attempts.
fn update_by<E: From<ReplaceError>>(
    clock: &impl Clock,
    target: &Target,
    state: &LockedState,
    in_place: InPlace,
    mut render: impl FnMut(&[u8]) -> Result<Vec<u8>, E>,
) -> Result<bool, E> {
    let path = &target.path;
    clear_leftover(target, state)?;
    let mut wait_budget = target.wait_budget.clone();
    let mut foreign: Option<Foreign> = None;
    let mut attempt = 0;
    while attempt < ATTEMPTS {
        let old = target.read()?;
        let mut input = match &foreign {
            Some(foreign) => foreign.merged_into(&old.bytes),
            None => old.bytes.clone(),
        };
        let rendered = render(&input).or_else(|error| match &foreign {
            Some(Foreign {
                torn: Some(torn), ..
            }) => {
                input.clone_from(torn);
                render(torn)
            }
            _ => Err(error),
        });
        let new = match (rendered, &foreign) {
            (Ok(new), _) => new,
            (Err(error), Some(foreign)) if old.bytes == foreign.put => {
                // The other program's contents are put in place unchanged, although they can't be rendered.
                put(target, state, in_place, &old, &foreign.after, &wait_budget)?;
                return Err(error);
            }
            (Err(error), _) => {
                // It may be an incomplete write of another program.
                if foreign.is_none() && wait_budget.waits(path, state, &old)? {
                    continue;
                }
                return Err(error);
            }
        };
        if new == old.bytes {
            // The file was replaced by an earlier attempt, if there was one.
            return Ok(foreign.is_some() || attempt > 0);
        }
        if foreign.is_none() && wait_budget.waits(path, state, &old)? {
            continue;
        }
        state
            .keep_backup(path, &input, &new)
            .map_err(ReplaceError::from)?;
        attempt += 1;
        match put(target, state, in_place, &old, &new, &wait_budget)? {
            Attempt::Done => return Ok(true),
            Attempt::Changed => {
                tracing::info!(path = %path.display(), "another program changed the hosts file meanwhile; reading it again");
            }
            Attempt::Foreign(mut came_out) => {
                tracing::info!(path = %path.display(), "another program wrote into the file that was replaced; merging it");
                came_out.is_rendered &= input == old.bytes;
                foreign = Some(came_out);
            }
        }
        if attempt < ATTEMPTS && wait_budget.left().is_zero() {
            clock.sleep(PAUSE * attempt);
        }
    }
    Err(ReplaceError::Busy(path.clone()).into())
}

/// Creates a deleted hosts file; fails if there is one.
pub(crate) fn create(path: &Path, state: &LockedState, bytes: &[u8]) -> Result<(), ReplaceError> {
    let not_made = |cause| ReplaceError::NotMade {
        path: path.to_owned(),
        cause,
    };
    let temp = temp_path(path, state);
    remove(&part_path(&temp))?;
    let staged = Staged::write(&temp, bytes).map_err(|(_, cause)| not_made(cause))?;
    metadata::set_default_mode(&staged.file).map_err(not_made)?;
    staged.file.sync_all().map_err(not_made)?;
    // Unlike a rename, a link does not replace a file that another program creates meanwhile.
    fs::hard_link(staged.path(), path).map_err(not_made)?;
    drop(staged);
    let folder = path.parent().unwrap_or(Path::new("/"));
    sync_folder(folder).map_err(|cause| unsynced(folder, "syncing the folder", cause))
}

/// The result of one attempt.
enum Attempt {
    /// The new bytes are in place.
    Done,
    /// Another program wrote: the file must be read again.
    Changed,
    /// The new bytes are in place, and another program wrote into the replaced file.
    Foreign(Foreign),
}

/// One attempt.
fn put(
    target: &Target,
    state: &LockedState,
    in_place: InPlace,
    old: &Snapshot,
    new: &[u8],
    wait_budget: &WaitBudget,
) -> Result<Attempt, ReplaceError> {
    if in_place == InPlace::Always {
        return write_in_place(target, state, old, new, wait_budget);
    }
    let (step, cause) = match rename_over(target, state, old, new, wait_budget) {
        Ok(put) => return Ok(put),
        Err(Refused::Final(error)) => return Err(error),
        Err(Refused::NoRename(step, cause)) => (step, cause),
    };
    // Opening for writing changes nothing, and distinguishes a mount point from a file that can't be written.
    if let Err(write_error) = OpenOptions::new().write(true).open(&target.path) {
        tracing::debug!("not writable in place either: {write_error}");
        let path = target.path.clone();
        return Err(ReplaceError::Protected { path, step, cause });
    }
    if !in_place.is_allowed() {
        let path = target.path.clone();
        return Err(ReplaceError::NeedsInPlace { path, step, cause });
    }
    write_in_place(target, state, old, new, wait_budget)
}

fn write_in_place(
    target: &Target,
    state: &LockedState,
    old: &Snapshot,
    new: &[u8],
    wait_budget: &WaitBudget,
) -> Result<Attempt, ReplaceError> {
    match in_place::write(&target.path, state, old, new)? {
        Written::Changed => Ok(Attempt::Changed),
        Written::Done => look_after_in_place(target, state, old, new, wait_budget),
    }
}

/// Checks whether another program wrote during a write in place: then the file may contain a mixture.
fn look_after_in_place(
    target: &Target,
    state: &LockedState,
    old: &Snapshot,
    new: &[u8],
    wait_budget: &WaitBudget,
) -> Result<Attempt, ReplaceError> {
    let path = &target.path;
    for pause in [Duration::ZERO, LOOK_AGAIN] {
        std::thread::sleep(pause);
        let now = Snapshot::take(path)
            .or_else(|_| Snapshot::take(path))
            .map_err(|cause| unsynced(path, "reading it back", cause))?;
        if now.bytes == new {
            state.note_left(path, &Mark::of(&now))?;
            continue;
        }
        let before = Mark::of_bytes(new);
        let limit = wait_budget.left().max(LEAST_WAIT);
        let found = settle::wait(&Monotonic, || Snapshot::look(path), Some(&before), limit)
            .map_err(|cause| unsynced(path, "reading it back", cause))?;
        let (WaitResult::Stable(now) | WaitResult::Growing(now)) = found else {
            return Err(ReplaceError::Unstable(path.clone()));
        };
        if now.bytes.starts_with(new) {
            return Ok(Attempt::Done);
        }
        state.put_backup(path, &now.bytes)?;
        let present = merge::without_hole(new, &now.bytes);
        return Ok(Attempt::Foreign(Foreign {
            before: old.bytes.clone(),
            after: merge::cut_overhang(new, present)
                .unwrap_or(present)
                .to_vec(),
            torn: Some(merge::add_lines(new, &[&old.bytes], present)),
            put: now.bytes,
            is_rendered: true,
        }));
    }
    Ok(Attempt::Done)
}

/// Why one attempt to rename failed.
enum Refused {
    /// No alternative is left.
    Final(ReplaceError),
    /// Renaming is impossible here; writing in place may be possible.
    NoRename(&'static str, io::Error),
}

fn rename_over(
    target: &Target,
    state: &LockedState,
    old: &Snapshot,
    new: &[u8],
    wait_budget: &WaitBudget,
) -> Result<Attempt, Refused> {
    let path = &target.path;
    let temp = target.temp_path(state);
    let finally = |step, cause| Refused::Final(fail(path, step, cause));
    let mut staged = Staged::write(&temp, new).map_err(|(step, cause)| {
        if takes_no_file(&cause) {
            Refused::NoRename(step, cause)
        } else {
            finally(step, cause)
        }
    })?;
    metadata::copy(path, &staged.file).map_err(|(step, cause)| {
        // EINVAL: the owner has no number in this user namespace (user_namespaces(7)).
        if matches!(
            cause.kind(),
            ErrorKind::PermissionDenied | ErrorKind::InvalidInput
        ) {
            Refused::NoRename(step, cause)
        } else {
            finally(step, cause)
        }
    })?;
    staged
        .file
        .sync_all()
        .map_err(|cause| finally("sync the new file", cause))?;
    match old.still_there(path, wait_budget.is_growing) {
        Ok(true) => {}
        Ok(false) => return Ok(Attempt::Changed),
        Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(Attempt::Changed),
        Err(cause) => return Err(finally("inspect it again", cause)),
    }
    let not_renamed = |cause: io::Error| {
        if takes_no_file(&cause)
            || matches!(
                cause.kind(),
                ErrorKind::ResourceBusy | ErrorKind::CrossesDevices
            )
        {
            Refused::NoRename("rename the new file over it", cause)
        } else {
            finally("rename the new file over it", cause)
        }
    };
    let out = if staged.exchange(path, &temp).map_err(not_renamed)? {
        OldFile::exchanged(&temp)
    } else {
        let held = OldFile::hold(path).map_err(|cause| finally("open it", cause))?;
        staged.rename(path).map_err(not_renamed)?;
        Ok(held)
    };
    // From here on, the new file is in place even if a step fails.
    let synced = sync_folder(target.folder());
    let late = |step, cause| Refused::Final(unsynced(path, step, cause));
    let out = out.map_err(|cause| late("opening the file that was there before", cause))?;
    let put = look_after(target, state, old, new, out, wait_budget).map_err(Refused::Final)?;
    synced.map_err(|cause| late("syncing the folder", cause))?;
    Ok(put)
}

/// Checks the replaced file, at once and a moment later, for writes of other programs.
fn look_after(
    target: &Target,
    state: &LockedState,
    old: &Snapshot,
    new: &[u8],
    mut out: OldFile,
    wait_budget: &WaitBudget,
) -> Result<Attempt, ReplaceError> {
    let path = &target.path;
    let late = |step| move |cause| unsynced(path, step, cause);
    const LOOK: &str = "reading the file that was there before";
    // The part of it that is in the new file.
    let mut merged = old.bytes.clone();
    let mut was_appended = false;
    for look in [Look::AtOnce, Look::Later, Look::Last] {
        match look {
            Look::AtOnce => {}
            Look::Later => std::thread::sleep(LOOK_AGAIN),
            Look::Last => out
                .remove()
                .map_err(late("removing the file that was there before"))?,
        }
        let Some(now) = out.look().map_err(late(LOOK))? else {
            break;
        };
        if now.bytes == merged {
            continue;
        }
        // As the other program would have appended to the new file.
        if append(path, &merged, &now.bytes).map_err(late("appending what was appended to it"))? {
            merged = now.bytes;
            was_appended = true;
            continue;
        }
        let limit = wait_budget.left().max(LEAST_WAIT);
        let after = out
            .settle(&Mark::of(old), limit)
            .map_err(late(LOOK))?
            .ok_or_else(|| ReplaceError::StillWritten {
                path: path.clone(),
                temp: target.temp_path(state),
            })?;
        state.put_backup(path, &after)?;
        out.remove()
            .map_err(late("removing the file that was there before"))?;
        return Ok(Attempt::Foreign(Foreign {
            before: old.bytes.clone(),
            after,
            put: new.to_vec(),
            is_rendered: !was_appended,
            torn: None,
        }));
    }
    let now = Snapshot::take(path).map_err(late("reading it back"))?;
    if now.bytes == new {
        state.note_left(path, &Mark::of(&now))?;
    }
    // Other bytes than those written mean that another program was faster: check again.
    Ok(match now.bytes.starts_with(new) {
        true => Attempt::Done,
        false => Attempt::Changed,
    })
}

/// When the replaced file is checked.
#[derive(Clone, Copy)]
enum Look {
    AtOnce,
    Later,
    /// After its removal, for writes in between.
    Last,
}

/// Appends to the file at `path` what was appended to `before`, if it can be appended in the same way.
fn append(path: &Path, before: &[u8], after: &[u8]) -> io::Result<bool> {
    let present = fs::read(path)?;
    let Some(tail) = merge::appended(before, after, &present) else {
        return Ok(false);
    };
    let mut file = OpenOptions::new().append(true).open(path)?;
    io::Write::write_all(&mut file, tail)?;
    file.sync_all()?;
    Ok(true)
}

/// Errors for a folder in which no file can be created: read-only, or not ours.
fn takes_no_file(cause: &io::Error) -> bool {
    matches!(
        cause.kind(),
        ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied
    )
}

/// Removes the leftover of a killed run next to the hosts file. If this program can't have written it, it is a replaced
/// hosts file with changes of another program, and is kept.
fn clear_leftover(target: &Target, state: &LockedState) -> Result<(), ReplaceError> {
    let temp = target.temp_path(state);
    // Never complete, and never visible to other programs as the hosts file.
    remove(&part_path(&temp))?;
    let is_file = fs::symlink_metadata(&temp).is_ok_and(|found| found.is_file());
    let bytes = match is_file.then(|| fs::read(&temp)).transpose() {
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
fn remove(path: &Path) -> Result<(), ReplaceError> {
    match fs::remove_file(path) {
        Ok(()) => {
            tracing::info!("{}: left by an interrupted run; removed", path.display());
            Ok(())
        }
        Err(cause) if cause.kind() == ErrorKind::NotFound || takes_no_file(&cause) => Ok(()),
        Err(cause) => Err(fail(path, "remove what a killed run left", cause)),
    }
}

#[cfg(test)]
#[path = "replace_tests.rs"]
mod tests;
