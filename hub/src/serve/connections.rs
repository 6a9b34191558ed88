//! How many connections there may be, and which give way when there are too many: those on which no request
//! runs, the one that has been silent longest first. So whoever opens thousands and says nothing only
//! makes room for himself.

use std::collections::BTreeMap;
use std::future::{Ready, ready};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use axum_server::accept::Accept;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::service::Counted;
use super::stream::Watched;
use crate::limits::Limits;

/// How often connections are looked for that are too slow.
const LOOK: Duration = Duration::from_millis(500);
/// How often it is said that the limit is reached.
const COMPLAIN: Duration = Duration::from_secs(60);

/// The connections of all listeners.
#[derive(Clone, Debug)]
pub(super) struct Connections(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// How many there are, without those that were cut off and have not noticed yet.
    open: usize,
    next_place: u64,
    /// Those on which no request runs, the longest silent first.
    idle: BTreeMap<u64, Idle>,
    complained: Option<Instant>,
}

#[derive(Debug)]
struct Idle {
    /// When the next request must be there.
    until: Instant,
    wire: Arc<Wire>,
}

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

/// One connection, held by its stream and its service.
#[derive(Debug)]
pub(super) struct Connection {
    connections: Connections,
    wire: Arc<Wire>,
    own: Mutex<Own>,
}

#[derive(Debug)]
struct Own {
    running: u32,
    /// Where it stands among the idle ones.
    place: Option<u64>,
    /// It does not count any more.
    is_out: bool,
}

/// A request that runs on a connection, until its answer is handed over whole.
#[derive(Debug)]
pub(super) struct Running {
    connection: Arc<Connection>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
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
    fn admit(&self) -> Option<Arc<Connection>> {
        let now = Instant::now();
        let wire = Arc::new(Wire::default());
        let mut state = lock(&self.0.state);
        let is_full = state.open >= self.0.limits.connections;
        if is_full {
            state.complain(now, self.0.limits.connections);
            let victim = state.longest_silent()?;
            victim.cut();
            state.open -= 1;
        }
        state.open += 1;
        let place = state.wait(Idle {
            until: now + self.0.limits.head,
            wire: Arc::clone(&wire),
        });
        drop(state);
        Some(Arc::new(Connection {
            connections: self.clone(),
            wire,
            own: Mutex::new(Own {
                running: 0,
                place: Some(place),
                is_out: false,
            }),
        }))
    }

    /// Cuts off, for ever, connections whose next request does not come.
    pub(super) async fn cut_off_the_slow(&self) {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let now = Instant::now();
            let mut state = lock(&self.0.state);
            let late: Vec<u64> = state
                .idle
                .iter()
                .filter(|(_, idle)| idle.until <= now && !idle.wire.writing.load(Ordering::Relaxed))
                .map(|(place, _)| *place)
                .collect();
            for place in late {
                if let Some(idle) = state.idle.remove(&place) {
                    idle.wire.cut();
                    state.open -= 1;
                }
            }
        }
    }

    /// How long a client may leave what it is sent untouched.
    fn stall(&self) -> Duration {
        self.0.limits.stall
    }
}

impl State {
    fn wait(&mut self, idle: Idle) -> u64 {
        let place = self.next_place;
        self.next_place += 1;
        self.idle.insert(place, idle);
        place
    }

    /// Takes out the one that gives way: rather one that is not still being sent an answer.
    fn longest_silent(&mut self) -> Option<Arc<Wire>> {
        let is_done = |idle: &Idle| !idle.wire.writing.load(Ordering::Relaxed);
        let place = self
            .idle
            .iter()
            .find(|(_, idle)| is_done(idle))
            .or_else(|| self.idle.first_key_value())
            .map(|(place, _)| *place)?;
        self.idle.remove(&place).map(|idle| idle.wire)
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

impl Wire {
    fn cut(&self) {
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
}

impl Connection {
    pub(super) fn wire(&self) -> &Wire {
        &self.wire
    }

    /// Notes that a request begins.
    pub(super) fn begin(self: &Arc<Self>) -> Running {
        let mut own = lock(&self.own);
        own.running += 1;
        if let Some(place) = own.place.take() {
            let found = lock(&self.connections.0.state).idle.remove(&place);
            own.is_out = found.is_none();
        }
        drop(own);
        Running {
            connection: Arc::clone(self),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let connection = &self.connection;
        let mut own = lock(&connection.own);
        own.running -= 1;
        if own.running > 0 || own.is_out {
            return;
        }
        let idle = Idle {
            until: Instant::now() + connection.connections.0.limits.idle,
            wire: Arc::clone(&connection.wire),
        };
        own.place = Some(lock(&connection.connections.0.state).wait(idle));
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let own = lock(&self.own);
        if own.is_out {
            return;
        }
        let mut state = lock(&self.connections.0.state);
        let counts = match own.place {
            Some(place) => state.idle.remove(&place).is_some(),
            None => true,
        };
        if counts {
            state.open -= 1;
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
        if let Err(error) = stream.set_nodelay(true) {
            return ready(Err(error));
        }
        let stall = self.connections.stall();
        let stream = Watched::new(stream, Arc::clone(&connection), stall);
        ready(Ok((stream, Counted::new(service, connection))))
    }
}
