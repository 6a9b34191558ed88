//! Decides which connection to close when the limit is reached; no library does this. `Connections` keeps one under its
//! lock; `model.rs` tests it against a model.
//!
//! Requests start and end without this lock: each connection records by itself since when the hub waits for its client,
//! and its entry here may have an outdated turn. The search for the longest silent one corrects outdated entries on the
//! way, so that it costs at most as much as an update per request.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::kill_switch::{Idle, KillSwitch, QueueEntry};

/// An honest client's first request arrives within this time.
const NEW: Duration = Duration::from_secs(3);

/// The open connections, and the order in which they are closed.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// The number of open ones, without those that were closed and have not noticed yet.
    open: usize,
    /// Those that may be closed, and some with a running request, by the turn of their current or an earlier silence.
    entered: BTreeMap<u64, Arc<KillSwitch>>,
}

impl Idle {
    /// Whether its deadline has passed. Unsent bytes excuse a client whose responses are handed over completely, but no
    /// other: over HTTP/2 they need not belong to a response.
    fn is_late(&self, now: Instant, switch: &KillSwitch) -> bool {
        self.until.is_some_and(|until| until <= now) && (self.is_sending || !switch.is_writing())
    }
}

impl Places {
    /// The number of open connections.
    pub(super) fn open(&self) -> usize {
        self.open
    }

    /// Counts a new connection.
    pub(super) fn add(&mut self) {
        self.open += 1;
    }

    /// Removes a closed connection.
    pub(super) fn close(&mut self, switch: &KillSwitch) {
        match switch.place() {
            QueueEntry::Out => return,
            QueueEntry::At(turn) => {
                self.entered.remove(&turn);
            }
            QueueEntry::Nowhere => {}
        }
        self.open -= 1;
    }

    /// Adds a connection to the queue if it is not in it, unless a request is running on it.
    pub(super) fn enter(&mut self, switch: &Arc<KillSwitch>) {
        if matches!(switch.place(), QueueEntry::Nowhere)
            && let QueueEntry::At(turn) = switch.put(place_of)
        {
            self.entered.insert(turn, Arc::clone(switch));
        }
    }

    /// Closes one connection, if any may be closed.
    pub(super) fn give_way(&mut self, now: Instant) -> bool {
        while let Some(turn) = self.first_to_give_way(now) {
            // Unless a request has started since.
            if self.cut_if(turn, |idle, _| idle.turn == turn) {
                return true;
            }
        }
        false
    }

    /// Prefers one that is not being sent a response. But clients that do not read their responses must not displace
    /// all new connections.
    fn first_to_give_way(&mut self, now: Instant) -> Option<u64> {
        let mut first = None;
        let mut from = 0;
        while let Some((&turn, switch)) = self.entered.range(from..).next() {
            from = turn + 1;
            let is_writing = switch.is_writing();
            let Some(idle) = self.reposition(turn) else {
                continue;
            };
            first = first.or(Some(turn));
            if now - idle.since < NEW {
                break;
            }
            if !idle.is_sending && !is_writing {
                return Some(turn);
            }
        }
        first
    }

    /// The silence of the connection with this turn in the queue, if it is its current one; otherwise moves the
    /// connection to its correct position.
    fn reposition(&mut self, turn: u64) -> Option<Idle> {
        let switch = self.entered.get(&turn)?;
        match switch.idle() {
            Some(idle) if idle.turn == turn => Some(idle),
            _ => {
                let switch = self.entered.remove(&turn)?;
                if let QueueEntry::At(turn) = switch.put(place_of) {
                    self.entered.insert(turn, switch);
                }
                None
            }
        }
    }

    /// Closes all connections whose deadline has passed.
    pub(super) fn cut_late(&mut self, now: Instant) {
        let is_late =
            |switch: &KillSwitch| switch.idle().is_some_and(|one| one.is_late(now, switch));
        let late = self.entered.iter().filter(|(_, switch)| is_late(switch));
        let late: Vec<u64> = late.map(|(turn, _)| *turn).collect();
        for turn in late {
            self.cut_if(turn, |idle, switch| idle.is_late(now, switch));
        }
    }

    /// Closes a connection if its silence still meets the condition.
    fn cut_if(&mut self, turn: u64, is_such: impl FnOnce(&Idle, &KillSwitch) -> bool) -> bool {
        let Some(switch) = self.entered.get(&turn) else {
            return false;
        };
        let place = switch.put(|idle| {
            if idle.is_some_and(|idle| is_such(&idle, switch)) {
                QueueEntry::Out
            } else {
                QueueEntry::At(turn)
            }
        });
        let is_out = matches!(place, QueueEntry::Out);
        if is_out {
            switch.cut();
            self.entered.remove(&turn);
            self.open -= 1;
        }
        is_out
    }
}

/// The correct position of a connection.
fn place_of(idle: Option<Idle>) -> QueueEntry {
    idle.map_or(QueueEntry::Nowhere, |idle| QueueEntry::At(idle.turn))
}
