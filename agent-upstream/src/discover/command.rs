//! Runs a program that prints this machine's addresses, one per line.
//!
//! After a deadline, the program is killed and reaped, with all processes that it started: those of its process group, on
//! Windows those of its job object.

use std::net::IpAddr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

#[cfg(windows)]
use process_wrap::tokio::{ChildWrapper, CommandWrap, JobObject};
use silo_shared::flags::withhold_tokens;
use silo_shared::hook::find_program;
use silo_shared::silo::{Family, InvalidAddress, parse_address};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};
#[cfg(unix)]
use tokio::process::Child;
use tokio::process::{ChildStderr, ChildStdout, Command};

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
    // The one that the settings have checked: Windows would look beside this program first.
    let is_name = cfg!(windows) && Path::new(program).components().count() == 1;
    let found = is_name.then(|| find_program(program)).flatten();
    let mut command = Command::new(found.unwrap_or_else(|| program.into()));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    withhold_tokens(command.as_std_mut());
    // Killed also if this future is dropped: no process survives an interrupted run.
    let mut running = Running::spawn(command).map_err(CommandError::Start)?;
    match tokio::time::timeout(timeout, collect(&mut running)).await {
        Ok(result) => {
            // The command has ended and was reaped: processes that it deliberately left running are not killed.
            running.is_killed_on_drop = false;
            result
        }
        Err(_) => {
            running.kill().await;
            Err(CommandError::TooSlow)
        }
    }
}

/// Waits for the command to end and reads its output.
async fn collect(running: &mut Running) -> Result<String, CommandError> {
    let (stdout, stderr) = running.pipes().expect("both are piped");
    let (printed, said) = tokio::join!(read(stdout), read(stderr));
    let printed = match printed {
        Ok(printed) if printed.len() as u64 <= MAX_OUTPUT => printed,
        Ok(_) => {
            running.kill().await;
            return Err(CommandError::TooMuch);
        }
        Err(error) => {
            running.kill().await;
            return Err(CommandError::Read(error));
        }
    };
    let status = running.wait().await.map_err(CommandError::Read)?;
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

/// A command and the processes that it started; they are killed when it is dropped.
struct Running {
    #[cfg(unix)]
    child: Child,
    #[cfg(windows)]
    child: Box<dyn ChildWrapper>,
    is_killed_on_drop: bool,
}

#[cfg(unix)]
impl Running {
    fn spawn(mut command: Command) -> std::io::Result<Self> {
        Ok(Self {
            child: command.process_group(0).spawn()?,
            is_killed_on_drop: true,
        })
    }

    fn pipes(&mut self) -> Option<(ChildStdout, ChildStderr)> {
        Some((self.child.stdout.take()?, self.child.stderr.take()?))
    }

    async fn wait(&mut self) -> std::io::Result<ExitStatus> {
        self.child.wait().await
    }

    fn start_kill(&mut self) {
        // No id once the command has been reaped: it may be reused then.
        let group = self.child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(group) = group.and_then(rustix::process::Pid::from_raw) {
            // Fails only if all processes of the group have ended.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}

#[cfg(windows)]
impl Running {
    /// Started suspended, until it is in its job object: it starts no process outside of it.
    fn spawn(command: Command) -> std::io::Result<Self> {
        Ok(Self {
            child: CommandWrap::from(command).wrap(JobObject).spawn()?,
            is_killed_on_drop: true,
        })
    }

    fn pipes(&mut self) -> Option<(ChildStdout, ChildStderr)> {
        Some((self.child.stdout().take()?, self.child.stderr().take()?))
    }

    /// Of the command alone, not of all in its job object.
    async fn wait(&mut self) -> std::io::Result<ExitStatus> {
        self.child.inner_mut().wait().await
    }

    fn start_kill(&mut self) {
        // Fails only if all processes of the job object have ended.
        let _ = self.child.start_kill();
    }
}

impl Running {
    /// Kills and reaps it.
    async fn kill(&mut self) {
        self.start_kill();
        #[cfg(unix)]
        let _ = self.child.start_kill();
        // Fails only if it has ended by itself.
        let _ = self.wait().await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.is_killed_on_drop {
            self.start_kill();
        }
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
