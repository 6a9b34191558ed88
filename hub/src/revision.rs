//! The bus: it carries the last committed revision that this hub knows of, never data. Whoever wakes
//! asks for what is newer than what it has.

use std::sync::Arc;

use tokio::sync::watch;

/// The last committed revision that this hub knows of.
#[derive(Clone, Debug)]
pub struct Revision {
    announced: Arc<watch::Sender<Announced>>,
    /// Moves when a sink is owed something that it was not owed before.
    deliveries: Arc<watch::Sender<Announced>>,
}

#[derive(Clone, Copy, Debug)]
struct Announced {
    revision: i64,
    over: bool,
}

/// Waits for announcements.
#[derive(Debug)]
pub struct Announcements(watch::Receiver<Announced>);

impl Revision {
    /// Begins at a revision.
    pub fn new(revision: i64) -> Self {
        let begin = || {
            Arc::new(watch::Sender::new(Announced {
                revision,
                over: false,
            }))
        };
        Self {
            announced: begin(),
            deliveries: begin(),
        }
    }

    /// Announces a committed revision; an older one than was announced is nothing new.
    pub fn announce(&self, revision: i64) {
        self.announced.send_if_modified(|known| {
            let newer = revision > known.revision;
            known.revision = known.revision.max(revision);
            newer
        });
    }

    /// Wakes the delivery workers, since a sink is owed something.
    pub fn announce_deliveries(&self) {
        self.deliveries.send_modify(|_| {});
    }

    /// Whether the hub stops.
    pub fn is_over(&self) -> bool {
        self.announced.borrow().over
    }

    /// Ends every wait, since the hub stops.
    pub fn end(&self) {
        self.announced.send_modify(|known| known.over = true);
        self.deliveries.send_modify(|known| known.over = true);
    }

    /// The last revision that was announced.
    pub fn current(&self) -> i64 {
        self.announced.borrow().revision
    }

    /// Hears every announcement from now on.
    pub fn subscribe(&self) -> Announcements {
        Announcements(self.announced.subscribe())
    }

    /// Hears from now on that a sink is owed something.
    pub fn subscribe_to_deliveries(&self) -> Announcements {
        Announcements(self.deliveries.subscribe())
    }
}

impl Announcements {
    /// Takes what was announced so far as known.
    pub fn mark_known(&mut self) {
        self.0.mark_unchanged();
    }

    /// Waits for the next announcement; false when there will be none, since the hub stops.
    pub async fn next(&mut self) -> bool {
        if self.0.borrow().over {
            return false;
        }
        self.0.changed().await.is_ok() && !self.0.borrow().over
    }
}
