//! Tells others of committed changes: DNS servers, DDNS providers, Plesk, mailboxes, webhooks.
//!
//! Every change leaves a row in the outbox for each sink that wants to hear of it, in the change's own
//! transaction. A [`worker`] a sink takes the rows up under a lease, so that of several hubs only one
//! sends, calls the sink outside of any transaction, and writes down how it ended. State sinks are
//! brought to what is true now ([`publish`], compared from time to time by [`reconcile`]); event sinks
//! are told every change ([`tell`]).

pub mod dyndns2;
pub mod email;
mod http_client;
pub mod plesk;
pub mod publish;
pub mod quiet;
pub mod reconcile;
pub mod rfc2136;
pub mod settings;
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
use crate::registry::{ApplyError, BeginSinks, ConfiguredSink, KeepSinks, Registry};
use crate::revision::Revision;
use crate::secrets::{NoRandomness, random_name};
use crate::store::Store;

use settings::OpenSink;
use sink::Sink;
use worker::Worker;

/// How often this hub renews its promise to work for its sinks.
const KEEP: Duration = Duration::from_secs(60);
/// How long workers may take to end once the hub is asked to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// What the workers work with.
#[derive(Clone, Debug)]
pub struct Office {
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
    office: Office,
    sinks: Vec<Arc<OpenSink>>,
}

impl Deliveries {
    /// Writes down which sinks this hub serves. `alone`: no other hub can serve this database.
    pub async fn begin(
        office: Office,
        sinks: Vec<OpenSink>,
        alone: bool,
    ) -> Result<Self, ApplyError> {
        let known = office.store.sinks().await?;
        if sinks.is_empty() && known.is_empty() {
            return Ok(Self {
                office,
                sinks: Vec::new(),
            });
        }
        let configured = sinks.iter().map(OpenSink::configured).collect();
        let begun = office
            .registry
            .apply(BeginSinks {
                sinks: configured,
                alone,
            })
            .await?;
        for sink in &begun.differing {
            tracing::error!(%sink, "another hub on this database has this sink with other settings, or has it while this hub does not: give all hubs the same sinks");
        }
        say_gone(&begun.gone);
        Ok(Self {
            office,
            sinks: sinks.into_iter().map(Arc::new).collect(),
        })
    }

    /// One worker a sink, which sign their leases with `owner`.
    pub fn workers(&self, owner: &str) -> Vec<Worker> {
        let worker = |sink| Worker::new(self.office.clone(), Arc::clone(sink), owner.to_owned());
        self.sinks.iter().map(worker).collect()
    }

    /// Works until the hub stops, which the bus tells.
    pub async fn work(self) -> Result<(), NoRandomness> {
        let owner = random_name()?;
        let mut workers = JoinSet::new();
        for worker in self.workers(&owner) {
            workers.spawn(worker.work());
        }
        let mut news = self.office.revision.subscribe();
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
        Ok(())
    }

    async fn keep(&self) {
        if self.sinks.is_empty() {
            return;
        }
        let names = self.sinks.iter().map(|sink| sink.name.clone()).collect();
        match self.office.registry.apply(KeepSinks(names)).await {
            Ok(gone) => say_gone(&gone),
            Err(error) => tracing::error!("cannot write down that this hub is here: {error}"),
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
        }
    }
}
