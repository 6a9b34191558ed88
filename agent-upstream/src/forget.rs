//! The setting `forget_family_after`: how long a family must be missing before its address is removed from the record.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

/// The default with `interface`.
pub(crate) const DEFAULT: Duration = Duration::from_secs(3600);

/// How long a family must be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ForgetAfter {
    /// Its address is never removed.
    Off,
    /// This long, at least a second.
    Missing(Duration),
}

const FORMS: &str = "expected `off` or a number with s, m, h or d, such as 1h";

/// The units with their seconds, the largest first.
const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)];

impl FromStr for ForgetAfter {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let unit = text.chars().next_back().ok_or(FORMS)?;
        let (_, seconds) = UNITS.into_iter().find(|(u, _)| *u == unit).ok_or(FORMS)?;
        let digits = text.strip_suffix(unit).ok_or(FORMS)?;
        let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        let number: u64 = digits.parse().ok().filter(|_| is_plain).ok_or(FORMS)?;
        let seconds = number.checked_mul(seconds).ok_or(FORMS)?;
        if seconds == 0 {
            return Err(
                "0 would remove an address at the first run that does not find it; use `off` to keep addresses",
            );
        }
        Ok(Self::Missing(Duration::from_secs(seconds)))
    }
}

impl fmt::Display for ForgetAfter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Missing(time) => {
                let seconds = time.as_secs();
                let fits = |(_, unit): &(char, u64)| seconds.is_multiple_of(*unit);
                let (name, unit) = UNITS.into_iter().find(fits).unwrap_or(('s', 1));
                write!(f, "{} {name}", seconds / unit)
            }
        }
    }
}

impl<'de> Deserialize<'de> for ForgetAfter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        silo_shared::config::deserialize_text(deserializer, Self::from_str)
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
            let parsed: ForgetAfter = text.parse().unwrap();
            assert_eq!(
                parsed,
                ForgetAfter::Missing(Duration::from_secs(seconds)),
                "{text}"
            );
            assert_eq!(parsed.to_string(), written);
        }
        assert_eq!("off".parse(), Ok(ForgetAfter::Off));
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
            assert!(wrong.parse::<ForgetAfter>().is_err(), "{wrong}");
        }
    }
}
