//! Refused credentials, counted in memory by address and minute until they are stored. Memory that attackers can fill
//! is bounded: addresses beyond a minute's limit are counted together, and so are minutes that can't be stored.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::time::Time;

/// How many addresses of one minute are counted separately.
pub(crate) const ADDRESSES: usize = 100;
/// How many minutes are kept while the database is unavailable; the oldest are dropped.
const MINUTES: usize = 60;
const MINUTE_MS: i64 = 60_000;

/// How often credentials were refused to an address within a minute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedCount {
    /// When the minute began.
    pub minute: Time,
    /// The address, IPv6 by /64; `None`: all others of that minute.
    pub ip: Option<IpAddr>,
    /// The number of refusals.
    pub times: i64,
}

/// The refused credentials that are not stored yet.
#[derive(Clone, Debug, Default)]
pub struct RefusedLog(Arc<Mutex<Minutes>>);

type Minutes = BTreeMap<i64, BTreeMap<Option<IpAddr>, i64>>;

impl RefusedLog {
    /// Counts one.
    pub fn note(&self, ip: IpAddr, now: Time) {
        let minute = now.as_millis().div_euclid(MINUTE_MS);
        self.add(minute, Some(ip), 1);
    }

    /// Takes out all minutes that have ended, or every one. After the clock was set back, the minutes that it showed
    /// before have ended too.
    pub fn take(&self, now: Time, unended_too: bool) -> Vec<RefusedCount> {
        let present = now.as_millis().div_euclid(MINUTE_MS);
        let mut minutes = self.lock();
        let mut ended = std::mem::take(&mut *minutes);
        if !unended_too {
            minutes.extend(ended.remove_entry(&present));
        }
        drop(minutes);
        let counts = ended.into_iter().flat_map(|(minute, counts)| {
            counts.into_iter().map(move |(ip, times)| RefusedCount {
                minute: Time::from_millis(minute * MINUTE_MS),
                ip,
                times,
            })
        });
        counts.collect()
    }

    /// Puts back counts that could not be stored.
    pub fn put_back(&self, counts: Vec<RefusedCount>) {
        for count in counts {
            let minute = count.minute.as_millis().div_euclid(MINUTE_MS);
            self.add(minute, count.ip, count.times);
        }
    }

    fn add(&self, minute: i64, ip: Option<IpAddr>, times: i64) {
        let mut minutes = self.lock();
        let counts = minutes.entry(minute).or_default();
        let key = ip.filter(|ip| counts.len() < ADDRESSES || counts.contains_key(&Some(*ip)));
        let count = counts.entry(key).or_default();
        *count = count.saturating_add(times);
        while minutes.len() > MINUTES {
            minutes.pop_first();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Minutes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_counted_by_address_and_minute_and_stay_few() {
        let log = RefusedLog::default();
        let at = |seconds: i64| Time::from_millis(1_767_323_040_000 + seconds * 1000);
        let ip = |number: u32| IpAddr::V4(number.into());
        for second in 0..50 {
            log.note(ip(1), at(second));
        }
        log.note(ip(2), at(59));
        log.note(ip(1), at(60));
        let count = |minute, number, times| RefusedCount {
            minute: at(minute),
            ip: Some(ip(number)),
            times,
        };
        let taken = log.take(at(61), false);
        assert_eq!(taken, [count(0, 1, 50), count(0, 2, 1)]);
        assert_eq!(log.take(at(119), false), []);
        log.put_back(taken);
        log.note(ip(2), at(30));
        let all = [count(0, 1, 50), count(0, 2, 2), count(60, 1, 1)];
        assert_eq!(log.take(at(61), true), all);
        // The clock was set back: the minute is over, whenever the clock may show it again.
        for step in [400, 28_800, 172_800, 43_200_000] {
            log.note(ip(1), at(0));
            log.note(ip(1), at(-step));
            assert_eq!(log.take(at(-step), false), [count(0, 1, 1)], "{step}");
            let minute = (-step).div_euclid(60) * 60;
            let taken = log.take(at(60 - step), false);
            assert_eq!(taken, [count(minute, 1, 1)], "{step}");
        }

        for number in 0..10_000 {
            log.note(ip(number), at(0));
        }
        let taken = log.take(at(60), false);
        assert_eq!(taken.len(), ADDRESSES + 1);
        assert_eq!(taken.iter().map(|count| count.times).sum::<i64>(), 10_000);
        for minute in 0..1000 {
            log.note(ip(1), at(minute * 60));
        }
        assert_eq!(log.take(at(0), true).len(), MINUTES);
    }
}
