//! Lengths of time in settings and flags: a number with a unit, such as `1h`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A length of time in whole seconds, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Period(Duration);

const FORMS: &str = "expected a number with s, m, h or d, such as 1h";

/// The units with their seconds, the largest first.
const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)];

impl Period {
    /// This many seconds; at least one.
    pub(crate) const fn from_seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(if seconds == 0 { 1 } else { seconds }))
    }

    /// As a duration.
    pub(crate) const fn as_duration(self) -> Duration {
        self.0
    }
}

impl FromStr for Period {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let unit = text.chars().next_back().ok_or(FORMS)?;
        let (_, seconds) = UNITS.into_iter().find(|(u, _)| *u == unit).ok_or(FORMS)?;
        let digits = text.strip_suffix(unit).ok_or(FORMS)?;
        let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        let number: u64 = digits.parse().ok().filter(|_| is_plain).ok_or(FORMS)?;
        let seconds = number.checked_mul(seconds).ok_or(FORMS)?;
        if seconds == 0 {
            return Err("must be at least 1s");
        }
        Ok(Self::from_seconds(seconds))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let fits = |(_, unit): &(char, u64)| seconds.is_multiple_of(*unit);
        let (name, unit) = UNITS.into_iter().find(fits).unwrap_or(('s', 1));
        write!(f, "{} {name}", seconds / unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_written() {
        for (text, seconds, written) in [
            ("1h", 3600, "1 h"),
            ("90m", 5400, "90 m"),
            ("2d", 172_800, "2 d"),
            ("3600s", 3600, "1 h"),
            ("61s", 61, "61 s"),
        ] {
            let parsed: Period = text.parse().unwrap();
            assert_eq!(parsed, Period::from_seconds(seconds), "{text}");
            assert_eq!(parsed.to_string(), written);
        }
        for wrong in [
            "",
            "h",
            "1",
            "1w",
            "-1h",
            "+1h",
            "1.5h",
            "1hh",
            "0s",
            "1é",
            "99999999999999999999d",
        ] {
            assert!(wrong.parse::<Period>().is_err(), "{wrong}");
        }
    }
}
