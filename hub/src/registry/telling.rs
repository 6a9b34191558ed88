//! The commands of an event sink's worker: take the lease, write the results, and report records
//! that are not seen.

use std::collections::{BTreeMap, BTreeSet};

use silo_shared::silo::{Hostname, SiloId};

use super::failed_try::{FailedTry, is_early, next_at, not_before, trouble_of};
use super::failing::RecordResults;
use super::publishing::may_send;
use super::{ApplyError, Command};
use crate::domain::delivery::{DeliveryResult, Outcome, Reach};
use crate::domain::elapsed::is_ahead;
use crate::domain::revision::Revision;
use crate::domain::sink::SinkName;
use crate::domain::time::Time;
use crate::store::{
    DeliveryKind, DeliveryState, DueName, EventDelivery, NEVER, NextAttempt, Queries, SinkTrouble,
    StoreError, WriteTransaction,
};

/// Delay before a worker asks again for the result of what is still being sent, in milliseconds.
const ASK_AGAIN_MS: i64 = 10_000;
/// The reason shown until then.
const NO_ANSWER_YET: &str = "sent; the receiver has not answered yet";

/// Takes the lease of an event sink.
#[derive(Debug)]
pub struct BeginTelling {
    /// The sink.
    pub sink: SinkName,
    /// The requesting worker.
    pub owner: String,
    /// Duration of the lease, in seconds.
    pub lease_seconds: i64,
}

/// Extends the lease of an event sink of which something is still being sent.
#[derive(Debug)]
pub struct KeepLease {
    /// The sink.
    pub sink: SinkName,
    /// The worker that holds the lease.
    pub owner: String,
    /// Duration of the lease, in seconds.
    pub lease_seconds: i64,
}

/// Writes the results of sends, and releases the lease.
#[derive(Clone, Debug)]
pub struct EndTelling {
    /// The sink.
    pub sink: SinkName,
    /// The worker that holds the lease.
    pub owner: String,
    /// Whether something is still being sent: the lease is not released.
    pub keeps_lease: bool,
    /// Delivery, number of earlier attempts, and result.
    pub ended: Vec<(i64, i64, DeliveryResult)>,
    /// Attempts before the sink gives up.
    pub max_attempts: i64,
    /// A random number, for the jitter of waits.
    pub jitter: u64,
}

/// Enqueues an event that a record is no longer seen, or is seen again.
#[derive(Debug)]
pub struct ReportUnseen {
    /// The sink.
    pub sink: SinkName,
    /// The record's silo.
    pub silo: SiloId,
    /// The record.
    pub hostname: Hostname,
    /// `true`: it is not seen; `false`: it is seen again, or removed.
    pub unseen: bool,
    /// A record last seen before this time counts as not seen.
    pub before: Time,
}

impl Command for BeginTelling {
    /// Whether the worker got the lease.
    type Outcome = bool;

    async fn run(&self, transaction: &mut WriteTransaction, now: Time) -> Result<bool, ApplyError> {
        let sink = transaction.sink(&self.sink).await?;
        let may_send = |sink: &_| may_send(sink, &self.owner, self.lease_seconds, now);
        let Some(sink) = sink.filter(may_send) else {
            return Ok(false);
        };
        if sink.hurry_at.is_some_and(|at| at != NEVER) {
            transaction.end_hurry(&sink.name).await?;
        }
        let until = now.plus_seconds(self.lease_seconds);
        transaction
            .set_lease(&self.sink, &self.owner, until)
            .await?;
        Ok(true)
    }
}

impl Command for KeepLease {
    type Outcome = ();

    async fn run(&self, transaction: &mut WriteTransaction, now: Time) -> Result<(), ApplyError> {
        let sink = transaction.sink(&self.sink).await?;
        // A retry by hand lifts the lease.
        if sink.is_some_and(|sink| sink.lease_owner == self.owner || sink.lease_owner.is_empty()) {
            let until = now.plus_seconds(self.lease_seconds);
            transaction
                .set_lease(&self.sink, &self.owner, until)
                .await?;
        }
        Ok(())
    }
}

impl Command for EndTelling {
    type Outcome = ();

    async fn run(&self, transaction: &mut WriteTransaction, now: Time) -> Result<(), ApplyError> {
        let Some(sink) = transaction.sink(&self.sink).await? else {
            return Ok(());
        };
        let of_sink = |outcome: &Outcome| {
            trouble_of(outcome).is_some_and(|trouble| trouble.reach == Reach::Sink)
        };
        let mut outcomes = self.ended.iter().rev().map(|(.., result)| &result.outcome);
        let whole = outcomes.find(|outcome| of_sink(outcome));
        let taken = |tried: i64| {
            let mut ended = self.ended.iter();
            ended.any(|(_, before, result)| *before >= tried && result.outcome == Outcome::Done)
        };
        let is_back = sink.attempts > 0 && !self.ended.is_empty();
        if whole.is_none() && (is_back || taken(1)) {
            // Before the deliveries just tried get new waits.
            transaction.hurry_events(&self.sink, now).await?;
        }
        let mut failed = BTreeSet::new();
        for (id, before, DeliveryResult { notified, outcome }) in &self.ended {
            // An attempt triggered early by a change while the receiver is unavailable does not
            // count towards a delivery's limit.
            let counts = !(is_early(&sink, now) && of_sink(outcome));
            let is_waiting = *outcome == Outcome::Waiting;
            let attempts = before + i64::from(counts && !is_waiting);
            let (state, trouble) = match outcome {
                Outcome::Done | Outcome::Found(_) => (DeliveryState::Done, None),
                Outcome::Waiting => (DeliveryState::Pending, None),
                Outcome::Retry(trouble) if attempts < self.max_attempts => {
                    (DeliveryState::Pending, Some(trouble))
                }
                Outcome::Retry(trouble) | Outcome::Failed(trouble) | Outcome::Refused(trouble) => {
                    (DeliveryState::Failed, Some(trouble))
                }
            };
            if state == DeliveryState::Failed {
                failed.insert(*id);
            }
            let next_attempt = self.next_attempt(state, outcome, attempts, now);
            let why = trouble.map(|trouble| trouble.why.as_str());
            let why = why.or(is_waiting.then_some(NO_ANSWER_YET));
            transaction
                .end_event(*id, state, now, attempts, next_attempt, why, notified)
                .await?;
        }
        if let Some((outcome, trouble)) =
            whole.and_then(|outcome| Some((outcome, trouble_of(outcome)?)))
        {
            let failed_try = FailedTry {
                trouble,
                is_refused: matches!(outcome, Outcome::Refused(_)),
                is_first: taken(0),
                jitter: self.jitter,
            };
            failed_try.write_down(transaction, &sink, now).await?;
        } else if is_back {
            transaction
                .set_sink_trouble(&self.sink, &SinkTrouble::default())
                .await?;
        }
        if sink.tell_failures.is_some() {
            let results = self.results(transaction, &failed).await?;
            results.report(transaction, &sink, now).await?;
        }
        if sink.lease_owner == self.owner && !self.keeps_lease {
            transaction
                .set_lease(&self.sink, "", Time::default())
                .await?;
        }
        Ok(())
    }
}

impl EndTelling {
    /// When an event is due again after so many attempts.
    fn next_attempt(
        &self,
        state: DeliveryState,
        outcome: &Outcome,
        attempts: i64,
        now: Time,
    ) -> NextAttempt {
        match (state, trouble_of(outcome)) {
            (DeliveryState::Failed, _) => NextAttempt {
                next_at: NEVER,
                not_before: None,
            },
            (DeliveryState::Pending, Some(trouble)) if trouble.reach == Reach::Name => {
                NextAttempt {
                    next_at: next_at(attempts, trouble, self.jitter, now),
                    not_before: not_before(trouble, now),
                }
            }
            _ if *outcome == Outcome::Waiting => NextAttempt {
                next_at: now.as_millis().saturating_add(ASK_AGAIN_MS),
                not_before: None,
            },
            _ => NextAttempt::default(),
        }
    }

    /// The results of the records in the messages, by the last message that names each. `failed`:
    /// the messages that are not sent again.
    async fn results(
        &self,
        transaction: &mut WriteTransaction,
        failed: &BTreeSet<i64>,
    ) -> Result<RecordResults, StoreError> {
        let ids: Vec<i64> = self.ended.iter().map(|(id, ..)| *id).collect();
        let mut by_id: BTreeMap<i64, Vec<DueName>> = BTreeMap::new();
        for (id, name) in transaction.records_of_events(&ids).await? {
            by_id.entry(id).or_default().push(name);
        }
        let mut results = RecordResults::default();
        for (id, _, result) in &self.ended {
            let names = by_id.remove(id).unwrap_or_default();
            let why = match &result.outcome {
                Outcome::Done | Outcome::Found(_) => None,
                Outcome::Refused(trouble) if trouble.reach == Reach::Sink => {
                    let shown = names.into_iter().next();
                    results.whole = shown.map(|name| (name, trouble.why.clone()));
                    continue;
                }
                Outcome::Retry(trouble) if failed.contains(id) => Some(trouble),
                Outcome::Failed(trouble) | Outcome::Refused(trouble) => Some(trouble),
                Outcome::Waiting | Outcome::Retry(_) => continue,
            };
            results.is_served |= why.is_none_or(|trouble| trouble.reach == Reach::Name);
            let why = why.map(|trouble| trouble.why.clone());
            let records = names.into_iter().map(|name| (name, why.clone()));
            results.records.extend(records);
        }
        Ok(results)
    }
}

/// Whether a record was last seen at `before` or later. A time ahead of the clock does not count.
pub fn is_seen_since(last_seen: Time, before: Time, now: Time) -> bool {
    last_seen >= before && !is_ahead(last_seen, now)
}

impl Command for ReportUnseen {
    /// Whether an event was enqueued.
    type Outcome = bool;

    async fn run(&self, transaction: &mut WriteTransaction, now: Time) -> Result<bool, ApplyError> {
        let (sink, silo, hostname) = (&self.sink, &self.silo, &self.hostname);
        let record = transaction.record(silo, hostname).await?;
        let reported = transaction.unseen(sink, silo, hostname).await?;
        let (kind, last_seen) = match (&record, reported) {
            (Some(record), None)
                if self.unseen && !is_seen_since(record.last_seen, self.before, now) =>
            {
                transaction
                    .put_unseen(sink, silo, hostname, record.last_seen)
                    .await?;
                (DeliveryKind::Unseen, record.last_seen)
            }
            (Some(record), Some(reported)) if !self.unseen && record.last_seen != reported => {
                transaction.remove_unseen(sink, silo, hostname).await?;
                (DeliveryKind::Back, record.last_seen)
            }
            (None, Some(_)) => {
                // Removed; the sink is notified of that separately.
                transaction.remove_unseen(sink, silo, hostname).await?;
                return Ok(false);
            }
            _ => return Ok(false),
        };
        let delivery = EventDelivery {
            sink,
            kind,
            silo,
            revision: record
                .as_ref()
                .map_or(Revision::NONE, |record| record.revision),
            at: now,
            last_seen: Some(last_seen),
            failure: None,
        };
        let notify = record.and_then(|record| record.attributes.notify);
        transaction
            .enqueue_event(&delivery, &[(hostname.clone(), notify)])
            .await?;
        Ok(true)
    }
}
