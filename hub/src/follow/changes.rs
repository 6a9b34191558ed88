//! Recent changes, read from the database once for all clients that follow every silo.
//!
//! The database is queried once per announcement, by the first caller; the others use the result.
//! Only a caller further behind than the log reaches queries the database itself.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::revision::Revision;
use crate::follow::bus::Bus;
use crate::store::{ChangedSilo, Store, StoreError};

/// Number of changes kept in the log.
const KEPT: usize = 1024;
/// Number of changes read from the database at once.
const READ_AT_ONCE: usize = 1000;
/// Maximum number of changes returned to a caller that is behind the log.
const GIVEN_AT_ONCE: usize = 100;

/// The log of recent changes.
#[derive(Debug)]
pub struct Changes {
    store: Store,
    bus: Bus,
    log: Mutex<Log>,
    reading: tokio::sync::Mutex<()>,
}

/// Every change in `(from, to]`, ordered by revision.
#[derive(Debug)]
struct Log {
    from: Revision,
    to: Revision,
    changes: VecDeque<Arc<ChangedSilo>>,
    /// Number of announcements when the database was last queried.
    announcements: u64,
    /// Number of gaps.
    gaps: u64,
}

/// What changed after a revision.
#[derive(Debug)]
pub struct Since {
    /// Ordered by revision.
    pub changes: VecDeque<Arc<ChangedSilo>>,
    /// The revision up to which these changes are complete; if there are none, the next call may
    /// start there.
    pub up_to: Revision,
}

impl Changes {
    /// An empty log that starts at a revision that the database has reached.
    pub fn new(store: Store, bus: Bus, from: Revision) -> Self {
        let log = Log {
            from,
            to: from,
            changes: VecDeque::new(),
            announcements: bus.announcements(),
            gaps: bus.gaps(),
        };
        Self {
            store,
            bus,
            log: Mutex::new(log),
            reading: tokio::sync::Mutex::default(),
        }
    }

    /// The changes after a revision, at least those announced before this call.
    pub async fn since(&self, revision: Revision) -> Result<Since, StoreError> {
        let announced = self.bus.announcements();
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
            // Another caller has queried in the meantime.
            if let Some(since) = log.since(revision, announced) {
                return Ok(since);
            }
            (log.to, self.bus.announcements())
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
            // More changes arrived at once than the log holds.
            None => self.read(revision, begin).await,
        }
    }

    /// Queries the database for changes older than the log, which starts at `begin`.
    async fn read(&self, revision: Revision, begin: Revision) -> Result<Since, StoreError> {
        let read = self.store.changed_since(revision, at_once(GIVEN_AT_ONCE));
        let changes: VecDeque<_> = read.await?.into_iter().map(Arc::new).collect();
        let up_to = match changes.back() {
            Some(last) => last.revision,
            // The database had reached the start of the log before the query.
            None => begin,
        };
        Ok(Since { changes, up_to })
    }

    /// The log, emptied if there was a gap since: its content may no longer be valid.
    fn log(&self) -> MutexGuard<'_, Log> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let gaps = self.bus.gaps();
        if log.gaps != gaps {
            log.gaps = gaps;
            log.changes.clear();
            log.from = log.to;
        }
        log
    }
}

impl Log {
    /// The changes after a revision; `None` if the database must be queried.
    fn since(&self, revision: Revision, announced: u64) -> Option<Since> {
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
