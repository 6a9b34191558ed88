//! The commands `install` and `uninstall` of both agents: the platform's own schedule.
//!
//! Pure: `schedule` and `job` say what is to run when; `units` (systemd), `cron` and `task` (Task Scheduler) make a
//! `plan::Plan` of it, with the words that `quote` quotes. Acting: `carried` and `files` read the command line and the
//! configuration, `place` looks for what runs schedules here, `apply` writes a plan (with `disk`) and the `record` of it,
//! `command` calls other programs, and `verbs` are the commands themselves. `ahead` is for `join` and `leave`.

mod ahead;
mod apply;
mod carried;
mod command;
mod cron;
pub(crate) mod disk;
mod files;
mod job;
mod place;
mod plan;
mod quote;
mod record;
mod schedule;
mod task;
mod units;
mod verbs;

use std::path::{Path, PathBuf};

use thiserror::Error;

pub(crate) use ahead::Given;
pub use job::Agent;
pub(crate) use place::below;
pub use schedule::{Interval, Schedule};
pub use verbs::{InstallFlags, UninstallFlags, install, uninstall};

use crate::config::ConfigError;
use crate::trusted_file::NotTrusted;

/// Why nothing, or not everything, was installed or removed.
#[derive(Debug, Error)]
pub(crate) enum InstallError {
    /// The configuration is wrong.
    #[error("{cause}{}", variables_hint(.variables))]
    Config {
        /// What is wrong.
        cause: Box<ConfigError>,
        /// The variables that are set here, and that a schedule does not have.
        variables: Vec<String>,
    },
    /// Users other than root can change a file of the schedule.
    #[error(transparent)]
    NotTrusted(Box<NotTrusted>),
    /// A word that a schedule can't hold.
    #[error(
        "`{word}` contains `{character}`, which {place} cannot hold: rename the file, or set this in the configuration"
    )]
    Unquotable {
        /// The word.
        word: String,
        /// The character.
        character: String,
        /// Where it would be written.
        place: &'static str,
    },
    /// A path that is not Unicode.
    #[error("{}: the path is not Unicode, which no schedule can hold: rename it", .0.display())]
    NotUnicode(PathBuf),
    /// A flag whose value is not Unicode.
    #[error(
        "--{0}: the value is not Unicode, which no schedule can hold: set it in the configuration"
    )]
    ValueNotUnicode(String),
    /// The program has no absolute path.
    #[error("`{0}` is not the absolute path of this program: run it by its absolute path")]
    RelativeProgram(String),
    /// A flag that makes no sense in each run.
    #[error("{0} is meant for a single run: leave it out of `install`")]
    SingleRun(&'static str),
    /// An interval that cron has no field for.
    #[error(
        "--every {0}: cron repeats only what divides an hour or a day: use 1m, 5m, 10m, 15m, 30m, 1h, 6h, 12h or 1d"
    )]
    NotForCron(Interval),
    /// cron restarts nothing.
    #[error(
        "--watch needs a service manager, and no systemd runs here: use --every 1m, or run `watch` under your own service manager"
    )]
    WatchWithCron,
    /// A state folder that the unit's user can't write.
    #[error("{}: the unit has no access to this state folder: leave out `state_dir`, the unit has its own, /var/lib/silo-upstream", .0.display())]
    StateOutsideUnit(PathBuf),
    /// A file that the unit can't see.
    #[error("{}: the unit has a private /tmp and would not find it: move it, for example to /etc/silo or /usr/local/bin", .0.display())]
    PrivateTmp(PathBuf),
    /// Nothing here runs schedules.
    #[error(
        "neither systemd runs here nor is there a folder /etc/cron.d: install cron, or run `watch` under your own service manager"
    )]
    NoScheduler,
    /// A folder that looks like no system.
    #[error("{}: there is neither systemd nor a folder etc/cron.d in it: give the root folder of an installed system", .0.display())]
    NoSystem(PathBuf),
    /// `--root` on Windows.
    #[error("--root: there are no images to write to on Windows")]
    RootOnWindows,
    /// The system's hosts file belongs to root.
    #[error("{}: only root can write this hosts file: run `sudo silo-downstream install`, or give --hosts-file a file of your own", .0.display())]
    HostsNeedRoot(PathBuf),
    /// The default state folder belongs to root.
    #[error(
        "the state folder /var/lib/silo belongs to root: give a folder of your own with --state-dir DIR, or `state_dir` in the configuration"
    )]
    StateNeedsRoot,
    /// An ordinary user without a service manager.
    #[error(
        "only root can make a schedule here, since no systemd manager runs for this user: run `sudo {program} install`, or add this line with `crontab -e`:\n{line}"
    )]
    NeedsRoot {
        /// The program.
        program: &'static str,
        /// The line for a user's crontab.
        line: String,
    },
    /// This user has no home folder.
    #[error("HOME is not set: set it to the folder of this user")]
    NoHome,
    /// Files differ from what was written.
    #[error("{}; nothing was changed. Undo the edit, or use --force to overwrite or remove it", edited(.0))]
    Edited(Vec<PathBuf>),
    /// A path leads out of the folder of `--root`.
    #[error("{}: a link in this path leads out of the folder that --root names", .0.display())]
    Escapes(PathBuf),
    /// Something else is at the path of a file.
    #[error("{}: not a file: remove it", .0.display())]
    NotAFile(PathBuf),
    /// The record can't be read.
    #[error("{}: not a record of an installation ({cause}): remove it and what it lists by hand", .path.display())]
    Record {
        /// The record's path.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// A file can't be read or written.
    #[error("{}: {cause}{}", .path.display(), crate::held::advice(.cause))]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// A program of the system failed.
    #[error("`{command}` failed: {cause}")]
    Command {
        /// The command line.
        command: String,
        /// What it printed, or why it could not be run.
        cause: String,
    },
}

impl From<NotTrusted> for InstallError {
    fn from(error: NotTrusted) -> Self {
        Self::NotTrusted(Box::new(error))
    }
}

impl InstallError {
    fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        |cause| Self::Io { path, cause }
    }

    /// Whether no later run can succeed until something is changed.
    pub(crate) fn is_usage(&self) -> bool {
        !matches!(
            self,
            Self::Edited(_) | Self::Io { .. } | Self::Command { .. } | Self::Record { .. }
        )
    }
}

fn variables_hint(variables: &[String]) -> String {
    match variables {
        [] => String::new(),
        names => format!(
            ". Environment variables are not carried into a schedule ({}): use the flags, or the configuration",
            names.join(", ")
        ),
    }
}

fn edited(paths: &[PathBuf]) -> String {
    let names: Vec<String> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    match names.len() {
        1 => format!(
            "{} is not as `install` wrote it, see the difference above",
            names[0]
        ),
        _ => format!(
            "{} are not as `install` wrote them, see the differences above",
            names.join(", ")
        ),
    }
}

/// A path as text.
fn text(path: &Path) -> Result<&str, InstallError> {
    path.to_str()
        .ok_or_else(|| InstallError::NotUnicode(path.to_owned()))
}
