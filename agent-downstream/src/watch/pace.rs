//! When a silo is asked for again. Pure, but for the random numbers.

use std::time::Duration;

use silo_shared::client::ClientError;
use silo_shared::stay::{Backoff, Jitter, SystemJitter, spread};

use crate::pull::PullError;

/// The longest wait at the hub; proxies commonly end a request after 60 s.
const LONGEST_WAIT: Duration = Duration::from_secs(50);
/// The shortest wait: waits of many agents that began together come apart.
const SHORTEST_WAIT: Duration = Duration::from_secs(40);
/// The pause between two answers about a silo for which no request waits at the hub.
const PERIOD: [Duration; 2] = [Duration::from_secs(50), Duration::from_secs(70)];
/// The pause after an answer that a repetition does not change soon: the silo is not there, or the token is refused.
const PAUSE_IF_REFUSED: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(60)];

/// How a silo is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// A request waits at the hub.
    Waiting,
    /// It is asked for once a minute.
    Periodic,
}

/// How one request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// With another state than the known one.
    Changed,
    /// With the known state, after this time.
    Unchanged(Duration),
    /// Without an answer that helps; repeating it soon may.
    Failed,
    /// With a refusal.
    Refused,
}

impl Ended {
    /// How an error ends a request.
    pub(super) fn by(error: &PullError) -> Self {
        match error {
            PullError::Client(ClientError::Status {
                status: 401 | 403 | 404 | 429,
                ..
            })
            | PullError::Client(ClientError::Unsigned {
                status: 401 | 429, ..
            }) => Self::Refused,
            _ => Self::Failed,
        }
    }
}

/// The pauses and waits of one silo.
#[derive(Debug)]
pub(super) struct Pace<J = SystemJitter> {
    mode: Mode,
    jitter: J,
    failures: Backoff<J>,
    /// Waits that the hub did not grant.
    early: Backoff<J>,
    /// The wait of the running request.
    wait: Option<Duration>,
    /// Whether the last request succeeded: only then the next one waits.
    is_known: bool,
}

impl<J: Jitter + Clone> Pace<J> {
    pub(super) fn new(mode: Mode, jitter: J) -> Self {
        Self {
            mode,
            failures: Backoff::new(jitter.clone()),
            early: Backoff::new(jitter.clone()),
            jitter,
            wait: None,
            is_known: false,
        }
    }

    /// How long the next request waits at the hub; the first one, and one after a failure, does not wait.
    pub(super) fn next_wait(&mut self) -> Option<Duration> {
        let waits = self.is_known && self.mode == Mode::Waiting;
        self.wait = waits.then(|| spread(&self.jitter, SHORTEST_WAIT, LONGEST_WAIT));
        self.wait
    }

    /// The pause after a request.
    pub(super) fn pause(&mut self, ended: Ended) -> Duration {
        let between = |[least, most]: [Duration; 2], jitter: &J| spread(jitter, least, most);
        self.is_known = matches!(ended, Ended::Changed | Ended::Unchanged(_));
        if self.is_known {
            self.failures.succeeded();
        }
        match ended {
            Ended::Failed => self.failures.failed(),
            Ended::Refused => between(PAUSE_IF_REFUSED, &self.jitter),
            _ if self.mode == Mode::Periodic => between(PERIOD, &self.jitter),
            Ended::Unchanged(took) if self.wait.is_some_and(|wait| took < wait / 2) => {
                self.early.failed()
            }
            Ended::Unchanged(_) if self.wait.is_none() => Duration::ZERO,
            Ended::Changed | Ended::Unchanged(_) => {
                self.early.succeeded();
                Duration::ZERO
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn each_end_of_a_request_has_its_pause_and_next_wait() {
        let (waiting, periodic) = (Mode::Waiting, Mode::Periodic);
        let unchanged = |took| Ended::Unchanged(seconds(took));
        // What happens in order: the end of a request, the pause after it, the wait of the next request.
        type Step = (Ended, f64, Option<f64>);
        let cases: [(&str, Mode, &[Step]); 6] = [
            (
                "answers and changes",
                waiting,
                &[
                    (unchanged(0.1), 0.0, Some(45.0)),
                    (unchanged(45.0), 0.0, Some(45.0)),
                    (Ended::Changed, 0.0, Some(45.0)),
                ],
            ),
            (
                "a hub that is away",
                waiting,
                &[
                    (Ended::Failed, 0.5, None),
                    (Ended::Failed, 1.0, None),
                    (Ended::Failed, 2.0, None),
                    (unchanged(0.1), 0.0, Some(45.0)),
                    (Ended::Failed, 0.5, None),
                ],
            ),
            (
                "a silo that is not there",
                waiting,
                &[(Ended::Refused, 35.0, None), (Ended::Refused, 35.0, None)],
            ),
            (
                "a hub that does not wait",
                waiting,
                &[
                    (unchanged(0.1), 0.0, Some(45.0)),
                    (unchanged(0.1), 0.5, Some(45.0)),
                    (unchanged(0.1), 1.0, Some(45.0)),
                    (unchanged(0.1), 2.0, Some(45.0)),
                    (unchanged(45.0), 0.0, Some(45.0)),
                    (unchanged(0.1), 0.5, Some(45.0)),
                ],
            ),
            (
                "a silo without a waiting request",
                periodic,
                &[
                    (Ended::Changed, 60.0, None),
                    (unchanged(0.1), 60.0, None),
                    (Ended::Failed, 0.5, None),
                ],
            ),
            (
                "many changes",
                waiting,
                &[(Ended::Changed, 0.0, Some(45.0)); 3],
            ),
        ];
        for (what, mode, steps) in cases {
            let mut pace = Pace::new(mode, || 0.5);
            assert_eq!(pace.next_wait(), None, "{what}: the first request");
            for (number, (ended, pause, wait)) in steps.iter().enumerate() {
                let found = pace.pause(*ended);
                assert_eq!(found, seconds(*pause), "{what}: {number}: {ended:?}");
                assert_eq!(
                    pace.next_wait(),
                    wait.map(seconds),
                    "{what}: {number}: {ended:?}"
                );
            }
        }
    }
}
