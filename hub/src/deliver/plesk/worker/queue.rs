//! The worker's side of the spool folder: jobs of an untrusted user, and the worker's own results.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::io;
use std::path::Path;

use rustix::process::Uid;
use tracing::warn;

use super::super::job::{Job, JobId, JobResult, MAX_BYTES, printable};
use super::folder::{Folder, FolderError};

/// Maximum number of names read from a folder in one pass.
const MAX_NAMES: usize = 100_000;
/// Maximum number of refusals logged in one pass.
const MAX_TOLD: usize = 20;
/// Maximum number of refusals remembered, so that each is logged once.
const MAX_KEPT: usize = 10_000;

/// The two parts of the spool folder. Nothing in the jobs folder is written, linked or opened for writing.
#[derive(Debug)]
pub(super) struct Queue {
    jobs: Folder,
    results: Folder,
    owner: Uid,
    me: Uid,
    reported: HashSet<(CString, String)>,
}

impl Queue {
    /// Opens SPOOL, SPOOL/jobs and SPOOL/results, and checks their owners.
    pub(super) fn open(spool: &Path, owner: Uid, me: Uid) -> Result<Self, FolderError> {
        let spool = Folder::open(spool, me)?;
        Ok(Self {
            jobs: spool.child("jobs", owner)?,
            results: spool.child("results", me)?,
            owner,
            me,
            reported: HashSet::new(),
        })
    }

    /// Jobs without a result. Other files are logged once and ignored.
    pub(super) fn open_jobs(&mut self) -> io::Result<Vec<(JobId, Job)>> {
        let mut jobs = Vec::new();
        let mut reported = 0_usize;
        for name in self.jobs.names(MAX_NAMES)? {
            // The hub's temporary files.
            if name.to_bytes().starts_with(b".") {
                continue;
            }
            match self.read_job(&name) {
                Ok(Some((id, job))) => jobs.push((id, job)),
                Ok(None) => {}
                Err(why) => reported += usize::from(self.tell(name, why, reported < MAX_TOLD)),
            }
        }
        if reported > MAX_TOLD {
            let more = reported - MAX_TOLD;
            warn!(
                "{}: {more} more files were refused",
                self.jobs.path().display()
            );
        }
        Ok(jobs)
    }

    fn read_job(&self, name: &CStr) -> Result<Option<(JobId, Job)>, String> {
        let id = name
            .to_str()
            .ok()
            .and_then(JobId::of_job_file)
            .ok_or("not the name of a job")?;
        let bytes = match self.jobs.read(name, self.owner, MAX_BYTES) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        let job = Job::parse(&id, &bytes).map_err(|error| error.to_string())?;
        let is_answered = self
            .result_of(&id)
            .is_some_and(|result| result.nonce == job.nonce);
        Ok((!is_answered).then_some((id, job)))
    }

    /// Whether the job is still current: the hub may have replaced or withdrawn it.
    pub(super) fn still_asks(&self, id: &JobId, job: &Job) -> bool {
        let name = CString::new(id.job_file()).ok();
        let now = name.and_then(|name| self.read_job(&name).ok().flatten());
        now.is_some_and(|(_, now)| now == *job)
    }

    /// Logs a refusal unless logged before; returns whether it is new.
    fn tell(&mut self, name: CString, why: String, aloud: bool) -> bool {
        if self.reported.len() >= MAX_KEPT {
            self.reported.clear();
        }
        if aloud && !self.reported.contains(&(name.clone(), why.clone())) {
            warn!(
                "{}/{}: refused: {}",
                self.jobs.path().display(),
                name.to_bytes().escape_ascii(),
                printable(&why)
            );
        }
        self.reported.insert((name, why))
    }

    /// The result written for a job; an unreadable one counts as none and is replaced.
    fn result_of(&self, id: &JobId) -> Option<JobResult> {
        let name = CString::new(id.result_file()).ok()?;
        let bytes = self.results.read(&name, self.me, MAX_BYTES).ok()??;
        JobResult::parse(&bytes).ok()
    }

    /// Writes the result of a job. The file is readable by all users with access to the folder.
    pub(super) fn answer(&self, id: &JobId, result: &JobResult) -> io::Result<()> {
        self.results
            .replace(&id.result_file(), 0o644, &result.to_bytes())
    }

    /// Removes results whose job no longer exists: the hub has read them.
    pub(super) fn clean_results(&self) -> io::Result<()> {
        for name in self.results.names(MAX_NAMES)? {
            let id = name.to_str().ok().and_then(JobId::of_result_file);
            if let Some(id) = id
                && !self.jobs.has(&id.job_file())?
            {
                self.results.remove(&id.result_file())?;
            }
        }
        Ok(())
    }
}
