//! The present hosts file: its path, its bytes at one moment, and whether another program is writing it.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use silo_shared::folders::real;

use crate::clock::Monotonic;
use crate::progress::Progress;
use crate::replace_error::{ReplaceError, fail};
use crate::replaced::LOOK_AGAIN;
use crate::settle::{self, Stillness, WaitResult};
use crate::snapshot::{Mark, Snapshot};
use crate::staged::temp_path;
use crate::state::{LockedState, StateDir};

/// An existing hosts file, with symbolic links resolved.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) path: PathBuf,
    pub(crate) wait_budget: WaitBudget,
}

/// What a run has learned while waiting for other programs.
#[derive(Clone, Debug, Default)]
pub(crate) struct WaitBudget {
    /// How long it has waited.
    waited: Duration,
    /// The file when it was stable.
    still: Option<Mark>,
    /// The file before any waiting: as our last write left it, else as first read.
    base: Option<Mark>,
    /// It is never stable, but only appended to.
    pub(crate) is_growing: bool,
    /// How long it must stay unchanged.
    stillness: Stillness,
    /// Of a write of `watch`.
    pub(crate) progress: Option<Progress>,
}

impl Target {
    /// Resolves the path.
    pub(crate) fn find(path: &Path) -> Result<Self, ReplaceError> {
        let target = real(path).map_err(|cause| match cause.kind() {
            ErrorKind::NotFound => ReplaceError::Missing(path.to_owned()),
            _ => fail(path, "find it", cause),
        })?;
        refuse_nix(path, &target)?;
        if !target.is_file() {
            return Err(ReplaceError::NotAFile(target));
        }
        Ok(Self {
            path: target,
            wait_budget: WaitBudget::default(),
        })
    }

    /// A file that does not exist yet, at a path without symbolic links.
    pub(crate) fn at(path: PathBuf) -> Self {
        Self {
            path,
            wait_budget: WaitBudget::default(),
        }
    }

    /// The same file, of which more is known than that it was found so: how long it must stay unchanged, and a state in
    /// which it has done so already.
    pub(crate) fn watched(
        mut self,
        stillness: Stillness,
        still: Option<Mark>,
        progress: Progress,
    ) -> Self {
        self.wait_budget.stillness = stillness;
        self.wait_budget.still = still;
        self.wait_budget.progress = Some(progress);
        self
    }

    /// The progress of a write of `watch`.
    pub(crate) fn progress(&self) -> Option<&Progress> {
        self.wait_budget.progress.as_ref()
    }

    /// The path of the file itself, with symbolic links resolved.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file.
    pub(crate) fn read(&self) -> Result<Snapshot, ReplaceError> {
        Snapshot::take(&self.path).map_err(|cause| match cause.kind() {
            ErrorKind::NotFound => ReplaceError::Missing(self.path.clone()),
            _ => fail(&self.path, "read it", cause),
        })
    }

    /// Reads the file; refuses one that is not text.
    pub(crate) fn read_text(&self) -> Result<Vec<u8>, ReplaceError> {
        let bytes = self.read()?.bytes;
        refuse_encoding(&self.path, &bytes)?;
        Ok(bytes)
    }

    /// Waits until no other program writes the file, unless nothing is to be written. Called before the lock is taken,
    /// so that other runs do not have to wait too. `changes` returns whether these bytes would be replaced.
    pub(crate) fn settled(
        mut self,
        state: &StateDir,
        changes: impl FnOnce(&[u8]) -> bool,
    ) -> Result<Self, ReplaceError> {
        let seen = self.read()?;
        let left = state.left(&self.path)?;
        let mark = Some(Mark::of(&seen));
        if left != mark && self.wait_budget.still != mark && changes(&seen.bytes) {
            self.wait_budget.wait(&self.path, &seen, left)?;
        }
        Ok(self)
    }

    /// How long this run has waited for other programs.
    pub(crate) fn waited(&self) -> Duration {
        self.wait_budget.waited
    }

    pub(crate) fn folder(&self) -> &Path {
        // An existing file is in a folder.
        self.path.parent().unwrap_or(Path::new("/"))
    }

    /// The temporary file's path: always the same for this state folder, so that the next run finds it.
    pub(crate) fn temp_path(&self, state: &StateDir) -> PathBuf {
        temp_path(&self.path, state)
    }
}

impl WaitBudget {
    /// Waits for at most the rest of the limit.
    fn wait(
        &mut self,
        path: &Path,
        seen: &Snapshot,
        left: Option<Mark>,
    ) -> Result<(), ReplaceError> {
        if self.base.is_none() {
            let first = || (!seen.bytes.is_empty()).then(|| Mark::of(seen));
            self.base = left.or_else(first);
        }
        tracing::info!(
            "{}: another program wrote it since our last run; waiting until it is done",
            path.display()
        );
        let started = Instant::now();
        let limit = self.left();
        let found = settle::wait(
            &Monotonic,
            || Snapshot::look(path),
            self.base.as_ref(),
            self.stillness,
            limit,
        );
        self.waited += started.elapsed();
        match found {
            Ok(WaitResult::Stable(snapshot)) => self.still = Some(Mark::of(&snapshot)),
            Ok(WaitResult::Growing(_)) => self.is_growing = true,
            Ok(WaitResult::Unstable(_)) => return Err(ReplaceError::Unstable(path.to_owned())),
            Err(cause) if cause.kind() == ErrorKind::NotFound => {
                return Err(ReplaceError::Missing(path.to_owned()));
            }
            Err(cause) => return Err(fail(path, "read it", cause)),
        }
        Ok(())
    }

    /// What a run has learnt that waited to the end for a file that is only appended to.
    #[cfg(test)]
    pub(crate) fn spent() -> Self {
        Self {
            waited: settle::LIMIT,
            is_growing: true,
            ..Self::default()
        }
    }

    /// Pauses before the second check of a file that is in place. `watch` shortens the pause if there is something newer
    /// to write: a later write by a program that has the replaced file open is then lost, as it is after the pause.
    pub(crate) fn pause_in_place(&self) {
        match &self.progress {
            None => std::thread::sleep(LOOK_AGAIN),
            Some(progress) => {
                progress.is_in_place();
                progress.pause(LOOK_AGAIN);
            }
        }
    }

    /// How long this run may still wait.
    pub(crate) fn left(&self) -> Duration {
        settle::LIMIT.saturating_sub(self.waited)
    }

    /// Waits, without the lock, if another program wrote what was `seen`. Returns whether it waited: then the file must
    /// be read again.
    pub(crate) fn waits(
        &mut self,
        path: &Path,
        state: &LockedState,
        seen: &Snapshot,
    ) -> Result<bool, ReplaceError> {
        let mark = Some(Mark::of(seen));
        let left = state.left(path)?;
        if self.is_growing || self.still == mark || left == mark {
            return Ok(false);
        }
        state.without_lock(|| self.wait(path, seen, left.clone()))??;
        // This run's response from the hub may be older than what the other run has put in place.
        if state.left(path)? != left {
            return Err(ReplaceError::Overtaken(path.to_owned()));
        }
        Ok(true)
    }
}

/// Refuses a path that leads to a file of the Nix store, which must not be changed (although root could).
fn refuse_nix(path: &Path, target: &Path) -> Result<(), ReplaceError> {
    if target.starts_with("/nix/store") {
        let (path, target) = (path.to_owned(), target.to_owned());
        return Err(ReplaceError::Nix { path, target });
    }
    Ok(())
}

/// Refuses a file with an encoding that resolvers can't read.
pub(crate) fn refuse_encoding(path: &Path, bytes: &[u8]) -> Result<(), ReplaceError> {
    const BEGINNING: usize = 64;
    let is_nul = |byte: &&u8| **byte == 0;
    let why = match bytes {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => {
            "it is UTF-16, as PowerShell's `>` and Notepad's \"Unicode\" write it"
        }
        _ if bytes.iter().take(BEGINNING).any(|byte| *byte == 0)
            || bytes.iter().filter(is_nul).count() * 100 > bytes.len() =>
        {
            "it holds NUL bytes: it is UTF-16, or a crash has lost its contents"
        }
        _ => return Ok(()),
    };
    let path = path.to_owned();
    Err(ReplaceError::NotText { path, why })
}

/// The maximum number of symbolic links to follow, as in Linux.
const MAX_LINKS: usize = 40;

/// The path of a deleted hosts file: the target of links, with its folder resolved.
pub(crate) fn deleted_path(path: &Path) -> Result<PathBuf, ReplaceError> {
    let missing = || ReplaceError::Missing(path.to_owned());
    let mut at = std::path::absolute(path).map_err(|_| missing())?;
    for _ in 0..MAX_LINKS {
        let (Some(folder), Some(name)) = (at.parent(), at.file_name()) else {
            return Err(missing());
        };
        let folder = real(folder).map_err(|_| missing())?;
        let file = folder.join(name);
        match fs::read_link(&file) {
            Ok(pointed) => at = folder.join(pointed),
            Err(_) => return Ok(file),
        }
    }
    Err(missing())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_the_nix_store_is_refused_with_the_option_that_helps() {
        let hosts = Path::new("/etc/hosts");
        for (target, refused) in [
            ("/nix/store/0123-hosts", true),
            ("/nix/store/0123-etc/etc/hosts", true),
            ("/etc/hosts", false),
            ("/nix/storehosts", false),
        ] {
            assert_eq!(
                refuse_nix(hosts, Path::new(target)).is_err(),
                refused,
                "{target}"
            );
        }
        let error = refuse_nix(hosts, Path::new("/nix/store/0123-hosts")).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("environment.etc.hosts.mode = \"0644\";"),
            "{error}"
        );
    }
}
