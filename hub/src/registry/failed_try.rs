//! What follows from an attempt to send that failed: when to try again, and how the sink as a whole fares.

use crate::domain::backoff::{has_passed, wait_ms};
use crate::domain::delivery::{Outcome, Trouble};
use crate::domain::time::Time;
use crate::store::{KnownSink, NEVER, SinkTrouble, StoreError, WriteTransaction};

/// What went wrong, if anything did.
pub(super) fn trouble_of(outcome: &Outcome) -> Option<&Trouble> {
    match outcome {
        Outcome::Retry(trouble) | Outcome::Failed(trouble) | Outcome::Refused(trouble) => {
            Some(trouble)
        }
        Outcome::Done | Outcome::Found(_) | Outcome::Waiting => None,
    }
}

/// When to try again after so many attempts.
pub(super) fn next_at(attempts: i64, trouble: &Trouble, jitter: u64, now: Time) -> i64 {
    let wait = now.as_millis().saturating_add(wait_ms(attempts, jitter));
    wait.max(not_before(trouble, now).unwrap_or(wait))
}

/// Before when the receiver asked not to be tried again, in milliseconds since the Unix epoch.
pub(super) fn not_before(trouble: &Trouble, now: Time) -> Option<i64> {
    let wait = i64::try_from(trouble.not_before?.as_millis()).unwrap_or(i64::MAX);
    Some(now.as_millis().saturating_add(wait))
}

/// An attempt that failed for the sink as a whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct FailedTry<'a> {
    /// Why.
    pub(super) trouble: &'a Trouble,
    /// Whether the receiver does not want to be asked again.
    pub(super) is_refused: bool,
    /// Whether the receiver took something before, in the same shift.
    pub(super) is_first: bool,
    /// Any number, for the jitter of the wait.
    pub(super) jitter: u64,
}

impl FailedTry<'_> {
    /// Writes down how the sink as a whole fares after it.
    pub(super) async fn write_down(
        self,
        transaction: &mut WriteTransaction,
        sink: &KnownSink,
        now: Time,
    ) -> Result<(), StoreError> {
        let Trouble {
            why, not_before, ..
        } = self.trouble;
        if is_early(sink, now) && !self.is_refused && !self.is_first && not_before.is_none() {
            // A change asked for this try; the next one by the back-off comes when it would have come anyway.
            return Ok(());
        }
        let attempts = if self.is_first { 0 } else { sink.attempts } + 1;
        let since = sink.failing_since.filter(|_| !self.is_first);
        let trouble = SinkTrouble {
            attempts,
            next_at: match self.is_refused {
                true => NEVER,
                false => next_at(attempts, self.trouble, self.jitter, now),
            },
            can_be_hurried: !self.is_refused && not_before.is_none(),
            failing_since: Some(since.unwrap_or(now)),
            why: Some(why.clone()),
        };
        transaction.set_sink_trouble(&sink.name, &trouble).await
    }
}

/// Whether a sink is tried before its wait is over, since a change asked for it.
pub(super) fn is_early(sink: &KnownSink, now: Time) -> bool {
    !has_passed(sink.next_at, now)
}
