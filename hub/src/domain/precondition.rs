//! `If-Match` and `If-None-Match` (RFC 9110 section 13.1), judged inside the write transaction.

use std::fmt;
use std::str::FromStr;

use silo_shared::silo::Hostname;
use thiserror::Error;

/// The opaque part of a silo's entity tag.
pub fn silo_tag(revision: i64) -> String {
    revision.to_string()
}

/// The opaque part of a record's entity tag.
pub fn record_tag(revision: i64, hostname: &Hostname) -> String {
    format!("{revision}-{hostname}")
}

/// A list of entity tags, or `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagList {
    /// `*`: anything that exists.
    Any,
    /// These tags.
    Tags(Vec<EntityTag>),
}

/// An entity tag (RFC 9110 section 8.8.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntityTag {
    /// Marked `W/`.
    pub weak: bool,
    /// The opaque text between the quotes.
    pub opaque: Box<str>,
}

/// A header that is no list of entity tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("an entity tag stands in double quotes, such as \"41\"; several are separated by commas")]
pub struct InvalidTagList;

impl FromStr for TagList {
    type Err = InvalidTagList;

    fn from_str(text: &str) -> Result<Self, InvalidTagList> {
        let mut rest = text.trim();
        if rest == "*" {
            return Ok(Self::Any);
        }
        let mut tags = Vec::new();
        loop {
            // Empty elements of a list are passed over (RFC 9110 section 5.6.1.2).
            rest = rest.trim_start_matches([',', ' ', '\t']);
            if rest.is_empty() && !tags.is_empty() {
                return Ok(Self::Tags(tags));
            }
            let (weak, quoted) = match rest.strip_prefix("W/") {
                Some(quoted) => (true, quoted),
                None => (false, rest),
            };
            let inner = quoted.strip_prefix('"').ok_or(InvalidTagList)?;
            let (opaque, after) = inner.split_once('"').ok_or(InvalidTagList)?;
            tags.push(EntityTag {
                weak,
                opaque: opaque.into(),
            });
            rest = after.trim_start();
            if !rest.is_empty() && !rest.starts_with(',') {
                return Err(InvalidTagList);
            }
        }
    }
}

impl TagList {
    /// Whether one of the tags equals `current` strongly: neither is weak (RFC 9110 section 8.8.3.2).
    pub fn matches_strongly(&self, current: Option<&str>) -> bool {
        self.matches(current, |tag| !tag.weak)
    }

    /// Whether one of the tags equals `current`, weak or not.
    pub fn matches_weakly(&self, current: Option<&str>) -> bool {
        self.matches(current, |_| true)
    }

    /// The newest revision that one of the tags names.
    pub fn newest_revision(&self) -> Option<i64> {
        let Self::Tags(tags) = self else { return None };
        let revision = |tag: &EntityTag| tag.opaque.split('-').next()?.parse().ok();
        tags.iter().filter_map(revision).max()
    }

    fn matches(&self, current: Option<&str>, counts: impl Fn(&EntityTag) -> bool) -> bool {
        let Some(current) = current else { return false };
        match self {
            Self::Any => true,
            Self::Tags(tags) => tags
                .iter()
                .any(|tag| counts(tag) && *tag.opaque == *current),
        }
    }
}

impl fmt::Display for EntityTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}\"{}\"",
            if self.weak { "W/" } else { "" },
            self.opaque
        )
    }
}

/// What a writer demands of the state that it replaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Precondition {
    /// `If-Match`.
    pub if_match: Option<TagList>,
    /// `If-None-Match`.
    pub if_none_match: Option<TagList>,
}

impl Precondition {
    /// Whether the demand is met by a target whose tag is `current` (`None`: there is no target).
    pub fn holds(&self, current: Option<&str>) -> bool {
        self.if_match
            .as_ref()
            .is_none_or(|tags| tags.matches_strongly(current))
            && self
                .if_none_match
                .as_ref()
                .is_none_or(|tags| !tags.matches_weakly(current))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(text: &str) -> Option<TagList> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn lists_parse_and_wrong_ones_are_refused() {
        assert_eq!("*".parse(), Ok(TagList::Any));
        let TagList::Tags(list) = ", \"41\",, W/\"4,2\" ,\"\",".parse().unwrap() else {
            panic!("a list was expected")
        };
        let words: Vec<String> = list.iter().map(ToString::to_string).collect();
        assert_eq!(words, ["\"41\"", "W/\"4,2\"", "\"\""]);
        for wrong in ["", "41", "\"41", "41\"", "\"41\" \"42\"", ",", "w/\"41\""] {
            assert_eq!(wrong.parse::<TagList>(), Err(InvalidTagList), "{wrong}");
        }
    }

    #[test]
    fn the_newest_revision_is_found_in_tags_of_every_kind() {
        for (list, newest) in [
            ("\"41\"", Some(41)),
            ("\"41-hosts\", W/\"42-db\", \"40\"", Some(42)),
            ("\"x\", \"\"", None),
            ("\"99999999999999999999\"", None),
            ("*", None),
        ] {
            let list: TagList = list.parse().unwrap();
            assert_eq!(list.newest_revision(), newest, "{list:?}");
        }
    }

    #[test]
    fn if_match_compares_strongly_and_needs_something() {
        for (list, current, holds) in [
            ("\"41\"", Some("41"), true),
            ("\"40\", \"41\"", Some("41"), true),
            ("\"40\"", Some("41"), false),
            ("W/\"41\"", Some("41"), false),
            ("\"41\"", None, false),
            ("*", Some("41"), true),
            ("*", None, false),
        ] {
            let precondition = Precondition {
                if_match: tags(list),
                if_none_match: None,
            };
            assert_eq!(precondition.holds(current), holds, "{list} {current:?}");
        }
    }

    #[test]
    fn if_none_match_compares_weakly() {
        for (list, current, holds) in [
            ("*", None, true),
            ("*", Some("41"), false),
            ("\"41\"", Some("41"), false),
            ("W/\"41\"", Some("41"), false),
            ("\"40\"", Some("41"), true),
        ] {
            let precondition = Precondition {
                if_match: None,
                if_none_match: tags(list),
            };
            assert_eq!(precondition.holds(current), holds, "{list} {current:?}");
        }
    }
}
