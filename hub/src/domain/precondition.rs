//! `If-Match` and `If-None-Match` (RFC 9110 section 13.1), evaluated inside the write transaction.

use std::fmt;
use std::str::FromStr;

use silo_shared::silo::Hostname;
use thiserror::Error;

use crate::domain::revision::Revision;

/// The opaque part of a silo's entity tag.
pub fn silo_tag(revision: Revision) -> String {
    revision.to_string()
}

/// The opaque part of a record's entity tag.
pub fn record_tag(revision: Revision, hostname: &Hostname) -> String {
    format!("{revision}-{hostname}")
}

/// A list of entity tags, or `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagList {
    /// `*`: any existing resource.
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

/// The header is not a list of entity tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("write an entity tag in double quotes, such as \"41\"; separate several with commas")]
pub struct InvalidTagList;

impl FromStr for TagList {
    type Err = InvalidTagList;

    fn from_str(text: &str) -> Result<Self, InvalidTagList> {
        let mut rest = text.trim();
        if rest == "*" {
            return Ok(Self::Any);
        }
        // Most lists have one tag.
        let mut tags = Vec::with_capacity(1);
        loop {
            // Empty elements of a list are ignored (RFC 9110 section 5.6.1.2).
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
    /// Whether one of the tags matches `current` by strong comparison: neither is weak (RFC 9110 section 8.8.3.2).
    pub fn matches_strongly(&self, current: Option<&str>) -> bool {
        self.matches(current, |tag| !tag.weak)
    }

    /// Whether one of the tags matches `current` by weak comparison.
    pub fn matches_weakly(&self, current: Option<&str>) -> bool {
        self.matches(current, |_| true)
    }

    /// Whether it is a list of only this tag.
    pub fn is_only(&self, tag: &str) -> bool {
        matches!(self, Self::Tags(tags) if matches!(&tags[..], [only] if *only.opaque == *tag))
    }

    /// The newest revision among the tags.
    pub fn newest_revision(&self) -> Option<Revision> {
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

/// A writer's preconditions on the state that it replaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Precondition {
    /// `If-Match`.
    pub if_match: Option<TagList>,
    /// `If-None-Match`.
    pub if_none_match: Option<TagList>,
    /// The revision at which the body of a silo was read, like Kubernetes' `resourceVersion`.
    pub revision: Option<Revision>,
}

impl Precondition {
    /// Whether a target whose tag is `current` (`None`: there is no target) meets the preconditions.
    pub fn holds(&self, current: Option<&str>) -> bool {
        self.if_match
            .as_ref()
            .is_none_or(|tags| tags.matches_strongly(current))
            && self
                .if_none_match
                .as_ref()
                .is_none_or(|tags| !tags.matches_weakly(current))
            && self
                .revision
                .is_none_or(|revision| current == Some(&*silo_tag(revision)))
    }

    /// Whether a target that is there and has no entity tag meets the preconditions.
    pub fn holds_without_tag(&self) -> bool {
        !matches!(self.if_match, Some(TagList::Tags(_)))
            && self.if_none_match != Some(TagList::Any)
            && self.revision.is_none()
    }

    /// Whether the preconditions fail on a target of this revision and tag only because they name an older one. A write
    /// that would change nothing is then the repetition of one whose response was lost (RFC 9110 section 13.1.1).
    pub fn is_older_than(&self, revision: Revision, tag: &str) -> bool {
        let of_tags = self.if_match.as_ref().and_then(TagList::newest_revision);
        let newest = of_tags.max(self.revision);
        newest.is_some_and(|newest| newest < revision)
            && self
                .if_none_match
                .as_ref()
                .is_none_or(|tags| !tags.matches_weakly(Some(tag)))
    }

    /// Whether `If-Match` contains this tag in a form that proxies produce: marked weak, or with the name of a content
    /// coding appended.
    pub fn is_weakened(&self, current: &str) -> bool {
        const CODINGS: [&str; 7] = [
            "-gzip", "-br", "-zstd", "-deflate", ";gzip", ":gzip", "--gzip",
        ];
        let Some(TagList::Tags(tags)) = &self.if_match else {
            return false;
        };
        tags.iter().any(|tag| {
            let coded = |coding: &&str| tag.opaque.strip_suffix(*coding) == Some(current);
            *tag.opaque == *current && tag.weak || CODINGS.iter().any(coded)
        })
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
            assert_eq!(
                list.newest_revision(),
                newest.map(Revision::from),
                "{list:?}"
            );
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
                revision: None,
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
                revision: None,
            };
            assert_eq!(precondition.holds(current), holds, "{list} {current:?}");
        }
    }

    #[test]
    fn a_repeated_write_names_an_older_tag() {
        let demand = |if_match: Option<&str>,
                      if_none_match: Option<&str>,
                      revision: Option<i64>| Precondition {
            if_match: if_match.map(|text| text.parse().unwrap()),
            if_none_match: if_none_match.map(|text| text.parse().unwrap()),
            revision: revision.map(Revision::from),
        };
        for (demand, older) in [
            (demand(Some("\"40\""), None, None), true),
            (demand(Some("\"40-db\""), None, None), true),
            (demand(Some("\"39\", \"40\""), None, None), true),
            (demand(None, None, Some(40)), true),
            (demand(Some("\"41\""), None, None), false),
            (demand(Some("\"42\""), None, None), false),
            (demand(Some("\"40\", \"42\""), None, None), false),
            (demand(Some("*"), None, None), false),
            (demand(Some("\"x\""), None, None), false),
            (demand(None, None, None), false),
            (demand(None, Some("*"), None), false),
            (demand(Some("\"40\""), Some("*"), None), false),
            (demand(Some("\"40\""), None, Some(42)), false),
        ] {
            assert_eq!(demand.is_older_than(41.into(), "41"), older, "{demand:?}");
        }
        assert!(demand(None, None, Some(41)).holds(Some("41")));
        assert!(!demand(None, None, Some(40)).holds(Some("41")));
        assert!(!demand(None, None, Some(40)).holds(None));
    }

    #[test]
    fn tags_that_a_proxy_has_changed_are_known() {
        for (tags, weakened) in [
            ("W/\"41\"", true),
            ("\"41-gzip\"", true),
            ("W/\"41-br\"", true),
            ("\"41;gzip\"", true),
            ("\"40\", W/\"41\"", true),
            ("\"41\"", false),
            ("W/\"40\"", false),
            ("\"41-db\"", false),
            ("*", false),
        ] {
            let precondition = Precondition {
                if_match: Some(tags.parse().unwrap()),
                ..Precondition::default()
            };
            assert_eq!(precondition.is_weakened("41"), weakened, "{tags}");
        }
    }
}
