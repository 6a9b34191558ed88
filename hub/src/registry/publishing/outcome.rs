//! Writes the results of publications.

use std::collections::BTreeMap;

use silo_shared::silo::Addresses;

use super::{EndPublishing, TakenUp};
use crate::domain::backoff::LONGEST;
use crate::domain::delivery::{Outcome, Reach, ReceiverState, Trouble, UncertainFamilies};
use crate::domain::time::Time;
use crate::registry::failed_try::{FailedTry, next_at, trouble_of};
use crate::registry::failing::RecordResults;
use crate::registry::{ApplyError, Command};
use crate::store::{
    DueName, KnownSink, Later, LedgerRow, LedgerState, NEVER, PendingName, Queries, SinkTrouble,
    WriteTransaction,
};

/// Delay before the result of a submitted job is checked again, in milliseconds. It doubles each time.
const ASK_AGAIN_MS: i64 = 250;
/// Maximum number of doublings: up to eight seconds.
const WAITING_ATTEMPTS: i64 = 5;

impl Command for EndPublishing {
    type Outcome = ();

    async fn run(&self, transaction: &mut WriteTransaction, now: Time) -> Result<(), ApplyError> {
        let Some(sink) = transaction.sink(&self.sink).await? else {
            return Ok(());
        };
        if sink.lease_owner != self.owner {
            // Another worker took over the expired lease and resolves the claims.
            return Ok(());
        }
        let mut whole = None;
        let (mut reached, mut taken) = (false, false);
        for (_, outcome) in &self.ended {
            match trouble_of(outcome) {
                Some(trouble) if trouble.reach == Reach::Sink => whole = Some((outcome, trouble)),
                _ => reached = true,
            }
            taken |= *outcome == Outcome::Done;
        }
        let is_back = whole.is_none() && reached && sink.attempts > 0;
        self.write_down(transaction, &sink, is_back, now).await?;
        if let Some((outcome, trouble)) = whole {
            let failed = FailedTry {
                trouble,
                is_refused: matches!(outcome, Outcome::Refused(_)),
                is_first: taken,
                jitter: self.jitter,
            };
            failed.write_down(transaction, &sink, now).await?;
        } else if reached && sink.attempts > 0 {
            transaction
                .set_sink_trouble(&self.sink, &SinkTrouble::default())
                .await?;
        }
        transaction
            .set_lease(&self.sink, "", Time::default())
            .await?;
        Ok(())
    }
}

/// Notes the result of a record for failure reports.
fn note_result(results: &mut RecordResults, record: &DueName, outcome: &Outcome) {
    let why = match outcome {
        Outcome::Done => None,
        Outcome::Failed(trouble) | Outcome::Refused(trouble) => Some(trouble),
        Outcome::Found(_) | Outcome::Waiting | Outcome::Retry(_) => {
            results.is_served |= matches!(outcome, Outcome::Found(_));
            return;
        }
    };
    match why {
        Some(trouble) if trouble.reach == Reach::Sink => {
            results.whole = Some((record.clone(), trouble.why.clone()));
        }
        why => {
            results.is_served = true;
            let why = why.map(|trouble| trouble.why.clone());
            results.records.insert(record.clone(), why);
        }
    }
}

impl EndPublishing {
    /// Writes the result of each name, with a few statements for all names. `is_back`: the receiver
    /// was unavailable before.
    async fn write_down(
        &self,
        transaction: &mut WriteTransaction,
        known: &KnownSink,
        is_back: bool,
        now: Time,
    ) -> Result<(), ApplyError> {
        let records: Vec<DueName> = self.ended.iter().map(|(name, _)| name.record()).collect();
        let (sink, through) = (&self.sink, self.through);
        let mut pending = transaction.pending_of(sink, &records, through).await?;
        let mut tried = self.ended.iter().zip(&records);
        let is_cured = tried.any(|((_, outcome), record)| {
            *outcome == Outcome::Done
                && pending
                    .get(record)
                    .is_some_and(|pending| pending.is_failing)
        });
        if is_back || is_cured {
            // Before the names just tried get new waits.
            transaction.hurry_names(sink, now).await?;
        }
        let mut ledger = Vec::new();
        let mut finished = Vec::new();
        let mut postponed: BTreeMap<Later, Vec<(DueName, PendingName)>> = BTreeMap::new();
        let mut results = RecordResults::default();
        for ((name, outcome), record) in self.ended.iter().zip(records) {
            note_result(&mut results, &record, outcome);
            let pending = pending.remove(&record);
            let attempts = pending.as_ref().map_or(0, |pending| pending.attempts);
            let after = after(name, outcome, attempts, self.jitter, now);
            if let Some(ours) = after.ours {
                ledger.push(LedgerRow {
                    name: name.publication.name.clone(),
                    silo: record.silo.clone(),
                    hostname: record.hostname.clone(),
                    ours,
                });
            }
            let Some(pending) = pending else {
                continue;
            };
            match after.again {
                None => finished.push((record, pending)),
                Some(later) => postponed.entry(later).or_default().push((record, pending)),
            }
        }
        results.report(transaction, known, now).await?;
        transaction.put_ledger(sink, &ledger).await?;
        transaction
            .finish_names(sink, &finished, through, None, now)
            .await?;
        for (later, names) in &postponed {
            transaction
                .postpone_names(sink, names, through, later, now)
                .await?;
        }
        Ok(())
    }
}

/// What follows from an attempt at a name.
#[derive(Debug, PartialEq, Eq)]
struct After {
    /// What is ours now; `None`: as claimed before the attempt.
    ours: Option<LedgerState>,
    /// When the name is due again; `None`: it is done.
    again: Option<Later>,
}

/// What follows from the outcome of an attempt at a name that had `attempts` failed ones before. `jitter`: a random
/// number for the wait.
fn after(name: &TakenUp, outcome: &Outcome, attempts: i64, jitter: u64, now: Time) -> After {
    let failed = |trouble: &Trouble| Some(retry(trouble, outcome, attempts + 1, jitter, now));
    let (ours, again) = match outcome {
        Outcome::Done => (Some(surely(name.publication.wanted)), None),
        Outcome::Found(standing) if *standing == name.publication.standing => {
            // The sink makes no progress: don't retry at once.
            let trouble = Trouble::of_name("cannot determine what the receiver publishes");
            (Some(found(*standing)), failed(&trouble))
        }
        Outcome::Found(standing) => {
            let again = Later::soon(attempts, now.as_millis());
            (Some(found(*standing)), Some(again))
        }
        // It may have arrived: the claim remains.
        Outcome::Waiting => {
            let asked = attempts.clamp(0, WAITING_ATTEMPTS);
            let again = Later::soon(
                (asked + 1).min(WAITING_ATTEMPTS).max(attempts),
                now.as_millis() + (ASK_AGAIN_MS << asked),
            );
            (None, Some(again))
        }
        Outcome::Retry(trouble) => (None, failed(trouble)),
        // This attempt wrote nothing; an earlier one may have.
        Outcome::Failed(trouble) | Outcome::Refused(trouble) => {
            (Some(name.before), failed(trouble))
        }
    };
    After { ours, again }
}

/// When a name is due after so many failed attempts.
fn retry(trouble: &Trouble, outcome: &Outcome, attempts: i64, jitter: u64, now: Time) -> Later {
    let next_at = match outcome {
        Outcome::Refused(_) => NEVER,
        // The sink as a whole is on hold. After that, names not yet tried come before this one,
        // which may be the cause of the failure.
        _ if trouble.reach == Reach::Sink => now.as_millis(),
        Outcome::Failed(_) => {
            next_at(attempts, trouble, jitter, now).max(now.plus_seconds(LONGEST).as_millis())
        }
        _ => next_at(attempts, trouble, jitter, now),
    };
    Later {
        failed: matches!(outcome, Outcome::Failed(_) | Outcome::Refused(_)),
        attempts,
        next_at,
        why: Some(trouble.why.clone()),
    }
}

/// What is ours once the receiver accepted these addresses.
fn surely(wanted: Addresses) -> LedgerState {
    LedgerState {
        claimed: None,
        published: (!wanted.is_empty()).then_some(wanted),
        unsure: UncertainFamilies::default(),
    }
}

/// What is ours according to a sink's query.
fn found(standing: ReceiverState) -> LedgerState {
    match standing {
        ReceiverState::Nothing => LedgerState::default(),
        ReceiverState::Published(published) => surely(published),
        ReceiverState::Claimed(claimed) => LedgerState {
            claimed: Some(claimed),
            published: None,
            unsure: UncertainFamilies::BOTH,
        },
        ReceiverState::Replacing {
            published,
            sent,
            unsure,
        } => LedgerState {
            claimed: Some(sent),
            published: Some(published),
            unsure,
        },
    }
}

#[cfg(test)]
#[path = "outcome_tests.rs"]
mod tests;
