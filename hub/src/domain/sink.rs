//! Sinks: their names, and which changes each one receives.

use std::fmt;

use silo_shared::silo::{Hostname, SiloId, glob_matches};
use thiserror::Error;

use super::pattern::{hostname_pattern, silo_pattern};

/// An operator's name for a sink: 1 to 63 of `a-z`, `0-9`, `.`, `_` and `-`, beginning with a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SinkName(Box<str>);

/// The text is not a sink name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "a sink's name has 1 to 63 of a-z, 0-9, '.', '_' and '-', and begins with a letter or digit"
)]
pub struct InvalidSinkName;

impl SinkName {
    /// Parses a name. Does not convert it to lower case.
    pub fn parse(text: &str) -> Result<Self, InvalidSinkName> {
        let first = text
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let rest = text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b));
        if first && rest && text.len() <= 63 {
            Ok(Self(text.into()))
        } else {
            Err(InvalidSinkName)
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for SinkName {
    type Err = InvalidSinkName;

    fn from_str(text: &str) -> Result<Self, InvalidSinkName> {
        Self::parse(text)
    }
}

/// What a sink receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinkSort {
    /// The current state of each name.
    State,
    /// Every change.
    Event,
}

/// Defines the kinds of sinks, each with its name in the configuration and the database, and its sort.
macro_rules! sink_kinds {
    ($($(#[doc = $doc:literal])* $kind:ident = $name:literal, $sort:ident;)*) => {
        /// The kinds of sinks.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
        pub enum SinkKind {
            $($(#[doc = $doc])* #[serde(rename = $name)] $kind,)*
        }

        impl SinkKind {
            /// All kinds.
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            /// Its name in the configuration and the database.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }

            /// What sinks of this kind receive.
            pub fn sort(self) -> SinkSort {
                match self { $(Self::$kind => SinkSort::$sort,)* }
            }
        }
    };
}

sink_kinds! {
    /// DNS UPDATE with TSIG.
    Rfc2136 = "rfc2136", State;
    /// A provider that speaks dyndns2.
    Dyndns2 = "dyndns2", State;
    /// Plesk's command line.
    Plesk = "plesk", State;
    /// Mail.
    Email = "email", Event;
    /// POST of the change as JSON.
    Webhook = "webhook", Event;
}

impl SinkKind {
    /// The kind of this name; `None` if this version does not know it.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == name)
    }

    /// The names of the kinds of a sort.
    pub fn of_sort(sort: SinkSort) -> Vec<&'static str> {
        let kinds = Self::ALL.iter().filter(|kind| kind.sort() == sort);
        kinds.map(|kind| kind.as_str()).collect()
    }

    /// Whether sinks of this kind send to the address in a record's `notify`.
    pub(crate) fn uses_notify_address(self) -> bool {
        self == Self::Email
    }
}

/// Which changes a sink receives: globs over silos and hostnames; an empty list matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SinkFilter {
    /// Names or globs of silos.
    pub silos: Vec<String>,
    /// Names or globs of hostnames.
    pub hostnames: Vec<String>,
    /// Of these, only the hostnames with a login: see [`crate::domain::dynahost`].
    #[serde(default)]
    pub with_login: bool,
}

impl SinkFilter {
    /// Checks both lists and normalizes names; the error is the invalid text.
    pub fn checked(self) -> Result<Self, String> {
        let each = |list: Vec<String>, form: fn(&str) -> Option<String>| {
            list.into_iter()
                .map(|text| form(&text).ok_or(text))
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(Self {
            silos: each(self.silos, silo_pattern)?,
            hostnames: each(self.hostnames, hostname_pattern)?,
            ..self
        })
    }

    /// Whether the sink receives any changes of a silo.
    pub fn takes_silo(&self, silo: &SiloId) -> bool {
        matches_any(&self.silos, silo.as_str())
    }

    /// Whether the sink receives changes of a hostname, regardless of existing logins.
    pub fn takes(&self, silo: &SiloId, hostname: &Hostname) -> bool {
        self.takes_silo(silo) && matches_any(&self.hostnames, hostname.as_str())
    }
}

fn matches_any(globs: &[String], name: &str) -> bool {
    globs.is_empty() || globs.iter().any(|glob| glob_matches(glob, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for good in ["bind-office", "1", "a.b_c"] {
            assert_eq!(SinkName::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "-a", "A", "a b", "ä", "a/b", &"a".repeat(64)] {
            assert_eq!(SinkName::parse(bad), Err(InvalidSinkName), "{bad:?}");
        }
    }

    #[test]
    fn an_empty_list_takes_everything_and_globs_take_what_they_match() {
        let silo = |text| SiloId::parse(text).unwrap();
        let name = |text| Hostname::parse(text).unwrap();
        assert!(SinkFilter::default().takes(&silo("office"), &name("db")));
        let filter = SinkFilter {
            silos: vec!["Office".to_owned(), "home-*".to_owned()],
            hostnames: vec!["nas-*".to_owned()],
            ..SinkFilter::default()
        };
        let filter = filter.checked().unwrap();
        for (id, host, taken) in [
            ("office", "nas-1", true),
            ("home-2", "nas-1", true),
            ("office", "db", false),
            ("away", "nas-1", false),
        ] {
            assert_eq!(filter.takes(&silo(id), &name(host)), taken, "{id} {host}");
        }
        let wrong = SinkFilter {
            silos: vec!["of/fice".to_owned()],
            hostnames: Vec::new(),
            ..SinkFilter::default()
        };
        assert_eq!(wrong.checked(), Err("of/fice".to_owned()));
    }
}
