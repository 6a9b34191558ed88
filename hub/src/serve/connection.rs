//! One connection: whether its client is waited for or a request runs, and that it is cut off. A request notes its
//! beginning and its end here alone; who looks for a connection that gives way (`places.rs`) reads it here.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Waker};

use tokio::time::Instant;

use super::connections::{Connections, lock};
use super::places::Places;
use super::socket::Socket;

/// What others know of a connection, and tell it.
#[derive(Debug, Default)]
pub(super) struct Wire {
    /// Lock it after the places.
    state: Mutex<State>,
    cut: Mutex<Cut>,
    /// The client takes what it is sent more slowly than that comes: silence is not its fault then.
    writing: AtomicBool,
}

#[derive(Debug, Default)]
struct Cut {
    is_cut: bool,
    waker: Option<Waker>,
}

#[derive(Debug, Default)]
struct State {
    /// Requests whose answers are not handed over whole.
    requests: u32,
    /// Those of them whose answers wait to be taken.
    sending: u32,
    /// Those of them whose content is waited for, and nobody knows yet who sends it.
    reading: u32,
    /// `None`: a request runs.
    silence: Option<Silence>,
    place: Place,
}

/// That a client is waited for, so that its connection may give way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Silence {
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
pub(super) enum Place {
    /// Under the turn of this silence or of one before it.
    At(u64),
    /// Nowhere, since it was looked at while a request ran: its next silence enters it.
    #[default]
    Nowhere,
    /// It was cut off, and does not count any more.
    Out,
}

impl Wire {
    /// What its client is waited for since, if it is.
    pub(super) fn silence(&self) -> Option<Silence> {
        lock(&self.state).silence
    }

    /// Where it is entered.
    pub(super) fn place(&self) -> Place {
        lock(&self.state).place
    }

    /// Notes where it is entered from now on, which may depend on whether its client is waited for. Call it under the
    /// lock of the places.
    pub(super) fn put(&self, place: impl FnOnce(Option<Silence>) -> Place) -> Place {
        let mut state = lock(&self.state);
        state.place = place(state.silence);
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

/// One connection, held by its stream and its service.
#[derive(Debug)]
pub(super) struct Connection {
    connections: Connections,
    wire: Arc<Wire>,
    /// Once it is known: tests have connections without.
    socket: OnceLock<Socket>,
}

impl Connection {
    /// A new one, whose client is waited for until then; it counts among the places.
    pub(super) fn new(connections: Connections, places: &mut Places, until: Instant) -> Self {
        let wire = Arc::<Wire>::default();
        lock(&wire.state).silence = Some(Silence {
            turn: connections.next_turn(),
            since: Instant::now(),
            until: Some(until),
            is_sending: false,
        });
        places.add();
        places.enter(&wire);
        Self {
            connections,
            wire,
            socket: OnceLock::new(),
        }
    }

    /// Notes what the connection's bytes come by.
    pub(super) fn set_socket(&self, socket: Socket) {
        // It is set once, before the connection is used.
        let _ = self.socket.set(socket);
    }

    /// Whether a request runs.
    pub(super) fn has_requests(&self) -> bool {
        lock(&self.wire.state).requests > 0
    }

    /// Says that a request was refused that is no HTTP.
    pub(super) fn report_no_http(&self, status: &str) {
        let peer = self.socket.get().and_then(Socket::peer);
        self.connections.report_no_http(peer, status);
    }

    pub(super) fn wire(&self) -> &Wire {
        &self.wire
    }

    /// Notes that a request begins.
    pub(super) fn begin(self: &Arc<Self>) -> Running {
        self.change(|state| state.requests += 1);
        Running {
            connection: Arc::clone(self),
            is_sending: false,
        }
    }

    /// Lets the connection give way to others until this is dropped: content is waited for, under a deadline, for
    /// whose sender nobody answers.
    pub(super) fn read_for_nobody(self: &Arc<Self>) -> Reading {
        self.change(|state| state.reading += 1);
        Reading(Arc::clone(self))
    }

    /// Notes what has happened, and with it whether the connection may give way: then it is the last to.
    fn change(&self, happen: impl FnOnce(&mut State)) {
        let mut state = lock(&self.wire.state);
        happen(&mut state);
        if state.requests > state.sending + state.reading {
            state.silence = None;
            return;
        }
        let limits = self.connections.limits();
        let now = Instant::now();
        state.silence = Some(Silence {
            turn: self.connections.next_turn(),
            since: now,
            until: match *state {
                State { sending: 1.., .. } => Some(now + limits.stall),
                // Who reads it has a deadline.
                State { reading: 1.., .. } => None,
                _ => Some(now + limits.idle),
            },
            is_sending: state.sending > 0,
        });
        let is_entered = !matches!(state.place, Place::Nowhere);
        drop(state);
        if !is_entered {
            self.connections.places().enter(&self.wire);
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.connections.places().close(&self.wire);
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
        self.connection.change(|state| state.sending += begins);
    }

    /// Notes that the client has taken all of the answer that there is so far.
    pub(super) fn waits_for_more(&mut self) {
        if self.is_sending {
            self.is_sending = false;
            self.connection.change(|state| state.sending -= 1);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let sending = u32::from(self.is_sending);
        self.connection.change(|state| {
            state.requests -= 1;
            state.sending -= sending;
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

    /// Returns once the client sends nothing more, as one that has closed its half of the connection behind its
    /// request: what is known is all that it waits for.
    pub(crate) async fn client_ended(&self) {
        match self.0.socket.get() {
            Some(socket) => socket.read_closed().await,
            None => std::future::pending().await,
        }
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
        self.0.change(|state| state.reading -= 1);
    }
}
