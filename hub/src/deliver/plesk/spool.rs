//! The spool folder as the hub sees it: drops jobs, reads results.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

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
        }
    }

    /// Hands a task over, or looks what became of it.
    ///
    /// A name has one job: another task of the same name takes the place of an older one.
    pub(super) fn hand_over(&self, task: &Task) -> Result<Progress, SpoolError> {
        let id = JobId::of(&task.zone_name);
        let Some(job) = self.job(&id)?.filter(|job| job.task == *task) else {
            self.drop_job(&id, task)?;
            return Ok(Progress::Waiting);
        };
        // A result of another nonce is that of an earlier job, which the worker will remove.
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

    /// Whether the job is old, and the worker has answered nobody for as long.
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
