//! The hub's side of the spool folder: writes jobs, reads results.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use silo_shared::private_file;
use thiserror::Error;

use super::job::{Job, JobId, JobResult, MAX_BYTES, NoRandomness, Nonce, Task};
use crate::domain::time::Clock;

/// How long a job may wait, while the worker answers none at all, before that is reported.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// The spool folder.
#[derive(Clone, Debug)]
pub(super) struct Spool {
    jobs: PathBuf,
    results: PathBuf,
    clock: Clock,
    waits: Arc<Mutex<Waits>>,
}

/// What this process has seen of the spool and when, by the monotonic clock. The times of files say only whether
/// something has changed: the wall clock may have been stepped since.
#[derive(Debug, Default)]
struct Waits {
    /// The jobs that lie there, and since when.
    jobs: HashMap<JobId, (Nonce, Duration)>,
    /// The time of the folder of results, and since when it is that.
    results: Option<(SystemTime, Duration)>,
}

/// The progress of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The job is waiting.
    Waiting,
    /// The job is waiting, and the worker seems not to run.
    Forgotten,
    /// The worker has answered; the job is removed.
    Answered(JobResult),
}

/// Why the spool folder can't be used.
#[derive(Debug, Error)]
pub(super) enum SpoolError {
    /// Access to a file or folder in it failed.
    #[error("{path}: {cause}", path = .0.display(), cause = .1)]
    File(PathBuf, #[source] io::Error),
    /// The system returned no random bytes.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
}

impl Spool {
    /// Does not access the folder yet.
    pub(super) fn new(folder: &Path, clock: Clock) -> Self {
        Self {
            jobs: folder.join("jobs"),
            results: folder.join("results"),
            clock,
            waits: Arc::default(),
        }
    }

    /// Submits a task, or checks its progress.
    ///
    /// A name has one job: a new task of the same name replaces an older one.
    pub(super) fn hand_over(&self, task: &Task) -> Result<Progress, SpoolError> {
        let id = JobId::of(&task.zone_name);
        let Some(job) = self.job(&id)?.filter(|job| job.task == *task) else {
            let nonce = self.drop_job(&id, task)?;
            return self.watch(id, nonce);
        };
        // A result with another nonce is that of an earlier job; the worker will remove it.
        match self.result(&id)?.filter(|result| result.nonce == job.nonce) {
            Some(result) => {
                let path = self.jobs.join(id.job_file());
                remove(&path).map_err(|error| SpoolError::File(path, error))?;
                let mut waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
                waits.jobs.remove(&id);
                Ok(Progress::Answered(result))
            }
            None => self.watch(id, job.nonce),
        }
    }

    /// The waiting job. An invalid file, such as one truncated by a full disk, counts as none.
    fn job(&self, id: &JobId) -> Result<Option<Job>, SpoolError> {
        let bytes = read(&self.jobs.join(id.job_file()))?;
        Ok(bytes.and_then(|bytes| Job::parse(id, &bytes).ok()))
    }

    fn result(&self, id: &JobId) -> Result<Option<JobResult>, SpoolError> {
        let bytes = read(&self.results.join(id.result_file()))?;
        Ok(bytes.and_then(|bytes| JobResult::parse(&bytes).ok()))
    }

    /// Writes a job beside its place, then renames it, so that the worker sees all of it or nothing.
    fn drop_job(&self, id: &JobId, task: &Task) -> Result<Nonce, SpoolError> {
        let job = Job {
            task: task.clone(),
            nonce: Nonce::new()?,
        };
        let draft = self.jobs.join(format!(".{id}.tmp"));
        let written = write_private(&draft, &job.to_bytes());
        written.map_err(|error| SpoolError::File(draft.clone(), error))?;
        let path = self.jobs.join(id.job_file());
        fs::rename(&draft, &path).map_err(|error| SpoolError::File(path, error))?;
        Ok(job.nonce)
    }

    /// A job counts as forgotten if it and the worker's results have both been unchanged for long, as observed by this
    /// process.
    fn watch(&self, id: JobId, nonce: Nonce) -> Result<Progress, SpoolError> {
        let metadata = fs::metadata(&self.results).and_then(|metadata| metadata.modified());
        let answered = match metadata {
            Ok(time) => time,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Progress::Waiting),
            Err(error) => return Err(SpoolError::File(self.results.clone(), error)),
        };
        let now = self.clock.monotonic();
        let mut waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        let results = match waits.results {
            Some((time, since)) if time == answered => since,
            _ => now,
        };
        waits.results = Some((answered, results));
        let (known, since) = waits.jobs.entry(id).or_insert_with(|| (nonce.clone(), now));
        if *known != nonce {
            (*known, *since) = (nonce, now);
        }
        let is_old = |since: Duration| now.saturating_sub(since) > PATIENCE;
        if is_old(*since) && is_old(results) {
            Ok(Progress::Forgotten)
        } else {
            Ok(Progress::Waiting)
        }
    }

    /// Checks that jobs can be written and results read; returns the number of waiting jobs.
    pub(super) fn check(&self) -> Result<usize, SpoolError> {
        let count = |path: &Path| -> Result<usize, SpoolError> {
            let of = |error| SpoolError::File(path.to_owned(), error);
            let mut jobs = 0;
            for entry in fs::read_dir(path).map_err(of)? {
                let name = entry.map_err(of)?.file_name();
                jobs += usize::from(name.to_str().and_then(JobId::of_job_file).is_some());
            }
            Ok(jobs)
        };
        count(&self.results)?;
        let jobs = count(&self.jobs)?;
        #[cfg(unix)]
        {
            use rustix::fs::Access;
            let access = Access::WRITE_OK | Access::EXEC_OK;
            rustix::fs::accessat(
                rustix::fs::CWD,
                &self.jobs,
                access,
                rustix::fs::AtFlags::EACCESS,
            )
            .map_err(|error| SpoolError::File(self.jobs.clone(), error.into()))?;
        }
        Ok(jobs)
    }
}

/// The first bytes of a file, enough to detect that it is too large; `None`: not found.
fn read(path: &Path) -> Result<Option<Vec<u8>>, SpoolError> {
    let mut bytes = Vec::new();
    match File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes)) {
        Ok(_) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(SpoolError::File(path.to_owned(), error)),
    }
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // Always created new: a file left by a killed hub may have any mode.
    remove(path)?;
    let mut file = private_file::create_new(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

// The other side is on Linux only.
#[cfg(test)]
#[cfg(unix)]
#[path = "spool_tests.rs"]
mod tests;
