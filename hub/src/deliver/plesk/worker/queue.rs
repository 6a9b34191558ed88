//! The spool folder as the worker sees it: jobs of a user who is not trusted, results of its own.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::io;
use std::path::Path;

use rustix::process::Uid;
use tracing::warn;

use super::super::job::{Job, JobId, JobResult, MAX_BYTES, printable};
use super::folder::{Folder, FolderError};

/// The most names of a folder that are looked at in one pass.
const MAX_NAMES: usize = 100_000;
/// The most refusals that are told in one pass.
const MAX_TOLD: usize = 20;
/// The most refusals that are kept in mind, so that each is told once.
const MAX_KEPT: usize = 10_000;

/// The spool folder's two parts. In the jobs' folder nothing is ever written, linked or opened for writing.
#[derive(Debug)]
pub(super) struct Queue {
    jobs: Folder,
    results: Folder,
    owner: Uid,
    me: Uid,
    told: HashSet<(CString, String)>,
}

impl Queue {
    /// Opens SPOOL, SPOOL/jobs and SPOOL/results, and checks whose they are.
    pub(super) fn open(spool: &Path, owner: Uid, me: Uid) -> Result<Self, FolderError> {
        let spool = Folder::open(spool, me)?;
        Ok(Self {
            jobs: spool.child("jobs", owner)?,
            results: spool.child("results", me)?,
            owner,
            me,
            told: HashSet::new(),
        })
    }

    /// The jobs that are there and have no result yet. What is no job is told, once, and left alone.
    pub(super) fn open_jobs(&mut self) -> io::Result<Vec<(JobId, Job)>> {
        let mut jobs = Vec::new();
        let mut told = 0_usize;
        for name in self.jobs.names(MAX_NAMES)? {
            // What the hub is about to rename.
            if name.to_bytes().starts_with(b".") {
                continue;
            }
            match self.read_job(&name) {
                Ok(Some((id, job))) => jobs.push((id, job)),
                Ok(None) => {}
                Err(why) => told += usize::from(self.tell(name, why, told < MAX_TOLD)),
            }
        }
        if told > MAX_TOLD {
            let more = told - MAX_TOLD;
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

    /// Whether the job is still the one that is wanted: the hub may have replaced or withdrawn it.
    pub(super) fn still_asks(&self, id: &JobId, job: &Job) -> bool {
        let name = CString::new(id.job_file()).ok();
        let now = name.and_then(|name| self.read_job(&name).ok().flatten());
        now.is_some_and(|(_, now)| now == *job)
    }

    /// Tells a refusal unless it was told before; answers whether it is a new one.
    fn tell(&mut self, name: CString, why: String, aloud: bool) -> bool {
        if self.told.len() >= MAX_KEPT {
            self.told.clear();
        }
        if aloud && !self.told.contains(&(name.clone(), why.clone())) {
            warn!(
                "{}/{}: refused: {}",
                self.jobs.path().display(),
                name.to_bytes().escape_ascii(),
                printable(&why)
            );
        }
        self.told.insert((name, why))
    }

    /// What was said of a job; what can't be read counts as nothing and is written anew.
    fn result_of(&self, id: &JobId) -> Option<JobResult> {
        let name = CString::new(id.result_file()).ok()?;
        let bytes = self.results.read(&name, self.me, MAX_BYTES).ok()??;
        JobResult::parse(&bytes).ok()
    }

    /// Says how a job ended. The file is readable for all whom the folder lets in.
    pub(super) fn answer(&self, id: &JobId, result: &JobResult) -> io::Result<()> {
        self.results
            .replace(&id.result_file(), 0o644, &result.to_bytes())
    }

    /// Removes the results of jobs that are gone: the hub has read them.
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
