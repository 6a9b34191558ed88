//! Judges files by their security descriptors. What follows from a descriptor is decided without Windows, and tested on
//! every system.

use std::io;
use std::path::{Path, PathBuf};

use super::{Kind, NotTrusted, Refused, Trust};
use crate::descriptor::{Access, Descriptor, Other, Sid, Trusted};

/// The maximum number of links to follow, as in Linux.
const MAX_LINKS: usize = 40;

/// A path, and what others must not be able to do with it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Look {
    place: PathBuf,
    access: Access,
}

/// Refuses a file if others can change it and this process may do more than they.
#[cfg(windows)]
pub(super) fn check(trust: &Trust, kind: Kind, file: &Path) -> Result<(), NotTrusted> {
    use crate::windows::{self, account};
    // A state folder is checked for every user, as its mode is on Unix.
    if !is_folder(kind) && !account::is_privileged() {
        return Ok(());
    }
    let user = account::user().filter(|_| !trust.refuses_caller);
    judge(kind, file, &trusted(trust, user), &windows::sddl)
}

/// Whether what is in it is looked at too.
fn is_folder(kind: Kind) -> bool {
    matches!(kind, Kind::StateFolder | Kind::DataDirectory)
}

/// Who is trusted beside SYSTEM and Administrators.
fn trusted(trust: &Trust, user: Option<&Sid>) -> Trusted {
    #[cfg(windows)]
    let owner = trust.owner.as_ref().map(|owner| Sid::new(&owner.0));
    #[cfg(not(windows))]
    let owner = None;
    Trusted {
        users: owner.into_iter().chain(user.cloned()).collect(),
        services: trust.trusts_services,
    }
}

/// Looks at all that decides what is at a path. `read` returns the descriptor of a path.
fn judge(
    kind: Kind,
    file: &Path,
    trusted: &Trusted,
    read: &dyn Fn(&Path) -> io::Result<String>,
) -> Result<(), NotTrusted> {
    for Look { place, access } in looks(kind, file) {
        let refused = |why, remedy| {
            NotTrusted(Box::new(Refused {
                file: file.to_owned(),
                place: place.clone(),
                kind: kind.words(),
                why,
                remedy,
            }))
        };
        let sddl = match read(&place) {
            Ok(sddl) => sddl,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => continue,
            Err(cause) => {
                let why = format!("has permissions that can't be read ({cause})");
                return Err(refused(why, "run this as an administrator".to_owned()));
            }
        };
        let found = match Descriptor::parse(&sddl) {
            Ok(found) => found.open_to(access, trusted),
            // A list that is not understood protects nothing.
            Err(_) => Some(Other::Everyone),
        };
        if let Some(other) = found {
            return Err(refused(why(&other), remedy(&other, &place)));
        }
    }
    Ok(())
}

fn why(other: &Other) -> String {
    match other {
        Other::Owner(owner) => format!("belongs to {owner}"),
        Other::Granted(who) => format!("can be changed by {who}"),
        Other::Everyone => "can be changed by everyone".to_owned(),
    }
}

/// What to do about it: commands with SIDs, since the names of groups depend on the language of Windows.
fn remedy(other: &Other, place: &Path) -> String {
    // What is in a folder has to stay readable for both.
    let full = if place.is_dir() { "(OI)(CI)F" } else { "F" };
    let place = place.display();
    match other {
        Other::Owner(owner) => format!(
            "if you trust what is in it, run `icacls \"{place}\" /setowner *S-1-5-32-544`, or trust this owner with --trust-owner {}",
            owner.as_str()
        ),
        Other::Granted(who) => format!(
            "if you trust what is in it, run `icacls \"{place}\" /inheritance:d /remove:g *{}`",
            who.as_str()
        ),
        Other::Everyone => format!(
            "if you trust what is in it, run `icacls \"{place}\" /inheritance:r /grant:r *S-1-5-18:{full} *S-1-5-32-544:{full}`"
        ),
    }
}

/// The file, its folder, the folders above, and those through which links lead. A path that is not there is judged by
/// its folder.
fn looks(kind: Kind, file: &Path) -> Vec<Look> {
    let mut found: Vec<Look> = Vec::new();
    let mut look = |place: &Path, access| {
        let look = Look {
            place: place.to_owned(),
            access,
        };
        if !found.contains(&look) {
            found.push(look);
        }
    };
    let is_folder = is_folder(kind);
    let mut paths = Vec::new();
    if let Ok(mut path) = std::path::absolute(file) {
        for _ in 0..MAX_LINKS {
            paths.push(path.clone());
            match std::fs::read_link(&path) {
                Ok(target) => {
                    let target = path.parent().unwrap_or(Path::new("/")).join(target);
                    // std shows the target of a junction with `\\?\`.
                    path = dunce::simplified(&target).to_owned();
                }
                Err(_) => break,
            }
        }
    }
    // The path as it is written first: people know it.
    let real = crate::folders::real(file);
    paths.extend(real.ok().filter(|real| !paths.contains(real)));
    for path in &paths {
        if kind != (Kind::Token { any_owner: true }) {
            look(path, Access::Write);
        }
        for (above, folder) in path.ancestors().skip(1).enumerate() {
            // Those who may add to the root of a disk are of interest if the file is in it.
            let is_root = folder.parent().is_none();
            match above {
                0 if !is_folder => look(folder, Access::Write),
                _ if is_root => look(folder, Access::ReplaceInRoot),
                _ => look(folder, Access::Replace),
            }
        }
        // A user who may add to a folder can make a junction in it.
        for link in path.ancestors() {
            if let Some(folder) = link.parent()
                && link.is_symlink()
            {
                look(folder, Access::Write);
            }
        }
    }
    if is_folder {
        // A file that was planted before the folder was closed.
        let entries = std::fs::read_dir(file).into_iter().flatten().flatten();
        for entry in entries {
            look(&entry.path(), Access::Write);
        }
    }
    found
}

#[cfg(test)]
#[path = "windows_tests.rs"]
mod tests;
