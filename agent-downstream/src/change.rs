//! How a block changes, and how that is printed. Pure; `plan` creates it.

use std::collections::BTreeSet;
use std::fmt;

use silo_shared::silo::{Hostname, Records};

/// The maximum number of changes listed individually.
const NAMED_CHANGES: usize = 3;

/// How a block changes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Not at all.
    None,
    /// The records are the same, the text differed: someone edited the block.
    Repaired,
    /// There was no block; the new one has this many names.
    New(usize),
    /// Names were added, removed or changed.
    Names(Vec<NameChange>),
}

/// One changed name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NameChange {
    /// A new name and its addresses.
    Added(Hostname, String),
    /// A removed name and its addresses.
    Removed(Hostname, String),
    /// A name with new addresses: from and to.
    Moved(Hostname, String, String),
}

impl NameChange {
    /// The changed name.
    pub(crate) fn name(&self) -> &Hostname {
        match self {
            Self::Added(name, _) | Self::Removed(name, _) | Self::Moved(name, _, _) => name,
        }
    }

    /// The same change of another name.
    pub(crate) fn of(&self, name: Hostname) -> Self {
        match self {
            Self::Added(_, new) => Self::Added(name, new.clone()),
            Self::Removed(_, old) => Self::Removed(name, old.clone()),
            Self::Moved(_, old, new) => Self::Moved(name, old.clone(), new.clone()),
        }
    }
}

/// The changed names, in byte order.
pub(crate) fn compare(old: &Records, new: &Records) -> Vec<NameChange> {
    let names: BTreeSet<&Hostname> = old.keys().chain(new.keys()).collect();
    names
        .into_iter()
        .filter_map(|name| match (old.get(name), new.get(name)) {
            (Some(old), Some(new)) if old == new => None,
            (Some(old), Some(new)) => Some(NameChange::Moved(
                name.clone(),
                old.to_string(),
                new.to_string(),
            )),
            (None, Some(new)) => Some(NameChange::Added(name.clone(), new.to_string())),
            (Some(old), None) => Some(NameChange::Removed(name.clone(), old.to_string())),
            (None, None) => None,
        })
        .collect()
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("unchanged"),
            Self::Repaired => f.write_str("block repaired"),
            Self::New(0) => f.write_str("new block without names"),
            Self::New(1) => f.write_str("new block with 1 name"),
            Self::New(count) => write!(f, "new block with {count} names"),
            Self::Names(changes) if changes.len() <= NAMED_CHANGES => {
                let words: Vec<String> = changes.iter().map(ToString::to_string).collect();
                f.write_str(&words.join(", "))
            }
            Self::Names(changes) => {
                let count = |kind: fn(&NameChange) -> bool, word: &str| {
                    let count = changes.iter().filter(|change| kind(change)).count();
                    (count > 0).then(|| format!("{count} {word}"))
                };
                let words: Vec<String> = [
                    count(|c| matches!(c, NameChange::Added(..)), "added"),
                    count(|c| matches!(c, NameChange::Moved(..)), "changed"),
                    count(|c| matches!(c, NameChange::Removed(..)), "removed"),
                ]
                .into_iter()
                .flatten()
                .collect();
                f.write_str(&words.join(", "))
            }
        }
    }
}

impl fmt::Display for NameChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added(name, addresses) => write!(f, "{name} {addresses} added"),
            Self::Removed(name, _) => write!(f, "{name} removed"),
            Self::Moved(name, old, new) => write!(f, "{name} {old} → {new}"),
        }
    }
}
