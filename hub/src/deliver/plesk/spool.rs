//! The spool folder as the hub sees it: drops jobs, reads results.

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

/// How long a job may lie there, while the worker answers none at all, until that is told as a trouble.
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

/// How it stands with a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The job lies there.
    Waiting,
    /// The job lies there, and nobody seems to work.
    Forgotten,
    /// The worker has answered; the job is gone.
    Answered(JobResult),
}

/// Why the spool can't be used.
#[derive(Debug, Error)]
pub(super) enum SpoolError {
    /// A file or folder of it fails.
    #[error("{path}: {cause}", path = .0.display(), cause = .1)]
    File(PathBuf, #[source] io::Error),
    /// The system gave no random bytes.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
}

impl Spool {
    /// The folder, which is not looked at yet.
    pub(super) fn new(folder: &Path, clock: Clock) -> Self {
        Self {
            jobs: folder.join("jobs"),
            results: folder.join("results"),
            clock,
            waits: Arc::default(),
        }
    }

    /// Hands a task over, or looks what became of it.
    ///
    /// A name has one job: another task of the same name takes the place of an older one.
    pub(super) fn hand_over(&self, task: &Task) -> Result<Progress, SpoolError> {
        let id = JobId::of(&task.zone_name);
        let Some(job) = self.job(&id)?.filter(|job| job.task == *task) else {
            let nonce = self.drop_job(&id, task)?;
            return self.watch(id, nonce);
        };
        // A result of another nonce is that of an earlier job, which the worker will remove.
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

    /// The job that lies there. What is none, such as a file that a full disk cut short, counts as nothing.
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

    /// A job is forgotten when it has lain there for long and the worker has answered nobody for as long, both as
    /// this process has seen it.
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
        match is_old(*since) && is_old(results) {
            true => Ok(Progress::Forgotten),
            false => Ok(Progress::Waiting),
        }
    }

    /// Tries whether jobs can be dropped and results read; answers how many jobs lie there.
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

/// The first bytes of a file, enough to see that it is too large; `None`: it is not there.
fn read(path: &Path) -> Result<Option<Vec<u8>>, SpoolError> {
    let mut bytes = Vec::new();
    match File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes)) {
        Ok(_) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(SpoolError::File(path.to_owned(), error)),
    }
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // Created each time: what a killed hub left may be of any mode.
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

#[cfg(test)]
#[path = "spool_tests.rs"]
mod tests;
