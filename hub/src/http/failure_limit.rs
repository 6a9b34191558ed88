//! How many wrong credentials an address may show: a window of a minute that begins with the first.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use crate::audit::RefusedLog;
use crate::domain::time::Time;

/// Wrong credentials a minute that are answered 401; further ones get 429.
const ALLOWED: u32 = 10;
/// The length of the window.
const WINDOW_MS: i64 = 60_000;
/// How many addresses are remembered at most.
const ADDRESSES: usize = 65_536;

/// Counts failures by address, IPv6 by /64.
#[derive(Debug, Default)]
pub struct FailureLimit {
    windows: Mutex<HashMap<IpAddr, Window>>,
    log: RefusedLog,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    began: Time,
    failures: u32,
}

impl FailureLimit {
    /// Tells `log` of each failure.
    pub fn telling(log: RefusedLog) -> Self {
        Self {
            windows: Mutex::default(),
            log,
        }
    }

    /// Whether an address has had all the failures of its minute: where people choose the secret, nothing
    /// more is looked at then.
    pub fn is_over(&self, ip: IpAddr, now: Time) -> bool {
        self.over_for(ip, now).is_some()
    }

    /// The same, with the seconds until the window ends.
    pub fn over_for(&self, ip: IpAddr, now: Time) -> Option<u64> {
        let windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let window = windows.get(&network(ip))?;
        let age = now.as_millis() - window.began.as_millis();
        let is_over = (0..WINDOW_MS).contains(&age) && window.failures >= ALLOWED;
        is_over.then(|| window.seconds_left(now))
    }

    /// Counts a failure. `Err` when there were too many: the seconds until the window ends.
    pub fn count(&self, ip: IpAddr, now: Time) -> Result<(), u64> {
        self.log.note(network(ip), now);
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back ends a window as well.
        let is_over = |window: &Window| {
            !(0..WINDOW_MS).contains(&(now.as_millis() - window.began.as_millis()))
        };
        if windows.len() >= ADDRESSES {
            windows.retain(|_, window| !is_over(window));
            if windows.len() >= ADDRESSES {
                // A flood from everywhere: forgetting it all keeps memory bounded and locks out nobody.
                windows.clear();
            }
        }
        let window = windows.entry(network(ip)).or_insert(Window {
            began: now,
            failures: 0,
        });
        if is_over(window) {
            *window = Window {
                began: now,
                failures: 0,
            };
        }
        window.failures = window.failures.saturating_add(1);
        if window.failures <= ALLOWED {
            return Ok(());
        }
        Err(window.seconds_left(now))
    }
}

impl Window {
    fn seconds_left(&self, now: Time) -> u64 {
        let left = WINDOW_MS - (now.as_millis() - self.began.as_millis());
        u64::try_from(left).unwrap_or(0).div_ceil(1000).max(1)
    }
}

/// An IPv6 customer has a whole /64, so that is what is counted.
fn network(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_eleventh_failure_of_a_minute_is_too_many() {
        let limit = FailureLimit::default();
        let (a, b) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let at = |millis: i64| Time::from_millis(1_000_000 + millis);
        for _ in 0..10 {
            assert_eq!(limit.count(a, at(0)), Ok(()));
        }
        assert_eq!(limit.count(a, at(500)), Err(60));
        assert_eq!(limit.count(a, at(59_500)), Err(1));
        assert_eq!(limit.count(b, at(59_500)), Ok(()));
        assert_eq!(limit.count(a, at(60_000)), Ok(()));
        assert_eq!(
            limit.count(b, at(-1)),
            Ok(()),
            "a clock set back begins anew"
        );
    }

    #[test]
    fn ipv6_is_counted_by_its_64() {
        let limit = FailureLimit::default();
        let now = Time::from_millis(0);
        for host in 0..10 {
            let ip = format!("2001:db8::{host:x}").parse().unwrap();
            assert_eq!(limit.count(ip, now), Ok(()));
        }
        assert!(limit.count("2001:db8::ffff".parse().unwrap(), now).is_err());
        assert_eq!(limit.count("2001:db8:0:1::1".parse().unwrap(), now), Ok(()));
    }

    #[test]
    fn memory_stays_bounded() {
        let limit = FailureLimit::default();
        for host in 0..200_000_u32 {
            let ip = IpAddr::V4(host.into());
            assert_eq!(limit.count(ip, Time::from_millis(0)), Ok(()));
        }
        assert!(limit.windows.lock().unwrap().len() <= ADDRESSES);
    }
}
