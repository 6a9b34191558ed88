//! The hub's side of the spool folder: writes jobs, reads results.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

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
        }
    }

    /// Submits a task, or checks its progress.
    ///
    /// A name has one job: a new task of the same name replaces an older one.
    pub(super) fn hand_over(&self, task: &Task) -> Result<Progress, SpoolError> {
        let id = JobId::of(&task.zone_name);
        let Some(job) = self.job(&id)?.filter(|job| job.task == *task) else {
            self.drop_job(&id, task)?;
            return Ok(Progress::Waiting);
        };
        // A result with another nonce is that of an earlier job; the worker will remove it.
        match self.result(&id)?.filter(|result| result.nonce == job.nonce) {
            Some(result) => {
                let path = self.jobs.join(id.job_file());
                remove(&path).map_err(|error| SpoolError::File(path, error))?;
                Ok(Progress::Answered(result))
            }
            None if self.is_forgotten(&id)? => Ok(Progress::Forgotten),
            None => Ok(Progress::Waiting),
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

    /// Writes a job to a temporary file, then renames it, so that the worker never sees a partial job.
    fn drop_job(&self, id: &JobId, task: &Task) -> Result<(), SpoolError> {
        let job = Job {
            task: task.clone(),
            nonce: Nonce::new()?,
        };
        let draft = self.jobs.join(format!(".{id}.tmp"));
        let written = write_private(&draft, &job.to_bytes());
        written.map_err(|error| SpoolError::File(draft.clone(), error))?;
        let path = self.jobs.join(id.job_file());
        fs::rename(&draft, &path).map_err(|error| SpoolError::File(path, error))
    }

    /// Whether the job is old, and the worker has answered no job for as long.
    fn is_forgotten(&self, id: &JobId) -> Result<bool, SpoolError> {
        Ok(self.is_old(&self.jobs.join(id.job_file()))? && self.is_old(&self.results)?)
    }

    fn is_old(&self, path: &Path) -> Result<bool, SpoolError> {
        let of = |error| SpoolError::File(path.to_owned(), error);
        let written = match fs::metadata(path).and_then(|metadata| metadata.modified()) {
            Ok(time) => time,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(of(error)),
        };
        let written = written
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        let now = u64::try_from(self.clock.now().as_millis()).unwrap_or_default();
        Ok(Duration::from_millis(now).saturating_sub(written) > PATIENCE)
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

#[cfg(test)]
#[path = "spool_tests.rs"]
mod tests;
