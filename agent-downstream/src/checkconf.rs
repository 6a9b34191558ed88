//! Asks `unbound-checkconf` about a new file before it is put in place: with a file that it refuses, unbound would not
//! start again.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use silo_shared::flags::withhold_tokens;
use thiserror::Error;

use crate::diff::printable;
use crate::state::{LockedState, StateError};

const PROGRAM: &str = "unbound-checkconf";
/// Folders to search after those of `PATH`, which lacks them under cron.
const FOLDERS: [&str; 3] = ["/usr/sbin", "/usr/local/sbin", "/sbin"];
/// The maximum time for the check.
const TIMEOUT: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// The maximum number of lines of the program's output in a message.
const SHOWN_LINES: usize = 3;

/// Why the new file is not put in place.
#[derive(Debug, Error)]
pub(crate) enum CheckError {
    /// Unbound would not accept it.
    #[error("{}: {PROGRAM} refuses the new file: {said}; the file was not changed", .path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// What the program printed.
        said: String,
    },
    /// The program can't be run.
    #[error("{}: the file was not changed, because {} could not check the new one: {cause}", .path.display(), .program.display())]
    Failed {
        /// The file.
        path: PathBuf,
        /// The program.
        program: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// The state folder can't be used.
    #[error(transparent)]
    State(#[from] StateError),
}

/// The program, if it is installed.
pub(crate) fn find_program() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .chain(FOLDERS.iter().map(PathBuf::from))
        .map(|folder| folder.join(format!("{PROGRAM}{}", env::consts::EXE_SUFFIX)))
        .find(|file| file.is_file())
}

/// Checks the new contents of the file at `path`; accepts them if the program is not installed.
pub(crate) fn check(state: &LockedState, path: &Path, new: &[u8]) -> Result<(), CheckError> {
    let Some(program) = find_program() else {
        return Ok(());
    };
    let candidate = state.put_candidate(new)?;
    let said = run(&program, &candidate);
    state.remove_candidate()?;
    let path = path.to_owned();
    match said {
        Ok(None) => Ok(()),
        Ok(Some(said)) => {
            let said = printable(said.as_bytes());
            let lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
            let said = lines.take(SHOWN_LINES).collect::<Vec<_>>().join("; ");
            Err(CheckError::Refused { path, said })
        }
        Err(cause) => Err(CheckError::Failed {
            path,
            program,
            cause,
        }),
    }
}

/// Runs the program; returns its output if it refuses the file.
fn run(program: &Path, candidate: &Path) -> io::Result<Option<String>> {
    let output = tempfile_of(candidate);
    let file = std::fs::File::create(&output)?;
    let result = wait_for(program, candidate, &file);
    let said = std::fs::read(&output);
    std::fs::remove_file(&output)?;
    if result? {
        return Ok(None);
    }
    Ok(Some(String::from_utf8_lossy(&said?).into_owned()))
}

/// Beside the candidate: a file takes any amount of output without a reader.
fn tempfile_of(candidate: &Path) -> PathBuf {
    candidate.with_extension("out")
}

fn wait_for(program: &Path, candidate: &Path, output: &std::fs::File) -> io::Result<bool> {
    let mut command = Command::new(program);
    withhold_tokens(&mut command);
    let mut child = command
        .arg(candidate)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output.try_clone()?)
        .spawn()?;
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        if started.elapsed() >= TIMEOUT {
            child.kill()?;
            child.wait()?;
            let limit = TIMEOUT.as_secs();
            return Err(io::Error::other(format!("no result within {limit} s")));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}
