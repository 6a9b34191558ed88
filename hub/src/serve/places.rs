//! Which connection gives way when all that may be open are: no library has this. Pure: it is told what happens and
//! when, and answers who is cut off. `Connections` keeps one under its lock; `model.rs` tests it against a model.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::connection::Wire;

/// Within this the first request of an honest client has come.
const NEW: Duration = Duration::from_secs(3);

/// The open connections, and in which order they give way.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// How many there are, without those that were cut off and have not noticed yet.
    open: usize,
    next_place: u64,
    /// Those that may give way, the longest silent first.
    silent: BTreeMap<u64, Silent>,
}

/// A connection that waits for its client.
#[derive(Debug)]
pub(super) struct Silent {
    /// Since when.
    pub(super) since: Instant,
    /// When the client must have moved; `None`: somebody else sees to that.
    pub(super) until: Option<Instant>,
    /// An answer waits to be taken.
    pub(super) is_sending: bool,
    pub(super) wire: Arc<Wire>,
}

impl Silent {
    /// Whether its time is over. Bytes that wait to be taken excuse a client whose answers are handed over
    /// whole, but no other: over HTTP/2 they need not be an answer's.
    fn is_late(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until <= now) && (self.is_sending || !self.wire.is_writing())
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

    /// Notes that a connection is gone that was not cut off.
    pub(super) fn close(&mut self) {
        self.open -= 1;
    }

    /// Enters a connection as the last that gives way; answers its place.
    pub(super) fn wait(&mut self, silent: Silent) -> u64 {
        let place = self.next_place;
        self.next_place += 1;
        self.silent.insert(place, silent);
        place
    }

    /// Takes a connection from its place; false if it was cut off.
    pub(super) fn leave(&mut self, place: u64) -> bool {
        self.silent.remove(&place).is_some()
    }

    /// Cuts off the one that gives way, if any may: rather one that is not still being sent an answer. But those who
    /// let their answers lie must not make everybody give way who has only just come.
    pub(super) fn give_way(&mut self, now: Instant) -> bool {
        let place = self
            .silent
            .iter()
            .take_while(|(_, silent)| now - silent.since >= NEW)
            .find(|(_, silent)| !silent.is_sending && !silent.wire.is_writing())
            .or_else(|| self.silent.first_key_value())
            .map(|(place, _)| *place);
        place.is_some_and(|place| self.cut(place))
    }

    /// Cuts off all whose time is over.
    pub(super) fn cut_late(&mut self, now: Instant) {
        let late = self.silent.iter().filter(|(_, silent)| silent.is_late(now));
        let late: Vec<u64> = late.map(|(place, _)| *place).collect();
        for place in late {
            self.cut(place);
        }
    }

    fn cut(&mut self, place: u64) -> bool {
        let silent = self.silent.remove(&place);
        if let Some(silent) = &silent {
            silent.wire.cut();
            self.open -= 1;
        }
        silent.is_some()
    }
}
