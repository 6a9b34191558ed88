//! Names or globs of silos and hostnames, which limit tokens and sinks.

use silo_shared::silo::{Hostname, SiloId};

/// Normalizes a silo's id, or a glob to lower case; `None`: it can't match anything.
pub fn silo_pattern(text: &str) -> Option<String> {
    pattern(text, |name| {
        SiloId::parse(name).ok().map(|id| id.to_string())
    })
}

/// A range of silo ids, in byte order, that patterns can match. Its ids must still be matched against the patterns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Span {
    /// These ids, in byte order.
    Names(Vec<String>),
    /// The ids with a prefix.
    Prefix {
        /// The prefix; empty: all ids.
        prefix: String,
        /// The patterns, one of which an id must match; `None`: every id with this prefix matches.
        patterns: Option<Vec<String>>,
    },
}

/// The silo ids that names and globs can match, as ranges that do not overlap, in byte order.
pub fn spans(patterns: &[String]) -> Vec<Span> {
    let mut starts: Vec<(&str, bool, &str)> = patterns
        .iter()
        .map(|pattern| match pattern.split_once('*') {
            Some((prefix, _)) => (prefix, false, pattern.as_str()),
            None => (pattern.as_str(), true, pattern.as_str()),
        })
        .collect();
    // Two prefixes are either nested or disjoint, and in sorted order, everything with a prefix follows it directly.
    starts.sort_unstable();
    starts.dedup();
    let mut spans: Vec<Span> = Vec::new();
    for (start, is_name, pattern) in starts {
        let matches_all = !is_name && pattern[start.len()..].bytes().all(|byte| byte == b'*');
        match spans.last_mut() {
            Some(Span::Prefix { prefix, patterns }) if start.starts_with(prefix.as_str()) => {
                if matches_all && start == prefix.as_str() {
                    *patterns = None;
                } else if let Some(patterns) = patterns {
                    patterns.push(pattern.to_owned());
                }
            }
            Some(Span::Names(names)) if is_name => names.push(start.to_owned()),
            _ if is_name => spans.push(Span::Names(vec![start.to_owned()])),
            _ => spans.push(Span::Prefix {
                prefix: start.to_owned(),
                patterns: (!matches_all).then(|| vec![pattern.to_owned()]),
            }),
        }
    }
    spans
}

/// Normalizes a hostname, or a glob to lower case; `None`: it can't match anything.
pub fn hostname_pattern(text: &str) -> Option<String> {
    pattern(text, |name| {
        Hostname::parse(name).ok().map(|name| name.to_string())
    })
}

fn pattern(text: &str, name: impl Fn(&str) -> Option<String>) -> Option<String> {
    if !text.contains('*') {
        return name(text);
    }
    let valid = text.len() <= 253
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-*".contains(&b));
    valid.then(|| text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use silo_shared::silo::glob_matches;

    use super::*;

    fn names(names: &[&str]) -> Span {
        Span::Names(names.iter().map(|&name| name.to_owned()).collect())
    }

    fn prefix(prefix: &str, patterns: Option<&[&str]>) -> Span {
        let owned = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
        Span::Prefix {
            prefix: prefix.to_owned(),
            patterns: patterns.map(owned),
        }
    }

    #[test]
    fn patterns_become_runs_that_do_not_overlap() {
        let table: &[(&[&str], &[Span])] = &[
            (&[], &[]),
            (&["b", "a", "b"], &[names(&["a", "b"])]),
            (&["*"], &[prefix("", None)]),
            (&["**", "a", "b*"], &[prefix("", None)]),
            (&["*-lab"], &[prefix("", Some(&["*-lab"]))]),
            (&["*-lab", "a"], &[prefix("", Some(&["*-lab", "a"]))]),
            (&["a*", "ab*", "a", "a*c"], &[prefix("a", None)]),
            (&["a*c", "a*"], &[prefix("a", None)]),
            (&["a*c", "ab*"], &[prefix("a", Some(&["a*c", "ab*"]))]),
            (
                &["b*", "a", "c", "a0", "b"],
                &[names(&["a", "a0"]), prefix("b", None), names(&["c"])],
            ),
        ];
        for (patterns, expected) in table {
            let patterns: Vec<String> = patterns.iter().map(|&text| text.to_owned()).collect();
            assert_eq!(spans(&patterns), *expected, "{patterns:?}");
        }
    }

    proptest! {
        #[test]
        fn runs_hold_what_the_patterns_match_in_order(
            patterns in prop::collection::vec("[ab*]{1,4}", 0..6),
            ids in prop::collection::btree_set("[ab-]{1,4}", 0..30),
        ) {
            let matches = |patterns: &[String], id: &str| {
                patterns.iter().any(|pattern| glob_matches(pattern, id))
            };
            let mut found = Vec::new();
            for span in spans(&patterns) {
                found.extend(ids.iter().filter(|id| match &span {
                    Span::Names(names) => names.contains(id),
                    Span::Prefix { prefix, patterns } => {
                        id.starts_with(prefix)
                            && patterns.as_ref().is_none_or(|patterns| matches(patterns, id))
                    }
                }));
            }
            let expected: Vec<_> = ids.iter().filter(|id| matches(&patterns, id)).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
