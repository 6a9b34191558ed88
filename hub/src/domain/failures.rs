//! Wrong credentials of an address within a minute that begins with the first one, counted over several hubs.

use std::net::IpAddr;

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
    /// The total over all hubs after adding these. A window that has ended does not count.
    pub fn added_to(self, counted: Option<Self>, now: Time) -> Self {
        match counted {
            Some(counted) if now.as_millis() - counted.began.as_millis() < WINDOW_MS => Self {
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
            // By a clock that is ahead.
            (Some(of(at(100), 7)), of(at(100), 9)),
        ] {
            assert_eq!(new.added_to(counted, at(32)), together, "{counted:?}");
        }
    }
}
