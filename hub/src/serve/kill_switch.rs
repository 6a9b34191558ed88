//! The shared state of a connection, and the switch that closes it. Requests write it (`connections.rs`); the search
//! for a connection to close reads it (`places.rs`).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use tokio::time::Instant;

/// The shared state of a connection.
#[derive(Debug, Default)]
pub(super) struct KillSwitch {
    /// Lock it after the places.
    pub(super) state: Mutex<State>,
    cut: Mutex<Cut>,
    /// The client receives more slowly than the hub sends: then it is not at fault for silence.
    writing: AtomicBool,
}

#[derive(Debug, Default)]
struct Cut {
    is_cut: bool,
    waker: Option<Waker>,
}

/// The requests on a connection, and the state derived from them.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Requests whose responses are not handed over completely.
    pub(super) requests: u32,
    /// Those whose responses wait for the client to receive them.
    pub(super) sending: u32,
    /// Those that wait for the content of a sender who is not authenticated yet.
    pub(super) reading: u32,
    /// `None`: a request is running.
    pub(super) idle: Option<Idle>,
    pub(super) place: QueueEntry,
}

/// The hub is waiting for the client, so the connection may be closed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Idle {
    /// Increases with the time when it began.
    pub(super) turn: u64,
    /// When it began.
    pub(super) since: Instant,
    /// The deadline for the client; `None`: there is a deadline elsewhere.
    pub(super) until: Option<Instant>,
    /// A response waits for the client to receive it.
    pub(super) is_sending: bool,
}

/// The position of a connection in the queue of those that may be closed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum QueueEntry {
    /// Under the turn of this silence or of an earlier one.
    At(u64),
    /// Not in the queue: it was visited while a request was running. Its next silence adds it.
    #[default]
    Nowhere,
    /// It was closed, and does not count any more.
    Out,
}

impl KillSwitch {
    /// The client's silence, if the hub is waiting for it.
    pub(super) fn idle(&self) -> Option<Idle> {
        lock(&self.state).idle
    }

    /// Its position in the queue.
    pub(super) fn place(&self) -> QueueEntry {
        lock(&self.state).place
    }

    /// Sets its position, which may depend on whether the hub is waiting for its client. Call it under the lock of the
    /// places.
    pub(super) fn put(&self, place: impl FnOnce(Option<Idle>) -> QueueEntry) -> QueueEntry {
        let mut state = lock(&self.state);
        state.place = place(state.idle);
        state.place
    }

    /// Closes the connection.
    pub(super) fn cut(&self) {
        let mut cut = lock(&self.cut);
        cut.is_cut = true;
        if let Some(waker) = cut.waker.take() {
            waker.wake();
        }
    }

    /// Whether the connection was closed; if not, the task is woken when it is.
    pub(super) fn is_cut(&self, context: &Context<'_>) -> bool {
        let mut cut = lock(&self.cut);
        match &mut cut.waker {
            Some(waker) => waker.clone_from(context.waker()),
            empty => *empty = Some(context.waker().clone()),
        }
        cut.is_cut
    }

    /// Records whether the data sent last waits for the client to receive it.
    pub(super) fn set_writing(&self, writing: bool) {
        self.writing.store(writing, Ordering::Relaxed);
    }

    pub(super) fn is_writing(&self) -> bool {
        self.writing.load(Ordering::Relaxed)
    }
}

/// Locks a mutex; the data stays usable after a panic under the lock.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
