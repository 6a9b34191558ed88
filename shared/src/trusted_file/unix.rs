//! Judges files by owner and mode.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{Kind, NotTrusted, Owner, Refused, Trust};

/// The maximum number of symbolic links to follow, as in Linux (path_resolution(7)).
const MAX_LINKS: usize = 40;
const STICKY: u32 = 0o1000;

pub(super) fn check(trust: &Trust, kind: Kind, file: &Path) -> Result<(), NotTrusted> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let caller = std::env::var("SUDO_UID")
        .ok()
        .filter(|_| !trust.refuses_caller)
        .and_then(|uid| uid.parse().ok());
    check_as_root(trust, caller, kind, file)
}

pub(super) fn check_folders(trust: &Trust, kind: Kind, file: &Path) -> Result<(), NotTrusted> {
    if rustix::process::geteuid().is_root() {
        check_folders_as_root(trust, kind, file)
    } else {
        Ok(())
    }
}

/// The folders of the path as it is written, and of the file behind all links.
pub(super) fn check_folders_as_root(
    trust: &Trust,
    kind: Kind,
    file: &Path,
) -> Result<(), NotTrusted> {
    let written = std::path::absolute(file).ok();
    let real = file.canonicalize().ok();
    for path in [written, real].into_iter().flatten() {
        for folder in path.ancestors().skip(1) {
            if let Ok(found) = fs::metadata(folder) {
                let is_sticky = found.mode() & STICKY != 0;
                judge(trust, None, kind, file, folder, &found, is_sticky)?;
            }
        }
    }
    Ok(())
}

/// The same for an agent that root runs, for `caller` through sudo.
pub(super) fn check_as_root(
    trust: &Trust,
    caller: Option<u32>,
    kind: Kind,
    file: &Path,
) -> Result<(), NotTrusted> {
    let Ok(mut path) = std::path::absolute(file) else {
        // A path that can't be resolved can't be read either; reading it reports that.
        return Ok(());
    };
    for _ in 0..MAX_LINKS {
        // Links in the folder's own path lead through folders that are not checked individually.
        if let Some(folder) = path.parent().and_then(|folder| folder.canonicalize().ok())
            && let Ok(found) = fs::metadata(&folder)
            // Nothing is at a path behind another kind of file.
            && found.is_dir()
        {
            judge(
                trust,
                caller,
                kind,
                file,
                &folder,
                &found,
                found.mode() & STICKY != 0,
            )?;
            if let Some(name) = path.file_name() {
                path = folder.join(name);
            }
        }
        match fs::read_link(&path) {
            Ok(target) => path = path.parent().unwrap_or(Path::new("/")).join(target),
            Err(_) => break,
        }
    }
    match fs::metadata(&path) {
        Ok(_) if kind == (Kind::Token { any_owner: true }) => Ok(()),
        Ok(found) => {
            // The path from the user, unless it is a link.
            let is_link = fs::symlink_metadata(file).is_ok_and(|found| found.is_symlink());
            let place = if is_link { path } else { file.to_owned() };
            let is_judged_later = kind == Kind::StateFolder;
            judge(trust, caller, kind, file, &place, &found, is_judged_later)
        }
        Err(_) => Ok(()),
    }
}

fn judge(
    trust: &Trust,
    caller: Option<u32>,
    kind: Kind,
    file: &Path,
    place: &Path,
    found: &Metadata,
    may_be_written: bool,
) -> Result<(), NotTrusted> {
    let (owner, mode) = (found.uid(), found.mode() & 0o7777);
    let refuse = |why: String, remedy: String| {
        Err(NotTrusted(Box::new(Refused {
            file: file.to_owned(),
            place: PathBuf::from(place),
            kind: kind.words(),
            why,
            remedy,
        })))
    };
    let shown = place.display();
    let any_owner = matches!(kind, Kind::Token { any_owner: true });
    let is_trusted = owner == 0 || trust.owner == Some(Owner(owner)) || Some(owner) == caller;
    if !is_trusted && !any_owner {
        return refuse(
            format!("belongs to user {owner}"),
            format!("run `chown root {shown}`, or trust this owner with --trust-owner {owner}"),
        );
    }
    let by_group = mode & 0o020 != 0 && found.gid() != 0;
    if (mode & 0o002 != 0 || by_group) && !may_be_written {
        let whom = if mode & 0o002 != 0 {
            "everyone".to_owned()
        } else {
            format!("group {}", found.gid())
        };
        return refuse(
            format!("is writable by {whom} (mode {mode:04o})"),
            format!("run `chmod go-w {shown}`"),
        );
    }
    Ok(())
}

#[cfg(test)]
#[path = "unix_tests.rs"]
mod tests;
