//! Sends every change to an event sink, in order per hostname.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use silo_shared::silo::{Family, Hostname, SiloId};
use tokio::time::{Instant, timeout};

use super::sink::{DeliveryResult, Event, EventKind, EventSink, Outcome, SEND_DEADLINE, Trouble};
use super::worker::{LEASE_SECONDS, Round, RoundError, SEND_WINDOW, Worker};
use crate::domain::backoff::has_passed;
use crate::domain::change::AddressChange;
use crate::domain::elapsed::lies_ahead;
use crate::domain::time::Time;
use crate::registry::{BeginTelling, EndTelling};
use crate::store::{DeliveryKind, PendingEvent, StoreError};

/// Number of deliveries read at once.
const WINDOW: i64 = 500;
/// Maximum number of messages sent before their results are written.
const MOST_AT_ONCE: usize = 20;
/// Maximum number of events in one message.
const MOST_TOGETHER: usize = 100;

/// The pending deliveries to handle next.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// Send these, oldest first.
    Tell(Vec<PendingEvent>),
    /// Nothing to send before this time, in milliseconds since the epoch.
    Until(i64),
    /// Nothing is pending.
    Nothing,
}

impl Worker {
    pub(super) async fn tell_round(
        &self,
        sink: &dyn EventSink,
        now: Time,
    ) -> Result<Round, RoundError> {
        self.look_for_quiet(sink, now).await?;
        match self.next(sink, now).await? {
            Next::Nothing => return Ok(Round::Idle),
            Next::Until(at) => return Ok(Round::Until(at)),
            Next::Tell(_) => {}
        }
        let lease = BeginTelling {
            sink: self.sink.name.clone(),
            owner: self.owner.clone(),
            lease_seconds: LEASE_SECONDS,
        };
        // The lease starts inside the transaction, the send window before it.
        let started = Instant::now();
        if !self.context.registry.apply(lease).await? {
            return Ok(Round::Idle);
        }
        // Another worker may have sent some before this worker got the lease.
        let ended = match self.next(sink, self.context.clock.now()).await? {
            Next::Tell(events) => self.tell_all(sink, events, started).await,
            Next::Nothing | Next::Until(_) => Vec::new(),
        };
        let command = EndTelling {
            sink: self.sink.name.clone(),
            owner: self.owner.clone(),
            keeps_lease: sink.is_waiting(),
            ended,
            max_attempts: sink.max_attempts(),
            jitter: self.jitter(),
        };
        self.write_down(command).await?;
        Ok(Round::Again)
    }

    /// The pending deliveries to handle next. Reads further pages while all deliveries read are held back.
    async fn next(&self, sink: &dyn EventSink, now: Time) -> Result<Next, RoundError> {
        let gather_ms = i64::try_from(sink.gather().as_millis()).unwrap_or(i64::MAX);
        let is_receiver = |notified: &str| sink.is_receiver(notified);
        let mut queue = Queue::new(now, &is_receiver);
        let mut after = 0;
        loop {
            let page = self
                .context
                .store
                .pending_events(&self.sink.name, after, WINDOW)
                .await?;
            let is_whole = page.len() < usize::try_from(WINDOW).unwrap_or(usize::MAX);
            after = page.last().map_or(after, |event| event.id);
            queue.take_in(page);
            if is_whole || queue.has_some() {
                return Ok(queue.next(gather_ms));
            }
        }
    }

    /// Sends collected events together, otherwise one after another.
    async fn tell_all(
        &self,
        sink: &dyn EventSink,
        pending: Vec<PendingEvent>,
        started: Instant,
    ) -> Vec<(i64, i64, DeliveryResult)> {
        let together = if sink.gather().is_zero() {
            1
        } else {
            MOST_TOGETHER
        };
        let mut ended = Vec::with_capacity(pending.len());
        for some in pending.chunks(together) {
            if started.elapsed() > SEND_WINDOW || self.context.bus.is_stopping() {
                break;
            }
            let mut events = Vec::with_capacity(some.len());
            for pending in some {
                match self.event(pending).await {
                    Ok(event) => events.push(event),
                    Err(error) => {
                        tracing::warn!(sink = %self.sink.name, "cannot read a pending event: {error}");
                        // Results of earlier messages are still written.
                        return ended;
                    }
                }
            }
            let results = match timeout(SEND_DEADLINE, sink.tell(&events)).await {
                Ok(results) => results,
                Err(_) => events.iter().map(too_slow).collect(),
            };
            let mut stop = false;
            for (pending, result) in some.iter().zip(results) {
                self.log_result(pending, &result.outcome);
                self.context.attempts.note(&self.sink.name, &result.outcome);
                stop |= !matches!(result.outcome, Outcome::Done);
                ended.push((pending.id, pending.attempts, result));
            }
            // After a failure, the order is determined again.
            if stop {
                break;
            }
        }
        ended
    }

    fn log_result(&self, pending: &PendingEvent, outcome: &Outcome) {
        let (sink, silo, delivery) = (&self.sink.name, &pending.silo, pending.id);
        match outcome {
            Outcome::Done | Outcome::Found(_) | Outcome::Waiting => {
                tracing::debug!(%sink, %silo, delivery, "delivered");
            }
            Outcome::Retry(trouble) => {
                tracing::warn!(%sink, %silo, delivery, "delivery failed, will retry: {}", trouble.why);
            }
            Outcome::Failed(trouble) | Outcome::Refused(trouble) => {
                tracing::error!(%sink, %silo, delivery, "delivery failed: {}", trouble.why);
            }
        }
    }

    /// The event of a delivery.
    async fn event(&self, pending: &PendingEvent) -> Result<Event, StoreError> {
        let store = &self.context.store;
        let concerns = |hostname: &Hostname| pending.names.iter().any(|(name, _)| name == hostname);
        let mut changes = Vec::new();
        let mut via = String::new();
        let kind = match pending.kind {
            DeliveryKind::Unseen => EventKind::Unseen,
            DeliveryKind::Back => EventKind::Back,
            DeliveryKind::Failing => EventKind::Failing,
            DeliveryKind::Recovered => EventKind::Recovered,
            DeliveryKind::Change | DeliveryKind::Reconcile | DeliveryKind::Clean => {
                EventKind::Change
            }
        };
        if kind == EventKind::Change {
            for row in store.history_at(&pending.silo, pending.revision).await? {
                if concerns(&row.hostname) {
                    via.clone_from(&row.via);
                    changes.push(AddressChange {
                        family: if row.family == 4 {
                            Family::V4
                        } else {
                            Family::V6
                        },
                        hostname: row.hostname,
                        old: row.old,
                        new: row.new,
                    });
                }
            }
        } else {
            for (hostname, _) in &pending.names {
                let record = store.record(&pending.silo, hostname).await?;
                let addresses = record.map(|record| record.addresses).unwrap_or_default();
                changes.extend(addresses.iter().map(|ip| AddressChange {
                    hostname: hostname.clone(),
                    family: Family::of(ip),
                    old: Some(ip),
                    new: Some(ip),
                }));
            }
        }
        let notify = pending.names.iter().filter_map(|(hostname, notify)| {
            notify.clone().map(|notify| (hostname.clone(), notify))
        });
        Ok(Event {
            id: pending.id,
            kind,
            silo: pending.silo.clone(),
            revision: pending.revision,
            at: pending.created_at,
            via,
            changes,
            notify: notify.collect(),
            last_seen: pending.last_seen,
            notified: pending.notified.clone(),
            only_to: pending.only_to.clone(),
            failure: pending.failure.clone().map(|failure| {
                let hostnames = pending.names.iter().map(|(hostname, _)| hostname.clone());
                (failure, hostnames.collect())
            }),
        })
    }
}

fn too_slow(event: &Event) -> DeliveryResult {
    DeliveryResult {
        notified: event.notified.clone(),
        outcome: Outcome::Retry(Trouble::of_sink("timed out")),
    }
}

/// The pending deliveries, in order. A delivery is ready once it is due and no older pending one
/// names one of its hostnames, or, if the sink has several receivers, for those that have got all older
/// ones.
struct Queue<'a> {
    now: Time,
    /// See [`EventSink::is_receiver`].
    is_receiver: &'a (dyn Fn(&str) -> bool + Sync),
    /// The hostnames of deliveries that are not ready, and the receivers that have got all of these.
    held_back: HashMap<(SiloId, Hostname), HashSet<String>>,
    ready: Vec<PendingEvent>,
    earliest: Option<i64>,
}

impl<'a> Queue<'a> {
    fn new(now: Time, is_receiver: &'a (dyn Fn(&str) -> bool + Sync)) -> Self {
        Self {
            now,
            is_receiver,
            held_back: HashMap::new(),
            ready: Vec::new(),
            earliest: None,
        }
    }

    fn has_some(&self) -> bool {
        !self.ready.is_empty()
    }

    fn sooner(&mut self, at: i64) {
        self.earliest = Some(self.earliest.map_or(at, |known| known.min(at)));
    }

    fn take_in(&mut self, events: Vec<PendingEvent>) {
        for mut event in events {
            let keys: Vec<_> = event
                .names
                .iter()
                .map(|(hostname, _)| (event.silo.clone(), hostname.clone()))
                .collect();
            let is_due = has_passed(event.next_at, self.now);
            let reached = self.reached(&keys);
            if is_due && reached.is_none() {
                self.ready.push(event);
                continue;
            }
            if reached.is_none() {
                self.sooner(event.next_at);
            }
            let has_got = |receiver: &String| event.notified.contains(receiver);
            for key in keys {
                match self.held_back.entry(key) {
                    Entry::Occupied(mut of_key) => of_key.get_mut().retain(has_got),
                    Entry::Vacant(of_key) => {
                        let notified = event.notified.iter();
                        let receivers = notified.filter(|entry| (self.is_receiver)(entry));
                        of_key.insert(receivers.cloned().collect());
                    }
                }
            }
            if let Some(reached) = reached
                && is_due
                && !reached.iter().all(has_got)
            {
                event.only_to = Some(reached.into_iter().collect());
                self.ready.push(event);
            }
        }
    }

    /// The receivers that have got all deliveries that hold back one with these hostnames. `None`:
    /// none does.
    fn reached(&self, keys: &[(SiloId, Hostname)]) -> Option<HashSet<String>> {
        let mut reached: Option<HashSet<String>> = None;
        for of_key in keys.iter().filter_map(|key| self.held_back.get(key)) {
            reached = Some(match reached {
                None => of_key.clone(),
                Some(reached) => reached.intersection(of_key).cloned().collect(),
            });
        }
        reached
    }

    /// Collected events wait until the oldest has waited long enough. Otherwise deliveries with the
    /// fewest attempts come first: what looks like a problem of the receiver may be caused by a
    /// single message.
    fn next(mut self, gather_ms: i64) -> Next {
        if gather_ms > 0 {
            // Events that were tried before have waited already; they do not shorten the wait of others.
            let is_fresh = |event: &PendingEvent| event.attempts == 0 && event.notified.is_empty();
            if let Some(oldest) = self.ready.iter().find(|event| is_fresh(event)) {
                let due = oldest.created_at.as_millis().saturating_add(gather_ms);
                if lies_ahead(due, gather_ms, self.now) {
                    self.sooner(due);
                    self.ready.retain(|event| !is_fresh(event));
                }
            }
            self.ready.truncate(MOST_TOGETHER);
        } else {
            self.keep_order();
            self.ready.truncate(MOST_AT_ONCE);
        }
        match (self.ready.is_empty(), self.earliest) {
            (false, _) => Next::Tell(self.ready),
            (true, Some(at)) => Next::Until(at),
            (true, None) => Next::Nothing,
        }
    }

    /// Sorts by attempts, but keeps the order of deliveries of the same hostname.
    fn keep_order(&mut self) {
        let mut most: HashMap<(SiloId, Hostname), i64> = HashMap::new();
        let mut ranked = Vec::with_capacity(self.ready.len());
        for event in self.ready.drain(..) {
            let keys = event
                .names
                .iter()
                .map(|(hostname, _)| (event.silo.clone(), hostname.clone()));
            let keys: Vec<_> = keys.collect();
            let before = keys.iter().filter_map(|key| most.get(key)).max();
            let rank = before.copied().unwrap_or(0).max(event.attempts);
            for key in keys {
                most.insert(key, rank);
            }
            ranked.push((rank, event));
        }
        ranked.sort_by_key(|(rank, event)| (*rank, event.id));
        self.ready
            .extend(ranked.into_iter().map(|(_, event)| event));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(id: i64, names: &[&str], next_at: i64) -> PendingEvent {
        PendingEvent {
            id,
            kind: DeliveryKind::Change,
            silo: SiloId::parse("office").unwrap(),
            revision: id.into(),
            created_at: Time::from_millis(id * 1000),
            next_at,
            attempts: i64::from(next_at > 0),
            last_seen: None,
            failure: None,
            notified: Vec::new(),
            only_to: None,
            names: names
                .iter()
                .map(|name| (Hostname::parse(name).unwrap(), None))
                .collect(),
        }
    }

    fn next(events: Vec<PendingEvent>, gather_ms: i64, now: Time) -> Next {
        let mut queue = Queue::new(now, &|entry| !entry.starts_with('?'));
        queue.take_in(events);
        queue.next(gather_ms)
    }

    fn due(next: Next) -> Vec<i64> {
        match next {
            Next::Tell(events) => events.iter().map(|event| event.id).collect(),
            Next::Until(_) | Next::Nothing => Vec::new(),
        }
    }

    #[test]
    fn a_failing_hostname_holds_back_only_what_names_it() {
        let now = Time::from_millis(10_000);
        let events = vec![
            pending(1, &["db"], 90_000),
            pending(2, &["web"], 0),
            pending(3, &["db", "nas"], 0),
            pending(4, &["nas"], 0),
            pending(5, &["mail"], 0),
        ];
        assert_eq!(due(next(events.clone(), 0, now)), [2, 5]);
        assert_eq!(
            next(vec![events[0].clone(), events[2].clone()], 0, now),
            Next::Until(90_000)
        );
        assert_eq!(next(Vec::new(), 0, now), Next::Nothing);
    }

    #[test]
    fn a_receiver_that_has_got_all_older_events_of_a_hostname_gets_the_next_one() {
        let now = Time::from_millis(10_000);
        let got = |id, next_at, notified: &[&str]| PendingEvent {
            notified: notified.iter().map(|&text| text.to_owned()).collect(),
            ..pending(id, &["db"], next_at)
        };
        let events = vec![
            got(1, 90_000, &["a", "b", "?late 1 <id>"]),
            got(2, 90_000, &["b"]),
            got(3, 0, &[]),
            got(4, 0, &[]),
        ];
        let Next::Tell(ready) = next(events.clone(), 0, now) else {
            panic!("nothing is ready");
        };
        assert_eq!(ready.len(), 1);
        assert_eq!(ready[0].id, 3);
        assert_eq!(ready[0].only_to, Some(vec!["b".to_owned()]));
        // It has got that one, too.
        let (first, second) = (events[0].clone(), events[1].clone());
        let events = vec![first.clone(), second, got(3, 0, &["b"])];
        assert_eq!(next(events, 0, now), Next::Until(90_000));
        let events = vec![first, got(3, 0, &["a", "b"])];
        assert_eq!(next(events, 0, now), Next::Until(90_000));
    }

    #[test]
    fn least_tried_events_come_first_in_order_per_hostname() {
        let tried = |id, names: &[&str], attempts| PendingEvent {
            attempts,
            ..pending(id, names, 0)
        };
        let events = vec![
            tried(1, &["db"], 3),
            tried(2, &["db"], 0),
            tried(3, &["web"], 1),
            tried(4, &["web", "nas"], 0),
            tried(5, &["nas"], 0),
            tried(6, &["mail"], 0),
        ];
        let now = Time::from_millis(10_000);
        assert_eq!(due(next(events, 0, now)), [6, 3, 4, 5, 1, 2]);
    }

    #[test]
    fn what_was_tried_does_not_end_the_gathering_of_other_events() {
        let mut waiting = pending(1, &["db"], 0);
        waiting.notified = vec!["?a@x.net 0 <id>".to_owned()];
        let events = vec![waiting, pending(2, &["web"], 0)];
        let at = |millis| next(events.clone(), 60_000, Time::from_millis(millis));
        assert_eq!(due(at(3_000)), [1]);
        assert_eq!(due(at(62_000)), [1, 2]);
    }

    #[test]
    fn a_burst_is_gathered_from_its_first_change_on() {
        let events = vec![pending(1, &["db"], 0), pending(2, &["db"], 0)];
        let at = |millis| next(events.clone(), 60_000, Time::from_millis(millis));
        assert_eq!(at(2_000), Next::Until(61_000));
        assert_eq!(due(at(61_000)), [1, 2]);
    }
}
