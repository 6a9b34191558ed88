//! The Silo hub: stores silos of hostname/IP records and serves them over REST.
//!
//! The rooms, and who may call whom: `main` → [`run`] → [`http`], [`compat`], [`deliver`] → [`registry`],
//! [`view`] → [`store`], [`revision`] → [`domain`] → `silo-shared`. Only [`store`] knows SQL, only
//! [`registry`] writes, only `http/error.rs` maps errors to statuses (foreign protocols say them in words
//! of their own), [`domain`] does no I/O. [`compat`] asks [`http`] who calls, and nothing else.

pub mod audit;
pub mod backup;
mod before_migrating;
pub mod compat;
pub mod contact;
pub mod data_dir;
pub mod deliver;
pub mod domain;
pub mod failure_limit;
pub mod failure_sharing;
pub mod feed;
mod html;
pub mod http;
pub mod key_file;
pub mod limits;
pub mod new_token;
pub mod open_hub;
pub mod registry;
pub mod render;
pub mod revision;
pub mod secrets;
pub mod serve;
mod service_manager;
pub mod settings;
pub mod store;
pub mod tls;
pub mod token_cache;
pub mod transfer;
pub mod upkeep;
pub mod view;

use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use silo_shared::config::ConfigError;
use thiserror::Error;

use deliver::settings::{OpenSink, SinkSettings};
use deliver::{Deliveries, Office};
use domain::time::Clock;
use feed::Feed;
use open_hub::{OpenError, OpenHub};
use secrets::random_name;
use serve::Listeners;
use settings::HubSettings;
use tls::TlsError;
use upkeep::Upkeep;

/// How long the writing down of use may take after the listeners have ended.
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
    /// The certificate or its key can't be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The listener without TLS can't be bound.
    #[error("cannot listen on {address}: {cause}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        cause: std::io::Error,
    },
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
    let listeners = Listeners::open(listener, &settings)?;
    let hub = OpenHub::open_to_serve(&settings, clock).await?;
    let served = serve(listeners, &settings, sinks, &hub, shutdown).await;
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
    listeners: Listeners,
    settings: &HubSettings,
    sinks: Vec<OpenSink>,
    hub: &OpenHub,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let key = hub.key().await?;
    hub.first_admin_token(&key).await?;
    let feed = Feed {
        store: hub.store.clone(),
        registry: hub.registry.clone(),
        view: hub.view.clone(),
        tokens: hub.tokens.clone(),
        failures: hub.failures.clone(),
        revision: hub.revision.clone(),
        contact: hub.contact.clone(),
        clock: hub.clock.clone(),
    };
    let sharing = failure_sharing::share(
        hub.failures.clone(),
        hub.registry.clone(),
        hub.clock.clone(),
    );
    let upkeep = Upkeep {
        store: hub.store.clone(),
        registry: hub.registry.clone(),
        tokens: hub.tokens.clone(),
        refused: hub.refused.clone(),
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
    let revision = hub.revision.clone();
    let listening = listeners.serve(settings, hub.http(settings, key), foreign, shutdown, || {
        tracing::info!("stopping");
        service_manager::stopping();
        revision.end();
    });
    let deliveries = tokio::spawn(deliveries.work(owner));
    let alive =
        service_manager::stay_alive(hub.store.clone(), hub.contact.clone(), hub.clock.clone());
    // A task of its own, since what it shows to be alive is the threads that serve.
    let alive = tokio::spawn(alive);
    let served = tokio::select! {
        served = listening => served,
        () = feed.follow(hub.position) => unreachable!("the feed follows for ever"),
        () = sharing, if !hub.is_alone() => unreachable!("there are always wrong credentials"),
        () = upkeep.clone().work() => unreachable!("upkeep works for ever"),
    };
    hub.revision.end();
    alive.abort();
    if let Err(error) = deliveries.await {
        tracing::error!("the delivery workers ended with an error: {error}");
    }
    match tokio::time::timeout(LAST_WRITE_TIMEOUT, upkeep.write_all_down()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!("what was last seen could not be written down: {error}"),
        Err(_) => tracing::warn!("what was last seen could not be written down in time"),
    }
    Ok(served?)
}
