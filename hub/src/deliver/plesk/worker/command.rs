//! Runs `plesk bin dns …` with an argument vector, a cleared environment and a deadline; never
//! through a shell.
//!
//! Exit codes (Plesk's reference for the Linux command line, "dns: DNS Zones on Domains"): 0 is
//! success; `--add` of an existing record exits with 2.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use silo_shared::silo::{Family, Hostname};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::super::job::printable;
use super::super::zone_name::ZoneName;
use super::listing::{Listing, ShownAddress};

/// The `PATH` used by us and by Plesk's own scripts.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Maximum output kept, in bytes.
const MAX_OUTPUT: u64 = 16 * 1024 * 1024;
/// How long to read output after the program ended: a child process may keep it open.
const OUTPUT_GRACE: Duration = Duration::from_secs(5);
/// Maximum number of characters reported of Plesk's output.
const MAX_WORDS: usize = 200;

/// Plesk's command line.
#[derive(Clone, Debug)]
pub(super) struct Plesk {
    /// The program: a path, or a name searched in `PATH`.
    pub(super) program: PathBuf,
    /// Time limit of one run.
    pub(super) deadline: Duration,
}

/// Why a Plesk command failed.
#[derive(Debug, Error)]
pub(super) enum PleskError {
    /// It can't be started.
    #[error("cannot run {program}: {cause}", program = .0.display(), cause = .1)]
    Start(PathBuf, #[source] io::Error),
    /// It exceeded the deadline and was killed.
    #[error("plesk {0} did not end within {1} s and was killed")]
    Deadline(&'static str, u64),
    /// It exited with an error.
    #[error("plesk {0} ended with {1}: {2}")]
    Ended(&'static str, String, String),
    /// Its output is unusable.
    #[error("plesk {0}: its output is too large or endless")]
    Output(&'static str),
}

impl PleskError {
    /// Whether the error affects Plesk or the whole zone rather than one record.
    pub(super) fn concerns_all(&self) -> bool {
        match self {
            Self::Start(..) | Self::Deadline(..) => true,
            Self::Ended(verb, ..) | Self::Output(verb) => *verb == INFO,
        }
    }
}

const INFO: &str = "--info";
const ADD: &str = "--add";
const DEL: &str = "--del";

/// The result of a run.
struct Ran {
    /// The exit code; `None`: a signal ended it.
    code: Option<i32>,
    stdout: Option<Vec<u8>>,
    stderr: Option<Vec<u8>>,
}

impl Plesk {
    /// Lists the records of a zone.
    pub(super) async fn list(&self, zone: &Hostname) -> Result<Listing, PleskError> {
        let ran = self.run(INFO, &[zone.as_str()]).await?;
        match (ran.code, &ran.stdout) {
            (Some(0), Some(printed)) => Ok(Listing::parse(zone, &String::from_utf8_lossy(printed))),
            (Some(0), None) => Err(PleskError::Output(INFO)),
            _ => Err(ran.into_error(INFO)),
        }
    }

    /// Removes an address, in Plesk's notation.
    pub(super) async fn del(
        &self,
        zone_name: &ZoneName,
        old: &ShownAddress,
    ) -> Result<(), PleskError> {
        let ran = self.change(DEL, zone_name, old.ip, &old.text).await?;
        match ran.code {
            Some(0) => Ok(()),
            _ => Err(ran.into_error(DEL)),
        }
    }

    /// Adds an address. An existing address is not an error.
    pub(super) async fn add(&self, zone_name: &ZoneName, new: IpAddr) -> Result<(), PleskError> {
        let ran = self.change(ADD, zone_name, new, &new.to_string()).await?;
        match ran.code {
            Some(0 | 2) => Ok(()),
            _ => Err(ran.into_error(ADD)),
        }
    }

    async fn change(
        &self,
        verb: &'static str,
        zone_name: &ZoneName,
        ip: IpAddr,
        text: &str,
    ) -> Result<Ran, PleskError> {
        let kind = match Family::of(ip) {
            Family::V4 => "-a",
            Family::V6 => "-aaaa",
        };
        let arguments = [
            zone_name.zone().as_str(),
            kind,
            zone_name.label(),
            "-ip",
            text,
        ];
        self.run(verb, &arguments).await
    }

    async fn run(&self, verb: &'static str, arguments: &[&str]) -> Result<Ran, PleskError> {
        let mut child = Command::new(&self.program)
            .args(["bin", "dns", verb])
            .args(arguments)
            .env_clear()
            .env("PATH", PATH)
            .env("LC_ALL", "C")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Its own process group, so that it can be killed with its children.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| PleskError::Start(self.program.clone(), error))?;
        let stdout = collect(child.stdout.take());
        let stderr = collect(child.stderr.take());
        let status = match timeout(self.deadline, child.wait()).await {
            Ok(status) => status.map_err(|error| PleskError::Start(self.program.clone(), error))?,
            Err(_) => {
                kill(&mut child).await;
                return Err(PleskError::Deadline(verb, self.deadline.as_secs()));
            }
        };
        Ok(Ran {
            code: status.code(),
            stdout: collected(stdout).await,
            stderr: collected(stderr).await,
        })
    }
}

impl Ran {
    fn into_error(self, verb: &'static str) -> PleskError {
        let ending = match self.code {
            Some(code) => format!("exit code {code}"),
            None => "a signal".to_owned(),
        };
        let said = [self.stderr, self.stdout]
            .into_iter()
            .flatten()
            .map(|bytes| printable(&String::from_utf8_lossy(&bytes)))
            .find(|words| !words.is_empty())
            .unwrap_or_else(|| "no output".to_owned());
        PleskError::Ended(verb, ending, said.chars().take(MAX_WORDS).collect())
    }
}

async fn kill(child: &mut Child) {
    let group = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(Pid::from_raw);
    // Either may have exited already, which is fine.
    if let Some(group) = group {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.kill().await;
}

/// Reads to the end; `None`: unreadable or too large.
fn collect(output: Option<impl AsyncRead + Send + Unpin + 'static>) -> JoinHandle<Option<Vec<u8>>> {
    tokio::spawn(async move {
        let mut output = output?.take(MAX_OUTPUT + 1);
        let mut bytes = Vec::new();
        output.read_to_end(&mut bytes).await.ok()?;
        if bytes.len() as u64 <= MAX_OUTPUT {
            return Some(bytes);
        }
        // Keeps reading, as the program would block otherwise.
        let mut rest = output.into_inner();
        let mut waste = vec![0; 64 * 1024];
        while rest.read(&mut waste).await.is_ok_and(|read| read > 0) {}
        None
    })
}

async fn collected(mut reading: JoinHandle<Option<Vec<u8>>>) -> Option<Vec<u8>> {
    match timeout(OUTPUT_GRACE, &mut reading).await {
        Ok(read) => read.ok().flatten(),
        Err(_) => {
            reading.abort();
            None
        }
    }
}
