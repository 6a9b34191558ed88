//! Scripted sinks, and a desk with which a test processes their pending deliveries.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use silo_hub::internals::deliver::sink::{
    Answer, DeliveryResult, Event, EventSink, Outcome, Publication, Sink, StateSink, Trouble,
};
use silo_hub::internals::deliver::worker::{Round, Worker};
use silo_hub::internals::deliver::{Deliveries, WorkerContext};
use silo_hub::internals::domain::sink::{SinkFilter, SinkName};
use silo_hub::internals::domain::time::Time;
use silo_hub::internals::open_hub::OpenHub;
use silo_hub::internals::{deliver::kinds::OpenSink, sinks::SinkKind};
use silo_shared::silo::{Addresses, Hostname};
use tokio::sync::Notify;

use crate::common::{START_MS, TestHub};

/// What a scripted sink was asked and will answer; `Done` once the script is over.
#[derive(Debug, Default)]
pub(crate) struct Script {
    answers: Mutex<VecDeque<Outcome>>,
    asked: Mutex<Vec<Publication>>,
    notified: Mutex<Vec<Vec<Event>>>,
    hangs: AtomicBool,
    host_names_only: AtomicBool,
    hung: Notify,
    /// Whether the receiver still has what was published; `None`: it can't be asked.
    holds: Mutex<Option<Result<bool, Trouble>>>,
}

impl Script {
    /// The next answers.
    pub(super) fn will(&self, answers: impl IntoIterator<Item = Outcome>) {
        self.answers.lock().unwrap().extend(answers);
    }

    /// The next answers, and none that were to come before.
    pub(super) fn will_only(&self, answers: impl IntoIterator<Item = Outcome>) {
        *self.answers.lock().unwrap() = answers.into_iter().collect();
    }

    /// From now on it takes only names that DNS takes for host names.
    pub(super) fn takes_host_names_only(&self) {
        self.host_names_only.store(true, Ordering::Release);
    }

    /// From now on it says whether it still has what was published.
    pub(super) fn will_hold(&self, holds: Result<bool, Trouble>) {
        *self.holds.lock().unwrap() = Some(holds);
    }

    /// It answers nothing any more.
    pub(super) fn will_hang(&self) {
        self.hangs.store(true, Ordering::Release);
    }

    /// Returns when it was asked and does not answer.
    pub(super) async fn hung(&self) {
        self.hung.notified().await;
    }

    /// What was asked since the last call.
    pub(super) fn asked(&self) -> Vec<Publication> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    /// The messages sent since the last call.
    pub(super) fn told(&self) -> Vec<Vec<Event>> {
        std::mem::take(&mut self.notified.lock().unwrap())
    }

    fn answer(&self) -> Outcome {
        let answer = self.answers.lock().unwrap().pop_front();
        answer.unwrap_or(Outcome::Done)
    }
}

/// A state sink that calls records by their hostname with `.example`, and takes none that begin with `x`.
struct ScriptedState(Arc<Script>);

impl StateSink for ScriptedState {
    fn published_name(&self, hostname: &Hostname) -> Result<String, String> {
        if hostname.as_str().starts_with('x') {
            Err("no name of this zone".to_owned())
        } else {
            Ok(format!("{hostname}.example"))
        }
    }

    fn takes_host_names_only(&self) -> bool {
        self.0.host_names_only.load(Ordering::Acquire)
    }

    fn publish<'a>(&'a self, publication: &'a Publication) -> Answer<'a, Outcome> {
        Box::pin(async move {
            self.0.asked.lock().unwrap().push(publication.clone());
            if self.0.hangs.load(Ordering::Acquire) {
                self.0.hung.notify_one();
                std::future::pending().await
            }
            self.0.answer()
        })
    }

    fn observe<'a>(&'a self, _: &'a str) -> Answer<'a, Option<Result<Addresses, Trouble>>> {
        Box::pin(async { None })
    }

    fn holds<'a>(
        &'a self,
        _: &'a str,
        _: &'a Addresses,
    ) -> Answer<'a, Option<Result<bool, Trouble>>> {
        Box::pin(async { self.0.holds.lock().unwrap().clone() })
    }

    fn check(&self) -> Answer<'_, Result<String, String>> {
        Box::pin(async { Ok("it is a test's".to_owned()) })
    }
}

/// How a scripted event sink behaves.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Manner {
    /// How long it gathers, in seconds.
    pub(super) gather: u64,
    /// After how many seconds of silence it wants to hear of a record.
    pub(super) unseen_after: Option<u64>,
}

struct ScriptedEvents(Arc<Script>, Manner);

impl EventSink for ScriptedEvents {
    fn gather(&self) -> Duration {
        Duration::from_secs(self.1.gather)
    }

    fn max_attempts(&self) -> i64 {
        3
    }

    fn unseen_after(&self) -> Option<Duration> {
        self.1.unseen_after.map(Duration::from_secs)
    }

    fn tell<'a>(&'a self, events: &'a [Event]) -> Answer<'a, Vec<DeliveryResult>> {
        Box::pin(async move {
            self.0.notified.lock().unwrap().push(events.to_vec());
            let told = |event: &Event| DeliveryResult {
                notified: [
                    event.notified.clone(),
                    vec![format!("try {}", event.notified.len())],
                ]
                .concat(),
                outcome: self.0.answer(),
            };
            events.iter().map(told).collect()
        })
    }

    fn check(&self) -> Answer<'_, Result<String, String>> {
        Box::pin(async { Ok("it is a test's".to_owned()) })
    }
}

/// A sink of the kind `kind` that takes everything.
fn open(name: &str, kind: SinkKind, sink: Sink) -> OpenSink {
    OpenSink {
        name: SinkName::parse(name).unwrap(),
        kind,
        filter: SinkFilter::default(),
        fingerprint: "as first configured".to_owned(),
        tell_failures: None,
        sink,
    }
}

/// A scripted state sink.
pub(crate) fn state_sink(name: &str) -> (OpenSink, Arc<Script>) {
    let script = Arc::new(Script::default());
    let sink = Sink::State(Box::new(ScriptedState(Arc::clone(&script))));
    (open(name, SinkKind::Rfc2136, sink), script)
}

/// A scripted event sink.
pub(super) fn event_sink(name: &str, manner: Manner) -> (OpenSink, Arc<Script>) {
    let script = Arc::new(Script::default());
    let sink = Sink::Event(Box::new(ScriptedEvents(Arc::clone(&script), manner)));
    (open(name, SinkKind::Email, sink), script)
}

/// A hub's delivery workers, which work when a test says so.
pub(crate) struct Desk {
    pub(crate) workers: Vec<Worker>,
}

impl Desk {
    /// Workers of `owner` for these sinks, as at the start of a hub that is alone.
    pub(crate) async fn begin(hub: &OpenHub, owner: &str, sinks: Vec<OpenSink>) -> Self {
        Self::begin_beside(hub, owner, sinks, true).await
    }

    /// Workers of a hub beside which others may run.
    pub(crate) async fn begin_beside(
        hub: &OpenHub,
        owner: &str,
        sinks: Vec<OpenSink>,
        alone: bool,
    ) -> Self {
        let office = WorkerContext {
            store: hub.store.clone(),
            registry: hub.registry.clone(),
            bus: hub.bus.clone(),
            clock: hub.clock.clone(),
            since: Time::from_millis(START_MS),
            attempts: hub.attempts.clone(),
        };
        let deliveries = Deliveries::begin(office, sinks, alone).await.unwrap();
        Self {
            workers: deliveries.workers(owner),
        }
    }

    /// Works until there is nothing to do at this moment.
    pub(crate) async fn work(&self) {
        for worker in &self.workers {
            let mut rounds = 0;
            while worker.round().await.unwrap() == Round::Again {
                rounds += 1;
                assert!(rounds < 1000, "the worker goes round in circles");
            }
        }
    }
}

/// The deliveries as an admin sees them, newest first, by filter.
pub(crate) async fn deliveries(hub: &TestHub, filter: &str) -> Vec<Value> {
    let answer = hub.get(&format!("/deliveries?limit=1000&{filter}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json().as_array().unwrap().clone()
}

/// How many deliveries are pending, failed and done.
pub(crate) async fn counts(hub: &TestHub) -> [usize; 3] {
    let mut counts = [0; 3];
    for (count, state) in counts.iter_mut().zip(["pending", "failed", "done"]) {
        *count = deliveries(hub, &format!("state={state}")).await.len();
    }
    counts
}

/// These addresses.
pub(crate) fn addresses(ips: &[&str]) -> Addresses {
    ips.iter()
        .map(|ip| ip.parse::<std::net::IpAddr>().unwrap())
        .collect()
}
