//! What is known of a connection, and the switch that cuts it off. Its requests write here (`connections.rs`); who
//! looks for a connection that gives way reads it (`places.rs`).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use tokio::time::Instant;

/// What others know of a connection, and tell it.
#[derive(Debug, Default)]
pub(super) struct KillSwitch {
    /// Lock it after the places.
    pub(super) state: Mutex<State>,
    cut: Mutex<Cut>,
    /// The client takes what it is sent more slowly than that comes: silence is not its fault then.
    writing: AtomicBool,
}

#[derive(Debug, Default)]
struct Cut {
    is_cut: bool,
    waker: Option<Waker>,
}

/// The requests on a connection, and what follows from them.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Requests whose answers are not handed over whole.
    pub(super) requests: u32,
    /// Those of them whose answers wait to be taken.
    pub(super) sending: u32,
    /// Those of them whose content is waited for, and nobody knows yet who sends it.
    pub(super) reading: u32,
    /// `None`: a request runs.
    pub(super) idle: Option<Idle>,
    pub(super) place: QueueEntry,
}

/// That a client is waited for, so that its connection may give way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Idle {
    /// The higher, the later it began.
    pub(super) turn: u64,
    /// Since when.
    pub(super) since: Instant,
    /// When the client must have moved; `None`: somebody else sees to that.
    pub(super) until: Option<Instant>,
    /// An answer waits to be taken.
    pub(super) is_sending: bool,
}

/// Where a connection is entered among those that may give way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum QueueEntry {
    /// Under the turn of this silence or of one before it.
    At(u64),
    /// Nowhere, since it was looked at while a request ran: its next silence enters it.
    #[default]
    Nowhere,
    /// It was cut off, and does not count any more.
    Out,
}

impl KillSwitch {
    /// What its client is waited for since, if it is.
    pub(super) fn idle(&self) -> Option<Idle> {
        lock(&self.state).idle
    }

    /// Where it is entered.
    pub(super) fn place(&self) -> QueueEntry {
        lock(&self.state).place
    }

    /// Notes where it is entered from now on, which may depend on whether its client is waited for. Call it under the
    /// lock of the places.
    pub(super) fn put(&self, place: impl FnOnce(Option<Idle>) -> QueueEntry) -> QueueEntry {
        let mut state = lock(&self.state);
        state.place = place(state.idle);
        state.place
    }

    /// Cuts the connection off.
    pub(super) fn cut(&self) {
        let mut cut = lock(&self.cut);
        cut.is_cut = true;
        if let Some(waker) = cut.waker.take() {
            waker.wake();
        }
    }

    /// Whether the connection was cut off; else the task is woken when it is.
    pub(super) fn is_cut(&self, context: &Context<'_>) -> bool {
        let mut cut = lock(&self.cut);
        match &mut cut.waker {
            Some(waker) => waker.clone_from(context.waker()),
            empty => *empty = Some(context.waker().clone()),
        }
        cut.is_cut
    }

    /// Whether what was sent last waits to be taken.
    pub(super) fn set_writing(&self, writing: bool) {
        self.writing.store(writing, Ordering::Relaxed);
    }

    pub(super) fn is_writing(&self) -> bool {
        self.writing.load(Ordering::Relaxed)
    }
}

/// Locks; a panic under the lock leaves what it protects usable.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
