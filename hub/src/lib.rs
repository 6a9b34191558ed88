//! The Silo hub: stores silos of hostname/IP records and serves them over REST.
//!
//! The rooms, and who may call whom: `main` → [`run`] → [`http`], [`compat`], [`deliver`] → [`registry`],
//! [`view`] → [`store`], [`revision`] → [`domain`] → `silo-shared`. Only [`store`] knows SQL, only
//! [`registry`] writes, only `http/error.rs` maps errors to statuses (foreign protocols say them in words
//! of their own), [`domain`] does no I/O. [`compat`] asks [`http`] who calls, and nothing else.

pub mod backup;
pub mod compat;
pub mod contact;
pub mod data_dir;
pub mod deliver;
pub mod domain;
pub mod feed;
mod html;
pub mod http;
pub mod new_token;
pub mod open_hub;
pub mod registry;
pub mod render;
pub mod revision;
pub mod secrets;
pub mod settings;
pub mod store;
pub mod token_cache;
pub mod transfer;
pub mod upkeep;
pub mod view;

use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use axum_server::Handle;
use axum_server::accept::NoDelayAcceptor;
use hyper_util::rt::TokioTimer;
use silo_shared::config::ConfigError;
use thiserror::Error;

use deliver::settings::{OpenSink, SinkSettings};
use deliver::{Deliveries, Office};
use domain::time::Clock;
use feed::Feed;
use open_hub::{OpenError, OpenHub};
use secrets::random_name;
use settings::HubSettings;
use upkeep::Upkeep;

/// How long a connection may take to send the head of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long running requests may take to end once the hub is asked to stop.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(7);
/// How long the writing down of use may take after that.
const LAST_WRITE_TIMEOUT: Duration = Duration::from_secs(2);

/// Why the hub ended without being asked to.
#[derive(Debug, Error)]
pub enum RunError {
    /// It can't be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A sink is configured wrongly.
    #[error(transparent)]
    Sinks(#[from] ConfigError),
    /// The listener failed.
    #[error("the listener failed: {0}")]
    Listen(#[from] std::io::Error),
}

/// Serves on a bound listener until `shutdown` completes; then finishes what runs.
pub async fn run(
    listener: TcpListener,
    settings: HubSettings,
    clock: Clock,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let sinks = open_sinks(&settings)?;
    let hub = OpenHub::open_to_serve(&settings, clock).await?;
    let served = serve(listener, &settings, sinks, &hub, shutdown).await;
    hub.close().await;
    served
}

/// Reads the keys of every sink and the files that they name.
pub fn open_sinks(settings: &HubSettings) -> Result<Vec<OpenSink>, ConfigError> {
    let sinks: Vec<OpenSink> = settings
        .sinks
        .iter()
        .map(SinkSettings::open)
        .collect::<Result<_, _>>()?;
    let wants_logins = sinks.iter().find(|sink| sink.filter.with_login);
    match (wants_logins, &settings.compat.dynahost) {
        (Some(sink), None) => Err(ConfigError::Setting(format!(
            "sinks: {}: logins: dynahost needs compat.dynahost, which brings the logins",
            sink.name
        ))),
        _ => Ok(sinks),
    }
}

async fn serve(
    listener: TcpListener,
    settings: &HubSettings,
    sinks: Vec<OpenSink>,
    hub: &OpenHub,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let key = hub.key().await?;
    hub.first_admin_token(&key).await?;
    let feed = Feed::new(
        hub.store.clone(),
        hub.view.clone(),
        hub.tokens.clone(),
        hub.revision.clone(),
        hub.position,
        hub.contact.clone(),
        hub.clock.clone(),
    );
    let upkeep = Upkeep {
        store: hub.store.clone(),
        registry: hub.registry.clone(),
        tokens: hub.tokens.clone(),
        clock: hub.clock.clone(),
        since: hub.clock.now(),
        retention_days: settings.retention_days,
    };
    let office = Office {
        store: hub.store.clone(),
        registry: hub.registry.clone(),
        revision: hub.revision.clone(),
        clock: hub.clock.clone(),
        since: hub.clock.now(),
    };
    let sinks = sinks.into_iter().map(|sink| sink.keyed(&key)).collect();
    let owner = random_name().map_err(OpenError::from)?;
    let deliveries = Deliveries::begin(office, sinks, hub.is_alone())
        .await
        .map_err(OpenError::from)?;
    let foreign = compat::routes(&settings.compat, deliveries.sinks());
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let handle = Handle::new();
    let mut server = axum_server::from_tcp(listener)?
        .acceptor(NoDelayAcceptor::new())
        .handle(handle.clone())
        // Without the choice between versions the deadline for a request's head begins with the
        // connection, so that a client that says nothing is cut off too.
        .http1_only();
    server
        .http_builder()
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT);
    let app = http::router(hub.http(settings, key), foreign)
        .into_make_service_with_connect_info::<SocketAddr>();
    let stop = {
        let (handle, revision) = (handle.clone(), hub.revision.clone());
        async move {
            shutdown.await;
            tracing::info!("stopping");
            revision.end();
            handle.graceful_shutdown(Some(SHUTDOWN_TIMEOUT));
            std::future::pending::<()>().await;
        }
    };
    let deliveries = tokio::spawn(deliveries.work(owner));
    tracing::info!("listening on http://{address}");
    let served = tokio::select! {
        served = server.serve(app) => served,
        () = feed.follow() => unreachable!("the feed follows for ever"),
        () = upkeep.clone().work() => unreachable!("upkeep works for ever"),
        () = stop => unreachable!("stopping waits for the server"),
    };
    hub.revision.end();
    if let Err(error) = deliveries.await {
        tracing::error!("the delivery workers ended with an error: {error}");
    }
    match tokio::time::timeout(LAST_WRITE_TIMEOUT, upkeep.write_down()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!("what was last seen could not be written down: {error}"),
        Err(_) => tracing::warn!("what was last seen could not be written down in time"),
    }
    Ok(served?)
}
