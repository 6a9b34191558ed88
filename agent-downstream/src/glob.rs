//! Globs of hostnames, as in `hostnames` and `policy.names`: parsed on input, so that one that can't match any name is
//! refused instead of emptying the block.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};
use silo_shared::config::deserialize_text;
use silo_shared::silo::{Hostname, InvalidHostname, glob_matches};
use thiserror::Error;

/// A hostname, or one with `*` for any sequence of characters; in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glob(Box<str>);

/// Why a text is not a glob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum InvalidGlob {
    /// Without a `*`, and not a hostname.
    #[error(transparent)]
    Hostname(#[from] InvalidHostname),
    /// A character that no hostname contains, or longer than any hostname.
    #[error(
        "a glob consists of letters, digits, '.', '_', '-', and '*' for any run of them, at most 253 in all"
    )]
    Character,
}

impl Glob {
    /// Parses a glob.
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidGlob> {
        if !text.contains('*') {
            return Ok(Hostname::parse(text)?.into());
        }
        let is_valid = text.len() <= 253
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-*".contains(&b));
        if !is_valid {
            return Err(InvalidGlob::Character);
        }
        Ok(Self(text.to_ascii_lowercase().into()))
    }

    /// Whether a name in lower case matches.
    pub(crate) fn matches(&self, name: &str) -> bool {
        glob_matches(&self.0, name)
    }
}

impl From<Hostname> for Glob {
    fn from(hostname: Hostname) -> Self {
        Self(hostname.as_str().into())
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Glob {
    type Err = InvalidGlob;

    fn from_str(text: &str) -> Result<Self, InvalidGlob> {
        Self::parse(text)
    }
}

impl<'de> Deserialize<'de> for Glob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_text(deserializer, Self::parse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_consist_of_what_hostnames_consist_of() {
        for (given, stored) in [
            ("db", Some("db")),
            ("DB.Lan.", Some("db.lan")),
            ("bücher", Some("xn--bcher-kva")),
            ("*", Some("*")),
            ("NAS-*", Some("nas-*")),
            ("*._x.lan", Some("*._x.lan")),
            ("", None),
            (" ", None),
            ("[", None),
            ("[ab]*", None),
            ("db?", None),
            ("a b", None),
            ("a b*", None),
            ("bücher*", None),
            ("*\n", None),
            ("a,b", None),
            ("10.0.0.5", None),
            ("localhost", None),
        ] {
            let parsed = Glob::parse(given).ok().map(|glob| glob.to_string());
            assert_eq!(parsed.as_deref(), stored, "{given:?}");
        }
        assert!(Glob::parse(&"*".repeat(253)).is_ok());
        assert!(Glob::parse(&"*".repeat(254)).is_err());
    }

    #[test]
    fn matching_folds_upper_case_of_the_glob() {
        let glob = Glob::parse("NAS-*").unwrap();
        assert!(glob.matches("nas-1") && !glob.matches("nas"));
    }
}
