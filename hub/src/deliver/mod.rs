//! Tells others of committed changes: DNS servers, DDNS providers, Plesk, mailboxes, webhooks.
//!
//! Every change leaves a row in the outbox for each sink that wants to hear of it, in the change's own
//! transaction. A [`worker`] a sink takes the rows up under a lease, so that of several hubs only one
//! sends, calls the sink outside of any transaction, and writes down how it ended. State sinks are
//! brought to what is true now ([`publish`], compared from time to time by [`reconcile`]); event sinks
//! are told every change ([`tell`]).

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
pub mod webhook;
pub mod worker;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::domain::time::{Clock, Time};
use crate::follow::revision::Revision;
use crate::registry::{ApplyError, BeginSinks, ConfiguredSink, KeepSinks, Registry};
use crate::store::Store;

use kinds::OpenSink;
use sink::Sink;
use worker::Worker;

/// How often this hub renews its promise to work for its sinks.
const KEEP: Duration = Duration::from_secs(60);
/// How long a worker that panicked is left alone.
const AFTER_PANIC: Duration = Duration::from_secs(10);
/// How long workers may take to end once the hub is asked to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// What the workers work with.
#[derive(Clone, Debug)]
pub struct WorkerContext {
    /// Where they look up what is owed.
    pub store: Store,
    /// Where they write down how it ended.
    pub registry: Registry,
    /// What wakes them.
    pub revision: Revision,
    /// The time.
    pub clock: Clock,
    /// Since when this hub hears writes: silence before does not count.
    pub since: Time,
}

/// The workers of all sinks.
#[derive(Debug)]
pub struct Deliveries {
    context: WorkerContext,
    sinks: Vec<Arc<OpenSink>>,
}

impl Deliveries {
    /// Writes down which sinks this hub serves. `alone`: no other hub can serve this database.
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
        let begun = this.context.registry.apply(command).await?;
        for sink in &begun.differing {
            tracing::warn!(%sink, "another hub on this database had this sink with other settings within the last minutes, or has it while this one does not: hubs that share a database must have the same sinks");
        }
        say_gone(&begun.gone);
        Ok(this)
    }

    /// The sinks.
    pub fn sinks(&self) -> &[Arc<OpenSink>] {
        &self.sinks
    }

    /// One worker a sink, which sign their leases with `owner`.
    pub fn workers(&self, owner: &str) -> Vec<Worker> {
        let worker = |sink| Worker::new(self.context.clone(), Arc::clone(sink), owner.to_owned());
        self.sinks.iter().map(worker).collect()
    }

    /// Works until the hub stops, which the bus tells. `owner`: who signs the leases.
    pub async fn work(self, owner: String) {
        let mut workers = JoinSet::new();
        for worker in self.workers(&owner) {
            workers.spawn(supervised(worker));
        }
        let mut news = self.context.revision.subscribe_to_deliveries();
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
            // What was cut off is claimed, and settled at the next start.
            workers.abort_all();
        }
    }

    /// Renews the promise to work for the sinks, and gives up those that no hub promises for.
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
            tracing::error!("cannot write down that this hub serves its sinks: {error}");
        }
    }
}

/// Works until the hub stops; a worker that fails in a way that it can't handle is begun anew.
async fn supervised(worker: Worker) {
    loop {
        let sink = worker.sink.name.clone();
        // Ends with this task.
        let mut task = JoinSet::new();
        task.spawn(worker.clone().work());
        match task.join_next().await {
            None | Some(Ok(())) => return,
            Some(Err(error)) => {
                tracing::error!(%sink, "the worker of this sink failed and is begun anew: {error}");
                tokio::time::sleep(AFTER_PANIC).await;
            }
        }
    }
}

fn say_gone(gone: &[(crate::domain::sink::SinkName, u64)]) {
    for (sink, given_up) in gone {
        tracing::warn!(%sink, given_up, "no hub has this sink any more: what it published stays as it is");
    }
}

impl OpenSink {
    /// As it is written down.
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
