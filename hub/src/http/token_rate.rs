//! Limits the requests of a token per minute, if configured: evenly spread, or in a burst of up to a minute's requests.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};

use governor::clock::Clock as GovernorClock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use silo_shared::credential::TokenId;

use crate::domain::time::Clock;

/// The interval, in requests, after which tokens far from their limit are forgotten.
const SWEEP: u32 = 10_000;

/// Counts requests per token.
#[derive(Debug, Default)]
pub struct TokenRate(Option<Counts>);

#[derive(Debug)]
struct Counts {
    limiter: Limiter,
    clock: HubClock,
    requests: AtomicU32,
}

type Limiter = RateLimiter<TokenId, HashMapStateStore<TokenId>, HubClock, NoOpMiddleware<Nanos>>;

/// The hub's clock for the rate limiter library.
#[derive(Clone, Debug)]
struct HubClock(Clock);

impl GovernorClock for HubClock {
    /// By the monotonic clock: a step of the wall clock neither blocks a token nor lifts its limit.
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::from(self.0.monotonic())
    }
}

impl TokenRate {
    /// Allows this many requests per minute; `None`: no limit, and nothing is counted.
    pub fn new(requests_per_minute: Option<NonZeroU32>, clock: Clock) -> Self {
        Self(requests_per_minute.map(|requests| {
            let clock = HubClock(clock);
            Counts {
                limiter: RateLimiter::new(
                    Quota::per_minute(requests),
                    HashMapStateStore::default(),
                    clock.clone(),
                ),
                clock,
                requests: AtomicU32::new(0),
            }
        }))
    }

    /// Counts a request of a valid token. `Err` if there were too many: the seconds until the next one is allowed.
    pub fn count(&self, token: TokenId) -> Result<(), u64> {
        let Some(counts) = &self.0 else { return Ok(()) };
        if counts.requests.fetch_add(1, Ordering::Relaxed) % SWEEP == SWEEP - 1 {
            counts.limiter.retain_recent();
        }
        counts.limiter.check_key(&token).map_err(|until| {
            let wait = until.wait_time_from(counts.clock.now());
            wait.as_millis()
                .div_ceil(1000)
                .try_into()
                .unwrap_or(60)
                .max(1)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicI64;

    use super::*;

    #[test]
    fn a_token_has_its_minute_and_no_other_pays_for_it() {
        let time = Arc::new(AtomicI64::new(1_767_323_045_678));
        let rate = TokenRate::new(NonZeroU32::new(6), Clock::Set(Arc::clone(&time)));
        let token = |name: &str| TokenId::parse(name).unwrap();
        let (a, b) = (token("aaaaaaaaaa"), token("bbbbbbbbbb"));
        for _ in 0..6 {
            assert_eq!(rate.count(a), Ok(()));
        }
        assert_eq!(rate.count(a), Err(10));
        assert_eq!(rate.count(b), Ok(()));
        time.fetch_add(10_000, Ordering::Relaxed);
        assert_eq!(rate.count(a), Ok(()));
        assert_eq!(rate.count(a), Err(10));
        time.fetch_add(600_000, Ordering::Relaxed);
        for _ in 0..6 {
            assert_eq!(rate.count(a), Ok(()));
        }
        assert!(rate.count(a).is_err());
        assert_eq!(TokenRate::default().count(a), Ok(()));
    }
}
