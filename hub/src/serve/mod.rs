//! The hub's listeners: TLS or not, the limit of connections, and the deadlines for slow clients.

mod accept;
mod connections;
mod content;
mod keepalive;
mod kill_switch;
mod listen;
#[cfg(test)]
mod model;
mod open_files;
mod places;
mod plain;
mod service;
mod socket;
mod stream;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::ServiceExt;
use axum::extract::Request;
use axum::response::Response;
use axum_server::accept::Accept;
use axum_server::tls_rustls::RustlsAcceptor;
use axum_server::{Handle, Server};
use hyper_util::rt::TokioTimer;
use socket2::SockRef;

use thiserror::Error;
use tower::Service;

use crate::config::limits::Limits;
use crate::config::settings::HubSettings;
use crate::domain::time::Time;
use crate::http;
use crate::http::monitor::Listening;
use crate::http::{Foreign, Hub};
use crate::tls::{PlainAllow, Reloader, TlsError};

use accept::Admission;
use connections::Connections;
pub(crate) use listen::listen;
pub(crate) use open_files::raise_limit as raise_open_files;

/// The maximum number of connections that wait to be accepted.
const BACKLOG: i32 = 4096;
/// How long running requests may take after the hub is asked to stop.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(7);
/// The maximum size of a request's head, in bytes, over HTTP/1.1 and HTTP/2. For HTTP/1.1, also the maximum read-ahead
/// of bodies. Each connection may use this much before it is authenticated.
const MAX_HEAD_BYTES: u32 = 40 * 1024;
/// How many bytes of all bodies on an HTTP/2 connection, and of each, a client may send before a handler reads them.
const HTTP_2_WINDOW_BYTES: u32 = 64 * 1024;
/// The interval of HTTP/2 pings, also while the client waits for events.
const HTTP_2_PING_INTERVAL: Duration = Duration::from_secs(20);
/// The timeout for the response to a ping.
const HTTP_2_PING_TIMEOUT: Duration = Duration::from_secs(10);
/// The maximum number of concurrent requests on an HTTP/2 connection.
const MAX_STREAMS: u32 = 100;

/// Why the listeners can't be opened or stopped working.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The certificate or its key can't be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The listener without TLS can't be bound.
    #[error("cannot listen on {address}: {cause}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        cause: std::io::Error,
    },
    /// A listener failed.
    #[error("the listener failed: {0}")]
    Listen(#[from] std::io::Error),
}

/// The listeners, bound and ready to serve.
pub(crate) struct Listeners {
    main: TcpListener,
    plain: Option<TcpListener>,
    metrics: Option<TcpListener>,
    tls: Option<Reloader>,
    connections: Connections,
}

impl Listeners {
    /// Reads the certificate and binds the configured additional listener.
    pub(crate) fn open(main: TcpListener, settings: &HubSettings) -> Result<Self, ServeError> {
        let tls = settings.tls.clone().map(Reloader::open).transpose()?;
        let plain = settings.tls.as_ref().and_then(|tls| tls.plain_listen);
        let bind = |address| listen(address).map_err(|cause| ServeError::Bind { address, cause });
        let plain = plain.map(bind).transpose()?;
        let metrics = settings.metrics_listen.map(bind).transpose()?;
        let limits = Limits {
            connections: open_files::within_limit(settings.limits.connections),
            ..settings.limits.clone()
        };
        Ok(Self {
            main,
            plain,
            metrics,
            tls,
            connections: Connections::new(limits),
        })
    }

    /// Serves until `stop` completes; then finishes running requests. Calls `ready` once it listens, and `stopping`
    /// when the hub must end long-lived responses.
    pub(crate) async fn serve(
        self,
        settings: &HubSettings,
        hub: Arc<Hub>,
        foreign: Foreign,
        stop: impl Future<Output = ()>,
        ready: impl FnOnce(),
        stopping: impl FnOnce(),
    ) -> Result<(), ServeError> {
        let handles = [Handle::new(), Handle::new(), Handle::new()];
        hub.monitor.set_listening(self.listening()?);
        let app = http::front(Arc::clone(&hub), foreign);
        let address = self.main.local_addr()?;
        let admission = Admission::new(self.connections.clone());
        let main = server(self.main, &handles[0])?;
        let (main, reloading) = match self.tls {
            Some(tls) => {
                let acceptor = RustlsAcceptor::new(tls.config())
                    .handshake_timeout(settings.limits.head)
                    .acceptor(admission.clone());
                let main = set_up(main.acceptor(acceptor));
                tracing::info!("listening on https://{address}");
                (Either::Tls(main), Some(tls.follow()))
            }
            None => {
                // Without TLS, there is no negotiation of the HTTP version.
                let main = set_up(main.acceptor(admission.clone())).http1_only();
                tracing::info!("listening on http://{address}");
                (Either::Plain(main), None)
            }
        };
        let plain = match self.plain {
            None => None,
            Some(listener) => {
                let allowed = settings.tls.as_ref().map(|tls| tls.plain_allow.clone());
                let allowed = allowed.unwrap_or_default();
                log_plain_listener(listener.local_addr()?, &allowed);
                let server = without_tls(listener, &handles[1], &admission)?;
                Some((server, plain::gated(&hub, allowed)))
            }
        };
        let metrics = match self.metrics {
            None => None,
            Some(listener) => {
                let address = listener.local_addr()?;
                tracing::info!("metrics are at http://{address}/metrics, without a credential");
                let server = without_tls(listener, &handles[2], &admission)?;
                Some((server, http::metrics_front(&hub)))
            }
        };
        ready();
        let stop = async {
            stop.await;
            stopping();
            for handle in &handles {
                handle.graceful_shutdown(Some(SHUTDOWN_TIMEOUT));
            }
            std::future::pending::<()>().await;
        };
        let main = async {
            match main {
                Either::Tls(server) => run(server, app).await,
                Either::Plain(server) => run(server, app).await,
            }
        };
        let others = async { tokio::try_join!(run_if_any(plain), run_if_any(metrics)) };
        let reloading = async {
            match reloading {
                Some(reloading) => reloading.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            served = async { tokio::try_join!(main, others) } => Ok(served.map(|_| ())?),
            () = self.connections.cut_off_the_slow() => unreachable!("there are always slow ones"),
            () = reloading => unreachable!("the watch never ends"),
            () = stop => unreachable!("stopping waits for the listeners"),
        }
    }
}

impl Listeners {
    /// What the hub tells of its listeners.
    fn listening(&self) -> Result<Listening, ServeError> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let mut urls = vec![format!("{scheme}://{}", self.main.local_addr()?)];
        if let Some(plain) = &self.plain {
            urls.push(format!("http://{}", plain.local_addr()?));
        }
        if let Some(metrics) = &self.metrics {
            urls.push(format!("http://{}/metrics", metrics.local_addr()?));
        }
        let connections = self.connections.clone();
        let certificate_ends: Box<dyn Fn() -> Option<Time> + Send + Sync> = match &self.tls {
            Some(tls) => Box::new(tls.ends()),
            None => Box::new(|| None),
        };
        Ok(Listening {
            urls,
            pin: self.tls.as_ref().map(|tls| tls.pin().to_string()),
            invitation_pin: self.tls.as_ref().and_then(|tls| tls.invitation_pin()),
            limit: connections.limits().connections,
            connections: Box::new(move || connections.places().open()),
            certificate_ends,
        })
    }
}

/// Logs that there is a listener without TLS, and what it accepts.
fn log_plain_listener(address: SocketAddr, allowed: &PlainAllow) {
    if allowed.is_empty() {
        tracing::info!("listening on http://{address} too, for /ping and signed requests only");
    } else {
        tracing::warn!(
            "listening on http://{address} too, for /ping, signed requests and, by tls.plain_allow, {allowed}: anyone on the network path can read these secrets, use them, and set their records"
        );
    }
}

fn without_tls(
    listener: TcpListener,
    handle: &Handle<SocketAddr>,
    admission: &Admission,
) -> std::io::Result<Server<SocketAddr, Admission>> {
    let server = server(listener, handle)?.acceptor(admission.clone());
    Ok(set_up(server).http1_only())
}

/// A request as it comes from a connection.
type Incoming = axum::http::Request<hyper::body::Incoming>;

enum Either<A, B> {
    Tls(A),
    Plain(B),
}

fn server(
    listener: TcpListener,
    handle: &Handle<SocketAddr>,
) -> std::io::Result<Server<SocketAddr>> {
    listener.set_nonblocking(true)?;
    // The default of std's listeners is 128. After an outage, thousands of clients that wait for silos reconnect at
    // once, and one that is dropped here retries only after a second. The kernel limits it to `net.core.somaxconn`
    // (listen(2)).
    SockRef::from(&listener).listen(BACKLOG)?;
    Ok(axum_server::from_tcp(listener)?.handle(handle.clone()))
}

fn set_up<A>(mut server: Server<SocketAddr, A>) -> Server<SocketAddr, A> {
    let builder = server.http_builder();
    builder
        .http1()
        .timer(TokioTimer::new())
        // `Connections` closes slow connections: it knows when a response is still being written.
        .header_read_timeout(None)
        // Many scripts close their half after a request (`printf … | nc`) and still want the response.
        .half_close(true)
        .max_buf_size(MAX_HEAD_BYTES as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(MAX_HEAD_BYTES)
        .initial_stream_window_size(HTTP_2_WINDOW_BYTES)
        .initial_connection_window_size(HTTP_2_WINDOW_BYTES)
        .keep_alive_interval(HTTP_2_PING_INTERVAL)
        .keep_alive_timeout(HTTP_2_PING_TIMEOUT)
        .max_concurrent_streams(MAX_STREAMS);
    server
}

/// Serves on an additional listener, if there is one.
async fn run_if_any<F>(served: Option<(Server<SocketAddr, Admission>, F)>) -> std::io::Result<()>
where
    F: Service<Incoming, Response = Response, Error = Infallible> + Clone + Send + Sync + 'static,
    F: Service<Request, Response = Response, Error = Infallible>,
    <F as Service<Incoming>>::Future: Send,
    <F as Service<Request>>::Future: Send,
{
    match served {
        Some((server, app)) => run(server, app).await,
        None => Ok(()),
    }
}

async fn run<A, F>(server: Server<SocketAddr, A>, app: F) -> std::io::Result<()>
where
    F: Service<Incoming, Response = Response, Error = Infallible> + Clone + Send + Sync + 'static,
    F::Future: Send,
    A: Accept<
            tokio::net::TcpStream,
            axum::middleware::AddExtension<F, axum::extract::ConnectInfo<SocketAddr>>,
            Stream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send,
            Service: axum_server::service::SendService<Incoming> + Send,
            Future: Send,
        > + Clone
        + Send
        + Sync
        + 'static,
{
    let service = ServiceExt::<Incoming>::into_make_service_with_connect_info::<SocketAddr>(app);
    server.serve(service).await
}
