//! Which connection gives way when all that may be open are: no library has this. `Connections` keeps one under its lock;
//! `model.rs` tests it against a model.
//!
//! Requests come and go without this lock: each connection keeps for itself since when its client is waited for, and it
//! stays entered here under a turn from before. Who looks for the longest silent one puts right what it meets on the
//! way, so that this costs at most what each request would have.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::kill_switch::{Idle, KillSwitch, QueueEntry};

/// Within this the first request of an honest client has come.
const NEW: Duration = Duration::from_secs(3);

/// The open connections, and in which order they give way.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// How many there are, without those that were cut off and have not noticed yet.
    open: usize,
    /// Those that may give way, and some with a request that runs, by the turn of their silence or of one before it.
    entered: BTreeMap<u64, Arc<KillSwitch>>,
}

impl Idle {
    /// Whether its time is over. Bytes that wait to be taken excuse a client whose answers are handed over
    /// whole, but no other: over HTTP/2 they need not be an answer's.
    fn is_late(&self, now: Instant, switch: &KillSwitch) -> bool {
        self.until.is_some_and(|until| until <= now) && (self.is_sending || !switch.is_writing())
    }
}

impl Places {
    /// How many are open.
    pub(super) fn open(&self) -> usize {
        self.open
    }

    /// Counts a new connection.
    pub(super) fn add(&mut self) {
        self.open += 1;
    }

    /// Notes that a connection is gone.
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

    /// Enters a connection that is entered nowhere, unless a request runs on it.
    pub(super) fn enter(&mut self, switch: &Arc<KillSwitch>) {
        if matches!(switch.place(), QueueEntry::Nowhere)
            && let QueueEntry::At(turn) = switch.put(place_of)
        {
            self.entered.insert(turn, Arc::clone(switch));
        }
    }

    /// Cuts off the one that gives way, if any may.
    pub(super) fn give_way(&mut self, now: Instant) -> bool {
        while let Some(turn) = self.first_to_give_way(now) {
            // Unless a request has begun since.
            if self.cut_if(turn, |idle, _| idle.turn == turn) {
                return true;
            }
        }
        false
    }

    /// Rather one that is not still being sent an answer. But those who let their answers lie must not make everybody
    /// give way who has only just come.
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

    /// The silence of the connection that is entered under this turn, if it is that one; else the connection is put where
    /// it belongs.
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

    /// Cuts off all whose time is over.
    pub(super) fn cut_late(&mut self, now: Instant) {
        let is_late =
            |switch: &KillSwitch| switch.idle().is_some_and(|one| one.is_late(now, switch));
        let late = self.entered.iter().filter(|(_, switch)| is_late(switch));
        let late: Vec<u64> = late.map(|(turn, _)| *turn).collect();
        for turn in late {
            self.cut_if(turn, |idle, switch| idle.is_late(now, switch));
        }
    }

    /// Cuts off a connection whose silence is still such.
    fn cut_if(&mut self, turn: u64, is_such: impl FnOnce(&Idle, &KillSwitch) -> bool) -> bool {
        let Some(switch) = self.entered.get(&turn) else {
            return false;
        };
        let place = switch.put(
            |idle| match idle.is_some_and(|idle| is_such(&idle, switch)) {
                true => QueueEntry::Out,
                false => QueueEntry::At(turn),
            },
        );
        let is_out = matches!(place, QueueEntry::Out);
        if is_out {
            switch.cut();
            self.entered.remove(&turn);
            self.open -= 1;
        }
        is_out
    }
}

/// Where a connection belongs.
fn place_of(idle: Option<Idle>) -> QueueEntry {
    idle.map_or(QueueEntry::Nowhere, |idle| QueueEntry::At(idle.turn))
}
