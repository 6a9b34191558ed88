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
use std::time::{Duration, Instant};

use silo_shared::held;

use crate::clock::{Clock, Monotonic};
use crate::in_place::{self, InPlace, Written};
use crate::leftover::{self, takes_no_file};
use crate::merge::{self, Foreign};
use crate::metadata;
use crate::replace_error::{ReplaceError, fail, unsynced};
use crate::replaced::OldFile;
use crate::settle::{self, ATTEMPTS, Stillness, WaitResult};
use crate::snapshot::{Mark, Snapshot};
use crate::staged::{Staged, part_path, temp_path};
use crate::state::{LockedState, sync_folder};
use crate::target::{Target, WaitBudget, refuse_encoding};

/// The delay of the next attempt when no waiting time for a stable file is left; increases each time.
const PAUSE: Duration = Duration::from_millis(100);
/// The minimum wait for a program that was detected while writing.
const LEAST_WAIT: Duration = Duration::from_secs(3);

/// The new contents of the hosts file. A closure that renders them is one.
pub(crate) trait Contents<E> {
    /// The new bytes for the present ones; the same bytes if nothing is to be written. May be called several times.
    fn render(&mut self, bytes: &[u8]) -> Result<Vec<u8>, E>;

    /// Called before each attempt to put the bytes that were rendered last in place. An error prevents it.
    fn before_write(&mut self) -> Result<(), E> {
        Ok(())
    }
}

impl<E, F: FnMut(&[u8]) -> Result<Vec<u8>, E>> Contents<E> for F {
    fn render(&mut self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        self(bytes)
    }
}

/// Contents for files that are text; others are refused.
struct OfText<'a, C> {
    path: &'a Path,
    contents: C,
}

impl<E: From<ReplaceError>, C: Contents<E>> Contents<E> for OfText<'_, C> {
    fn render(&mut self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        refuse_encoding(self.path, bytes)?;
        self.contents.render(bytes)
    }

    fn before_write(&mut self) -> Result<(), E> {
        self.contents.before_write()
    }
}

/// Reads, renders and replaces; repeats this if another program writes meanwhile. Returns whether the file was
/// replaced. Refuses files that are not text.
pub(crate) fn update<E: From<ReplaceError>>(
    target: &Target,
    state: &LockedState,
    in_place: InPlace,
    contents: impl Contents<E>,
) -> Result<bool, E> {
    let path = &target.path;
    update_any(target, state, in_place, OfText { path, contents })
}

/// The same for a file with any bytes.
pub(crate) fn update_any<E: From<ReplaceError>>(
    target: &Target,
    state: &LockedState,
    in_place: InPlace,
    contents: impl Contents<E>,
) -> Result<bool, E> {
    update_by(&Monotonic, target, state, in_place, contents)
}

/// The same, with this clock for the pauses between attempts.
fn update_by<E: From<ReplaceError>>(
    clock: &impl Clock,
    target: &Target,
    state: &LockedState,
    in_place: InPlace,
    mut contents: impl Contents<E>,
) -> Result<bool, E> {
    let path = &target.path;
    leftover::clear(target, state)?;
    let mut wait_budget = target.wait_budget.clone();
    let mut foreign: Option<Foreign> = None;
    let mut attempt = 0;
    while attempt < ATTEMPTS {
        let old = target.read()?;
        let mut input = match &foreign {
            Some(foreign) => foreign.merged_into(&old.bytes),
            None => old.bytes.clone(),
        };
        let rendered = contents.render(&input).or_else(|error| match &foreign {
            Some(Foreign {
                torn: Some(torn), ..
            }) => {
                input.clone_from(torn);
                contents.render(torn)
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
        contents.before_write()?;
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

/// Creates a deleted hosts file, or a file of our own (mode 0644); fails if there is one.
pub(crate) fn create(path: &Path, state: &LockedState, bytes: &[u8]) -> Result<(), ReplaceError> {
    let not_made = |cause| ReplaceError::NotMade {
        path: path.to_owned(),
        cause,
    };
    let temp = temp_path(path, state);
    leftover::remove(&part_path(&temp))?;
    let staged = Staged::write(&temp, None, bytes).map_err(|(_, cause)| not_made(cause))?;
    metadata::set_default_mode(&staged.file).map_err(not_made)?;
    staged.file.sync_all().map_err(not_made)?;
    // Unlike a rename, a link does not replace a file that another program creates meanwhile.
    fs::hard_link(staged.path(), path).map_err(not_made)?;
    drop(staged);
    // Programs that watch the folder, such as dnsmasq, wait until a new file was written and closed; a link is not.
    drop(held::retry(|| OpenOptions::new().append(true).open(path)));
    let folder = path.parent().unwrap_or(Path::new("/"));
    sync_folder(folder).map_err(|cause| unsynced(folder, "syncing the folder", cause))
}

/// Removes a file of our own.
pub(crate) fn remove_file(target: &Target) -> Result<(), ReplaceError> {
    let path = &target.path;
    held::remove(path).map_err(|cause| fail(path, "remove it", cause))?;
    sync_folder(target.folder())
        .map_err(|cause| fail(path, "sync the folder after its removal", cause))
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
    // Distinguishes a mount point from a file that can't be written.
    if let Err(write_error) = in_place::probe(&target.path) {
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
    for look in [Look::AtOnce, Look::Last] {
        if let Look::Last = look {
            wait_budget.pause_in_place();
        }
        let now = Snapshot::take(path)
            .or_else(|_| Snapshot::take(path))
            .map_err(|cause| unsynced(path, "reading it back", cause))?;
        if now.bytes == new {
            state.note_left(path, &Mark::of(&now))?;
            continue;
        }
        let before = Mark::of_bytes(new);
        let limit = wait_budget.left().max(LEAST_WAIT);
        let found = settle::wait(
            &Monotonic,
            || Snapshot::look(path),
            Some(&before),
            Stillness::FOUND,
            limit,
        )
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
    let mut staged = Staged::write(&temp, Some(path), new).map_err(|(step, cause)| {
        if takes_no_file(&cause) {
            Refused::NoRename(step, cause)
        } else {
            finally(step, cause)
        }
    })?;
    metadata::copy(path, &staged.file, staged.path()).map_err(|(step, cause)| {
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
    let held_since = Instant::now();
    let out = loop {
        match old.still_there(path, wait_budget.is_growing) {
            Ok(true) => {}
            Ok(false) => return Ok(Attempt::Changed),
            Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(Attempt::Changed),
            Err(cause) => return Err(finally("inspect it again", cause)),
        }
        match put_over(&mut staged, path, &temp) {
            // On Windows a program has it open. It may have written it by the time it closes it.
            Err((_, cause))
                if held::may_be_held(&cause) && held_since.elapsed() < held::PATIENCE =>
            {
                std::thread::sleep(PAUSE);
            }
            Err((step, cause)) if is_no_rename(&cause) => {
                return Err(Refused::NoRename(step, cause));
            }
            Err((step, cause)) => return Err(finally(step, cause)),
            Ok(out) => break out,
        }
    };
    // From here on, the new file is in place even if a step fails.
    let synced = sync_folder(target.folder());
    let late = |step, cause| Refused::Final(unsynced(path, step, cause));
    let out = out.map_err(|cause| late("opening the file that was there before", cause))?;
    let put = look_after(target, state, old, new, out, wait_budget).map_err(Refused::Final)?;
    synced.map_err(|cause| late("syncing the folder", cause))?;
    Ok(put)
}

/// Exchanges the new file with the one at `path`, or renames it. Returns the file that was there, or why it could not be
/// opened: the new one is in place then.
fn put_over(
    staged: &mut Staged,
    path: &Path,
    temp: &Path,
) -> Result<io::Result<OldFile>, metadata::Failed> {
    let renamed = |cause| ("rename the new file over it", cause);
    if staged.exchange(path, temp).map_err(renamed)? {
        return Ok(OldFile::exchanged(temp));
    }
    let old = OldFile::hold(path).map_err(|cause| ("open it", cause))?;
    staged.rename(path).map_err(renamed)?;
    Ok(Ok(old))
}

/// Errors after which writing in place may be possible.
fn is_no_rename(cause: &io::Error) -> bool {
    let kinds = [ErrorKind::ResourceBusy, ErrorKind::CrossesDevices];
    takes_no_file(cause) || kinds.contains(&cause.kind())
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
            Look::Later => wait_budget.pause_in_place(),
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
    Ok(if now.bytes.starts_with(new) {
        Attempt::Done
    } else {
        Attempt::Changed
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
    let present = held::read(path)?;
    let Some(tail) = merge::appended(before, after, &present) else {
        return Ok(false);
    };
    let mut file = held::retry(|| OpenOptions::new().append(true).open(path))?;
    io::Write::write_all(&mut file, tail)?;
    file.sync_all()?;
    Ok(true)
}

#[cfg(test)]
#[path = "replace_tests.rs"]
mod tests;

#[cfg(all(test, windows))]
#[path = "replace_windows_tests.rs"]
mod windows_tests;
