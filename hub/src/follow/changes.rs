//! What changed lately, read from the database once for all who follow every silo.
//!
//! The database is asked once an announcement, whoever asks first; the others take what was found. Only who
//! is further behind than the log reaches asks the database itself.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::follow::revision::Revision;
use crate::store::{ChangedSilo, Store, StoreError};

/// How many changes the log holds.
const KEPT: usize = 1024;
/// How many changes are read from the database at once.
const READ_AT_ONCE: usize = 1000;
/// How many changes one who asks gets at once.
const GIVEN_AT_ONCE: usize = 100;

/// The log of recent changes.
#[derive(Debug)]
pub struct Changes {
    store: Store,
    revision: Revision,
    log: Mutex<Log>,
    reading: tokio::sync::Mutex<()>,
}

/// Every change in `(from, to]`, in the order of their revisions.
#[derive(Debug)]
struct Log {
    from: i64,
    to: i64,
    changes: VecDeque<Arc<ChangedSilo>>,
    /// How many announcements there had been when the database was last asked.
    announcements: u64,
    /// How many gaps.
    gaps: u64,
}

/// What changed after a revision.
#[derive(Debug)]
pub struct Since {
    /// In the order of their revisions.
    pub changes: VecDeque<Arc<ChangedSilo>>,
    /// The revision up to which these are all changes; where there are none, a later question may begin there.
    pub up_to: i64,
}

impl Changes {
    /// An empty log that begins at a revision that the database has reached.
    pub fn new(store: Store, revision: Revision, from: i64) -> Self {
        let log = Log {
            from,
            to: from,
            changes: VecDeque::new(),
            announcements: revision.announcements(),
            gaps: revision.gaps(),
        };
        Self {
            store,
            revision,
            log: Mutex::new(log),
            reading: tokio::sync::Mutex::default(),
        }
    }

    /// What changed after a revision, as far as it was announced before this call.
    pub async fn since(&self, revision: i64) -> Result<Since, StoreError> {
        let announced = self.revision.announcements();
        let begin = {
            let log = self.log();
            match log.since(revision, announced) {
                Some(since) => return Ok(since),
                None => log.from,
            }
        };
        if revision < begin {
            return self.read(revision, begin).await;
        }
        let _reading = self.reading.lock().await;
        let (mut to, asked) = {
            let log = self.log();
            // Somebody else has asked meanwhile.
            if let Some(since) = log.since(revision, announced) {
                return Ok(since);
            }
            (log.to, self.revision.announcements())
        };
        loop {
            let read = self.store.changed_since(to, at_once(READ_AT_ONCE)).await?;
            let is_all = read.len() < READ_AT_ONCE;
            let mut log = self.log();
            log.append(read);
            to = log.to;
            if is_all {
                log.announcements = asked;
                break;
            }
        }
        let (since, begin) = {
            let log = self.log();
            (log.since(revision, announced), log.from)
        };
        match since {
            Some(since) => Ok(since),
            // More came at once than the log holds.
            None => self.read(revision, begin).await,
        }
    }

    /// Asks the database for what is older than the log, which begins at `begin`.
    async fn read(&self, revision: i64, begin: i64) -> Result<Since, StoreError> {
        let read = self.store.changed_since(revision, at_once(GIVEN_AT_ONCE));
        let changes: VecDeque<_> = read.await?.into_iter().map(Arc::new).collect();
        let up_to = match changes.back() {
            Some(last) => last.revision,
            // The database had reached the log's begin before it was asked.
            None => begin,
        };
        Ok(Since { changes, up_to })
    }

    /// The log, emptied if there was a gap since: what it held may not be so any more.
    fn log(&self) -> MutexGuard<'_, Log> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let gaps = self.revision.gaps();
        if log.gaps != gaps {
            log.gaps = gaps;
            log.changes.clear();
            log.from = log.to;
        }
        log
    }
}

impl Log {
    /// What changed after a revision; `None` when the database must be asked.
    fn since(&self, revision: i64, announced: u64) -> Option<Since> {
        if self.announcements < announced || revision < self.from {
            return None;
        }
        let begin = self
            .changes
            .partition_point(|change| change.revision <= revision);
        let changes: VecDeque<_> = self.changes.range(begin..).cloned().collect();
        let up_to = self.to.max(revision);
        Some(Since { changes, up_to })
    }

    fn append(&mut self, read: Vec<ChangedSilo>) {
        for change in read {
            self.to = change.revision;
            self.changes.push_back(Arc::new(change));
        }
        while self.changes.len() > KEPT
            && let Some(oldest) = self.changes.pop_front()
        {
            self.from = oldest.revision;
        }
    }
}

fn at_once(changes: usize) -> i64 {
    i64::try_from(changes).expect("a page is small")
}
