//! How many clients wait for changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How a client waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WatcherKind {
    /// A read with `Prefer: wait`.
    Read,
    /// The event stream of a silo.
    Silo,
    /// The event stream of all silos.
    All,
}

impl WatcherKind {
    pub(super) const ALL: [Self; 3] = [Self::Read, Self::Silo, Self::All];

    /// The displayed form.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Silo => "silo_events",
            Self::All => "all_events",
        }
    }
}

/// Counts the clients that wait.
#[derive(Clone, Debug, Default)]
pub struct Watchers(Arc<[AtomicUsize; WatcherKind::ALL.len()]>);

impl Watchers {
    /// Counts one until the returned value is dropped.
    pub(super) fn enter(&self, kind: WatcherKind) -> Watching {
        self.0[kind as usize].fetch_add(1, Ordering::Relaxed);
        Watching {
            watchers: self.clone(),
            kind,
        }
    }

    /// Their number.
    pub(super) fn count(&self, kind: WatcherKind) -> usize {
        self.0[kind as usize].load(Ordering::Relaxed)
    }
}

/// A client that waits.
#[derive(Debug)]
pub(super) struct Watching {
    watchers: Watchers,
    kind: WatcherKind,
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.watchers.0[self.kind as usize].fetch_sub(1, Ordering::Relaxed);
    }
}
