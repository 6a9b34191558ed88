//! One connection: whether its client is waited for or a request runs, and that it is cut off.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};

use tokio::time::Instant;

use super::connections::{Connections, lock};
use super::places::Silent;

/// What the stream of a connection is told, and tells.
#[derive(Debug, Default)]
pub(super) struct Wire {
    cut: Mutex<Cut>,
    /// The client takes what it is sent more slowly than that comes: silence is not its fault then.
    writing: AtomicBool,
}

#[derive(Debug, Default)]
struct Cut {
    is_cut: bool,
    waker: Option<Waker>,
}

impl Wire {
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

/// One connection, held by its stream and its service.
#[derive(Debug)]
pub(super) struct Connection {
    connections: Connections,
    wire: Arc<Wire>,
    own: Mutex<Own>,
}

#[derive(Debug, Default)]
struct Own {
    /// Requests whose answers are not handed over whole.
    requests: u32,
    /// Those of them whose answers wait to be taken.
    sending: u32,
    /// Those of them whose content is waited for, and nobody knows yet who sends it.
    reading: u32,
    /// Where it stands among those that may give way.
    place: Option<u64>,
    /// It does not count any more.
    is_out: bool,
}

impl Connection {
    /// A new one, which stands among those that may give way.
    pub(super) fn new(connections: Connections, wire: Arc<Wire>, place: u64) -> Self {
        let own = Own {
            place: Some(place),
            ..Own::default()
        };
        Self {
            connections,
            wire,
            own: Mutex::new(own),
        }
    }

    pub(super) fn wire(&self) -> &Wire {
        &self.wire
    }

    /// Notes that a request begins.
    pub(super) fn begin(self: &Arc<Self>) -> Running {
        self.change(|own| own.requests += 1);
        Running {
            connection: Arc::clone(self),
            is_sending: false,
        }
    }

    /// Lets the connection give way to others until this is dropped: content is waited for, under a deadline, for
    /// whose sender nobody answers.
    pub(super) fn read_for_nobody(self: &Arc<Self>) -> Reading {
        self.change(|own| own.reading += 1);
        Reading(Arc::clone(self))
    }

    /// Notes what has happened, and with it whether the connection may give way: then it is the last to.
    fn change(&self, happen: impl FnOnce(&mut Own)) {
        let mut own = lock(&self.own);
        happen(&mut own);
        let mut places = self.connections.places();
        if let Some(place) = own.place.take() {
            own.is_out = !places.leave(place);
        }
        let is_running = own.requests > own.sending + own.reading;
        if own.is_out || is_running {
            return;
        }
        let limits = self.connections.limits();
        let now = Instant::now();
        own.place = Some(places.wait(Silent {
            since: now,
            until: match *own {
                Own { sending: 1.., .. } => Some(now + limits.stall),
                // Who reads it has a deadline.
                Own { reading: 1.., .. } => None,
                _ => Some(now + limits.idle),
            },
            is_sending: own.sending > 0,
            wire: Arc::clone(&self.wire),
        }));
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let own = lock(&self.own);
        if own.is_out {
            return;
        }
        let mut places = self.connections.places();
        if own.place.is_none_or(|place| places.leave(place)) {
            places.close();
        }
    }
}

/// A request that runs on a connection, until its answer is handed over whole.
#[derive(Debug)]
pub(super) struct Running {
    connection: Arc<Connection>,
    is_sending: bool,
}

impl Running {
    /// Notes that the client has taken all of the answer but what it is handed now.
    pub(super) fn hands_over(&mut self) {
        let begins = u32::from(!self.is_sending);
        self.is_sending = true;
        self.connection.change(|own| own.sending += begins);
    }

    /// Notes that the client has taken all of the answer that there is so far.
    pub(super) fn waits_for_more(&mut self) {
        if self.is_sending {
            self.is_sending = false;
            self.connection.change(|own| own.sending -= 1);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let sending = u32::from(self.is_sending);
        self.connection.change(|own| {
            own.requests -= 1;
            own.sending -= sending;
        });
    }
}

/// The connection that a request came by, among its extensions.
#[derive(Clone, Debug)]
pub(crate) struct Line(Arc<Connection>);

impl Line {
    pub(super) fn new(connection: &Arc<Connection>) -> Self {
        Self(Arc::clone(connection))
    }

    /// Lets the connection give way to others until this is dropped: the request's content is waited for,
    /// under a deadline, and nobody knows yet who sends it.
    pub(crate) fn of_stranger(&self) -> Reading {
        self.0.read_for_nobody()
    }
}

/// That a stranger's content is waited for.
#[derive(Debug)]
pub(crate) struct Reading(Arc<Connection>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.change(|own| own.reading -= 1);
    }
}
