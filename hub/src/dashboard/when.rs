//! Times as pages show them: how long ago, with the exact time at hand.

use std::fmt;

use crate::domain::time::Time;

/// Seconds up to which a time is "just now".
const NOW: i64 = 45;
/// How many of the former unit make one, with its names.
const STEPS: [(i64, &str, &str); 5] = [
    (60, "min", "min"),
    (60, "h", "h"),
    (24, "day", "days"),
    (30, "month", "months"),
    (12, "year", "years"),
];

/// A point in time, as seen from another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct When {
    /// Such as `3 min ago`.
    relative: String,
    /// RFC 3339.
    exact: String,
}

impl When {
    /// A time, as seen from `now`.
    pub(super) fn new(at: Time, now: Time) -> Self {
        let seconds = now.as_millis().saturating_sub(at.as_millis()) / 1000;
        let words = in_words(seconds.saturating_abs());
        let relative = match words {
            Some(words) if seconds < 0 => format!("in {words}"),
            Some(words) => format!("{words} ago"),
            None if seconds < 0 => "in a moment".to_owned(),
            None => "just now".to_owned(),
        };
        Self {
            relative,
            exact: at.to_string(),
        }
    }
}

/// A number of seconds, such as `3 min`; `None`: too few to be told.
pub(super) fn in_words(seconds: i64) -> Option<String> {
    if seconds < NOW {
        return None;
    }
    let mut number = seconds;
    let mut words = String::new();
    for (size, one, many) in STEPS {
        if !words.is_empty() && number < size {
            break;
        }
        number = (number / size).max(1);
        let unit = if number == 1 { one } else { many };
        words = format!("{number} {unit}");
    }
    Some(words)
}

impl fmt::Display for When {
    /// A `<time>` element; neither part has characters that HTML would escape. The script keeps it up to date.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { relative, exact } = self;
        write!(
            f,
            "<time datetime=\"{exact}\" title=\"{exact}\" data-when>{relative}</time>"
        )
    }
}

impl askama::filters::HtmlSafe for When {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_by_how_long_ago_they_are() {
        const MINUTE: i64 = 60;
        const HOUR: i64 = 3600;
        const DAY: i64 = 86_400;
        let now = Time::from_millis(1_767_323_045_678);
        for (ago, relative) in [
            (0, "just now"),
            (44, "just now"),
            (45, "1 min ago"),
            (119, "1 min ago"),
            (3 * MINUTE, "3 min ago"),
            (59 * MINUTE + 59, "59 min ago"),
            (HOUR, "1 h ago"),
            (23 * HOUR, "23 h ago"),
            (DAY, "1 day ago"),
            (29 * DAY, "29 days ago"),
            (30 * DAY, "1 month ago"),
            (359 * DAY, "11 months ago"),
            (360 * DAY, "1 year ago"),
            (3000 * DAY, "8 years ago"),
            (-20, "in a moment"),
            (-2 * HOUR, "in 2 h"),
        ] {
            let when = When::new(now.plus_seconds(-ago), now);
            assert_eq!(when.relative, relative, "{ago} s");
        }
        let when = When::new(Time::from_millis(0), Time::from_millis(60_000));
        assert_eq!(
            when.to_string(),
            "<time datetime=\"1970-01-01T00:00:00.000Z\" title=\"1970-01-01T00:00:00.000Z\" data-when>1 min ago</time>"
        );
    }
}
