//! The bus: it carries the last committed revision that this hub knows of, and which silos are worth a look,
//! never data. Whoever wakes asks for what is newer than what it has.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use silo_shared::credential::TokenId;
use silo_shared::silo::SiloId;
use tokio::sync::watch;

use crate::follow::interest::{Interest, Interests, Notifier, Wakers};

/// The last committed revision that this hub knows of, and who waits for a newer one.
#[derive(Clone, Debug)]
pub struct Revision(Arc<Bus>);

#[derive(Debug)]
struct Bus {
    announced: AtomicI64,
    /// Moves with each announcement.
    announcements: AtomicU64,
    /// Moves when changes may have passed that can't be told one by one.
    gaps: AtomicU64,
    silos: Interests<SiloId>,
    all: Interests<()>,
    tokens: Interests<TokenId>,
    wakers: Wakers,
    is_stopping: AtomicBool,
    /// Moves when a sink is owed something that it was not owed before.
    deliveries: watch::Sender<()>,
}

/// Waits until a sink is owed something.
#[derive(Debug)]
pub struct Announcements {
    deliveries: watch::Receiver<()>,
    bus: Arc<Bus>,
}

impl Revision {
    /// Begins at a revision. Nobody is woken unless the notifier runs.
    pub(crate) fn new(revision: i64) -> (Self, Notifier) {
        let (wakers, notifier) = Wakers::new();
        let bus = Bus {
            announced: AtomicI64::new(revision),
            announcements: AtomicU64::new(0),
            gaps: AtomicU64::new(0),
            silos: Interests::new(wakers.clone()),
            all: Interests::new(wakers.clone()),
            tokens: Interests::new(wakers.clone()),
            wakers,
            is_stopping: AtomicBool::new(false),
            deliveries: watch::Sender::new(()),
        };
        (Self(Arc::new(bus)), notifier)
    }

    /// Announces a committed revision to those who watch all silos. An older one than was announced is
    /// nothing new to them: the database showed it together with the newer one.
    pub fn announce(&self, revision: i64) {
        if self.0.announced.fetch_max(revision, Ordering::AcqRel) < revision {
            self.0.announcements.fetch_add(1, Ordering::AcqRel);
            self.0.all.changed(&());
        }
    }

    /// Wakes those who watch a silo, since it changed at a revision that this hub's reads show; without one,
    /// whatever they know.
    pub(crate) fn silo_changed(&self, id: &SiloId, revision: Option<i64>) {
        match revision {
            Some(revision) => self.0.silos.changed_at(id, revision),
            None => self.0.silos.changed(id),
        }
    }

    /// Wakes everybody, since changes may have passed that can't be told one by one.
    pub(crate) fn announce_gap(&self) {
        self.0.gaps.fetch_add(1, Ordering::AcqRel);
        self.0.announcements.fetch_add(1, Ordering::AcqRel);
        self.0.silos.all_changed();
        self.0.all.all_changed();
    }

    /// Wakes those whose token may have ended.
    pub(crate) fn token_changed(&self, id: &TokenId) {
        self.0.tokens.changed(id);
    }

    /// Wakes the delivery workers, since a sink is owed something.
    pub fn announce_deliveries(&self) {
        self.0.deliveries.send_replace(());
    }

    /// Whether the hub stops.
    pub fn is_stopping(&self) -> bool {
        self.0.is_stopping.load(Ordering::Acquire)
    }

    /// Ends every wait, since the hub stops.
    pub fn end(&self) {
        self.0.is_stopping.store(true, Ordering::Release);
        self.0.silos.end();
        self.0.all.end();
        self.0.tokens.end();
        self.announce_deliveries();
    }

    /// The last revision that was announced.
    pub fn current(&self) -> i64 {
        self.0.announced.load(Ordering::Acquire)
    }

    /// How many announcements there were.
    pub(crate) fn announcements(&self) -> u64 {
        self.0.announcements.load(Ordering::Acquire)
    }

    /// How often changes may have passed that can't be told one by one.
    pub(crate) fn gaps(&self) -> u64 {
        self.0.gaps.load(Ordering::Acquire)
    }

    /// Watches a silo, whether it exists or not, from now on.
    pub(crate) fn watch_silo(&self, id: SiloId) -> Interest<SiloId> {
        self.0.silos.watch(id)
    }

    /// Watches all silos from now on.
    pub(crate) fn watch_all(&self) -> Interest<()> {
        self.0.all.watch(())
    }

    /// Watches whether a token ends.
    pub(crate) fn watch_token(&self, id: TokenId) -> Interest<TokenId> {
        self.0.tokens.watch(id)
    }

    /// The tokens that are watched.
    pub(crate) fn watched_tokens(&self) -> Vec<TokenId> {
        self.0.tokens.watched()
    }

    /// The silos that are watched.
    pub fn watched_silos(&self) -> Vec<SiloId> {
        self.0.silos.watched()
    }

    /// How many wake-ups were given to watchers of silos and tokens so far.
    pub fn wake_ups(&self) -> u64 {
        self.0.wakers.given()
    }

    /// Hears from now on that a sink is owed something.
    pub fn subscribe_to_deliveries(&self) -> Announcements {
        Announcements {
            deliveries: self.0.deliveries.subscribe(),
            bus: Arc::clone(&self.0),
        }
    }
}

impl Announcements {
    /// Takes what was announced so far as known.
    pub fn mark_known(&mut self) {
        self.deliveries.mark_unchanged();
    }

    /// Waits for the next announcement; false when there will be none, since the hub stops.
    pub async fn next(&mut self) -> bool {
        let is_stopping = || self.bus.is_stopping.load(Ordering::Acquire);
        if is_stopping() {
            return false;
        }
        self.deliveries.changed().await.is_ok() && !is_stopping()
    }
}
