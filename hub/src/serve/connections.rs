//! How many connections there may be, and which give way when there are too many: those whose client is
//! waited for, the one that has been silent longest first. So whoever opens thousands and says nothing only
//! makes room for himself.

use std::future::{Ready, ready};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum_server::accept::Accept;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::connection::{Connection, Wire};
use super::keepalive;
use super::places::{Places, Silent};
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
    places: Mutex<Places>,
    complained: Mutex<Option<Instant>>,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Connections {
    pub(super) fn new(limits: Limits) -> Self {
        Self(Arc::new(Shared {
            limits,
            places: Mutex::default(),
            complained: Mutex::default(),
        }))
    }

    /// Takes a connection in; `None` when there are too many and all are busy.
    pub(super) fn admit(&self) -> Option<Arc<Connection>> {
        let now = Instant::now();
        let wire = Arc::new(Wire::default());
        let mut places = self.places();
        if places.open() >= self.0.limits.connections {
            self.complain(now);
            if !places.give_way(now) {
                return None;
            }
        }
        places.add();
        let place = places.wait(Silent {
            since: now,
            until: Some(now + self.0.limits.head),
            is_sending: false,
            wire: Arc::clone(&wire),
        });
        drop(places);
        Some(Arc::new(Connection::new(self.clone(), wire, place)))
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
