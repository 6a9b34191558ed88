//! Wrong credentials of an address within a minute that begins with the first one, counted over several hubs.

use std::net::IpAddr;

use super::elapsed::is_ahead;
use super::time::Time;

/// The length of a window.
pub const WINDOW_MS: i64 = 60_000;

/// The number of wrong credentials from an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressFailures {
    /// The address, IPv6 by /64.
    pub ip: IpAddr,
    /// When the first one was received.
    pub began: Time,
    /// How many were received.
    pub times: u32,
}

impl AddressFailures {
    /// Whether the window has not ended. One that begins further ahead than the clocks of several hubs may differ was
    /// written by a clock that was wrong, and counts no more.
    pub fn counts(&self, now: Time) -> bool {
        now.as_millis().saturating_sub(self.began.as_millis()) < WINDOW_MS
            && !is_ahead(self.began, now)
    }

    /// What all hubs have counted once these are added.
    pub fn added_to(self, counted: Option<Self>, now: Time) -> Self {
        match counted {
            Some(counted) if counted.counts(now) => Self {
                times: counted.times.saturating_add(self.times),
                ..counted
            },
            _ => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_added_within_their_minute() {
        let ip = IpAddr::from([192, 0, 2, 1]);
        let at = |seconds| Time::from_millis(0).plus_seconds(seconds);
        let of = |began, times| AddressFailures { ip, began, times };
        let new = of(at(30), 2);
        for (counted, together) in [
            (None, new),
            (Some(of(at(0), 7)), of(at(0), 9)),
            (Some(of(at(0), u32::MAX)), of(at(0), u32::MAX)),
            (Some(of(at(-27), 7)), of(at(-27), 9)),
            (Some(of(at(-28), 7)), new),
            // By another hub, whose clock is ahead.
            (Some(of(at(332), 7)), of(at(332), 9)),
            // By a clock that was wrong.
            (Some(of(at(333), 7)), new),
            (Some(of(at(32 + 400), 7)), new),
            (Some(of(at(32 + 8 * 3600), 7)), new),
            (Some(of(at(32 + 2 * 86_400), 7)), new),
            (Some(of(at(32 + 500 * 86_400), 7)), new),
            (Some(of(at(32 - 500 * 86_400), 7)), new),
            (Some(of(Time::from_millis(i64::MIN), 7)), new),
        ] {
            assert_eq!(new.added_to(counted, at(32)), together, "{counted:?}");
        }
    }
}
