//! Limits the number of connections, and decides which one to close when there are too many: one whose client the hub
//! is waiting for, the longest silent one first. So a client that opens thousands and sends nothing displaces only its
//! own. A request records its start and end only at its connection.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use tokio::time::Instant;

use super::kill_switch::{Idle, KillSwitch, QueueEntry, State, lock};
use super::places::Places;
use super::socket::Socket;
use crate::config::limits::Limits;
use crate::domain::once_a_minute::OnceAMinute;
use crate::http::connection::ConnectionControl;

/// The interval of the search for slow connections.
const LOOK: Duration = Duration::from_millis(500);

/// The connections of all listeners.
#[derive(Clone, Debug)]
pub(super) struct Connections(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: Limits,
    places: Mutex<Places>,
    turns: AtomicU64,
    started: Instant,
    complaints: OnceAMinute,
    reports: OnceAMinute,
}

impl Connections {
    pub(super) fn new(limits: Limits) -> Self {
        Self(Arc::new(Shared {
            limits,
            places: Mutex::default(),
            turns: AtomicU64::new(0),
            started: Instant::now(),
            complaints: OnceAMinute::default(),
            reports: OnceAMinute::default(),
        }))
    }

    /// Admits a connection; `None` if there are too many and all are busy.
    pub(super) fn admit(&self) -> Option<Arc<Connection>> {
        let now = Instant::now();
        let mut places = self.places();
        if places.open() >= self.0.limits.connections {
            self.complain(now);
            if !places.give_way(now) {
                return None;
            }
        }
        let until = now + self.0.limits.head;
        let connection = Connection::new(self.clone(), &mut places, until);
        Some(Arc::new(connection))
    }

    /// The turn of a silence that begins now.
    pub(super) fn next_turn(&self) -> u64 {
        self.0.turns.fetch_add(1, Ordering::Relaxed)
    }

    /// Closes connections whose client is too slow, forever.
    pub(super) async fn cut_off_the_slow(&self) {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            self.places().cut_late(Instant::now());
        }
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.0.limits
    }

    pub(super) fn places(&self) -> MutexGuard<'_, Places> {
        lock(&self.0.places)
    }

    /// Logs that a request was refused because it is not HTTP, at most once a minute, without its content, which may
    /// contain a secret.
    pub(super) fn report_no_http(&self, peer: Option<SocketAddr>, status: &str) {
        if self.0.reports.is_due(self.0.started.elapsed()) {
            let peer = peer.map_or_else(
                || "a client".to_owned(),
                |peer| peer.ip().to_canonical().to_string(),
            );
            tracing::warn!(
                "{peer}: an invalid HTTP request was answered {status}: a URL with a blank or another character that must be percent-encoded, an Authorization field over several lines, or TLS on a port without it (logged at most once a minute)"
            );
        }
    }

    fn complain(&self, now: Instant) {
        let limit = self.0.limits.connections;
        if self.0.complaints.is_due(now - self.0.started) {
            tracing::warn!(
                "limits.connections: {limit} connections are open; those without a request are closed (logged at most once a minute)"
            );
        }
    }
}

/// One connection, shared by its stream and its service.
#[derive(Debug)]
pub(super) struct Connection {
    connections: Connections,
    switch: Arc<KillSwitch>,
    /// Set once it is known: tests have connections without one.
    socket: OnceLock<Socket>,
}

impl Connection {
    /// A new connection, which waits for its client until `until`; it counts among the places.
    pub(super) fn new(connections: Connections, places: &mut Places, until: Instant) -> Self {
        let switch = Arc::<KillSwitch>::default();
        lock(&switch.state).idle = Some(Idle {
            turn: connections.next_turn(),
            since: Instant::now(),
            until: Some(until),
            is_sending: false,
        });
        places.add();
        places.enter(&switch);
        Self {
            connections,
            switch,
            socket: OnceLock::new(),
        }
    }

    /// Sets the socket of the connection.
    pub(super) fn set_socket(&self, socket: Socket) {
        // It is set once, before the connection is used.
        let _ = self.socket.set(socket);
    }

    /// Whether a request is running.
    pub(super) fn has_requests(&self) -> bool {
        lock(&self.switch.state).requests > 0
    }

    /// Logs that a request was refused because it is not HTTP.
    pub(super) fn report_no_http(&self, status: &str) {
        let peer = self.socket.get().and_then(Socket::peer);
        self.connections.report_no_http(peer, status);
    }

    pub(super) fn switch(&self) -> &KillSwitch {
        &self.switch
    }

    /// Records the start of a request.
    pub(super) fn begin(self: &Arc<Self>) -> Running {
        self.change(|state| state.requests += 1);
        Running {
            connection: Arc::clone(self),
            is_sending: false,
        }
    }

    /// Lets the connection be closed in favor of new ones until the returned value is dropped: the hub is waiting,
    /// under a deadline, for content of an unauthenticated sender.
    pub(super) fn read_unauthenticated(self: &Arc<Self>) -> UnauthenticatedRead {
        self.change(|state| state.reading += 1);
        UnauthenticatedRead(Arc::clone(self))
    }

    /// Applies a state change, and updates whether the connection may be closed; if so, it is the last in the order.
    fn change(&self, happen: impl FnOnce(&mut State)) {
        let mut state = lock(&self.switch.state);
        happen(&mut state);
        if state.requests > state.sending + state.reading {
            state.idle = None;
            return;
        }
        let limits = self.connections.limits();
        let now = Instant::now();
        state.idle = Some(Idle {
            turn: self.connections.next_turn(),
            since: now,
            until: match *state {
                State { sending: 1.., .. } => Some(now + limits.stall),
                // The reader has a deadline.
                State { reading: 1.., .. } => None,
                _ => Some(now + limits.idle),
            },
            is_sending: state.sending > 0,
        });
        let is_entered = !matches!(state.place, QueueEntry::Nowhere);
        drop(state);
        if !is_entered {
            self.connections.places().enter(&self.switch);
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.connections.places().close(&self.switch);
    }
}

/// A running request on a connection, until its whole response is handed over.
#[derive(Debug)]
pub(super) struct Running {
    connection: Arc<Connection>,
    is_sending: bool,
}

impl Running {
    /// Records that the client has taken all of the response except the part handed over now.
    pub(super) fn hands_over(&mut self) {
        let begins = u32::from(!self.is_sending);
        self.is_sending = true;
        self.connection.change(|state| state.sending += begins);
    }

    /// Records that the client has taken all of the response available so far.
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

/// The hub is waiting for an unauthenticated sender's content.
#[derive(Debug)]
pub(super) struct UnauthenticatedRead(Arc<Connection>);

impl Drop for UnauthenticatedRead {
    fn drop(&mut self) {
        self.0.change(|state| state.reading -= 1);
    }
}

impl ConnectionControl for Connection {
    fn client_ended(self: Arc<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            match self.socket.get() {
                Some(socket) => socket.read_closed().await,
                None => std::future::pending().await,
            }
        })
    }

    fn give_way_while_reading(self: Arc<Self>) -> Box<dyn Send> {
        Box::new(self.read_unauthenticated())
    }
}
