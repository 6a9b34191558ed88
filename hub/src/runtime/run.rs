//! Runs the hub: opens everything, starts the background tasks, serves, and shuts down in order.

use std::future::Future;
use std::net::TcpListener;
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use silo_shared::config::ConfigError;
use silo_shared::credential::Credential;
use thiserror::Error;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, timeout_at};

use super::data_dir::DataDirError;
use super::download::Downloads;
use super::failure_sharing;
use super::file_watch;
use super::open_hub::{OpenError, OpenHub, database_url};
use super::run_file::{RunFile, Running, reachable};
use super::service_manager;
use super::tasks::Tasks;
use super::token_watch::watch_tokens;
use super::upkeep::{HeldTimes, Periods, Upkeep};
use crate::auth::secrets::{HubKey, new_credential, random_name};
use crate::compat;
use crate::config::settings::HubSettings;
use crate::dashboard;
use crate::deliver::Deliveries;
use crate::deliver::kinds::OpenSink;
use crate::deliver::sink::Sink;
use crate::domain::time::Clock;
use crate::follow::feed::Feed;
use crate::follow::invalidation::Invalidation;
use crate::http::{Hub, Monitor};
use crate::serve::{Listeners, ServeError};
use crate::tls::Hangup;

/// The deadline after the stop signal for the delivery workers to end and for usage to be stored. The listeners take
/// most of it.
const LAST_WRITE_TIMEOUT: Duration = Duration::from_millis(8500);
/// The deadline after that signal for closing the database.
const STOP_TIMEOUT: Duration = Duration::from_millis(9300);

/// Why the hub ended without a request to stop.
#[derive(Debug, Error)]
pub enum RunError {
    /// It can't be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A sink is configured wrongly.
    #[error(transparent)]
    Sinks(#[from] ConfigError),
    /// It can't listen.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// A background task ended, although none should.
    #[error("the task {0:?} ended, which is a bug: the log says why if it panicked")]
    Ended(&'static str),
}

/// Serves on a bound listener until `shutdown` completes; then finishes running requests. Stops also during startup.
pub async fn run(
    listener: TcpListener,
    settings: HubSettings,
    clock: Clock,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RunError> {
    run_at(listener, settings, clock, Periods::default(), shutdown).await
}

/// The same, with other periods of the upkeep.
pub async fn run_at(
    listener: TcpListener,
    settings: HubSettings,
    clock: Clock,
    periods: Periods,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let mut shutdown = pin!(shutdown);
    // From here on SIGHUP does not end the hub, whether it has a certificate to reload or not.
    let hangup = Hangup::listen();
    let sinks = open_sinks(&settings)?;
    let listeners = Listeners::open(listener, &settings)?;
    let hub = tokio::select! {
        biased;
        () = &mut shutdown => return stopped_early(),
        hub = OpenHub::open_to_serve(&settings, clock) => hub?,
    };
    let stopped_at = OnceLock::new();
    let serving = serve(
        listeners,
        &settings,
        sinks,
        periods,
        &hub,
        shutdown,
        &stopped_at,
    );
    let served = tokio::select! {
        served = serving => served,
        () = log_hangups(hangup, settings.tls.is_some()) => unreachable!("it never ends"),
    };
    let end = *stopped_at.get_or_init(Instant::now) + STOP_TIMEOUT;
    if timeout_at(end, hub.close()).await.is_err() {
        tracing::warn!("the database could not be closed in time");
    }
    served
}

/// Logs what each SIGHUP does, forever. With TLS, the reloader receives it too.
async fn log_hangups(mut hangup: Hangup, has_tls: bool) {
    loop {
        hangup.comes().await;
        if has_tls {
            tracing::info!(
                "SIGHUP: reading the certificate and the key again; the configuration is read only at the start"
            );
        } else {
            tracing::info!(
                "SIGHUP: nothing to read again: there is no certificate, and the configuration is read only at the start"
            );
        }
    }
}

fn stopped_early() -> Result<(), RunError> {
    tracing::info!("stopped before it listened");
    Ok(())
}

/// Reads the keys of every sink and the files that they refer to.
pub fn open_sinks(settings: &HubSettings) -> Result<Vec<OpenSink>, ConfigError> {
    let sinks: Vec<OpenSink> = settings
        .sinks
        .iter()
        .map(OpenSink::open)
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
                "sinks: {}: tell_failures: {} has no `to` and can't report failures",
                sink.name, hears.name
            )));
        }
    }
    let wants_logins = sinks.iter().find(|sink| sink.filter.with_login);
    match (wants_logins, &settings.compat.dynahost) {
        (Some(sink), None) => Err(ConfigError::Setting(format!(
            "sinks: {}: logins: dynahost requires compat.dynahost, which provides the logins",
            sink.name
        ))),
        _ => Ok(sinks),
    }
}

/// What is created before the hub listens.
struct Started {
    key: HubKey,
    held: Arc<HeldTimes>,
    deliveries: Deliveries,
}

async fn start(hub: &OpenHub, sinks: Vec<OpenSink>) -> Result<Started, OpenError> {
    let key = hub.key().await?;
    hub.first_admin_token(&key).await?;
    let sinks = sinks.into_iter().map(|sink| sink.keyed(&key)).collect();
    let newest = hub.store.newest_time().await?;
    let held = Arc::new(HeldTimes::begin(hub.clock.reading(), newest));
    let deliveries = Deliveries::begin(hub.worker_context(), sinks, hub.is_alone()).await?;
    Ok(Started {
        key,
        held,
        deliveries,
    })
}

/// Starts the tasks that never end by themselves.
fn spawn_tasks(
    hub: &OpenHub,
    http: &Arc<crate::http::Hub>,
    settings: &HubSettings,
    upkeep: &Upkeep,
    periods: Periods,
) -> Tasks {
    let feed = Feed {
        store: hub.store.clone(),
        registry: hub.registry.clone(),
        invalidation: Invalidation::new(hub.view.clone(), hub.bus.clone()),
        tokens: hub.tokens.clone(),
        failures: hub.failures.clone(),
        bus: hub.bus.clone(),
        database_health: hub.database_health.clone(),
        signed_not_before: hub.signed_not_before.clone(),
        database_id: hub.database_id.clone(),
        clock: hub.clock.clone(),
    };
    let mut tasks = Tasks::default();
    if let Some(wake_ups) = hub.wake_ups() {
        tasks.spawn("wake-ups", wake_ups);
    }
    let token_ends = watch_tokens(hub.tokens.clone(), hub.bus.clone(), hub.clock.clone());
    tasks.spawn("token expiry", token_ends);
    tasks.spawn("feed", feed.follow(hub.position));
    if !hub.is_alone() {
        let sharing = failure_sharing::share(
            hub.failures.clone(),
            hub.registry.clone(),
            hub.clock.clone(),
        );
        tasks.spawn("sharing of wrong credentials", sharing);
    }
    tasks.spawn("upkeep", upkeep.clone().work_at(periods));
    let file = database_url(settings).file();
    tasks.spawn(
        "watch of the database's file",
        file_watch::watch(file, hub.store.clone(), hub.registry.clone()),
    );
    let store = hub.store.clone();
    tasks.spawn("database connections", async move {
        store.keep_alive().await;
    });
    let alive = service_manager::stay_alive(
        hub.store.clone(),
        hub.database_health.clone(),
        hub.clock.clone(),
    );
    tasks.spawn("service manager keep-alive", alive);
    let counting = Arc::clone(http);
    tasks.spawn("census", async move { counting.count_every_minute().await });
    let registry = hub.registry.clone();
    tasks.spawn("writer", async move { registry.ended().await });
    tasks
}

/// The pages for browsers, if there are any.
fn pages(settings: &HubSettings) -> Router<Arc<Hub>> {
    if settings.dashboard {
        dashboard::routes()
    } else {
        Router::new()
    }
}

async fn serve(
    listeners: Listeners,
    settings: &HubSettings,
    sinks: Vec<OpenSink>,
    periods: Periods,
    hub: &OpenHub,
    mut shutdown: Pin<&mut impl Future<Output = ()>>,
    stopped_at: &OnceLock<Instant>,
) -> Result<(), RunError> {
    let started = tokio::select! {
        biased;
        () = &mut shutdown => return stopped_early(),
        started = start(hub, sinks) => started?,
    };
    let upkeep = Upkeep {
        store: hub.store.clone(),
        registry: hub.registry.clone(),
        tokens: hub.tokens.clone(),
        refused: hub.refused.clone(),
        clock: hub.clock.clone(),
        since: hub.clock.now(),
        held: started.held,
        retention_days: settings.retention_days,
    };
    let owner = random_name().map_err(OpenError::from)?;
    let mut foreign = compat::routes(&settings.compat, started.deliveries.sinks());
    foreign.pages = pages(settings);
    let bus = hub.bus.clone();
    let http = hub.http(settings, started.key);
    if let Some(downloads) = Downloads::of(database_url(settings), hub.clock.clone()) {
        http.monitor.set_copies(Box::new(downloads));
    }
    let credential = new_credential().map_err(OpenError::from)?;
    let run_file = OnceLock::new();
    let listening = listeners.serve(
        settings,
        Arc::clone(&http),
        foreign,
        shutdown,
        || {
            let written = write_run_file(settings, &http.monitor, &credential);
            // It is for `status` on this machine only.
            match written {
                Ok(file) => drop(run_file.set(file)),
                Err(error) => tracing::warn!("`silo-hub status` will not work: {error}"),
            }
            service_manager::ready();
            log_dashboard(settings, &http.monitor);
        },
        || {
            tracing::info!("stopping");
            stopped_at.get_or_init(Instant::now);
            service_manager::stopping();
            bus.end();
        },
    );
    let mut listening = pin!(listening);
    let mut tasks = spawn_tasks(hub, &http, settings, &upkeep, periods);
    let mut deliveries = tokio::spawn(started.deliveries.work(owner));
    let mut delivered = None;
    let served = loop {
        tokio::select! {
            served = &mut listening => break served.map_err(RunError::from),
            name = tasks.ended() => break Err(RunError::Ended(name)),
            // They end when the hub stops, while the listeners may still be stopping.
            done = &mut deliveries, if delivered.is_none() => {
                delivered = Some(done);
                if !hub.bus.is_stopping() {
                    break Err(RunError::Ended("deliveries"));
                }
            }
        }
    };
    if let Err(error @ RunError::Ended(_)) = &served {
        tracing::error!("{error}");
    }
    hub.bus.end();
    drop(tasks);
    let end = *stopped_at.get_or_init(Instant::now) + LAST_WRITE_TIMEOUT;
    if delivered.is_none() {
        delivered = ended_by(end, &mut deliveries).await;
    }
    match delivered {
        Some(Ok(())) => {}
        Some(Err(error)) => tracing::error!("the delivery workers ended with an error: {error}"),
        None => tracing::warn!("the delivery workers did not end in time"),
    }
    write_all_down(&upkeep, end).await;
    served
}

/// Lets `silo-hub status` on this machine find this process.
fn write_run_file(
    settings: &HubSettings,
    monitor: &Monitor,
    credential: &Credential,
) -> Result<RunFile, DataDirError> {
    monitor.set_run_credential(credential);
    let listening = monitor.listening();
    let urls = listening.map_or(Vec::new(), |listening| listening.urls.clone());
    let running = Running {
        started_at: monitor.started_at(),
        url: reachable(urls.first().map_or("", String::as_str)),
        listen: urls,
        pin_sha256: listening.and_then(|listening| listening.pin.clone()),
    };
    RunFile::write(&settings.data_dir, running, credential)
}

/// Logs where the dashboard is, and how one gets in.
fn log_dashboard(settings: &HubSettings, monitor: &Monitor) {
    if !settings.dashboard {
        return;
    }
    let listening = monitor.listening();
    let first = listening.and_then(|listening| listening.urls.first());
    let url = match (&settings.public_url, first) {
        (Some(public), _) => public.as_str().to_owned(),
        (None, first) => reachable(first.map_or("", String::as_str)),
    };
    tracing::info!(
        "the dashboard is at {url}/dashboard/; `silo-hub dashboard link` prints a link that signs a browser in"
    );
}

/// How a task ended; `None`: it did not in time, and is stopped.
async fn ended_by(end: Instant, task: &mut JoinHandle<()>) -> Option<Result<(), JoinError>> {
    let ended = timeout_at(end, &mut *task).await.ok();
    if ended.is_none() {
        task.abort();
    }
    ended
}

async fn write_all_down(upkeep: &Upkeep, end: Instant) {
    match timeout_at(end, upkeep.write_all_down()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!("cannot store the last-seen times: {error}"),
        Err(_) => tracing::warn!("storing the last-seen times timed out"),
    }
}
