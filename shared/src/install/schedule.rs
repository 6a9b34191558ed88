//! How often an agent runs: `--every 5m`, or `--watch`.

use std::fmt;
use std::str::FromStr;

/// When the agent runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// `once`, again and again.
    Every(Interval),
    /// `watch`, as a service that stays.
    Watch,
}

/// The time between two runs, in whole minutes: what cron and Task Scheduler can do. At least a minute, at most a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    minutes: u32,
}

/// The units with their minutes, the largest first.
const UNITS: [(char, u32); 3] = [('d', MAX_MINUTES), ('h', 60), ('m', 1)];
const MAX_MINUTES: u32 = 24 * 60;
const FORMS: &str =
    "expected minutes, hours or a day, such as 5m or 1h; at least 1m and at most 1d";

impl Interval {
    /// Five minutes, as in the packaged timers.
    pub const DEFAULT: Self = Self { minutes: 5 };

    /// Its minutes, 1 to 1440.
    pub fn minutes(self) -> u32 {
        self.minutes
    }
}

impl FromStr for Interval {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let unit = text.chars().next_back().ok_or(FORMS)?;
        let (_, factor) = UNITS.into_iter().find(|(u, _)| *u == unit).ok_or(FORMS)?;
        let digits = text.strip_suffix(unit).ok_or(FORMS)?;
        let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        let number: u32 = digits.parse().ok().filter(|_| is_plain).ok_or(FORMS)?;
        let minutes = number.checked_mul(factor).ok_or(FORMS)?;
        if (1..=MAX_MINUTES).contains(&minutes) {
            Ok(Self { minutes })
        } else {
            Err(FORMS)
        }
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, factor): &(char, u32)| self.minutes.is_multiple_of(*factor);
        let (unit, factor) = UNITS.into_iter().find(fits).unwrap_or(('m', 1));
        write!(f, "{}{unit}", self.minutes / factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_read_and_written() {
        for (text, minutes, written) in [
            ("1m", 1, "1m"),
            ("5m", 5, "5m"),
            ("60m", 60, "1h"),
            ("90m", 90, "90m"),
            ("12h", 720, "12h"),
            ("1d", 1440, "1d"),
            ("24h", 1440, "1d"),
        ] {
            let parsed: Interval = text.parse().unwrap();
            assert_eq!(parsed.minutes(), minutes, "{text}");
            assert_eq!(parsed.to_string(), written);
        }
        for wrong in [
            "",
            "m",
            "5",
            "0m",
            "30s",
            "1.5h",
            "+5m",
            "-5m",
            "25h",
            "2d",
            "5mm",
            "5é",
            "99999999999m",
            "71582789h",
        ] {
            assert_eq!(wrong.parse::<Interval>(), Err(FORMS), "{wrong}");
        }
    }
}
