//! How many connections there may be, and which give way when there are too many: those whose client is
//! waited for, the one that has been silent longest first. So whoever opens thousands and says nothing only
//! makes room for himself.

use std::collections::BTreeMap;
use std::future::{Ready, ready};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum_server::accept::Accept;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::connection::{Connection, Wire};
use super::keepalive;
use super::service::Counted;
use super::stream::Watched;
use crate::limits::Limits;

/// How often connections are looked for that are too slow.
const LOOK: Duration = Duration::from_millis(500);
/// How often it is said that the limit is reached.
const COMPLAIN: Duration = Duration::from_secs(60);
/// Within this the first request of an honest client has come.
const NEW: Duration = Duration::from_secs(3);

/// The connections of all listeners.
#[derive(Clone, Debug)]
pub(super) struct Connections(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// How many there are, without those that were cut off and have not noticed yet.
    open: usize,
    next_place: u64,
    /// Those that may give way, the longest silent first.
    silent: BTreeMap<u64, Silent>,
    complained: Option<Instant>,
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

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Connections {
    pub(super) fn new(limits: Limits) -> Self {
        Self(Arc::new(Shared {
            limits,
            state: Mutex::default(),
        }))
    }

    /// Takes a connection in; `None` when there are too many and all are busy.
    pub(super) fn admit(&self) -> Option<Arc<Connection>> {
        let now = Instant::now();
        let wire = Arc::new(Wire::default());
        let mut state = self.state();
        let is_full = state.open >= self.0.limits.connections;
        if is_full {
            state.complain(now, self.0.limits.connections);
            let victim = state.longest_silent(now)?;
            victim.cut();
            state.open -= 1;
        }
        state.open += 1;
        let place = state.wait(Silent {
            since: now,
            until: Some(now + self.0.limits.head),
            is_sending: false,
            wire: Arc::clone(&wire),
        });
        drop(state);
        Some(Arc::new(Connection::new(self.clone(), wire, place)))
    }

    /// Cuts off, for ever, connections whose client does not move.
    pub(super) async fn cut_off_the_slow(&self) {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let now = Instant::now();
            let mut state = self.state();
            let late: Vec<u64> = state
                .silent
                .iter()
                .filter(|(_, silent)| silent.is_late(now))
                .map(|(place, _)| *place)
                .collect();
            for place in late {
                if let Some(silent) = state.silent.remove(&place) {
                    silent.wire.cut();
                    state.open -= 1;
                }
            }
        }
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.0.limits
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0.state)
    }
}

impl Silent {
    /// Whether its time is over. Bytes that wait to be taken excuse a client whose answers are handed over
    /// whole, but no other: over HTTP/2 they need not be an answer's.
    fn is_late(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until <= now) && (self.is_sending || !self.wire.is_writing())
    }
}

impl State {
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

    /// Notes that a connection is gone that was not cut off.
    pub(super) fn close(&mut self) {
        self.open -= 1;
    }

    /// Takes out the one that gives way: rather one that is not still being sent an answer. But those who
    /// let their answers lie must not make everybody give way who has only just come.
    fn longest_silent(&mut self, now: Instant) -> Option<Arc<Wire>> {
        let place = self
            .silent
            .iter()
            .take_while(|(_, silent)| now - silent.since >= NEW)
            .find(|(_, silent)| !silent.is_sending && !silent.wire.is_writing())
            .or_else(|| self.silent.first_key_value())
            .map(|(place, _)| *place)?;
        self.silent.remove(&place).map(|silent| silent.wire)
    }

    fn complain(&mut self, now: Instant, limit: usize) {
        if self.complained.is_none_or(|last| now - last >= COMPLAIN) {
            self.complained = Some(now);
            tracing::warn!(
                "limits.connections: {limit} connections are open; those without a request give way (said at most once a minute)"
            );
        }
    }
}

/// Lets connections in, or not.
#[derive(Clone, Debug)]
pub(super) struct Admission {
    connections: Connections,
}

impl Admission {
    pub(super) fn new(connections: Connections) -> Self {
        Self { connections }
    }
}

impl<S> Accept<TcpStream, S> for Admission {
    type Stream = Watched<TcpStream>;
    type Service = Counted<S>;
    type Future = Ready<io::Result<(Self::Stream, Self::Service)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let Some(connection) = self.connections.admit() else {
            return ready(Err(io::ErrorKind::ConnectionRefused.into()));
        };
        let stall = self.connections.limits().stall;
        let set = stream.set_nodelay(true);
        if let Err(error) = set.and_then(|()| keepalive::set(&stream, stall)) {
            return ready(Err(error));
        }
        let stream = Watched::new(stream, Arc::clone(&connection), stall);
        ready(Ok((stream, Counted::new(service, connection))))
    }
}
