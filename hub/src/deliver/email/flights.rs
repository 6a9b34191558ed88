//! Mails that are with the server, which takes its time to answer, and mails that wait because it
//! did not answer at all. [`super::EmailSink`] keeps them from one call of the worker to the next.
//!
//! A server may take ten minutes to confirm a message, and a message that is sent again before that
//! arrives twice. A call of the worker ends after seconds, since it has other mails to send. So a
//! mail that is not confirmed soon goes on in a task of its own, on its own connection, and a later
//! call takes the result.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Line;
use super::failure::Failure;

/// Time limit for the reply to the message itself (RFC 5321 section 4.5.3.2.6).
pub(super) const FINAL_REPLY: Duration = Duration::from_secs(600);
/// The wait before an unconfirmed mail is sent again; it doubles each time. The server may still be
/// working on the mail, and each further attempt may be one more copy for the receiver.
const FIRST_WAIT: Duration = Duration::from_secs(300);
/// The maximum of that wait.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// Maximum number of mails that wait for the server's answer at the same time, each on a connection.
pub(super) const MOST_RUNNING: usize = 16;
/// Longer than any mail takes: the replies to MAIL, RCPT and DATA have five minutes each.
const LONGEST_FLIGHT: Duration = Duration::from_secs(2400);
/// Maximum number of slow receivers that are remembered.
const MOST_SLOW: usize = 1000;
/// How long a result is kept that no call has taken, because its event was given up.
const KEPT: Duration = Duration::from_secs(600);

/// A mail handed over without a reply. How often that has happened is added by
/// [`with_wait`].
pub(super) fn unconfirmed(why: String) -> Failure {
    Failure::Unconfirmed {
        why: format!("{why}; it may have arrived"),
        tries: 1,
        wait: FIRST_WAIT,
    }
}

/// The failure of a mail that was unconfirmed so many times before.
pub(super) fn with_wait(failure: Failure, before: u32) -> Failure {
    match failure {
        Failure::Unconfirmed { why, .. } => Failure::Unconfirmed {
            why,
            tries: before.saturating_add(1),
            wait: (FIRST_WAIT * 2_u32.pow(before.min(4))).min(LONGEST_WAIT),
        },
        other => other,
    }
}

/// A mail that was sent, and the line if it can be used again.
pub(super) struct Sent {
    /// Whether the mail was accepted.
    pub(super) result: Result<(), Failure>,
    /// The line.
    pub(super) line: Option<Line>,
}

/// The state of a mail from an earlier call.
pub(super) enum Flight {
    /// The server has not answered yet.
    Running,
    /// It has answered since, or the connection was lost.
    Landed(Sent),
    /// It failed earlier and is not due yet.
    Held(Failure),
}

enum Kept {
    /// One task, which ends when this is dropped, and when it began.
    Running(JoinSet<Sent>, Instant),
    /// Not sent again before a time; a refused one not while another mail of its event is running.
    Held(Failure, Instant),
}

/// The mails of earlier calls, by Message-ID.
#[derive(Default)]
pub(super) struct Flights {
    kept: HashMap<String, Kept>,
    /// Receivers whose last mail had no answer: the others come first.
    slow: HashSet<String>,
}

impl Flights {
    /// What became of a mail. `None`: it is to be sent.
    pub(super) fn take(&mut self, id: &str) -> Option<Flight> {
        match self.kept.remove(id)? {
            Kept::Running(mut task, since) => match task.try_join_next() {
                None if !task.is_empty() => {
                    self.kept.insert(id.to_owned(), Kept::Running(task, since));
                    Some(Flight::Running)
                }
                Some(Ok(sent)) => Some(Flight::Landed(sent)),
                None | Some(Err(_)) => Some(Flight::Landed(Sent {
                    result: Err(unconfirmed("the message: interrupted".to_owned())),
                    line: None,
                })),
            },
            Kept::Held(failure, until) => {
                let left = until.saturating_duration_since(Instant::now());
                (!left.is_zero()).then(|| {
                    Flight::Held(match failure {
                        Failure::Unconfirmed { why, tries, .. } => Failure::Unconfirmed {
                            why,
                            tries,
                            wait: left,
                        },
                        other => other,
                    })
                })
            }
        }
    }

    /// The mail goes on by itself.
    pub(super) fn run(&mut self, id: String, task: JoinSet<Sent>) {
        self.kept.insert(id, Kept::Running(task, Instant::now()));
    }

    /// The mail is not sent again before its wait is over, or as long as another mail of its event
    /// is running.
    pub(super) fn hold(&mut self, id: String, failure: Failure) {
        let wait = match &failure {
            Failure::Unconfirmed { wait, .. } => *wait,
            _ => FINAL_REPLY,
        };
        let until = Instant::now() + wait;
        self.kept.insert(id, Kept::Held(failure, until));
    }

    /// The number of mails that the server has not answered yet.
    pub(super) fn running(&self) -> usize {
        let is_running = |kept: &&Kept| matches!(kept, Kept::Running(..));
        self.kept.values().filter(is_running).count()
    }

    /// Records whether a receiver's mail had an answer.
    pub(super) fn note_slow(&mut self, receiver: String, is_slow: bool) {
        if is_slow {
            self.slow.insert(receiver);
        } else {
            self.slow.remove(&receiver);
        }
    }

    /// Whether a receiver's last mail had no answer.
    pub(super) fn is_slow(&self, receiver: &str) -> bool {
        self.slow.contains(receiver)
    }

    /// Forgets what no event asks for any more.
    pub(super) fn forget_old(&mut self) {
        let now = Instant::now();
        self.kept.retain(|_, kept| match kept {
            Kept::Running(_, since) => now < *since + LONGEST_FLIGHT,
            Kept::Held(_, until) => now < *until + KEPT,
        });
        if self.slow.len() > MOST_SLOW {
            self.slow.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_of_an_unconfirmed_mail_double_up_to_an_hour() {
        let waits = (0..7).map(
            |before| match with_wait(unconfirmed(String::new()), before) {
                Failure::Unconfirmed { tries, wait, .. } => (tries, wait.as_secs()),
                other => panic!("{other:?}"),
            },
        );
        let expected = [
            (1, 300),
            (2, 600),
            (3, 1200),
            (4, 2400),
            (5, 3600),
            (6, 3600),
            (7, 3600),
        ];
        assert!(waits.eq(expected));
        let later = Failure::Later("451".to_owned());
        assert_eq!(with_wait(later.clone(), 3), later);
    }

    #[tokio::test(start_paused = true)]
    async fn a_mail_is_running_until_its_task_ends_and_held_until_its_wait_is_over() {
        let mut flights = Flights::default();
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let mut task = JoinSet::new();
        task.spawn(async move {
            ended.await.unwrap();
            Sent {
                result: Ok(()),
                line: None,
            }
        });
        flights.run("a".to_owned(), task);
        assert!(matches!(flights.take("a"), Some(Flight::Running)));
        assert_eq!(flights.running(), 1);
        end.send(()).unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(matches!(flights.take("a"), Some(Flight::Landed(_))));
        assert!(flights.take("a").is_none());

        flights.hold("b".to_owned(), unconfirmed(String::new()));
        tokio::time::advance(Duration::from_secs(100)).await;
        match flights.take("b") {
            Some(Flight::Held(Failure::Unconfirmed { wait, .. })) => {
                assert_eq!(wait, Duration::from_secs(200));
            }
            _ => panic!("not held"),
        }
        flights.hold("b".to_owned(), unconfirmed(String::new()));
        tokio::time::advance(FIRST_WAIT).await;
        assert!(flights.take("b").is_none());
    }
}
