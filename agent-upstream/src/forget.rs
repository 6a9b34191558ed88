//! The setting `forget_family_after`: how long a family must be missing before its address is removed from the record.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use crate::period::Period;

/// The default with `interface`.
pub(crate) const DEFAULT: Period = Period::from_seconds(3600);

/// How long a family must be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ForgetAfter {
    /// Its address is never removed.
    Off,
    /// This long.
    Missing(Period),
}

impl FromStr for ForgetAfter {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "off" => Ok(Self::Off),
            "0s" | "0m" | "0h" | "0d" => Err(
                "0 would remove an address at the first run that does not find it; use `off` to keep addresses",
            ),
            text => text
                .parse()
                .map(Self::Missing)
                .map_err(|_| "expected `off` or a number with s, m, h or d, such as 1h"),
        }
    }
}

impl fmt::Display for ForgetAfter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Missing(time) => write!(f, "{time}"),
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
    fn off_and_times_are_read_and_written() {
        assert_eq!("1h".parse(), Ok(ForgetAfter::Missing(DEFAULT)));
        assert_eq!(ForgetAfter::Missing(DEFAULT).to_string(), "1 h");
        assert_eq!("off".parse(), Ok(ForgetAfter::Off));
        for wrong in ["", "Off", "0s", "0h", "1w", "3600"] {
            assert!(wrong.parse::<ForgetAfter>().is_err(), "{wrong}");
        }
    }
}
