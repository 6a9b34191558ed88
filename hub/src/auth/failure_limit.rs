//! Limits wrong credentials per address: a window of a minute that begins with the first one. Several hubs on one
//! database count together: each shares its own counts and reads those of the others.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::auth::refused::RefusedLog;
use crate::domain::failures::{AddressFailures, WINDOW_MS};
use crate::domain::time::Time;

/// Wrong credentials per minute that get 401; further ones get 429.
const ALLOWED: u32 = 10;
/// The maximum number of addresses in memory.
const ADDRESSES: usize = 65_536;

/// Counts failures by address, IPv6 by /64.
#[derive(Clone, Debug, Default)]
pub struct FailureLimit(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    windows: Mutex<Windows>,
    log: RefusedLog,
    unshared: Notify,
}

type Windows = HashMap<IpAddr, Window>;

#[derive(Clone, Copy, Debug)]
struct Window {
    began: Time,
    failures: u32,
    /// How many of them are not shared with the other hubs yet.
    unshared: u32,
    /// When the window of all hubs began, if known here, by the clock of the hub that began it.
    learnt: Option<Time>,
}

impl FailureLimit {
    /// Records each failure in `log`.
    pub fn noting(log: RefusedLog) -> Self {
        Self(Arc::new(Counts {
            log,
            ..Counts::default()
        }))
    }

    /// Whether an address has used up its failures of the minute: where people choose the secret, nothing more is
    /// checked then.
    pub fn locked_out_for(&self, ip: IpAddr, now: Time) -> bool {
        self.over_for(ip, now).is_some()
    }

    /// The same, as the seconds until the window ends.
    pub fn over_for(&self, ip: IpAddr, now: Time) -> Option<u64> {
        let windows = self.lock();
        let window = windows.get(&network(ip))?;
        let is_over = window.holds(now) && window.failures >= ALLOWED;
        is_over.then(|| window.seconds_left(now))
    }

    /// Counts a failure. `Err` if there were too many: the seconds until the window ends.
    pub fn count(&self, ip: IpAddr, now: Time) -> Result<(), u64> {
        let ip = network(ip);
        self.0.log.note(ip, now);
        let mut windows = self.lock();
        let window = window(&mut windows, ip, now);
        if window.failures < ALLOWED {
            window.failures += 1;
            window.unshared += 1;
            self.0.unshared.notify_one();
            if window.failures == ALLOWED {
                let seconds = window.seconds_left(now);
                tracing::warn!(
                    %ip,
                    "{ALLOWED} wrong credentials within a minute: further ones from this address are refused for {seconds} s"
                );
            }
            return Ok(());
        }
        Err(window.seconds_left(now))
    }

    /// Returns when there are failures that are not shared with the other hubs.
    pub async fn unshared(&self) {
        self.0.unshared.notified().await;
    }

    /// Takes the failures to share, of `limit` addresses at most. If any are left, [`Self::unshared`] returns again.
    pub fn take_untold(&self, limit: usize, now: Time) -> Vec<AddressFailures> {
        let mut windows = self.lock();
        let mut unshared = windows
            .iter_mut()
            .filter(|(_, window)| window.unshared > 0 && window.holds(now));
        let taken = unshared
            .by_ref()
            .take(limit)
            .map(|(ip, window)| AddressFailures {
                ip: *ip,
                began: window.began,
                times: std::mem::take(&mut window.unshared),
            })
            .collect();
        if unshared.next().is_some() {
            self.0.unshared.notify_one();
        }
        taken
    }

    /// Merges the counts of all hubs. Their clocks differ slightly: a window that begins later than the last one merged
    /// is a new one, even if the old one has not ended by this hub's clock.
    pub fn learn(&self, counted: &[AddressFailures], now: Time) {
        let mut windows = self.lock();
        for of in counted {
            let began = of.began.min(now);
            if !holds(began, now) {
                continue;
            }
            let window = window(&mut windows, of.ip, now);
            let together = of.times.saturating_add(window.unshared);
            match window.learnt {
                Some(learnt) if of.began < learnt => continue,
                Some(learnt) if of.began > learnt => {
                    window.began = began;
                    window.failures = together;
                }
                Some(_) => window.failures = window.failures.max(together),
                None => {
                    window.began = began;
                    window.failures = window.failures.max(together);
                }
            }
            window.learnt = Some(of.began);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Windows> {
        self.0
            .windows
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The window of an address; starts a new one if the last one has ended.
fn window(windows: &mut Windows, ip: IpAddr, now: Time) -> &mut Window {
    if windows.len() >= ADDRESSES {
        windows.retain(|_, window| window.holds(now));
        if windows.len() >= ADDRESSES {
            // A flood from many addresses: clearing everything bounds the memory and locks out no one.
            windows.clear();
        }
    }
    let new = Window {
        began: now,
        failures: 0,
        unshared: 0,
        learnt: None,
    };
    let window = windows.entry(ip).or_insert(new);
    if !window.holds(now) {
        *window = new;
    }
    window
}

/// Whether a window has not ended. A clock that was set back ends it too.
fn holds(began: Time, now: Time) -> bool {
    (0..WINDOW_MS).contains(&(now.as_millis() - began.as_millis()))
}

impl Window {
    fn holds(&self, now: Time) -> bool {
        holds(self.began, now)
    }

    fn seconds_left(&self, now: Time) -> u64 {
        let left = WINDOW_MS - (now.as_millis() - self.began.as_millis());
        u64::try_from(left).unwrap_or(0).div_ceil(1000).max(1)
    }
}

/// An IPv6 customer has a whole /64, so the /64 is counted.
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
    fn hubs_count_together() {
        let (a, b) = (FailureLimit::default(), FailureLimit::default());
        let ip = "192.0.2.1".parse().unwrap();
        let at = |seconds: i64| Time::from_millis(1_000_000).plus_seconds(seconds);
        for _ in 0..6 {
            assert_eq!(a.count(ip, at(0)), Ok(()));
        }
        for _ in 0..3 {
            assert_eq!(b.count(ip, at(1)), Ok(()));
        }
        let told = a.take_untold(9, at(1));
        let of = |began, times| AddressFailures { ip, began, times };
        assert_eq!(told, [of(at(0), 6)]);
        assert_eq!(a.take_untold(9, at(1)), []);
        b.learn(&told, at(1));
        assert_eq!(b.over_for(ip, at(2)), None);
        assert_eq!(b.count(ip, at(2)), Ok(()));
        assert_eq!(b.over_for(ip, at(2)), Some(58), "the first one counts");
        // Merged twice, counted once.
        assert_eq!(b.take_untold(9, at(3)), [of(at(0), 4)]);
        for _ in 0..2 {
            a.learn(&[of(at(0), 9)], at(3));
        }
        assert_eq!(a.over_for(ip, at(3)), None);
        a.learn(&[of(at(0), 10)], at(3));
        assert_eq!(a.over_for(ip, at(3)), Some(57));
        assert!(a.count(ip, at(4)).is_err());
        assert_eq!(a.take_untold(9, at(4)), [], "a refused guess is no news");
        assert_eq!(a.count(ip, at(60)), Ok(()));
        a.learn(&[of(at(0), 10)], at(60));
        assert_eq!(a.over_for(ip, at(60)), None, "news of the last minute");
    }

    #[test]
    fn clocks_of_hubs_may_differ() {
        let hub = FailureLimit::default();
        let ip = "192.0.2.1".parse().unwrap();
        let at = |seconds: i64| Time::from_millis(1_000_000).plus_seconds(seconds);
        let learn = |began, times, now| hub.learn(&[AddressFailures { ip, began, times }], now);
        learn(at(0), 10, at(0));
        assert_eq!(hub.over_for(ip, at(59)), Some(1));
        // Another hub has begun the next minute.
        learn(at(61), 1, at(59));
        assert_eq!(hub.over_for(ip, at(59)), None);
        learn(at(0), 10, at(59));
        assert_eq!(hub.over_for(ip, at(59)), None, "old news");
        learn(at(61), 10, at(70));
        assert_eq!(hub.over_for(ip, at(70)), Some(49), "news do not prolong it");
        // A clock far ahead.
        learn(at(1000), 10, at(80));
        assert_eq!(hub.over_for(ip, at(80)), Some(60));
    }

    #[test]
    fn many_addresses_are_told_in_parts() {
        let limit = FailureLimit::default();
        let now = Time::from_millis(0);
        for host in 0..5_u32 {
            assert_eq!(limit.count(IpAddr::V4(host.into()), now), Ok(()));
        }
        let mut parts = [(); 3].map(|()| limit.take_untold(2, now)).concat();
        parts.sort_by_key(|part| part.ip);
        let hosts: Vec<_> = parts.iter().map(|part| part.ip).collect();
        assert_eq!(hosts, [0, 1, 2, 3, 4].map(|host| IpAddr::V4(host.into())));
    }

    #[test]
    fn memory_stays_bounded() {
        let limit = FailureLimit::default();
        for host in 0..200_000_u32 {
            let ip = IpAddr::V4(host.into());
            assert_eq!(limit.count(ip, Time::from_millis(0)), Ok(()));
        }
        assert!(limit.lock().len() <= ADDRESSES);
    }
}
