//! Accepts or refuses connections.

use std::future::{Ready, ready};
use std::io;
use std::sync::Arc;

use axum_server::accept::Accept;
use tokio::net::TcpStream;

use super::connections::Connections;
use super::keepalive;
use super::service::CountingService;
use super::socket::Socket;
use super::stream::StallGuard;

/// Accepts or refuses connections.
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
    type Stream = StallGuard<Socket>;
    type Service = CountingService<S>;
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
        let stream = StallGuard::new(socket, Arc::clone(&connection), stall);
        ready(Ok((stream, CountingService::new(service, connection))))
    }
}
