//! What a quiet run has said of trouble that goes on: each kind once when it begins, and its end once. The agents keep
//! it in their state folders.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// The kinds of trouble that were said since it began.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Told(BTreeSet<String>);

impl Told {
    /// Something is wrong. Answers whether that was not yet said since trouble began.
    pub fn begins(&mut self, kind: &str) -> bool {
        self.0.insert(kind.to_owned())
    }

    /// All is well. Answers whether something was wrong before.
    pub fn ends(&mut self) -> bool {
        !std::mem::take(&mut self.0).is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_trouble_is_said_once_until_it_is_over() {
        let mut told = Told::default();
        assert!(!told.ends());
        let said: Vec<bool> = ["down", "down", "401", "down", "401"]
            .iter()
            .map(|kind| told.begins(kind))
            .collect();
        assert_eq!(said, [true, false, true, false, false]);
        assert!(told.ends());
        assert!(!told.ends());
        assert!(told.begins("down"));
    }
}
