//! Whether a record that something should report is silent, in words.

use super::when::in_words;
use crate::domain::time::Time;

/// Later than this after its last change, a record was reported again: something reports it regularly.
const REPORTED_AGAIN_SECONDS: i64 = 900;
/// For how long something that reports a record may be silent: dyndns2 clients repeat themselves every 28 days.
const SILENT_AFTER_SECONDS: i64 = 31 * 86_400;

/// A state in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    /// The class of the style sheet.
    pub(super) class: &'static str,
    /// The words.
    pub(super) words: String,
}

/// When a record was reported and changed, and how long it may be silent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reports {
    pub(super) last_seen: Time,
    pub(super) updated_at: Time,
    pub(super) expires_after: Option<i64>,
}

impl Reports {
    /// How silent the record is; `None`: it is not, or nothing reports it.
    pub(super) fn silence(self, now: Time) -> Option<Tag> {
        let seconds = |from: Time, to: Time| (to.as_millis() - from.as_millis()) / 1000;
        let silent = seconds(self.last_seen, now).max(0);
        let Some(expires_after) = self.expires_after else {
            let is_reported = seconds(self.updated_at, self.last_seen) > REPORTED_AGAIN_SECONDS;
            return (is_reported && silent > SILENT_AFTER_SECONDS).then(|| Tag {
                class: "warn",
                words: "silent".to_owned(),
            });
        };
        if silent * 2 <= expires_after {
            return None;
        }
        let left = expires_after - silent;
        let class = if left * 10 <= expires_after {
            "bad"
        } else {
            "warn"
        };
        let words = match in_words(left) {
            Some(left) => format!("silent, removed in {left}"),
            None => "silent, about to be removed".to_owned(),
        };
        Some(Tag { class, words })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silent_records_are_told_from_quiet_ones() {
        const HOUR: i64 = 3600;
        const DAY: i64 = 24 * HOUR;
        let now = Time::from_millis(1_767_323_045_678);
        for (seen, changed, expires_after, tag) in [
            (HOUR, DAY, Some(4 * HOUR), None),
            (
                3 * HOUR,
                DAY,
                Some(4 * HOUR),
                Some(("warn", "silent, removed in 1 h")),
            ),
            (
                19 * HOUR,
                DAY,
                Some(20 * HOUR),
                Some(("bad", "silent, removed in 1 h")),
            ),
            (
                5 * HOUR,
                DAY,
                Some(4 * HOUR),
                Some(("bad", "silent, about to be removed")),
            ),
            // A clock was ahead.
            (-HOUR, DAY, Some(4 * HOUR), None),
            // Written once by hand.
            (400 * DAY, 400 * DAY, None, None),
            (30 * DAY, 400 * DAY, None, None),
            (32 * DAY, 400 * DAY, None, Some(("warn", "silent"))),
        ] {
            let reports = Reports {
                last_seen: now.plus_seconds(-seen),
                updated_at: now.plus_seconds(-changed),
                expires_after,
            };
            let found = reports.silence(now);
            let found = found.as_ref().map(|tag| (tag.class, tag.words.as_str()));
            assert_eq!(found, tag, "{reports:?}");
        }
    }
}
