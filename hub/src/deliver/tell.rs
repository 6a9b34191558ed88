//! Tells an event sink every change, in order per hostname.

use std::collections::HashSet;

use silo_shared::silo::{Family, Hostname, SiloId};
use tokio::time::{Instant, timeout};

use super::sink::{Event, EventKind, EventSink, Outcome, SEND_DEADLINE, Told, Trouble};
use super::worker::{LEASE_SECONDS, Round, RoundError, SHIFT, Worker};
use crate::domain::change::AddressChange;
use crate::domain::time::Time;
use crate::registry::{BeginTelling, EndTelling};
use crate::store::{Happening, PendingEvent, StoreError};

/// How many deliveries are looked at.
const WINDOW: i64 = 500;
/// How many events one message may hold.
const MOST_TOGETHER: usize = 100;

/// Which of the pending deliveries come next.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// These, oldest first.
    Tell(Vec<PendingEvent>),
    /// None before this time.
    Until(i64),
    /// None at all.
    Nothing,
}

impl Worker {
    pub(super) async fn tell_round(
        &self,
        sink: &dyn EventSink,
        now: Time,
    ) -> Result<Round, RoundError> {
        self.look_for_quiet(sink, now).await?;
        let pending = self
            .office
            .store
            .pending_events(&self.sink.name, WINDOW)
            .await?;
        let gather = i64::try_from(sink.gather().as_millis()).unwrap_or(i64::MAX);
        let events = match next(pending, gather, now) {
            Next::Nothing => return Ok(Round::Idle),
            Next::Until(at) => return Ok(Round::Until(at)),
            Next::Tell(events) => events,
        };
        let lease = BeginTelling {
            sink: self.sink.name.clone(),
            owner: self.owner.clone(),
            lease_seconds: LEASE_SECONDS,
        };
        if !self.office.registry.apply(lease).await? {
            return Ok(Round::Idle);
        }
        // What was read before the lease was taken may have been told by another worker since.
        let pending = self
            .office
            .store
            .pending_events(&self.sink.name, WINDOW)
            .await?;
        let events: Vec<_> = pending
            .into_iter()
            .filter(|event| events.iter().any(|other| other.id == event.id))
            .collect();
        let ended = self.tell_all(sink, events).await?;
        let command = EndTelling {
            sink: self.sink.name.clone(),
            owner: self.owner.clone(),
            ended,
            max_attempts: sink.max_attempts(),
            jitter: self.jitter(),
        };
        self.office.registry.apply(command).await?;
        Ok(Round::Again)
    }

    /// Tells together what is gathered, else one after another.
    async fn tell_all(
        &self,
        sink: &dyn EventSink,
        pending: Vec<PendingEvent>,
    ) -> Result<Vec<(i64, i64, Told)>, RoundError> {
        let begun = Instant::now();
        let together = if sink.gather().is_zero() {
            1
        } else {
            MOST_TOGETHER
        };
        let mut ended = Vec::with_capacity(pending.len());
        for some in pending.chunks(together) {
            let mut events = Vec::with_capacity(some.len());
            for pending in some {
                events.push(self.event(pending).await?);
            }
            let told = match timeout(SEND_DEADLINE, sink.tell(&events)).await {
                Ok(told) => told,
                Err(_) => events.iter().map(too_slow).collect(),
            };
            let mut stop = false;
            for (pending, told) in some.iter().zip(told) {
                self.log_told(pending, &told.outcome);
                stop |= !matches!(told.outcome, Outcome::Done);
                ended.push((pending.id, pending.attempts, told));
            }
            // After a failure the order is looked at anew.
            if stop || begun.elapsed() > SHIFT || self.office.revision.is_over() {
                break;
            }
        }
        Ok(ended)
    }

    fn log_told(&self, pending: &PendingEvent, outcome: &Outcome) {
        let (sink, silo, delivery) = (&self.sink.name, &pending.silo, pending.id);
        match outcome {
            Outcome::Done | Outcome::Found(_) | Outcome::Waiting => {
                tracing::debug!(%sink, %silo, delivery, "told");
            }
            Outcome::Retry(trouble) => {
                tracing::warn!(%sink, %silo, delivery, "not told yet: {}", trouble.why);
            }
            Outcome::Failed(trouble) | Outcome::Refused(trouble) => {
                tracing::error!(%sink, %silo, delivery, "not told: {}", trouble.why);
            }
        }
    }

    /// What is to be told of a delivery.
    async fn event(&self, pending: &PendingEvent) -> Result<Event, StoreError> {
        let store = &self.office.store;
        let concerns = |hostname: &Hostname| pending.names.iter().any(|(name, _)| name == hostname);
        let mut changes = Vec::new();
        let mut via = String::new();
        let kind = match pending.happening {
            Happening::Unseen => EventKind::Unseen,
            Happening::Back => EventKind::Back,
            Happening::Change | Happening::Reconcile | Happening::Clean => EventKind::Change,
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
            told: pending.told.clone(),
        })
    }
}

fn too_slow(event: &Event) -> Told {
    Told {
        told: event.told.clone(),
        outcome: Outcome::Retry(Trouble::of_sink("it took too long")),
    }
}

/// A delivery's turn comes once it is due and no older one that is still owed names one of its
/// hostnames. What is gathered waits until the oldest has waited long enough.
fn next(pending: Vec<PendingEvent>, gather_ms: i64, now: Time) -> Next {
    let mut held_back: HashSet<(SiloId, Hostname)> = HashSet::new();
    let mut ready = Vec::new();
    let mut earliest: Option<i64> = None;
    let mut sooner = |at: i64| earliest = Some(earliest.map_or(at, |known| known.min(at)));
    for event in pending {
        let keys: Vec<_> = event
            .names
            .iter()
            .map(|(hostname, _)| (event.silo.clone(), hostname.clone()))
            .collect();
        let waits = keys.iter().any(|key| held_back.contains(key));
        let is_due = event.next_at <= now.as_millis();
        if waits || !is_due {
            if !waits {
                sooner(event.next_at);
            }
            held_back.extend(keys);
        } else {
            ready.push(event);
        }
    }
    if let Some(oldest) = ready.first()
        && gather_ms > 0
    {
        // What was tried before has waited already.
        let due = oldest.created_at.as_millis().saturating_add(gather_ms);
        if ready.iter().all(|event| event.attempts == 0) && due > now.as_millis() {
            sooner(due);
            ready.clear();
        }
        ready.truncate(MOST_TOGETHER);
    }
    match (ready.is_empty(), earliest) {
        (false, _) => Next::Tell(ready),
        (true, Some(at)) => Next::Until(at),
        (true, None) => Next::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(id: i64, names: &[&str], next_at: i64) -> PendingEvent {
        PendingEvent {
            id,
            happening: Happening::Change,
            silo: SiloId::parse("office").unwrap(),
            revision: id,
            created_at: Time::from_millis(id * 1000),
            next_at,
            attempts: i64::from(next_at > 0),
            last_seen: None,
            told: Vec::new(),
            names: names
                .iter()
                .map(|name| (Hostname::parse(name).unwrap(), None))
                .collect(),
        }
    }

    fn told(next: Next) -> Vec<i64> {
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
        assert_eq!(told(next(events.clone(), 0, now)), [2, 5]);
        assert_eq!(
            next(vec![events[0].clone(), events[2].clone()], 0, now),
            Next::Until(90_000)
        );
        assert_eq!(next(Vec::new(), 0, now), Next::Nothing);
    }

    #[test]
    fn a_burst_is_gathered_from_its_first_change_on() {
        let events = vec![pending(1, &["db"], 0), pending(2, &["db"], 0)];
        let at = |millis| next(events.clone(), 60_000, Time::from_millis(millis));
        assert_eq!(at(2_000), Next::Until(61_000));
        assert_eq!(told(at(61_000)), [1, 2]);
    }
}
