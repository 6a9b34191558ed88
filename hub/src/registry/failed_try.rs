//! Consequences of a failed send: when to try again, and the state of the sink as a whole.

use crate::domain::backoff::{has_passed, wait_ms};
use crate::domain::delivery::{Outcome, Trouble};
use crate::domain::time::Time;
use crate::store::{KnownSink, NEVER, SinkTrouble, StoreError, WriteTransaction};

/// The failure, if the attempt failed.
pub(super) fn trouble_of(outcome: &Outcome) -> Option<&Trouble> {
    match outcome {
        Outcome::Retry(trouble) | Outcome::Failed(trouble) | Outcome::Refused(trouble) => {
            Some(trouble)
        }
        Outcome::Done | Outcome::Found(_) | Outcome::Waiting => None,
    }
}

/// When to try again after this many attempts, in milliseconds since the Unix epoch.
pub(super) fn next_at(attempts: i64, trouble: &Trouble, jitter: u64, now: Time) -> i64 {
    let wait = now.as_millis().saturating_add(wait_ms(attempts, jitter));
    wait.max(not_before(trouble, now).unwrap_or(wait))
}

/// The earliest retry that the receiver asked for, in milliseconds since the Unix epoch.
pub(super) fn not_before(trouble: &Trouble, now: Time) -> Option<i64> {
    let wait = i64::try_from(trouble.not_before?.as_millis()).unwrap_or(i64::MAX);
    Some(now.as_millis().saturating_add(wait))
}

/// An attempt that failed for the sink as a whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct FailedTry<'a> {
    /// The failure.
    pub(super) trouble: &'a Trouble,
    /// Whether the receiver refuses further attempts.
    pub(super) is_refused: bool,
    /// Whether the receiver accepted something earlier in the same round.
    pub(super) is_first: bool,
    /// A random number, for the jitter of the wait.
    pub(super) jitter: u64,
}

impl FailedTry<'_> {
    /// Writes the resulting state of the sink as a whole.
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
            // A change triggered this attempt early; the next attempt of the back-off stays as scheduled.
            return Ok(());
        }
        let attempts = if self.is_first { 0 } else { sink.attempts } + 1;
        let since = sink.failing_since.filter(|_| !self.is_first);
        let trouble = SinkTrouble {
            attempts,
            next_at: if self.is_refused {
                NEVER
            } else {
                next_at(attempts, self.trouble, self.jitter, now)
            },
            can_be_hurried: !self.is_refused && not_before.is_none(),
            failing_since: Some(since.unwrap_or(now)),
            why: Some(why.clone()),
        };
        transaction.set_sink_trouble(&sink.name, &trouble).await
    }
}

/// Whether a sink is tried before its wait is over, because a change triggered it.
pub(super) fn is_early(sink: &KnownSink, now: Time) -> bool {
    !has_passed(sink.next_at, now)
}
