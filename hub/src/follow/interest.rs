//! A table of topics with their watchers.
//!
//! A change of a topic wakes only the watchers of that topic; a waiting watcher costs only memory.
//! A wake-up is a hint to check, without data; a superfluous one is harmless. A watcher misses no
//! change if it marks the known changes, then reads, then waits: a change after the mark ends the
//! wait, whether it comes before or during it.
//!
//! A change only queues its topic. One task, [`Notifier::run`], wakes the watchers, a few at a
//! time, so that neither the writer nor other requests wait while thousands of watchers are woken.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc};

/// Number of watchers woken before yielding to other tasks.
const TOGETHER: usize = 64;

/// A watched topic.
#[derive(Debug, Default)]
struct Topic {
    /// Incremented with each change.
    changes: AtomicU64,
    /// The highest number of a change. Written under the table's lock.
    number: AtomicI64,
    /// Number of watchers. Written under the table's lock.
    watchers: AtomicUsize,
    /// Whether this topic is in the notifier's queue.
    is_queued: AtomicBool,
    watching: Notify,
}

/// Queues topics to wake their watchers.
#[derive(Clone, Debug)]
pub(crate) struct Wakers {
    queue: mpsc::UnboundedSender<Arc<Topic>>,
    given: Arc<AtomicU64>,
}

/// Wakes the watchers of queued topics.
#[derive(Debug)]
pub(crate) struct Notifier {
    queue: mpsc::UnboundedReceiver<Arc<Topic>>,
    given: Arc<AtomicU64>,
}

impl Wakers {
    /// Creates a queue and its notifier. A topic is in the queue at most once.
    pub(crate) fn new() -> (Self, Notifier) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let given = Arc::<AtomicU64>::default();
        let notifier = Notifier {
            queue: receiver,
            given: Arc::clone(&given),
        };
        let queue = sender;
        (Self { queue, given }, notifier)
    }

    /// Number of wake-ups so far.
    pub(crate) fn given(&self) -> u64 {
        self.given.load(Ordering::Relaxed)
    }

    /// Marks a topic as changed and queues it. Call under the table's lock, so that present
    /// watchers are counted. Returns the topic if the notifier has ended because the hub stops.
    fn queue(&self, topic: &Arc<Topic>) -> Option<Arc<Topic>> {
        topic.changes.fetch_add(1, Ordering::AcqRel);
        if self.queue.is_closed() {
            return Some(Arc::clone(topic));
        }
        if topic.is_queued.swap(true, Ordering::AcqRel) {
            return None;
        }
        let unqueued = self.queue.send(Arc::clone(topic)).err()?;
        Some(unqueued.0)
    }
}

impl Notifier {
    /// Wakes watchers until every table is dropped.
    pub(crate) async fn run(mut self) {
        let mut turns = VecDeque::new();
        let mut together = 0;
        loop {
            if turns.is_empty() {
                match self.queue.recv().await {
                    Some(topic) => turns.push_back(turn(topic)),
                    None => return,
                }
            }
            while let Ok(topic) = self.queue.try_recv() {
                turns.push_back(turn(topic));
            }
            let Some((topic, left)) = turns.pop_front() else {
                continue;
            };
            // Watchers that waited when the topic changed are woken first, as waiters are served in
            // order: as many wake-ups as there were watchers reach all of them. A superfluous one
            // is harmless.
            let now = left.min(TOGETHER - together);
            for _ in 0..now {
                topic.watching.notify_one();
            }
            self.given.fetch_add(now as u64, Ordering::Relaxed);
            if left > now {
                turns.push_back((topic, left - now));
            }
            together += now;
            if together >= TOGETHER {
                together = 0;
                tokio::task::yield_now().await;
            }
        }
    }
}

/// Takes a topic from the queue: later changes queue it again.
fn turn(topic: Arc<Topic>) -> (Arc<Topic>, usize) {
    topic.is_queued.swap(false, Ordering::AcqRel);
    let watchers = topic.watchers.load(Ordering::Acquire);
    (topic, watchers)
}

/// The watched topics. A topic is kept while it has watchers.
pub(crate) struct Interests<K: Eq + Hash + Clone>(Arc<Table<K>>);

struct Table<K> {
    topics: Mutex<HashMap<K, Arc<Topic>>>,
    is_stopping: AtomicBool,
    wakers: Wakers,
}

/// One watcher's interest in a topic. Dropping it ends the interest.
pub(crate) struct Interest<K: Eq + Hash + Clone> {
    table: Arc<Table<K>>,
    topic: Arc<Topic>,
    key: K,
    known: u64,
}

impl<K> Table<K> {
    fn lock(&self) -> MutexGuard<'_, HashMap<K, Arc<Topic>>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash + Clone> Interests<K> {
    /// An empty table.
    pub(crate) fn new(wakers: Wakers) -> Self {
        Self(Arc::new(Table {
            topics: Mutex::default(),
            is_stopping: AtomicBool::new(false),
            wakers,
        }))
    }

    /// Starts watching a topic. Read its state only after this call.
    pub(crate) fn watch(&self, key: K) -> Interest<K> {
        let mut topics = self.0.lock();
        let topic = Arc::clone(topics.entry(key.clone()).or_default());
        topic.watchers.fetch_add(1, Ordering::AcqRel);
        let known = topic.changes.load(Ordering::Acquire);
        Interest {
            table: Arc::clone(&self.0),
            topic,
            key,
            known,
        }
    }

    /// Wakes the watchers of a topic.
    pub(crate) fn changed(&self, key: &K) {
        let topics = self.0.lock();
        let unqueued = topics.get(key).and_then(|topic| self.0.wakers.queue(topic));
        drop(topics);
        wake_at_once(unqueued);
    }

    /// Wakes the watchers of a topic unless they were woken for this number or a higher one.
    /// Numbers must increase, and the change must be readable before this call: a watcher woken for
    /// a number can then read the changes of all lower numbers.
    pub(crate) fn changed_at(&self, key: &K, number: i64) {
        let topics = self.0.lock();
        let unqueued = topics
            .get(key)
            .filter(|topic| topic.number.fetch_max(number, Ordering::AcqRel) < number)
            .and_then(|topic| self.0.wakers.queue(topic));
        drop(topics);
        wake_at_once(unqueued);
    }

    /// Wakes every watcher. Numbers start over.
    pub(crate) fn all_changed(&self) {
        let topics = self.0.lock();
        let mut unqueued = Vec::new();
        for topic in topics.values() {
            topic.number.store(0, Ordering::Release);
            unqueued.extend(self.0.wakers.queue(topic));
        }
        drop(topics);
        wake_at_once(unqueued);
    }

    /// Ends every wait, including later ones.
    pub(crate) fn end(&self) {
        self.0.is_stopping.store(true, Ordering::Release);
        let topics: Vec<_> = self.0.lock().values().cloned().collect();
        wake_at_once(topics);
    }

    /// The watched topics.
    pub(crate) fn watched(&self) -> Vec<K> {
        self.0.lock().keys().cloned().collect()
    }
}

/// Wakes all watchers of topics. Call it without the table's lock: dropping a task may take it.
fn wake_at_once(topics: impl IntoIterator<Item = Arc<Topic>>) {
    for topic in topics {
        topic.watching.notify_waiters();
    }
}

impl<K: Eq + Hash + Clone> Interest<K> {
    /// The watched topic.
    pub(crate) fn key(&self) -> &K {
        &self.key
    }

    /// Marks all changes so far as known; call it before reading.
    pub(crate) fn mark_known(&mut self) {
        self.known = self.topic.changes.load(Ordering::Acquire);
    }

    /// Waits for a change since the last mark; false if the hub stops. Cancel-safe.
    pub(crate) async fn changed(&self) -> bool {
        loop {
            let mut woken = std::pin::pin!(self.topic.watching.notified());
            // Registers before the check: a later change then wakes this watcher.
            woken.as_mut().enable();
            if self.table.is_stopping.load(Ordering::Acquire) {
                return false;
            }
            if self.topic.changes.load(Ordering::Acquire) != self.known {
                return true;
            }
            woken.await;
        }
    }
}

impl<K: Eq + Hash + Clone> Drop for Interest<K> {
    fn drop(&mut self) {
        let mut topics = self.table.lock();
        if self.topic.watchers.fetch_sub(1, Ordering::AcqRel) == 1 {
            topics.remove(&self.key);
        }
    }
}

impl<K: Eq + Hash + Clone> Clone for Interests<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Eq + Hash + Clone + fmt::Debug> fmt::Debug for Interests<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Interests")
            .field(&self.0.lock().len())
            .finish()
    }
}

impl<K: Eq + Hash + Clone + fmt::Debug> fmt::Debug for Interest<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Interest").field(&self.key).finish()
    }
}

#[cfg(test)]
#[path = "interest_tests.rs"]
mod tests;
