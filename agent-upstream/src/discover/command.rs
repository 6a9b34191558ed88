//! Runs a program that prints this machine's addresses, one a line.
//!
//! It has a deadline; then it is killed and reaped, on Unix with every process that it started in its
//! group.

use std::net::IpAddr;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use silo_shared::silo::{Family, InvalidAddress, parse_address};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

use super::DiscoverError;
use super::select::Candidate;

/// How long a command may run.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How much of what it prints is read, in bytes.
const MAX_OUTPUT: u64 = 64 * 1024;

/// Why a command gave no addresses.
#[derive(Debug, Error)]
pub(crate) enum CommandError {
    /// It can't be started.
    #[error("cannot be run: {0}")]
    Start(std::io::Error),
    /// What it prints can't be read.
    #[error("cannot be read: {0}")]
    Read(std::io::Error),
    /// It ran too long.
    #[error("did not end within {} s and was killed", TIMEOUT.as_secs())]
    TooSlow,
    /// It failed.
    #[error("failed, {status}{said}")]
    Failed {
        /// How it ended.
        status: ExitStatus,
        /// Its first line on stderr, if any.
        said: String,
    },
    /// It printed too much.
    #[error("printed more than {MAX_OUTPUT} bytes")]
    TooMuch,
    /// A line is no address.
    #[error("printed `{line}`: {cause}")]
    NoAddress {
        /// The line.
        line: String,
        /// What is wrong with it.
        cause: InvalidAddress,
    },
    /// Two addresses of one family: a record holds one.
    #[error(
        "printed two {family} addresses, {first} and {second}: print at most one of each family"
    )]
    Ambiguous {
        /// The family.
        family: Family,
        /// One address.
        first: IpAddr,
        /// The other.
        second: IpAddr,
    },
}

/// Runs the command and reads its addresses.
pub(super) async fn find(argv: &[String]) -> Result<Vec<Candidate>, DiscoverError> {
    let failed = |cause| DiscoverError::Command {
        program: argv.first().cloned().unwrap_or_default(),
        cause,
    };
    let printed = run(argv, TIMEOUT).await.map_err(failed)?;
    let found = parse(&printed).map_err(failed)?;
    Ok(found.into_iter().map(Candidate::from).collect())
}

async fn run(argv: &[String], timeout: Duration) -> Result<String, CommandError> {
    let (program, arguments) = argv.split_first().expect("the settings require a program");
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    #[cfg(unix)]
    command.process_group(0);
    let mut child = command.spawn().map_err(CommandError::Start)?;
    // Killed also when this future is dropped: nothing outlives an interrupted run.
    let group = Group::of(&child);
    match tokio::time::timeout(timeout, collect(&mut child)).await {
        Ok(result) => {
            // It has ended and was reaped: what it left behind on purpose is not ours.
            if let Some(group) = group {
                group.release();
            }
            result
        }
        Err(_) => {
            kill_and_reap(&mut child).await;
            Err(CommandError::TooSlow)
        }
    }
}

/// Waits for the end of the command and of what it prints.
async fn collect(child: &mut Child) -> Result<String, CommandError> {
    let stdout = child.stdout.take().expect("stdout is piped");
    let stderr = child.stderr.take().expect("stderr is piped");
    let (printed, said) = tokio::join!(read(stdout), read(stderr));
    let printed = match printed {
        Ok(printed) if printed.len() as u64 <= MAX_OUTPUT => printed,
        Ok(_) => {
            kill_and_reap(child).await;
            return Err(CommandError::TooMuch);
        }
        Err(error) => {
            kill_and_reap(child).await;
            return Err(CommandError::Read(error));
        }
    };
    let status = child.wait().await.map_err(CommandError::Read)?;
    if !status.success() {
        let said = said.unwrap_or_default();
        let said = match said.lines().find(|line| !line.trim().is_empty()) {
            Some(line) => format!(": {}", shown(line)),
            None => String::new(),
        };
        return Err(CommandError::Failed { status, said });
    }
    Ok(printed)
}

/// Reads up to one byte more than [`MAX_OUTPUT`]; what is not UTF-8 becomes `\u{fffd}`.
async fn read(stream: impl AsyncRead + Unpin) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    stream.take(MAX_OUTPUT + 1).read_to_end(&mut bytes).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

async fn kill_and_reap(child: &mut Child) {
    if let Some(group) = Group::of(child) {
        drop(group);
    }
    // Fails only when it has ended by itself.
    let _ = child.kill().await;
}

/// The process group of a command; killed when dropped.
struct Group {
    #[cfg(unix)]
    id: rustix::process::Pid,
}

impl Group {
    /// `None` once the command has been reaped: its id may belong to another then.
    #[cfg(unix)]
    fn of(child: &Child) -> Option<Self> {
        let id = i32::try_from(child.id()?).ok()?;
        Some(Self {
            id: rustix::process::Pid::from_raw(id)?,
        })
    }

    /// Windows has no process groups that could be killed: `kill_on_drop` ends the command alone.
    #[cfg(not(unix))]
    fn of(_: &Child) -> Option<Self> {
        Some(Self {})
    }
}

impl Group {
    /// Lets the group live.
    fn release(self) {
        std::mem::forget(self);
    }
}

#[cfg(unix)]
impl Drop for Group {
    fn drop(&mut self) {
        // Fails only when all of the group have ended.
        let _ = rustix::process::kill_process_group(self.id, rustix::process::Signal::KILL);
    }
}

/// One address a line; empty lines are skipped.
fn parse(printed: &str) -> Result<Vec<IpAddr>, CommandError> {
    let mut found: Vec<IpAddr> = Vec::new();
    for line in printed
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
    {
        let ip = parse_address(line).map_err(|cause| CommandError::NoAddress {
            line: shown(line),
            cause,
        })?;
        let family = Family::of(ip);
        match found.iter().find(|other| Family::of(**other) == family) {
            None => found.push(ip),
            Some(other) if *other == ip => {}
            Some(other) => {
                return Err(CommandError::Ambiguous {
                    family,
                    first: *other,
                    second: ip,
                });
            }
        }
    }
    Ok(found)
}

/// A line of someone else's, made fit for an error message.
fn shown(line: &str) -> String {
    line.trim()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(100)
        .collect()
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
