//! The commands of a worker that tells an event sink: take the lease, write down how it ended; and what
//! there is to tell of records that are not seen.

use silo_shared::silo::{Hostname, SiloId};

use super::publishing::{may_send, next_at};
use super::sinks::worse;
use super::{ApplyError, Command};
use crate::domain::delivery::{Outcome, Reach, Told};
use crate::domain::sink::SinkName;
use crate::domain::time::Time;
use crate::store::{DeliveryState, Happening, NEVER, OwedEvent, SinkTrouble, WriteTransaction};

/// Takes the lease of an event sink.
#[derive(Debug)]
pub struct BeginTelling {
    /// The sink.
    pub sink: SinkName,
    /// The worker that asks.
    pub owner: String,
    /// How long it may take, in seconds.
    pub lease_seconds: i64,
}

/// Writes down how telling ended, and gives the lease back.
#[derive(Clone, Debug)]
pub struct EndTelling {
    /// The sink.
    pub sink: SinkName,
    /// The worker that has the lease.
    pub owner: String,
    /// Delivery, how often it was tried before, and how it ended.
    pub ended: Vec<(i64, i64, Told)>,
    /// After how many attempts the sink gives up.
    pub max_attempts: i64,
    /// Any number, for the jitter of waits.
    pub jitter: u64,
}

/// Owes a sink the news that a record is not seen any more, or is seen again.
#[derive(Debug)]
pub struct NoteQuiet {
    /// The sink.
    pub sink: SinkName,
    /// The record's silo.
    pub silo: SiloId,
    /// The record.
    pub hostname: Hostname,
    /// `true`: it is not seen; `false`: it is again, or it is gone.
    pub unseen: bool,
    /// Last seen before this, it counts as not seen.
    pub before: Time,
}

impl Command for BeginTelling {
    /// Whether the worker has the lease.
    type Outcome = bool;

    async fn run(&self, transaction: &mut WriteTransaction, now: Time) -> Result<bool, ApplyError> {
        let sink = transaction.sink(&self.sink).await?;
        if !sink.is_some_and(|sink| may_send(&sink, &self.owner, now)) {
            return Ok(false);
        }
        let until = now.plus_seconds(self.lease_seconds);
        transaction
            .set_lease(&self.sink, &self.owner, until)
            .await?;
        Ok(true)
    }
}

impl Command for EndTelling {
    type Outcome = ();

    async fn run(&self, transaction: &mut WriteTransaction, now: Time) -> Result<(), ApplyError> {
        let Some(sink) = transaction.sink(&self.sink).await? else {
            return Ok(());
        };
        let mut whole = None;
        for (id, attempts, Told { told, outcome }) in &self.ended {
            let attempts = attempts + 1;
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
            if let Some(trouble) = trouble.filter(|trouble| trouble.reach == Reach::Sink) {
                whole = Some((trouble, matches!(outcome, Outcome::Refused(_))));
            }
            let next_at = match (state, trouble) {
                (DeliveryState::Failed, _) => NEVER,
                (DeliveryState::Pending, Some(trouble)) if trouble.reach == Reach::Name => {
                    next_at(attempts, trouble, self.jitter, now)
                }
                _ => 0,
            };
            let why = trouble.map(|trouble| trouble.why.as_str());
            transaction
                .end_event(*id, state, now, attempts, next_at, why, told)
                .await?;
        }
        match whole {
            Some((trouble, is_refused)) => {
                let next_at = match is_refused {
                    true => NEVER,
                    false => next_at(sink.attempts + 1, trouble, self.jitter, now),
                };
                let trouble = worse(&sink, next_at, &trouble.why, now);
                transaction.set_sink_trouble(&self.sink, &trouble).await?;
            }
            None if sink.attempts > 0 && !self.ended.is_empty() => {
                transaction
                    .set_sink_trouble(&self.sink, &SinkTrouble::default())
                    .await?;
            }
            None => {}
        }
        if sink.lease_owner == self.owner {
            transaction
                .set_lease(&self.sink, "", Time::default())
                .await?;
        }
        Ok(())
    }
}

impl Command for NoteQuiet {
    /// Whether there was something to tell.
    type Outcome = bool;

    async fn run(&self, transaction: &mut WriteTransaction, now: Time) -> Result<bool, ApplyError> {
        let (sink, silo, hostname) = (&self.sink, &self.silo, &self.hostname);
        let record = transaction.record(silo, hostname).await?;
        let told = transaction.unseen(sink, silo, hostname).await?;
        let (happening, last_seen) = match (&record, told) {
            (Some(record), None) if self.unseen && record.last_seen < self.before => {
                transaction
                    .put_unseen(sink, silo, hostname, record.last_seen)
                    .await?;
                (Happening::Unseen, record.last_seen)
            }
            (Some(record), Some(told)) if !self.unseen && record.last_seen > told => {
                transaction.remove_unseen(sink, silo, hostname).await?;
                (Happening::Back, record.last_seen)
            }
            (None, Some(_)) => {
                // It was removed, which the sink is told by itself.
                transaction.remove_unseen(sink, silo, hostname).await?;
                return Ok(false);
            }
            _ => return Ok(false),
        };
        let owed = OwedEvent {
            sink,
            happening,
            silo,
            revision: record.as_ref().map_or(0, |record| record.revision),
            at: now,
            last_seen: Some(last_seen),
        };
        let notify = record.and_then(|record| record.attributes.notify);
        transaction
            .owe(&owed, &[(hostname.clone(), notify)])
            .await?;
        Ok(true)
    }
}
