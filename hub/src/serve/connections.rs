//! How many connections there may be, and which give way when there are too many: those whose client is
//! waited for, the one that has been silent longest first. So whoever opens thousands and says nothing only
//! makes room for himself.

use std::future::{Ready, ready};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum_server::accept::Accept;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::connection::Connection;
use super::keepalive;
use super::places::Places;
use super::service::Counted;
use super::socket::Socket;
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
    places: Mutex<Places>,
    turns: AtomicU64,
    complained: Mutex<Option<Instant>>,
    reported: Mutex<Option<Instant>>,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Connections {
    pub(super) fn new(limits: Limits) -> Self {
        Self(Arc::new(Shared {
            limits,
            places: Mutex::default(),
            turns: AtomicU64::new(0),
            complained: Mutex::default(),
            reported: Mutex::default(),
        }))
    }

    /// Takes a connection in; `None` when there are too many and all are busy.
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

    /// Cuts off, for ever, connections whose client does not move.
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

    /// Says that a request was refused that is no HTTP, once a minute; nothing of the request is told, which may hold a
    /// secret.
    pub(super) fn report_no_http(&self, peer: Option<SocketAddr>, status: &str) {
        let now = Instant::now();
        let mut reported = lock(&self.0.reported);
        if reported.is_none_or(|last| now - last >= COMPLAIN) {
            *reported = Some(now);
            let peer = peer.map_or_else(
                || "a client".to_owned(),
                |peer| peer.ip().to_canonical().to_string(),
            );
            tracing::warn!(
                "{peer}: a request that is no valid HTTP was answered {status}: a URL with a blank or another character that must be percent-encoded, an Authorization field over several lines, or TLS on a port without it (said at most once a minute)"
            );
        }
    }

    fn complain(&self, now: Instant) {
        let limit = self.0.limits.connections;
        let mut complained = lock(&self.0.complained);
        if complained.is_none_or(|last| now - last >= COMPLAIN) {
            *complained = Some(now);
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
    type Stream = Watched<Socket>;
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
        let socket = Socket::new(stream);
        connection.set_socket(socket.clone());
        let stream = Watched::new(socket, Arc::clone(&connection), stall);
        ready(Ok((stream, Counted::new(service, connection))))
    }
}
