//! Delivers committed changes to DNS servers, DDNS providers, Plesk, mailboxes and webhooks.
//!
//! A change writes a row to the outbox for each interested sink, in the transaction of the change.
//! Each sink has a [`worker`], which takes rows under a lease, so that only one of several hubs
//! sends, calls the sink outside of any transaction, and writes the result. State sinks are brought
//! to the current state ([`publish`], compared periodically by [`reconcile`]); event sinks receive
//! every change ([`tell`]).

pub mod attempts;
mod comparison;
pub mod dyndns2;
pub mod email;
mod http_client;
pub mod kinds;
mod merge;
pub mod plesk;
pub mod publish;
pub mod quiet;
pub mod reconcile;
pub mod rfc2136;
pub mod sink;
pub mod tell;
#[cfg(test)]
mod test_sinks;
mod verify;
pub mod webhook;
pub mod worker;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::domain::time::{Clock, Time};
use crate::follow::bus::Bus;
use crate::registry::{ApplyError, BeginSinks, ConfiguredSink, KeepSinks, Registry};
use crate::store::{Queries, Store};

use attempts::Attempts;
use kinds::OpenSink;
use sink::Sink;
use worker::Worker;

/// How often this hub renews its registration for its sinks.
const KEEP: Duration = Duration::from_secs(60);
/// Pause before a worker is restarted after a panic.
const AFTER_PANIC: Duration = Duration::from_secs(10);
/// How long workers may take to end when the hub stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// What the workers use.
#[derive(Clone, Debug)]
pub struct WorkerContext {
    /// Reads pending deliveries.
    pub store: Store,
    /// Writes their results.
    pub registry: Registry,
    /// Wakes the workers.
    pub bus: Bus,
    /// The time.
    pub clock: Clock,
    /// When this hub began to receive writes. Silence before that does not count.
    pub since: Time,
    /// Counts the attempts.
    pub attempts: Attempts,
}

/// The workers of all sinks.
#[derive(Debug)]
pub struct Deliveries {
    context: WorkerContext,
    sinks: Vec<Arc<OpenSink>>,
}

impl Deliveries {
    /// Registers the sinks that this hub serves. `alone`: no other hub can serve this database.
    pub async fn begin(
        context: WorkerContext,
        sinks: Vec<OpenSink>,
        alone: bool,
    ) -> Result<Self, ApplyError> {
        let this = Self {
            context,
            sinks: sinks.into_iter().map(Arc::new).collect(),
        };
        if this.sinks.is_empty() && this.context.store.sinks().await?.is_empty() {
            return Ok(this);
        }
        let command = BeginSinks {
            sinks: this.sinks.iter().map(|sink| sink.configured()).collect(),
            alone,
        };
        let started = this.context.registry.apply(command).await?;
        for sink in &started.differing {
            tracing::warn!(%sink, "another hub on this database serves this sink, or served it in the last day, and this hub lacks it or has other settings for it: hubs that share a database must configure the same sinks. The deliveries of a sink that no hub has any more are given up after a day");
        }
        say_gone(&started.gone);
        Ok(this)
    }

    /// The sinks.
    pub fn sinks(&self) -> &[Arc<OpenSink>] {
        &self.sinks
    }

    /// One worker per sink. They sign their leases with `owner`.
    pub fn workers(&self, owner: &str) -> Vec<Worker> {
        let worker = |sink| Worker::new(self.context.clone(), Arc::clone(sink), owner.to_owned());
        self.sinks.iter().map(worker).collect()
    }

    /// Works until the bus reports that the hub stops. `owner` signs the leases.
    pub async fn work(self, owner: String) {
        let mut workers = JoinSet::new();
        for worker in self.workers(&owner) {
            workers.spawn(supervised(worker));
        }
        let mut news = self.context.bus.subscribe_to_deliveries();
        let mut keep = tokio::time::interval(KEEP);
        keep.tick().await;
        loop {
            tokio::select! {
                _ = keep.tick() => self.keep().await,
                running = news.next() => if !running {
                    break;
                }
            }
        }
        let ended = async { while workers.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_TIMEOUT, ended).await.is_err() {
            // Interrupted sends are recorded as claimed, and resolved after the next start.
            workers.abort_all();
        }
    }

    /// Renews the registration for the sinks, and gives up those that no hub serves.
    async fn keep(&self) {
        let names: Vec<_> = self.sinks.iter().map(|sink| sink.name.clone()).collect();
        let kept = async {
            if names.is_empty() && self.context.store.sinks().await?.is_empty() {
                return Ok(());
            }
            let (gone, back) = self.context.registry.apply(KeepSinks(names)).await?;
            say_gone(&gone);
            for sink in back {
                tracing::error!(%sink, "another hub took over this sink and dropped its pending deliveries; this hub serves it again");
            }
            Ok::<_, ApplyError>(())
        };
        if let Err(error) = kept.await {
            tracing::error!("cannot record that this hub serves its sinks: {error}");
        }
    }
}

/// Works until the hub stops; restarts a worker that panics.
async fn supervised(worker: Worker) {
    loop {
        let sink = worker.sink.name.clone();
        // Aborts the worker when this task ends.
        let mut task = JoinSet::new();
        task.spawn(worker.clone().work());
        match task.join_next().await {
            None | Some(Ok(())) => return,
            Some(Err(error)) => {
                tracing::error!(%sink, "the worker of this sink failed, restarting it: {error}");
                tokio::time::sleep(AFTER_PANIC).await;
            }
        }
    }
}

fn say_gone(gone: &[(crate::domain::sink::SinkName, u64)]) {
    for (sink, given_up) in gone {
        tracing::warn!(%sink, given_up, "no hub has this sink any more; what it published is left in place");
    }
}

impl OpenSink {
    /// The form that is stored.
    fn configured(&self) -> ConfiguredSink {
        ConfiguredSink {
            name: self.name.clone(),
            kind: self.kind.as_str(),
            is_state: matches!(self.sink, Sink::State(_)),
            takes: self.filter.clone(),
            fingerprint: self.fingerprint.clone(),
            tell_failures: self.tell_failures.clone(),
        }
    }
}
