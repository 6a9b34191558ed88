//! Last-seen times of records written without a change: kept in memory and written once a minute,
//! so that a heartbeat costs no commit.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use silo_shared::silo::{Hostname, SiloId};
use tokio::sync::Notify;

use crate::domain::elapsed::is_ahead;
use crate::domain::time::Time;

/// From this number of records on, they are written before the minute is over.
const MANY: usize = 50_000;

/// Times that are not in the database yet.
#[derive(Debug, Default)]
pub struct PendingLastSeen {
    times: Mutex<HashMap<(SiloId, Hostname), Time>>,
    many: Notify,
}

impl PendingLastSeen {
    pub(super) fn note(&self, records: Vec<(SiloId, Hostname)>, now: Time) {
        if records.is_empty() {
            return;
        }
        let mut times = self.lock();
        times.extend(records.into_iter().map(|record| (record, now)));
        if times.len() > MANY {
            self.many.notify_one();
        }
    }

    /// When a record was last seen, according to the database and the pending times. A stored time
    /// from a clock that was ahead is ignored.
    pub fn latest(&self, id: &SiloId, hostname: &Hostname, stored: Time) -> Time {
        let noted = self.lock().get(&(id.clone(), hostname.clone())).copied();
        noted.map_or(stored, |noted| {
            if is_ahead(stored, noted) {
                noted
            } else {
                noted.max(stored)
            }
        })
    }

    /// All times to write.
    pub fn pending(&self) -> Vec<(SiloId, Hostname, Time)> {
        let copy = |((id, hostname), time): (&(SiloId, Hostname), &Time)| {
            (id.clone(), hostname.clone(), *time)
        };
        self.lock().iter().map(copy).collect()
    }

    /// Removes the times that were written, but not newer ones.
    pub fn forget(&self, written: &[(SiloId, Hostname, Time)]) {
        let mut times = self.lock();
        for (id, hostname, time) in written {
            let key = (id.clone(), hostname.clone());
            if times.get(&key) == Some(time) {
                times.remove(&key);
            }
        }
    }

    /// Waits until there are enough records to write them at once.
    pub async fn many(&self) {
        self.many.notified().await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(SiloId, Hostname), Time>> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_noted_during_a_write_are_kept() {
        let seen = PendingLastSeen::default();
        let id = SiloId::parse("office").unwrap();
        let db = Hostname::parse("db").unwrap();
        let time = Time::from_millis;
        seen.note(vec![(id.clone(), db.clone())], time(10));
        assert_eq!(seen.latest(&id, &db, time(5)), time(10));
        assert_eq!(seen.latest(&id, &db, time(15)), time(15));
        assert_eq!(seen.latest(&id, &db, time(300_010)), time(300_010));
        assert_eq!(seen.latest(&id, &db, time(300_011)), time(10));
        let written = seen.pending();
        seen.note(vec![(id.clone(), db.clone())], time(20));
        seen.forget(&written);
        assert_eq!(seen.latest(&id, &db, time(5)), time(20));
        seen.forget(&seen.pending());
        assert_eq!(seen.latest(&id, &db, time(5)), time(5));
    }
}
