//! The hook of `on_change` that is owed: what changed since it last succeeded. `state` stores it from before the change
//! until the hook has succeeded.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use silo_shared::hook::HookInput;
use silo_shared::silo::Records;

use crate::change::{Change, NameChange};
use crate::plan::{Report, Update};

/// The JSON that a hook gets on its standard input; documented in docs/agents.md.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct OwedHook {
    /// The hosts file.
    pub(crate) file: PathBuf,
    /// The changed silos, in the order in which they changed first.
    pub(crate) silos: Vec<ChangedSilo>,
}

/// A silo whose block changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChangedSilo {
    /// Its id.
    pub(crate) silo: String,
    /// Its revision in the file.
    pub(crate) revision: i64,
    /// The changed names; empty if the block was only repaired.
    pub(crate) changes: Vec<ChangedName>,
}

/// A name that was added, removed or changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChangedName {
    /// The name.
    pub(crate) hostname: String,
    /// Its addresses before; empty if it is new.
    pub(crate) before: Vec<String>,
    /// Its addresses now; empty if it was removed.
    pub(crate) after: Vec<String>,
}

impl OwedHook {
    /// What a run changes in a hosts file. If no block changes, all blocks of the run count: the change is a line outside
    /// of them.
    pub(crate) fn of_run(file: &Path, reports: &[Report]) -> Self {
        let updates = || {
            reports
                .iter()
                .filter_map(|report| Some((report, report.outcome.as_ref().ok()?)))
        };
        let any = updates().any(|(_, update)| is_changed(update));
        let silos = updates()
            .filter(|(_, update)| !any || is_changed(update))
            .map(|(report, update)| ChangedSilo {
                silo: report.silo.to_string(),
                revision: update.revision,
                changes: changed_names(&update.change, &update.records),
            })
            .collect();
        let file = file.to_owned();
        Self { file, silos }
    }

    /// Both changes in one: what was owed before, and what changes now.
    pub(crate) fn followed_by(mut self, newer: Self) -> Self {
        for silo in newer.silos {
            match self.silos.iter_mut().find(|old| old.silo == silo.silo) {
                Some(old) => old.follow(silo),
                None => self.silos.push(silo),
            }
        }
        Self {
            file: newer.file,
            ..self
        }
    }

    /// The changed silos.
    pub(crate) fn silo_ids(&self) -> Vec<&str> {
        self.silos.iter().map(|silo| silo.silo.as_str()).collect()
    }

    /// What the hook is told.
    pub(crate) fn input(&self) -> HookInput {
        let list = |text: fn(&ChangedSilo) -> String| {
            let texts: Vec<String> = self.silos.iter().map(text).collect();
            texts.join(",")
        };
        HookInput {
            silo: list(|silo| silo.silo.clone()),
            revision: list(|silo| silo.revision.to_string()),
            file: Some(self.file.clone()),
            json: serde_json::to_vec(self).expect("texts and numbers can be serialized"),
        }
    }
}

impl ChangedSilo {
    fn follow(&mut self, newer: Self) {
        self.revision = newer.revision;
        for name in newer.changes {
            match self
                .changes
                .iter_mut()
                .find(|old| old.hostname == name.hostname)
            {
                Some(old) => old.after = name.after,
                None => self.changes.push(name),
            }
        }
        let same = |name: &ChangedName| {
            let set = |ips: &[String]| ips.iter().cloned().collect::<BTreeSet<_>>();
            set(&name.before) == set(&name.after)
        };
        self.changes.retain(|name| !same(name));
    }
}

fn is_changed(update: &Update) -> bool {
    update.change != Change::None || !update.adopted.is_empty()
}

/// The changed names of a block that has `records` now.
pub(crate) fn changed_names(change: &Change, records: &Records) -> Vec<ChangedName> {
    let list = |addresses: &str| addresses.split_whitespace().map(str::to_owned).collect();
    let named = |hostname: String, before: &str, after: &str| ChangedName {
        hostname,
        before: list(before),
        after: list(after),
    };
    match change {
        Change::None | Change::Repaired => Vec::new(),
        Change::New(_) => records
            .iter()
            .map(|(name, addresses)| named(name.to_string(), "", &addresses.to_string()))
            .collect(),
        Change::Names(changes) => changes
            .iter()
            .map(|change| match change {
                NameChange::Added(name, after) => named(name.to_string(), "", after),
                NameChange::Removed(name, before) => named(name.to_string(), before, ""),
                NameChange::Moved(name, before, after) => named(name.to_string(), before, after),
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(hostname: &str, before: &[&str], after: &[&str]) -> ChangedName {
        let list = |ips: &[&str]| ips.iter().map(ToString::to_string).collect();
        ChangedName {
            hostname: hostname.to_owned(),
            before: list(before),
            after: list(after),
        }
    }

    fn owed(silos: &[(&str, i64, &[ChangedName])]) -> OwedHook {
        OwedHook {
            file: PathBuf::from("/etc/hosts"),
            silos: silos
                .iter()
                .map(|(silo, revision, changes)| ChangedSilo {
                    silo: (*silo).to_owned(),
                    revision: *revision,
                    changes: changes.to_vec(),
                })
                .collect(),
        }
    }

    #[test]
    fn changes_that_follow_each_other_become_one() {
        let first = owed(&[(
            "office",
            41,
            &[
                name("db", &["10.0.0.5"], &["10.0.0.6"]),
                name("tv", &[], &["10.0.0.9"]),
            ],
        )]);
        for (newer, expected) in [
            // The same again, as a second attempt of one run notes it.
            (first.clone(), first.clone()),
            (
                owed(&[("office", 42, &[name("db", &["10.0.0.6"], &["10.0.0.7"])])]),
                owed(&[(
                    "office",
                    42,
                    &[
                        name("db", &["10.0.0.5"], &["10.0.0.7"]),
                        name("tv", &[], &["10.0.0.9"]),
                    ],
                )]),
            ),
            // A name that is as it was before.
            (
                owed(&[("office", 43, &[name("db", &["10.0.0.6"], &["10.0.0.5"])])]),
                owed(&[("office", 43, &[name("tv", &[], &["10.0.0.9"])])]),
            ),
            (
                owed(&[("home", 7, &[])]),
                owed(&[("office", 41, &first.silos[0].changes), ("home", 7, &[])]),
            ),
        ] {
            let both = first.clone().followed_by(newer);
            assert_eq!(both, expected);
            let again: OwedHook = serde_json::from_slice(&both.input().json).unwrap();
            assert_eq!(again, both);
        }
        let input = first.followed_by(owed(&[("home", 7, &[])])).input();
        assert_eq!(
            (input.silo.as_str(), input.revision.as_str()),
            ("office,home", "41,7")
        );
    }
}
