//! The program of the setting `on_change`, which runs after a change is in place.
//!
//! A [`Hook`] gets a [`HookInput`]: JSON on its standard input, and the same in a few variables. Its environment holds
//! nothing else but `PATH`, `HOME` and `LANG`; in particular no token. It runs in a process group of its own, on
//! Windows a job object, which is killed after 30 s. The caller stores in its state, before the change is put in place,
//! that the hook is owed, and clears that when [`Hook::run`] succeeds: a hook that failed, or that a crash prevented, runs
//! again.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::config::ConfigError;
use crate::process_tree::ProcessTree;
use crate::trusted_file::{Kind, NotTrusted, Trust};

/// How long a hook may run.
pub const TIMEOUT: Duration = Duration::from_secs(30);
/// The pause between two looks at a running hook.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// The variables that a hook inherits.
const INHERITED: [&str; 3] = ["PATH", "HOME", "LANG"];
/// What Windows programs need in addition to start.
const INHERITED_ON_WINDOWS: [&str; 9] = [
    "SystemRoot",
    "TEMP",
    "TMP",
    // What cmd and PowerShell look for.
    "SystemDrive",
    "ComSpec",
    "PATHEXT",
    "windir",
    "ProgramData",
    "USERPROFILE",
];

/// A program with its arguments, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    argv: Vec<String>,
    trust: Trust,
}

/// What a hook is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookInput {
    /// `SILO_HOOK_SILO`: the changed silo, or several, separated by commas.
    pub silo: String,
    /// `SILO_HOOK_REVISION`: the revision of each silo, in the same order.
    pub revision: String,
    /// `SILO_HOOK_FILE`: the file that changed, if it is one.
    pub file: Option<PathBuf>,
    /// Written to its standard input.
    pub json: Vec<u8>,
}

/// Why a hook is still owed.
#[derive(Debug, Error)]
pub enum HookError {
    /// Users other than root can change the program of an agent that runs as root.
    #[error("on_change: {0}")]
    NotTrusted(#[from] NotTrusted),
    /// There is no such program.
    #[error("on_change: {0}: not found in PATH: write the absolute path of the program")]
    NotFound(String),
    /// It can't be started.
    #[error("on_change: cannot start {}: {cause}", .program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// It failed.
    #[error("on_change: {} failed, {status}: it runs again", .program.display())]
    Failed {
        /// The program.
        program: PathBuf,
        /// How it ended.
        status: ExitStatus,
    },
    /// It ran too long.
    #[error("on_change: {} did not end within {} s and was killed: it runs again", .0.display(), TIMEOUT.as_secs())]
    TooSlow(PathBuf),
    /// The agent is ending.
    #[error("on_change: {} was stopped because the agent ends: it runs again", .0.display())]
    Stopped(PathBuf),
}

impl Hook {
    /// Checks the setting `on_change`. An empty list means that there is no hook.
    ///
    /// Refuses a relative path, and, if root runs this, a program that users other than root can change.
    pub fn new(argv: Vec<String>, trust: Trust) -> Result<Option<Self>, ConfigError> {
        let Some(program) = argv.first() else {
            return Ok(None);
        };
        if program.is_empty()
            || (Path::new(program).components().count() > 1 && !is_absolute(program))
        {
            return Err(ConfigError::Setting(format!(
                "on_change: `{program}`: write the absolute path of a program, or a name that is found in PATH"
            )));
        }
        let hook = Self { argv, trust };
        match hook.program() {
            Err(HookError::NotTrusted(error)) => {
                Err(ConfigError::Setting(format!("on_change: {error}")))
            }
            // A program that is not there yet makes the run fail, not the configuration.
            _ => Ok(Some(hook)),
        }
    }

    /// The program and its arguments, as configured.
    pub fn argv(&self) -> &[String] {
        &self.argv
    }

    /// The path of the program: where `PATH` finds it now, checked.
    pub fn program(&self) -> Result<PathBuf, HookError> {
        let program = &self.argv[0];
        let path = find_program(program).ok_or_else(|| HookError::NotFound(program.clone()))?;
        self.trust.check(Kind::Program, &path)?;
        Ok(path)
    }

    /// Runs the program, and waits until it has ended, for at most [`TIMEOUT`]. What it prints goes to stderr. Blocks this
    /// thread. If `stop` becomes true, its process group is killed.
    pub fn run(&self, input: &HookInput, stop: &AtomicBool) -> Result<(), HookError> {
        self.run_within(input, stop, TIMEOUT)
    }

    fn run_within(
        &self,
        input: &HookInput,
        stop: &AtomicBool,
        timeout: Duration,
    ) -> Result<(), HookError> {
        let program = self.program()?;
        let mut command = Command::new(&program);
        command
            .args(&self.argv[1..])
            .env_clear()
            .envs(environment(input))
            .stdin(Stdio::piped())
            // stdout is the agent's own: scripts read it.
            .stdout(io::stderr())
            .stderr(Stdio::inherit());
        let mut child = ProcessTree::spawn(command).map_err(|cause| HookError::Start {
            program: program.clone(),
            cause,
        })?;
        write_input(child.take_stdin(), &input.json);
        let started = Instant::now();
        loop {
            match child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(HookError::Failed { program, status }),
                Ok(None) if stop.load(Ordering::Relaxed) => {
                    child.kill();
                    return Err(HookError::Stopped(program));
                }
                Ok(None) if started.elapsed() < timeout => std::thread::sleep(LOOK_EVERY),
                Ok(None) => {
                    child.kill();
                    return Err(HookError::TooSlow(program));
                }
                Err(cause) => {
                    child.kill();
                    return Err(HookError::Start { program, cause });
                }
            }
        }
    }
}

/// The path of a program: an absolute one as it is, another where `PATH` finds it now; `None` if it does not.
pub fn find_program(program: &str) -> Option<PathBuf> {
    if is_absolute(program) {
        return Some(PathBuf::from(program));
    }
    find(program)
}

/// Whether a path is absolute.
fn is_absolute(program: &str) -> bool {
    Path::new(program).is_absolute()
}

/// The first file in the folders of `PATH` with this name that may be executed. Windows also adds `.exe`.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(format!("{name}{}", suffix(name))))
        .find(|file| is_executable(file))
}

fn suffix(name: &str) -> &'static str {
    if cfg!(windows) && Path::new(name).extension().is_none() {
        ".exe"
    } else {
        ""
    }
}

#[cfg(unix)]
fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(file)
        .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_executable(file: &Path) -> bool {
    file.is_file()
}

/// The whole environment of a hook.
fn environment(input: &HookInput) -> Vec<(OsString, OsString)> {
    let on_windows = INHERITED_ON_WINDOWS.iter().filter(|_| cfg!(windows));
    let inherited = INHERITED
        .iter()
        .chain(on_windows)
        .filter_map(|name| Some((OsString::from(name), std::env::var_os(name)?)));
    let own = [
        ("SILO_HOOK_SILO", Some(OsString::from(&input.silo))),
        ("SILO_HOOK_REVISION", Some(OsString::from(&input.revision))),
        (
            "SILO_HOOK_FILE",
            input.file.clone().map(PathBuf::into_os_string),
        ),
    ];
    let own = own
        .into_iter()
        .filter_map(|(name, value)| Some((OsString::from(name), value?)));
    inherited.chain(own).collect()
}

/// Writes to a child's standard input on a thread of its own: a child that does not read it must not block this one.
fn write_input(stdin: Option<ChildStdin>, json: &[u8]) {
    let Some(mut stdin) = stdin else {
        return;
    };
    let json = json.to_owned();
    let write = move || {
        // A hook need not read its input.
        let _ = stdin.write_all(&json);
    };
    if let Err(error) = std::thread::Builder::new()
        .name("hook".to_owned())
        .spawn(write)
    {
        // Its input then is empty, and it fails if it needs that.
        tracing::warn!("cannot start a thread that writes the hook's input: {error}");
    }
}

#[cfg(all(test, unix))]
#[path = "hook_tests.rs"]
mod tests;
