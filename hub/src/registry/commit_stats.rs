//! How many commits this hub has made, how long they took, and how many commands they had.

use std::time::Duration;

use crate::domain::counting::{Counter, Observed, Sizes, Timings};

/// Counts commits.
#[derive(Debug, Default)]
pub struct CommitStats {
    commits: Counter,
    took: Timings,
    commands: Sizes,
}

impl CommitStats {
    /// Counts a commit of so many commands. `took`: from the beginning of its transaction until it was durable.
    pub(super) fn note(&self, commands: usize, took: Duration) {
        self.commits.add_one();
        self.took.note(took);
        self.commands.note(commands);
    }

    /// The number of commits.
    pub fn commits(&self) -> u64 {
        self.commits.get()
    }

    /// How long they took, in seconds.
    pub fn took(&self) -> Observed {
        self.took.observed()
    }

    /// How many commands they had.
    pub fn commands(&self) -> Observed {
        self.commands.observed()
    }
}
