//! Whether root may trust a file: its owner, and all who can write to it or its folder, control what an agent that runs
//! as root does.
//!
//! Both agents call this before they read a configuration, a token, a certificate file, or use a state folder. Nothing
//! is checked if the agent runs as an ordinary user, and on Windows.

use std::path::{Path, PathBuf};

use thiserror::Error;

/// Whose files are trusted in addition to root's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    owner: Option<u32>,
}

/// The purpose of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The configuration.
    Configuration,
    /// A token. With `any_owner`, any user may own or write it; its folder must still be closed to others.
    Token {
        /// Whether `token_file_mode: any` is set.
        any_owner: bool,
    },
    /// Certificates to trust.
    CaFile,
    /// The state folder. Whether others can write to it is checked where it is opened, for every user.
    StateFolder,
}

/// Users other than root can change the file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}: {kind} of an agent that runs as root, and {}{why}: {remedy}", .file.display(), elsewhere(.place, .file))]
pub struct NotTrusted {
    file: PathBuf,
    /// The path with the problem: the file itself, a folder, or the target of a link.
    place: PathBuf,
    kind: &'static str,
    why: String,
    remedy: String,
}

/// The path, if it is not the file itself.
fn elsewhere(place: &Path, file: &Path) -> String {
    match place == file {
        true => String::new(),
        false => format!("{} ", place.display()),
    }
}

impl Kind {
    fn words(self) -> &'static str {
        match self {
            Self::Configuration => "the configuration",
            Self::Token { .. } => "the token",
            Self::CaFile => "the ca_file",
            Self::StateFolder => "the state folder",
        }
    }
}

impl Trust {
    /// Trusts root and, if given, one more owner: `--trust-owner`. Under sudo, also the calling user.
    pub fn new(owner: Option<u32>) -> Self {
        Self { owner }
    }

    /// Refuses a file that users other than root could have changed. A missing file is not refused.
    ///
    /// Checks the file behind all symbolic links, its folder, and the folder of each link.
    pub fn check(&self, kind: Kind, file: &Path) -> Result<(), NotTrusted> {
        #[cfg(unix)]
        return unix::check(self, kind, file);
        #[cfg(not(unix))]
        {
            let _ = (kind, file);
            Ok(())
        }
    }
}

#[cfg(unix)]
mod unix {
    use std::fs::{self, Metadata};
    use std::os::unix::fs::MetadataExt;
    use std::path::{Path, PathBuf};

    use super::{Kind, NotTrusted, Trust};

    /// The maximum number of symbolic links to follow, as in Linux (path_resolution(7)).
    const MAX_LINKS: usize = 40;
    const STICKY: u32 = 0o1000;

    pub(super) fn check(trust: &Trust, kind: Kind, file: &Path) -> Result<(), NotTrusted> {
        if !rustix::process::geteuid().is_root() {
            return Ok(());
        }
        let caller = std::env::var("SUDO_UID")
            .ok()
            .and_then(|uid| uid.parse().ok());
        check_as_root(trust, caller, kind, file)
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
            Err(NotTrusted {
                file: file.to_owned(),
                place: PathBuf::from(place),
                kind: kind.words(),
                why,
                remedy,
            })
        };
        let shown = place.display();
        let any_owner = matches!(kind, Kind::Token { any_owner: true });
        let is_trusted = owner == 0 || Some(owner) == trust.owner || Some(owner) == caller;
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
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    const OTHER: u32 = 12_345;

    fn set(path: &Path, owner: u32, group: u32, mode: u32) {
        chown(path, Some(owner), Some(group)).expect("these tests change owners: run them as root");
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("the file is ours");
    }

    #[test]
    fn what_others_own_or_can_write_is_refused_and_named() {
        let base = tempfile::tempdir().unwrap();
        let folder = base.path().join("etc");
        fs::create_dir(&folder).unwrap();
        let file = folder.join("agent.yaml");
        fs::write(&file, "").unwrap();
        // Owner, group and mode of the folder and of the file; the message if it is refused.
        for (of_folder, of_file, words) in [
            ((0, 0, 0o755), (0, 0, 0o644), None),
            ((0, 0, 0o775), (0, 0, 0o664), None),
            (
                (0, 0, 0o755),
                (OTHER, 0, 0o600),
                Some("belongs to user 12345"),
            ),
            (
                (0, 0, 0o755),
                (0, 0, 0o646),
                Some("is writable by everyone (mode 0646)"),
            ),
            (
                (0, 0, 0o755),
                (0, OTHER, 0o664),
                Some("is writable by group 12345 (mode 0664)"),
            ),
            ((0, 0, 0o755), (0, OTHER, 0o644), None),
            (
                (OTHER, 0, 0o755),
                (0, 0, 0o644),
                Some("belongs to user 12345"),
            ),
            (
                (0, 0, 0o777),
                (0, 0, 0o644),
                Some("is writable by everyone (mode 0777)"),
            ),
            (
                (0, OTHER, 0o775),
                (0, 0, 0o644),
                Some("is writable by group 12345 (mode 0775)"),
            ),
            ((0, 0, 0o1777), (0, 0, 0o644), None),
            (
                (0, 0, 0o1777),
                (OTHER, 0, 0o644),
                Some("belongs to user 12345"),
            ),
            (
                (OTHER, 0, 0o1777),
                (0, 0, 0o644),
                Some("belongs to user 12345"),
            ),
        ] {
            set(&folder, of_folder.0, of_folder.1, of_folder.2);
            set(&file, of_file.0, of_file.1, of_file.2);
            for kind in [
                Kind::Configuration,
                Kind::Token { any_owner: false },
                Kind::CaFile,
            ] {
                let case = format!("{of_folder:?} {of_file:?} {kind:?}");
                let judged = unix::check_as_root(&Trust::new(None), None, kind, &file);
                match (judged, words) {
                    (Ok(()), None) => {}
                    (Err(error), Some(words)) => {
                        let error = error.to_string();
                        assert!(
                            error.starts_with(&file.display().to_string()),
                            "{case}: {error}"
                        );
                        assert!(error.contains(words), "{case}: {error}");
                        assert!(error.contains("run `ch"), "{case}: {error}");
                        assert_eq!(error.lines().count(), 1);
                    }
                    (judged, _) => panic!("{case}: {judged:?}"),
                }
            }
        }
        set(&folder, 0, 0, 0o755);
        let missing = folder.join("none");
        let judged = unix::check_as_root(&Trust::new(None), None, Kind::Configuration, &missing);
        assert_eq!(judged, Ok(()));
    }

    #[test]
    fn owners_can_be_accepted_and_writers_can_not() {
        let base = tempfile::tempdir().unwrap();
        let file = base.path().join("token");
        fs::write(&file, "").unwrap();
        let any = Kind::Token { any_owner: true };
        let token = Kind::Token { any_owner: false };
        for (mode, owner, caller, kind, accepted) in [
            (0o600, None, None, token, false),
            (0o600, Some(OTHER), None, token, true),
            (0o600, Some(OTHER + 1), None, token, false),
            (0o600, None, Some(OTHER), token, true),
            (0o600, None, Some(OTHER), Kind::Configuration, true),
            (0o600, None, Some(OTHER + 1), token, false),
            (0o644, None, None, any, true),
            (0o646, None, None, any, true),
            (0o646, Some(OTHER), None, token, false),
            (0o646, None, Some(OTHER), token, false),
        ] {
            set(&file, OTHER, 0, mode);
            let judged = unix::check_as_root(&Trust::new(owner), caller, kind, &file);
            assert_eq!(
                judged.is_ok(),
                accepted,
                "{mode:o} {owner:?} {caller:?} {kind:?}: {judged:?}"
            );
        }
        // A folder in which others could replace the token is refused nevertheless.
        set(base.path(), OTHER, 0, 0o700);
        let check = |kind| unix::check_as_root(&Trust::new(None), None, kind, &file);
        assert_eq!(check(any), Ok(()));
        set(base.path(), OTHER, 0, 0o707);
        assert!(check(any).is_err());
        set(base.path(), 0, 0, 0o700);
    }

    #[test]
    fn every_link_of_a_path_is_checked() {
        let base = tempfile::tempdir().unwrap();
        let folder = |name: &str, mode| {
            let folder = base.path().join(name);
            fs::create_dir(&folder).unwrap();
            set(&folder, 0, 0, mode);
            folder
        };
        let (etc, open, safe) = (
            folder("etc", 0o755),
            folder("open", 0o777),
            folder("safe", 0o755),
        );
        fs::write(safe.join("file"), "").unwrap();
        set(&safe.join("file"), 0, 0, 0o644);
        symlink("../safe/file", open.join("link")).unwrap();
        symlink("../open/link", etc.join("through-open")).unwrap();
        symlink("../safe/file", etc.join("direct")).unwrap();
        symlink("loop", etc.join("loop")).unwrap();
        fs::write(safe.join("theirs"), "").unwrap();
        set(&safe.join("theirs"), OTHER, 0, 0o644);
        symlink("../safe/theirs", etc.join("to-theirs")).unwrap();
        let check = |name: &str| {
            let file = etc.join(name);
            unix::check_as_root(&Trust::new(None), None, Kind::CaFile, &file)
        };
        assert_eq!(check("direct"), Ok(()));
        assert_eq!(check("loop"), Ok(()));
        for (name, place) in [
            ("through-open", "/open is writable"),
            ("to-theirs", "/safe/theirs belongs"),
        ] {
            let error = check(name).unwrap_err().to_string();
            assert!(error.contains(place) && error.contains(name), "{error}");
        }
    }
}
