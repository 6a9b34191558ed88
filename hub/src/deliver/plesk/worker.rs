//! The privileged side of the sink: run by root, executes the jobs in the spool folder.
//!
//! Opens no database and no network connection. The jobs folder belongs to an untrusted user: it is
//! read by descriptor, links in it are not followed, and nothing is written there. Called by the
//! command `plesk-worker`.

mod command;
mod folder;
mod listing;
mod pass;
mod plan;
mod queue;
mod state;

use std::path::PathBuf;
use std::time::Duration;

use rustix::process::{Uid, geteuid};
use silo_shared::silo::Hostname;
use thiserror::Error;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{error, info};

use command::Plesk;
use folder::FolderError;
use pass::Work;
use queue::Queue;
use state::{Lock, State};

/// Polling interval of the folder.
const PAUSE: Duration = Duration::from_secs(1);
/// Maximum polling interval while the worker's own folders fail.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// When a worker ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// After the present jobs are done.
    Once,
    /// After this time; a running command is waited for.
    After(Duration),
    /// When asked to stop.
    Stopped,
}

/// The settings of a worker.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    /// The folder with `jobs` and `results`.
    pub spool: PathBuf,
    /// The user whose jobs are accepted: a name or a numeric id.
    pub owner: String,
    /// The worker's own folder.
    pub state: PathBuf,
    /// The Plesk domains that may be changed.
    pub domains: Vec<Hostname>,
    /// Whether a name must exist before it is changed.
    pub must_exist: bool,
    /// Plesk's command line.
    pub plesk: PathBuf,
    /// Time limit of one Plesk command.
    pub deadline: Duration,
    /// When to end.
    pub until: Until,
}

/// Why a worker failed.
#[derive(Debug, Error)]
pub enum WorkerError {
    /// Requires a change of the command line or the folders.
    #[error("{0}")]
    Usage(String),
    /// A later run may succeed.
    #[error("{0}")]
    Failed(String),
}

impl From<FolderError> for WorkerError {
    fn from(error: FolderError) -> Self {
        Self::Usage(error.to_string())
    }
}

/// Executes jobs until `settings.until`, or until `stop` completes. A running Plesk command is waited for.
///
/// Need not run as root, but the user must own the state and results folders; Plesk itself requires root.
pub async fn run(
    settings: WorkerSettings,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), WorkerError> {
    let me = geteuid();
    let owner = user_id(&settings.owner).await?;
    let state = State::open(&settings.state, me)?;
    let queue = Queue::open(&settings.spool, owner, me)?;
    let mut end = End::new(settings.until, stop);
    let Some(lock) = lock(&state, &mut end).await? else {
        return Ok(());
    };
    let path = state.path().to_owned();
    let of_state = |error| WorkerError::Failed(format!("{}: {error}", path.display()));
    let plesk = Plesk {
        program: settings.plesk,
        deadline: settings.deadline,
    };
    let work = Work::new(queue, state, plesk, settings.domains, settings.must_exist);
    let done = work_on(work.map_err(of_state)?, &mut end).await;
    drop(lock);
    done
}

async fn work_on(mut work: Work, end: &mut End) -> Result<(), WorkerError> {
    let mut pause = PAUSE;
    loop {
        let passed = work.pass(|| end.has_come()).await;
        if end.until == Until::Once {
            return match passed {
                Ok(true) => Ok(()),
                Ok(false) => Err(WorkerError::Failed(
                    "this pass did not complete, will retry".to_owned(),
                )),
                Err(error) => Err(WorkerError::Failed(format!(
                    "cannot use the worker's own folders: {error}"
                ))),
            };
        }
        pause = match passed {
            Ok(_) => PAUSE,
            Err(error) => {
                error!("cannot use the worker's own folders: {error}");
                (pause * 2).min(LONGEST_PAUSE)
            }
        };
        if !end.wait(pause).await {
            return Ok(());
        }
    }
}

/// Waits for other workers to end; `None`: this worker was asked to end first.
async fn lock(state: &State, end: &mut End) -> Result<Option<Lock>, WorkerError> {
    let mut is_told = false;
    loop {
        let locked = state.lock();
        let failed =
            |why: String| WorkerError::Failed(format!("{}: {why}", state.path().display()));
        if let Some(lock) = locked.map_err(|error| failed(error.to_string()))? {
            return Ok(Some(lock));
        }
        if end.until == Until::Once {
            return Err(failed("another worker is running".to_owned()));
        }
        if !is_told {
            info!("another worker is running; waiting for it to end");
            is_told = true;
        }
        if !end.wait(PAUSE).await {
            return Ok(None);
        }
    }
}

/// The end of the worker.
struct End {
    until: Until,
    at: Option<Instant>,
    stopped: watch::Receiver<bool>,
}

impl End {
    fn new(until: Until, stop: impl Future<Output = ()> + Send + 'static) -> Self {
        let (sender, stopped) = watch::channel(false);
        tokio::spawn(async move {
            stop.await;
            sender.send_replace(true);
            // Keeps the sender until there are no receivers left.
            sender.closed().await;
        });
        let at = match until {
            Until::After(length) => Instant::now().checked_add(length),
            Until::Once | Until::Stopped => None,
        };
        Self { until, at, stopped }
    }

    /// Whether to start nothing new.
    fn has_come(&self) -> bool {
        *self.stopped.borrow() || self.at.is_some_and(|at| at <= Instant::now())
    }

    /// Waits; returns false once the worker must end.
    async fn wait(&mut self, pause: Duration) -> bool {
        let pause = Instant::now() + pause;
        let until = self.at.map_or(pause, |at| at.min(pause));
        tokio::select! {
            () = sleep_until(until) => {}
            // Error: the sender was dropped, and with it the runtime.
            _ = self.stopped.wait_for(|stopped| *stopped) => {}
        }
        !self.has_come()
    }
}

/// The numeric id of a user, given by name or id.
///
/// Asks `id -u` (POSIX), which knows users of every source, such as LDAP.
async fn user_id(user: &str) -> Result<Uid, WorkerError> {
    let wrong = |why: &str| WorkerError::Usage(format!("--owner: {user:?}: {why}"));
    if let Ok(number) = user.parse::<u32>() {
        return Ok(Uid::from_raw(number));
    }
    if user.is_empty() || user.starts_with('-') {
        return Err(wrong("not the name of a user"));
    }
    let asked = Command::new("id")
        .args(["-u", user])
        .env_clear()
        .env("PATH", command::PATH)
        .kill_on_drop(true)
        .output();
    let output = tokio::select! {
        output = asked => output.map_err(|error| wrong(&format!("cannot run id: {error}")))?,
        () = sleep(LONGEST_PAUSE) => return Err(wrong("id did not answer")),
    };
    String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse::<u32>()
        .ok()
        .filter(|_| output.status.success())
        .map(Uid::from_raw)
        .ok_or_else(|| wrong("there is no such user"))
}
