//! The bus: it carries the last committed revision known to this hub, and hints of changed silos,
//! never data. A woken task queries what is newer than its own state.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use silo_shared::credential::TokenId;
use silo_shared::silo::SiloId;
use tokio::sync::watch;

use crate::domain::revision::Revision;
use crate::follow::interest::{Interest, Interests, Notifier, Wakers};

/// The last committed revision known to this hub, and the tasks waiting for a newer one.
#[derive(Clone, Debug)]
pub struct Bus(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    announced: AtomicI64,
    /// Incremented with each announcement.
    announcements: AtomicU64,
    /// Incremented when changes may have been missed that can't be reported individually.
    gaps: AtomicU64,
    silos: Interests<SiloId>,
    all: Interests<()>,
    tokens: Interests<TokenId>,
    wakers: Wakers,
    is_stopping: AtomicBool,
    /// Changes when there are new pending deliveries.
    deliveries: watch::Sender<()>,
}

/// Waits for pending deliveries.
#[derive(Debug)]
pub struct Announcements {
    deliveries: watch::Receiver<()>,
    shared: Arc<Shared>,
}

impl Bus {
    /// Starts at a revision. Wake-ups require that the notifier runs.
    pub(crate) fn new(revision: Revision) -> (Self, Notifier) {
        let (wakers, notifier) = Wakers::new();
        let shared = Shared {
            announced: AtomicI64::new(revision.into()),
            announcements: AtomicU64::new(0),
            gaps: AtomicU64::new(0),
            silos: Interests::new(wakers.clone()),
            all: Interests::new(wakers.clone()),
            tokens: Interests::new(wakers.clone()),
            wakers,
            is_stopping: AtomicBool::new(false),
            deliveries: watch::Sender::new(()),
        };
        (Self(Arc::new(shared)), notifier)
    }

    /// Announces a committed revision to those who watch all silos. A revision older than the last
    /// one announced is not new to them: the database showed both together.
    pub fn announce(&self, revision: Revision) {
        let number = i64::from(revision);
        if self.0.announced.fetch_max(number, Ordering::AcqRel) < number {
            self.0.announcements.fetch_add(1, Ordering::AcqRel);
            self.0.all.changed(&());
        }
    }

    /// Wakes those who watch a silo after a change at a revision that is visible to this hub's
    /// reads; without a revision, unconditionally.
    pub(crate) fn silo_changed(&self, id: &SiloId, revision: Option<Revision>) {
        match revision {
            Some(revision) => self.0.silos.changed_at(id, revision.into()),
            None => self.0.silos.changed(id),
        }
    }

    /// Wakes all watchers of silos, since changes may have been missed that can't be reported individually.
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

    /// Wakes the delivery workers for new pending deliveries.
    pub fn announce_deliveries(&self) {
        self.0.deliveries.send_replace(());
    }

    /// Whether the hub is stopping.
    pub fn is_stopping(&self) -> bool {
        self.0.is_stopping.load(Ordering::Acquire)
    }

    /// Ends every wait because the hub stops.
    pub fn end(&self) {
        self.0.is_stopping.store(true, Ordering::Release);
        self.0.silos.end();
        self.0.all.end();
        self.0.tokens.end();
        self.announce_deliveries();
    }

    /// The last announced revision.
    pub fn current(&self) -> Revision {
        self.0.announced.load(Ordering::Acquire).into()
    }

    /// Number of announcements.
    pub(crate) fn announcements(&self) -> u64 {
        self.0.announcements.load(Ordering::Acquire)
    }

    /// How often changes may have been missed that can't be reported individually.
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

    /// Watches for the end of a token.
    pub(crate) fn watch_token(&self, id: TokenId) -> Interest<TokenId> {
        self.0.tokens.watch(id)
    }

    /// The watched tokens.
    pub(crate) fn watched_tokens(&self) -> Vec<TokenId> {
        self.0.tokens.watched()
    }

    /// The watched silos.
    pub fn watched_silos(&self) -> Vec<SiloId> {
        self.0.silos.watched()
    }

    /// Number of wake-ups of watchers of silos and tokens so far.
    pub fn wake_ups(&self) -> u64 {
        self.0.wakers.given()
    }

    /// Subscribes to announcements of pending deliveries.
    pub fn subscribe_to_deliveries(&self) -> Announcements {
        Announcements {
            deliveries: self.0.deliveries.subscribe(),
            shared: Arc::clone(&self.0),
        }
    }
}

impl Announcements {
    /// Marks all announcements so far as known.
    pub fn mark_known(&mut self) {
        self.deliveries.mark_unchanged();
    }

    /// Waits for the next announcement; false if the hub stops.
    pub async fn next(&mut self) -> bool {
        let is_stopping = || self.shared.is_stopping.load(Ordering::Acquire);
        if is_stopping() {
            return false;
        }
        self.deliveries.changed().await.is_ok() && !is_stopping()
    }
}
