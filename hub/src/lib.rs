//! The Silo hub: stores silos of hostname/IP records and serves them over REST.
//!
//! The rooms, and who may call whom: `main` → [`run`] → [`http`], [`compat`], [`deliver`] → [`registry`],
//! [`view`] → [`store`], [`revision`] → [`domain`] → `silo-shared`. Only [`store`] knows SQL, only
//! [`registry`] writes, only `http/error.rs` maps errors to statuses (foreign protocols say them in words
//! of their own), [`domain`] does no I/O. [`compat`] asks [`http`] who calls, and nothing else.

pub mod audit;
pub mod backup;
mod before_migrating;
pub mod changes;
pub mod compat;
pub mod contact;
pub mod data_dir;
pub mod deliver;
pub mod domain;
pub mod failure_limit;
pub mod failure_sharing;
pub mod feed;
mod file_watch;
mod html;
pub mod http;
mod interest;
pub mod key_file;
pub mod limits;
pub mod link_history;
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
mod tasks;
pub mod tls;
pub mod token_cache;
mod token_watch;
pub mod transfer;
pub mod upkeep;
pub mod view;

use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use silo_shared::config::ConfigError;
use thiserror::Error;

use deliver::settings::{OpenSink, SinkSettings};
use deliver::sink::Sink;
use deliver::{Deliveries, Office};
use domain::time::Clock;
use feed::Feed;
use open_hub::{OpenError, OpenHub};
use secrets::random_name;
use serve::Listeners;
use settings::HubSettings;
use tasks::Tasks;
use tls::TlsError;
use token_watch::watch_tokens;
use tokio::time::{Instant, timeout_at};
use upkeep::{HeldTimes, Upkeep};

/// How long after the signal to stop the delivery workers may take to end, and use to be written down. The
/// listeners take most of it.
const LAST_WRITE_TIMEOUT: Duration = Duration::from_millis(8500);
/// How long after that signal the database may take to be closed.
const STOP_TIMEOUT: Duration = Duration::from_millis(9300);

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
    /// A task that never ends has ended.
    #[error("the task {0:?} ended, which is a bug: the log says why if it panicked")]
    Ended(&'static str),
    /// The listener failed.
    #[error("the listener failed: {0}")]
    Listen(#[from] std::io::Error),
}

/// Serves on a bound listener until `shutdown` completes; then finishes what runs. Stops as well while it
/// still starts.
pub async fn run(
    listener: TcpListener,
    settings: HubSettings,
    clock: Clock,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let mut shutdown = pin!(shutdown);
    let sinks = open_sinks(&settings)?;
    let listeners = Listeners::open(listener, &settings)?;
    let hub = tokio::select! {
        biased;
        () = &mut shutdown => return stopped_early(),
        hub = OpenHub::open_to_serve(&settings, clock) => hub?,
    };
    let stopped_at = OnceLock::new();
    let served = serve(listeners, &settings, sinks, &hub, shutdown, &stopped_at).await;
    let end = *stopped_at.get_or_init(Instant::now) + STOP_TIMEOUT;
    if timeout_at(end, hub.close()).await.is_err() {
        tracing::warn!("the database could not be closed in time");
    }
    served
}

fn stopped_early() -> Result<(), RunError> {
    tracing::info!("stopped before it listened");
    Ok(())
}

/// Reads the keys of every sink and the files that they name.
pub fn open_sinks(settings: &HubSettings) -> Result<Vec<OpenSink>, ConfigError> {
    let sinks: Vec<OpenSink> = settings
        .sinks
        .iter()
        .map(SinkSettings::open)
        .collect::<Result<_, _>>()?;
    for sink in &sinks {
        let hears = sinks
            .iter()
            .find(|other| sink.tell_failures.as_ref() == Some(&other.name));
        if let Some(hears) = hears
            && let Sink::Event(event) = &hears.sink
            && !event.has_receiver()
        {
            return Err(ConfigError::Setting(format!(
                "sinks: {}: tell_failures: {} has no `to`, and tells nobody of failures",
                sink.name, hears.name
            )));
        }
    }
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
    mut shutdown: Pin<&mut impl Future<Output = ()>>,
    stopped_at: &OnceLock<Instant>,
) -> Result<(), RunError> {
    let starting = async {
        let key = hub.key().await?;
        hub.first_admin_token(&key).await?;
        let sinks = sinks.into_iter().map(|sink| sink.keyed(&key)).collect();
        let office = Office {
            store: hub.store.clone(),
            registry: hub.registry.clone(),
            revision: hub.revision.clone(),
            clock: hub.clock.clone(),
            since: hub.clock.now(),
        };
        let newest = hub.store.newest_time().await.map_err(OpenError::from)?;
        let held = Arc::new(HeldTimes::begin(hub.clock.reading(), newest));
        let deliveries = Deliveries::begin(office, sinks, hub.is_alone()).await?;
        Ok::<_, OpenError>((key, held, deliveries))
    };
    let (key, held, deliveries) = tokio::select! {
        biased;
        () = &mut shutdown => return stopped_early(),
        started = starting => started?,
    };
    let feed = Feed {
        store: hub.store.clone(),
        registry: hub.registry.clone(),
        view: hub.view.clone(),
        tokens: hub.tokens.clone(),
        failures: hub.failures.clone(),
        revision: hub.revision.clone(),
        contact: hub.contact.clone(),
        signed_not_before: hub.signed_not_before.clone(),
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
        held,
        retention_days: settings.retention_days,
    };
    let owner = random_name().map_err(OpenError::from)?;
    let foreign = compat::routes(&settings.compat, deliveries.sinks());
    let revision = hub.revision.clone();
    let listening = listeners.serve(settings, hub.http(settings, key), foreign, shutdown, || {
        tracing::info!("stopping");
        stopped_at.get_or_init(Instant::now);
        service_manager::stopping();
        revision.end();
    });
    let mut listening = pin!(listening);
    let mut tasks = Tasks::default();
    if let Some(wake_ups) = hub.wake_ups() {
        tasks.spawn("wake-ups", wake_ups);
    }
    let token_ends = watch_tokens(hub.tokens.clone(), hub.revision.clone(), hub.clock.clone());
    tasks.spawn("ends of tokens", token_ends);
    tasks.spawn("feed", feed.follow(hub.position));
    if !hub.is_alone() {
        tasks.spawn("sharing of wrong credentials", sharing);
    }
    tasks.spawn("upkeep", upkeep.clone().work());
    let file = open_hub::database_url(settings).file();
    tasks.spawn(
        "watch of the database's file",
        file_watch::watch(file, hub.registry.clone()),
    );
    let alive =
        service_manager::stay_alive(hub.store.clone(), hub.contact.clone(), hub.clock.clone());
    tasks.spawn("signs of life", alive);
    let registry = hub.registry.clone();
    tasks.spawn("writer", async move { registry.ended().await });
    let mut deliveries = tokio::spawn(deliveries.work(owner));
    let mut delivered = None;
    let served = loop {
        tokio::select! {
            served = &mut listening => break served.map_err(RunError::from),
            name = tasks.ended() => break Err(RunError::Ended(name)),
            // They end when the hub stops, which the listeners may still do.
            done = &mut deliveries, if delivered.is_none() => {
                delivered = Some(done);
                if !hub.revision.is_over() {
                    break Err(RunError::Ended("deliveries"));
                }
            }
        }
    };
    if let Err(error @ RunError::Ended(_)) = &served {
        tracing::error!("{error}");
    }
    hub.revision.end();
    drop(tasks);
    let end = *stopped_at.get_or_init(Instant::now) + LAST_WRITE_TIMEOUT;
    let delivered = match delivered {
        Some(done) => Ok(done),
        None => timeout_at(end, &mut deliveries).await,
    };
    match delivered {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!("the delivery workers ended with an error: {error}"),
        Err(_) => {
            deliveries.abort();
            tracing::warn!("the delivery workers did not end in time");
        }
    }
    match timeout_at(end, upkeep.write_all_down()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!("what was last seen could not be written down: {error}"),
        Err(_) => tracing::warn!("what was last seen could not be written down in time"),
    }
    served
}
