//! Sessions of the dashboard: how long they last, and how many a token has.

use std::fmt;

use silo_shared::credential::TokenId;

use super::elapsed::is_ahead;
use super::time::Time;
use super::token::CredentialHash;

/// A session ends after this time without use, in seconds.
pub const IDLE_SECONDS: i64 = 12 * 3600;
/// A session ends this long after the sign-in, in seconds.
pub const LONGEST_SECONDS: i64 = 7 * 86_400;
/// The maximum number of sessions of a token; the oldest ends for a new one.
pub const MAX_OF_TOKEN: usize = 20;
/// The use of a session is stored again after this time, in seconds.
pub const USE_RESOLUTION_SECONDS: i64 = 60;
/// How long a link may be used, in seconds.
pub const LINK_SECONDS: i64 = 5 * 60;
/// A session that was made or used further ahead than this, in seconds, was so by a wrong clock, and is over. It then
/// lasts at most this much longer, and one survives a clock that is set back by some hours.
pub const LONGEST_AHEAD_SECONDS: i64 = 12 * 3600;
/// A session that has ended by itself is removed this much later, in seconds: the clocks of several hubs may differ, and
/// what is over by one may be in use at another.
pub const KEPT_AFTER_END_SECONDS: i64 = 86_400;
/// A link that ends further ahead than this, in seconds, was made by a wrong clock. The clocks of several hubs may
/// differ.
pub const LINK_ENDS_WITHIN_SECONDS: i64 = 2 * LINK_SECONDS;

/// The earliest and the latest time that clocks have shown lately. Rows are removed only if they are over by all of it:
/// one wrong clock of several hubs then ends nothing for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LatelyShown {
    /// The earliest.
    pub earliest: Time,
    /// The latest.
    pub latest: Time,
}

/// SHA-256 of a session's id: all that the hub stores of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SessionHash(pub [u8; 32]);

/// SHA-256 of a link's code: all that the hub stores of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LinkHash(pub [u8; 32]);

/// A session as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// The token whose rights it has.
    pub token: TokenId,
    /// The hash of its id.
    pub hash: SessionHash,
    /// The hash of the token's secret that it was made with.
    pub secret: CredentialHash,
    /// When it was made.
    pub made_at: Time,
    /// When it was last used, to the minute.
    pub used_at: Time,
}

/// A link that signs a browser in once, as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignInLink {
    /// Its token.
    pub token: TokenId,
    /// The hash of its code.
    pub code: LinkHash,
    /// Until when it may be used.
    pub ends_at: Time,
    /// When it was used.
    pub used_at: Option<Time>,
}

impl SignInLink {
    /// Whether it may be used.
    pub fn is_usable_at(&self, now: Time) -> bool {
        self.used_at.is_none()
            && now < self.ends_at
            && self.ends_at <= now.plus_seconds(LINK_ENDS_WITHIN_SECONDS)
    }
}

impl Session {
    /// Whether it has ended by itself.
    pub fn is_over_at(&self, now: Time) -> bool {
        now >= self.made_at.plus_seconds(LONGEST_SECONDS)
            || now >= self.used_at.plus_seconds(IDLE_SECONDS)
            || self.made_at.max(self.used_at) > now.plus_seconds(LONGEST_AHEAD_SECONDS)
    }

    /// Whether its use is to be stored again: after a minute, and after a clock was set back.
    pub fn is_use_due_at(&self, now: Time) -> bool {
        now >= self.used_at.plus_seconds(USE_RESOLUTION_SECONDS) || is_ahead(self.used_at, now)
    }
}

impl fmt::Display for SessionHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        CredentialHash(self.0).fmt(f)
    }
}

impl fmt::Debug for SessionHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<hash>")
    }
}

impl fmt::Display for LinkHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        CredentialHash(self.0).fmt(f)
    }
}

impl fmt::Debug for LinkHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<hash>")
    }
}

#[cfg(test)]
mod tests {
    use silo_e2e::clock::STEPS;

    use super::*;

    const HOUR: i64 = 3600;
    const DAY: i64 = 24 * HOUR;

    fn at(seconds: i64) -> Time {
        Time::from_millis(1_767_323_045_000).plus_seconds(seconds)
    }

    fn session(made: i64, used: i64) -> Session {
        Session {
            token: TokenId::parse("abcdefgh12").unwrap(),
            hash: SessionHash([0; 32]),
            secret: CredentialHash([0; 32]),
            made_at: at(made),
            used_at: at(used),
        }
    }

    #[test]
    fn a_step_of_the_clock_makes_no_session_endless() {
        for step in STEPS {
            // Made and used while the clock was off by the step, which is then corrected.
            let made = session(step, step);
            // Used from then on, whenever it is valid.
            let mut used = made;
            let mut last_valid = None;
            for hour in 0..600 * 24 {
                let now = at(hour * HOUR);
                if !used.is_over_at(now) {
                    last_valid = Some(hour * HOUR);
                    used.used_at = now;
                }
                // Purged within the hour.
                if used.is_over_at(now) {
                    break;
                }
            }
            let longest = LONGEST_SECONDS + LONGEST_AHEAD_SECONDS;
            assert!(last_valid.is_none_or(|last| last < longest), "{step}");
            // Some hours either way end no session that is used.
            let is_small = step.abs() <= 8 * HOUR;
            assert_eq!(last_valid.is_some(), is_small, "{step}");
            // The use is stored by the corrected clock, so that the session ends when it is idle from now on.
            if step > 300 {
                assert!(made.is_use_due_at(at(0)), "{step}");
            }
        }
    }

    #[test]
    fn a_step_of_the_clock_makes_no_link_last() {
        let link = |ends: i64| SignInLink {
            token: TokenId::parse("abcdefgh12").unwrap(),
            code: LinkHash([0; 32]),
            ends_at: at(ends),
            used_at: None,
        };
        for (ends, now, is_usable) in [
            (300, 0, true),
            (300, 299, true),
            (300, 300, false),
            // Another hub is five minutes behind.
            (300, -300, true),
            (300, -301, false),
        ] {
            assert_eq!(link(ends).is_usable_at(at(now)), is_usable, "{ends} {now}");
        }
        for step in STEPS {
            assert!(!link(step + LINK_SECONDS).is_usable_at(at(0)), "{step}");
        }
        let used = SignInLink {
            used_at: Some(at(1)),
            ..link(300)
        };
        assert!(!used.is_usable_at(at(2)));
    }

    #[test]
    fn a_session_ends_when_it_is_idle_or_old() {
        for (used, now, is_over, is_due) in [
            (0, 0, false, false),
            (0, 59, false, false),
            (0, 60, false, true),
            (0, 12 * HOUR - 1, false, true),
            (0, 12 * HOUR, true, true),
            (100 * HOUR, 111 * HOUR, false, true),
            (167 * HOUR, 168 * HOUR - 1, false, true),
            (167 * HOUR, 168 * HOUR, true, true),
            // A clock that was set back.
            (300, 0, false, false),
            (301, 0, false, true),
            (12 * HOUR, 0, false, true),
            (12 * HOUR + 1, 0, true, true),
            (6 * DAY, 0, true, true),
        ] {
            let session = session(0, used);
            assert_eq!(session.is_over_at(at(now)), is_over, "{used} {now}");
            assert_eq!(session.is_use_due_at(at(now)), is_due, "{used} {now}");
        }
    }
}
