//! When to retry.

use super::elapsed::lies_ahead;
use super::time::Time;

/// The longest delay between two attempts, in seconds.
pub const LONGEST: i64 = 3600;
/// The same in milliseconds.
pub const LONGEST_MS: i64 = LONGEST * 1000;

/// The delay until a sink in backoff is tried after a new change, in seconds. So changes cause at most one attempt in
/// this time.
pub const AFTER_CHANGE: i64 = 5;

/// Whether an attempt that a change requested for `hurry_at` (milliseconds since the Unix epoch) is due; `i64::MAX`: no
/// change requested one.
pub fn is_hurried(hurry_at: Option<i64>, now: Time) -> bool {
    hurry_at.is_some_and(|at| at != i64::MAX && !lies_ahead(at, AFTER_CHANGE * 1000, now))
}

/// Whether a wait until `next_at` (milliseconds since the Unix epoch) is over. One that would last longer than
/// [`LONGEST`] was set by a wrong clock. `i64::MAX` means never.
pub fn has_passed(next_at: i64, now: Time) -> bool {
    next_at != i64::MAX && !lies_ahead(next_at, LONGEST_MS, now)
}

/// The delay after this many failed attempts in a row, in milliseconds: 1 s, 2 s, 4 s … 1 h, reduced by up to a quarter
/// depending on `jitter` (any number), so that retries spread out.
pub fn wait_ms(attempts: i64, jitter: u64) -> i64 {
    let doublings = attempts.clamp(1, 13) - 1;
    let whole = (1_i64 << doublings).min(LONGEST) * 1000;
    let quarter = whole / 4;
    whole - i64::try_from(jitter % 1000).unwrap_or(0) * quarter / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_from_a_second_to_an_hour() {
        let waits: Vec<i64> = (0..16)
            .map(|attempts| wait_ms(attempts, 0) / 1000)
            .collect();
        let expected = [
            1, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 3600, 3600, 3600,
        ];
        assert_eq!(waits, expected);
        assert_eq!(wait_ms(i64::MAX, 0), 3_600_000);
    }

    #[test]
    fn no_wait_is_longer_than_its_maximum() {
        let now = Time::from_millis(1_767_323_045_000);
        let day = 86_400;
        for (ahead, over) in [
            (-day, true),
            (0, true),
            (1, false),
            (3600, false),
            (3601, true),
            (2 * day, true),
        ] {
            assert_eq!(
                has_passed(now.plus_seconds(ahead).as_millis(), now),
                over,
                "{ahead}"
            );
        }
        assert!(!has_passed(i64::MAX, now));
    }

    #[test]
    fn a_change_requests_a_try_within_seconds() {
        let now = Time::from_millis(1_767_323_045_000);
        for (ahead, hurried) in [
            (-86_400, true),
            (0, true),
            (1, false),
            (5, false),
            (6, true),
        ] {
            let at = now.plus_seconds(ahead).as_millis();
            assert_eq!(is_hurried(Some(at), now), hurried, "{ahead}");
        }
        assert!(!is_hurried(Some(i64::MAX), now) && !is_hurried(None, now));
    }

    #[test]
    fn jitter_shortens_by_a_quarter_at_most() {
        for attempts in 1..20 {
            let whole = wait_ms(attempts, 0);
            for jitter in [1, 999, u64::MAX] {
                let wait = wait_ms(attempts, jitter);
                assert!(
                    wait <= whole && wait >= whole * 3 / 4,
                    "{attempts} {jitter}"
                );
            }
        }
    }
}
