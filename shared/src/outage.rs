//! The ongoing failures that quiet runs have reported: each kind once when it begins, and its end once. The agents
//! store this in their state folders.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// The kinds of failure reported since the first one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReportedFailures(BTreeSet<String>);

impl ReportedFailures {
    /// Records a failure. Returns whether its kind was not reported yet.
    pub fn is_new(&mut self, kind: &str) -> bool {
        self.0.insert(kind.to_owned())
    }

    /// Records a successful run. Returns whether something had failed before.
    pub fn clear(&mut self) -> bool {
        !std::mem::take(&mut self.0).is_empty()
    }
}

/// Failures that a quiet run prints at its end, grouped, since several names may have the same one.
#[derive(Clone, Debug, Default)]
pub struct PendingFailures(Vec<(Vec<String>, String)>);

impl PendingFailures {
    /// Adds names that failed with this message.
    pub fn add(&mut self, names: impl IntoIterator<Item = impl ToString>, message: &str) {
        let names = names.into_iter().map(|name| name.to_string());
        match self.0.iter_mut().find(|(_, known)| known == message) {
            Some((all, _)) => all.extend(names),
            None => self.0.push((names.collect(), message.to_owned())),
        }
    }

    /// The names, separated by commas, and the message of each failure.
    pub fn into_lines(self) -> impl Iterator<Item = (String, String)> {
        let lines = self.0.into_iter();
        lines.map(|(names, message)| (names.join(", "), message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_failure_is_reported_once_until_it_ends() {
        let mut reported = ReportedFailures::default();
        assert!(!reported.clear());
        let said: Vec<bool> = ["down", "down", "401", "down", "401"]
            .iter()
            .map(|kind| reported.is_new(kind))
            .collect();
        assert_eq!(said, [true, false, true, false, false]);
        assert!(reported.clear());
        assert!(!reported.clear());
        assert!(reported.is_new("down"));
    }

    #[test]
    fn names_with_the_same_message_share_a_line() {
        let mut pending = PendingFailures::default();
        for (name, message) in [("a", "down"), ("b", "refused"), ("c", "down")] {
            pending.add([name], message);
        }
        let line = |names: &str, message: &str| (names.to_owned(), message.to_owned());
        let lines: Vec<_> = pending.into_lines().collect();
        assert_eq!(lines, [line("a, c", "down"), line("b", "refused")]);
    }
}
