//! Runs a program that prints this machine's addresses, one per line.
//!
//! After a deadline, the program is killed and reaped, on Unix together with all processes in its group.

use std::net::IpAddr;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use silo_shared::silo::{Family, InvalidAddress, parse_address};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

use super::DiscoverError;
use super::select::Candidate;

/// The deadline of a command.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The maximum size of its output, in bytes.
const MAX_OUTPUT: u64 = 64 * 1024;

/// Why a command returned no addresses.
#[derive(Debug, Error)]
pub(crate) enum CommandError {
    /// It can't be started.
    #[error("cannot be run: {0}")]
    Start(std::io::Error),
    /// Its output can't be read.
    #[error("cannot be read: {0}")]
    Read(std::io::Error),
    /// It ran too long.
    #[error("did not end within {} s and was killed", TIMEOUT.as_secs())]
    TooSlow,
    /// It failed.
    #[error("failed, {status}{said}")]
    Failed {
        /// Its exit status.
        status: ExitStatus,
        /// Its first line on stderr, if any.
        said: String,
    },
    /// It printed too much.
    #[error("printed more than {MAX_OUTPUT} bytes")]
    TooMuch,
    /// A line is not an address.
    #[error("printed `{line}`: {cause}")]
    NoAddress {
        /// The line.
        line: String,
        /// The reason.
        cause: InvalidAddress,
    },
    /// Two addresses of one family: a record has only one.
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
    // Killed also if this future is dropped: no process survives an interrupted run.
    let group = Group::of(&child);
    match tokio::time::timeout(timeout, collect(&mut child)).await {
        Ok(result) => {
            // The command has ended and was reaped: processes that it deliberately left running are not killed.
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

/// Waits for the command to end and reads its output.
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

/// Reads up to one byte more than [`MAX_OUTPUT`]; replaces invalid UTF-8 by `\u{fffd}`.
async fn read(stream: impl AsyncRead + Unpin) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    stream.take(MAX_OUTPUT + 1).read_to_end(&mut bytes).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

async fn kill_and_reap(child: &mut Child) {
    if let Some(group) = Group::of(child) {
        drop(group);
    }
    // Fails only if it has ended by itself.
    let _ = child.kill().await;
}

/// The process group of a command; killed when dropped.
struct Group {
    #[cfg(unix)]
    id: rustix::process::Pid,
}

impl Group {
    /// `None` once the command has been reaped: its id may be reused then.
    #[cfg(unix)]
    fn of(child: &Child) -> Option<Self> {
        let id = i32::try_from(child.id()?).ok()?;
        Some(Self {
            id: rustix::process::Pid::from_raw(id)?,
        })
    }

    /// Windows has no process groups that could be killed: `kill_on_drop` kills only the command.
    #[cfg(not(unix))]
    fn of(_: &Child) -> Option<Self> {
        Some(Self {})
    }
}

impl Group {
    /// Does not kill the group.
    fn release(self) {
        std::mem::forget(self);
    }
}

#[cfg(unix)]
impl Drop for Group {
    fn drop(&mut self) {
        // Fails only if all processes of the group have ended.
        let _ = rustix::process::kill_process_group(self.id, rustix::process::Signal::KILL);
    }
}

/// Parses one address per line; skips empty lines.
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

/// Formats a line of another program for an error message.
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
