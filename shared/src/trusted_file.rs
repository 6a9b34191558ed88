//! Whether root may trust a file: its owner, and all who can write to it or its folder, control what an agent that runs
//! as root does.
//!
//! Both agents call this before they read a configuration, a token, a certificate file, or use a state folder, and
//! before they schedule a program that root runs. On Windows the same holds for services and elevated programs. Nothing
//! is checked if the agent runs as an ordinary user, except a state folder on Windows.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use thiserror::Error;

/// Whose files are trusted in addition to root's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    owner: Option<Owner>,
    /// Whether files of the user who called sudo, or who runs this on Windows, are refused too.
    refuses_caller: bool,
    /// Whether all folders above a file are judged, too.
    judges_folders: bool,
    /// On Windows: the accounts of services too.
    trusts_services: bool,
}

/// A user whose files are trusted: a user id, on Windows a SID such as `S-1-5-19`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner(OwnerId);

#[cfg(unix)]
type OwnerId = u32;
#[cfg(not(unix))]
type OwnerId = String;

/// The text names no user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("expected {}", if cfg!(unix) { "the number of a user" } else { "a SID such as S-1-5-19 (`whoami /user` shows yours)" })]
pub struct InvalidOwner;

impl FromStr for Owner {
    type Err = InvalidOwner;

    fn from_str(text: &str) -> Result<Self, InvalidOwner> {
        #[cfg(unix)]
        return text.parse().map(Self).map_err(|_| InvalidOwner);
        #[cfg(not(unix))]
        {
            let numbers = text.strip_prefix("S-1-").ok_or(InvalidOwner)?;
            let is_sid = numbers
                .split('-')
                .all(|number| number.parse::<u64>().is_ok());
            is_sid.then(|| Self(text.to_owned())).ok_or(InvalidOwner)
        }
    }
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
    /// The hub's data directory, checked for every user on Windows.
    DataDirectory,
    /// A program that the configuration names, such as that of `on_change`, or that a schedule runs.
    Program,
    /// The record of what `install` wrote.
    Record,
    /// The log file.
    LogFile,
}

/// Users other than root can change the file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct NotTrusted(Box<Refused>);

#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}: {kind} of {PRIVILEGED}, and {}{why}: {remedy}", .file.display(), elsewhere(.place, .file))]
struct Refused {
    file: PathBuf,
    /// The path with the problem: the file itself, a folder, or the target of a link.
    place: PathBuf,
    kind: &'static str,
    why: String,
    remedy: String,
}

/// Why it matters who can change the file.
const PRIVILEGED: &str = if cfg!(windows) {
    "a program that may do more than other users"
} else {
    "an agent that runs as root"
};

/// The path, if it is not the file itself.
fn elsewhere(place: &Path, file: &Path) -> String {
    if place == file {
        String::new()
    } else {
        format!("{} ", place.display())
    }
}

impl Kind {
    fn words(self) -> &'static str {
        match self {
            Self::Configuration => "the configuration",
            Self::Token { .. } => "the token",
            Self::CaFile => "the ca_file",
            Self::StateFolder => "the state folder",
            Self::DataDirectory => "the data directory",
            Self::Program => "the program",
            Self::Record => "the record of the installation",
            Self::LogFile => "the log file",
        }
    }
}

impl Trust {
    /// Trusts root and, if given, one more owner: `--trust-owner`. Under sudo, also the calling user.
    pub fn new(owner: Option<Owner>) -> Self {
        Self {
            owner,
            ..Self::default()
        }
    }

    /// The same, but without the user who calls sudo, or on Windows runs this: a schedule runs without them.
    #[must_use]
    pub fn without_caller(self) -> Self {
        Self {
            refuses_caller: true,
            ..self
        }
    }

    /// The same for files that a schedule will use: without the user who calls sudo, and with all folders above each
    /// file, since who can write to one of them can put another file at its path.
    #[must_use]
    pub fn for_schedule(self) -> Self {
        Self {
            judges_folders: true,
            ..self.without_caller()
        }
    }

    /// The same, and on Windows the accounts of services too, such as LOCAL SERVICE: for files that only a service uses.
    #[must_use]
    pub fn with_services(self) -> Self {
        Self {
            trusts_services: true,
            ..self
        }
    }

    /// The same as [`Self::check`], and all folders above it: who can write to one of them can put another file at this
    /// path.
    pub fn check_with_folders(&self, kind: Kind, file: &Path) -> Result<(), NotTrusted> {
        self.check(kind, file)?;
        #[cfg(unix)]
        return unix::check_folders(self, kind, file);
        // They are checked always: what is in a folder inherits its list.
        #[cfg(not(unix))]
        Ok(())
    }

    /// Refuses a file that users other than root could have changed. A missing file is not refused.
    ///
    /// Checks the file behind all symbolic links, its folder, and the folder of each link. On Windows also the folders
    /// above, and what is in a state folder.
    pub fn check(&self, kind: Kind, file: &Path) -> Result<(), NotTrusted> {
        #[cfg(unix)]
        {
            unix::check(self, kind, file)?;
            if self.judges_folders {
                unix::check_folders(self, kind, file)?;
            }
            Ok(())
        }
        // Here the folders above are always judged.
        #[cfg(windows)]
        return windows::check(self, kind, file);
    }
}

#[cfg(unix)]
mod unix;
#[cfg(any(windows, test))]
mod windows;
