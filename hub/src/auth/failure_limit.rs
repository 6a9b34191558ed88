//! Limits wrong credentials per address: a window of a minute that begins with the first one. Several hubs on one
//! database count together: each shares its own counts and reads those of the others.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::auth::refused::RefusedLog;
use crate::domain::counting::Counter;
use crate::domain::failures::{AddressFailures, WINDOW_MS};
use crate::domain::time::{Reading, Time};

/// Wrong credentials per minute that get 401; further ones get 429.
const ALLOWED: u32 = 10;
/// The length of a window.
const WINDOW: Duration = Duration::from_millis(WINDOW_MS.unsigned_abs());
/// How many addresses are remembered at most.
const ADDRESSES: usize = 65_536;

/// Counts failures by address, IPv6 by /64.
#[derive(Clone, Debug, Default)]
pub struct FailureLimit(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    windows: Mutex<Windows>,
    log: RefusedLog,
    unshared: Notify,
    refused: Counter,
}

type Windows = HashMap<IpAddr, Window>;

#[derive(Clone, Copy, Debug)]
struct Window {
    /// By the monotonic clock: a step of the wall clock neither ends nor prolongs it.
    began: Duration,
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

    /// Whether an address has had all the failures of its minute: where people choose the secret, nothing
    /// more is looked at then.
    pub fn locked_out_for(&self, ip: IpAddr, at: Reading) -> bool {
        self.over_for(ip, at).is_some()
    }

    /// The same, with the seconds until the window ends.
    pub fn over_for(&self, ip: IpAddr, at: Reading) -> Option<u64> {
        let windows = self.lock();
        let window = windows.get(&network(ip))?;
        let is_over = window.holds(at) && window.failures >= ALLOWED;
        is_over.then(|| window.seconds_left(at))
    }

    /// Counts a failure. `Err` when there were too many: the seconds until the window ends.
    pub fn count(&self, ip: IpAddr, at: Reading) -> Result<(), u64> {
        let ip = network(ip);
        self.0.refused.add_one();
        self.0.log.note(ip, at.now);
        let mut windows = self.lock();
        let window = window(&mut windows, ip, at);
        if window.failures < ALLOWED {
            window.failures += 1;
            window.unshared += 1;
            self.0.unshared.notify_one();
            if window.failures == ALLOWED {
                let seconds = window.seconds_left(at);
                tracing::warn!(
                    %ip,
                    "{ALLOWED} wrong credentials within a minute: further ones from this address are refused for {seconds} s"
                );
            }
            return Ok(());
        }
        Err(window.seconds_left(at))
    }

    /// How many failures were counted by this hub.
    pub fn refused(&self) -> u64 {
        self.0.refused.get()
    }

    /// Returns when there are failures that are not shared with the other hubs.
    pub async fn unshared(&self) {
        self.0.unshared.notified().await;
    }

    /// What the other hubs are to be told, of `limit` addresses at most. What is left wakes
    /// [`Self::unshared`] again. When a window began is told by the wall clock of now, whatever it showed then.
    pub fn take_unshared(&self, limit: usize, at: Reading) -> Vec<AddressFailures> {
        let mut windows = self.lock();
        let mut unshared = windows
            .iter_mut()
            .filter(|(_, window)| window.unshared > 0 && window.holds(at));
        let taken = unshared
            .by_ref()
            .take(limit)
            .map(|(ip, window)| AddressFailures {
                ip: *ip,
                began: window.began_by_wall_clock(at),
                times: std::mem::take(&mut window.unshared),
            })
            .collect();
        if unshared.next().is_some() {
            self.0.unshared.notify_one();
        }
        taken
    }

    /// Learns what all hubs have counted together. Their clocks differ a little: a window that begins later
    /// than the one that was learnt last is a new one, whatever this hub's clock says of the old one. One that begins
    /// further ahead than that was counted by a clock that is wrong, and is not learnt.
    pub fn learn(&self, counted: &[AddressFailures], at: Reading) {
        let mut windows = self.lock();
        for of in counted {
            if !of.counts(at.now) {
                continue;
            }
            let age = at.now.as_millis().saturating_sub(of.began.as_millis());
            let age = Duration::from_millis(u64::try_from(age).unwrap_or(0));
            let began = at.monotonic.saturating_sub(age);
            let window = window(&mut windows, of.ip, at);
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

/// The window of an address; it restarts when the last one has ended.
fn window(windows: &mut Windows, ip: IpAddr, at: Reading) -> &mut Window {
    if windows.len() >= ADDRESSES {
        windows.retain(|_, window| window.holds(at));
        if windows.len() >= ADDRESSES {
            // A flood from many addresses: clearing everything bounds the memory and locks out no one.
            windows.clear();
        }
    }
    let new = Window {
        began: at.monotonic,
        failures: 0,
        unshared: 0,
        learnt: None,
    };
    let window = windows.entry(ip).or_insert(new);
    if !window.holds(at) {
        *window = new;
    }
    window
}

impl Window {
    fn age(&self, at: Reading) -> Duration {
        at.monotonic.saturating_sub(self.began)
    }

    fn holds(&self, at: Reading) -> bool {
        self.age(at) < WINDOW
    }

    fn seconds_left(&self, at: Reading) -> u64 {
        let left = WINDOW.saturating_sub(self.age(at)).as_millis();
        u64::try_from(left.div_ceil(1000)).unwrap_or(1).max(1)
    }

    fn began_by_wall_clock(&self, at: Reading) -> Time {
        let age = i64::try_from(self.age(at).as_millis()).unwrap_or(i64::MAX);
        Time::from_millis(at.now.as_millis().saturating_sub(age))
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
    use silo_e2e::clock::STEPS;

    use super::*;

    /// The clocks after so many milliseconds, with the wall clock stepped by so many.
    fn clocks(passed: u64, stepped: i64) -> Reading {
        let passed = 1_000_000 + passed;
        let now = i64::try_from(passed).unwrap() + stepped;
        Reading {
            now: Time::from_millis(now),
            monotonic: Duration::from_millis(passed),
        }
    }

    fn seconds(passed: u64) -> Reading {
        clocks(passed * 1000, 0)
    }

    const DAY_MS: i64 = 86_400_000;

    #[test]
    fn a_step_of_the_clock_neither_ends_nor_prolongs_a_lockout() {
        for step in STEPS.map(|seconds| seconds * 1000) {
            let limit = FailureLimit::default();
            let ip = "192.0.2.1".parse().unwrap();
            for _ in 0..4 {
                assert_eq!(limit.count(ip, clocks(0, 0)), Ok(()), "{step}");
            }
            for _ in 0..6 {
                assert_eq!(limit.count(ip, clocks(1000, step)), Ok(()), "{step}");
            }
            for (passed, stepped, left) in [
                (1000, step, Some(59)),
                (20_000, 0, Some(40)),
                (59_000, step, Some(1)),
                (60_000, step, None),
                (60_000, 0, None),
            ] {
                let found = limit.over_for(ip, clocks(passed, stepped));
                assert_eq!(found, left, "{step} {passed} {stepped}");
            }
        }
    }

    #[test]
    fn a_window_is_shared_in_current_wall_clock_time() {
        for step in STEPS.map(|seconds| seconds * 1000) {
            let (a, b) = (FailureLimit::default(), FailureLimit::default());
            let ip = "192.0.2.1".parse().unwrap();
            for _ in 0..10 {
                assert_eq!(a.count(ip, clocks(0, step)), Ok(()));
            }
            let shared = a.take_unshared(9, seconds(10));
            assert_eq!(shared[0].began, seconds(0).now, "{step}");
            b.learn(&shared, seconds(10));
            assert_eq!(b.over_for(ip, seconds(10)), Some(50), "{step}");
        }
    }

    #[test]
    fn counts_from_a_wrong_clock_are_not_learnt() {
        for (ahead_ms, left) in [
            (0, Some(60)),
            (300_000, Some(60)),
            (300_001, None),
            (DAY_MS / 3, None),
            (2 * DAY_MS, None),
            (500 * DAY_MS, None),
            (-59_000, Some(1)),
            (-60_000, None),
            (-400_000, None),
            (-500 * DAY_MS, None),
        ] {
            let limit = FailureLimit::default();
            let ip = "192.0.2.1".parse().unwrap();
            let began = clocks(0, ahead_ms).now;
            limit.learn(
                &[AddressFailures {
                    ip,
                    began,
                    times: 10,
                }],
                seconds(0),
            );
            assert_eq!(limit.over_for(ip, seconds(0)), left, "{ahead_ms}");
        }
    }

    #[test]
    fn the_eleventh_failure_of_a_minute_is_too_many() {
        let limit = FailureLimit::default();
        let (a, b) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let at = |millis| clocks(millis, 0);
        for _ in 0..10 {
            assert_eq!(limit.count(a, at(0)), Ok(()));
        }
        assert_eq!(limit.count(a, at(500)), Err(60));
        assert_eq!(limit.count(a, at(59_500)), Err(1));
        assert_eq!(limit.count(b, at(59_500)), Ok(()));
        assert_eq!(limit.count(a, at(60_000)), Ok(()));
    }

    #[test]
    fn ipv6_is_counted_by_its_64() {
        let limit = FailureLimit::default();
        let now = seconds(0);
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
        let at = seconds;
        for _ in 0..6 {
            assert_eq!(a.count(ip, at(0)), Ok(()));
        }
        for _ in 0..3 {
            assert_eq!(b.count(ip, at(1)), Ok(()));
        }
        let shared = a.take_unshared(9, at(1));
        let of = |began: Reading, times| AddressFailures {
            ip,
            began: began.now,
            times,
        };
        assert_eq!(shared, [of(at(0), 6)]);
        assert_eq!(a.take_unshared(9, at(1)), []);
        b.learn(&shared, at(1));
        assert_eq!(b.over_for(ip, at(2)), None);
        assert_eq!(b.count(ip, at(2)), Ok(()));
        assert_eq!(b.over_for(ip, at(2)), Some(58), "the first one counts");
        // Merged twice, counted once.
        assert_eq!(b.take_unshared(9, at(3)), [of(at(0), 4)]);
        for _ in 0..2 {
            a.learn(&[of(at(0), 9)], at(3));
        }
        assert_eq!(a.over_for(ip, at(3)), None);
        a.learn(&[of(at(0), 10)], at(3));
        assert_eq!(a.over_for(ip, at(3)), Some(57));
        assert!(a.count(ip, at(4)).is_err());
        assert_eq!(a.take_unshared(9, at(4)), [], "a refused guess is no news");
        assert_eq!(a.count(ip, at(60)), Ok(()));
        a.learn(&[of(at(0), 10)], at(60));
        assert_eq!(a.over_for(ip, at(60)), None, "news of the last minute");
    }

    #[test]
    fn clocks_of_hubs_may_differ() {
        let hub = FailureLimit::default();
        let ip = "192.0.2.1".parse().unwrap();
        let at = seconds;
        let learn = |began: Reading, times, at| {
            let began = began.now;
            hub.learn(&[AddressFailures { ip, began, times }], at);
        };
        learn(at(0), 10, at(0));
        assert_eq!(hub.over_for(ip, at(59)), Some(1));
        // Another hub is in the next minute.
        learn(at(61), 1, at(59));
        assert_eq!(hub.over_for(ip, at(59)), None);
        learn(at(0), 10, at(59));
        assert_eq!(hub.over_for(ip, at(59)), None, "old news");
        learn(at(61), 10, at(70));
        assert_eq!(hub.over_for(ip, at(70)), Some(49), "news do not prolong it");
    }

    #[test]
    fn many_addresses_are_shared_in_parts() {
        let limit = FailureLimit::default();
        let now = seconds(0);
        for host in 0..5_u32 {
            assert_eq!(limit.count(IpAddr::V4(host.into()), now), Ok(()));
        }
        let mut parts = [(); 3].map(|()| limit.take_unshared(2, now)).concat();
        parts.sort_by_key(|part| part.ip);
        let hosts: Vec<_> = parts.iter().map(|part| part.ip).collect();
        assert_eq!(hosts, [0, 1, 2, 3, 4].map(|host| IpAddr::V4(host.into())));
    }

    #[test]
    fn memory_stays_bounded() {
        let limit = FailureLimit::default();
        for host in 0..200_000_u32 {
            let ip = IpAddr::V4(host.into());
            assert_eq!(limit.count(ip, seconds(0)), Ok(()));
        }
        assert!(limit.lock().len() <= ADDRESSES);
    }
}
