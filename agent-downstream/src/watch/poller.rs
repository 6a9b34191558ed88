//! Asks the hub for one silo, again and again: by requests that wait there until the silo changes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use silo_shared::client::HubClient;
use silo_shared::silo::SiloId;
use silo_shared::stay::SystemJitter;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use super::pace::{Ended, Mode, Pace};
use crate::pull::{Answered, Fresh, PullError, Question, pull_one};

/// The deadline of a request in addition to its wait.
const DEADLINE: Duration = Duration::from_secs(25);

/// The client that all pollers use. If it is replaced, such as for another token in the file, a poller that pauses asks
/// again at once.
pub(super) type SharedClient = watch::Sender<HubClient>;

/// An answer, or why there is none.
#[derive(Debug)]
pub(super) struct Polled {
    pub(super) silo: SiloId,
    /// The configuration for which it was asked.
    pub(super) generation: u64,
    pub(super) result: Result<Answered, PullError>,
    /// The poller goes on when it has a reply.
    pub(super) reply: oneshot::Sender<Reply>,
}

/// What the main loop made of an answer.
#[derive(Debug, Default)]
pub(super) struct Reply {
    /// The entity tag of the state that the hosts file has.
    pub(super) applied: Option<String>,
}

/// What a poller begins with.
#[derive(Debug)]
pub(super) struct Poller {
    pub(super) silo: SiloId,
    /// The configuration for which it asks.
    pub(super) generation: u64,
    pub(super) mode: Mode,
    /// The last known state.
    pub(super) known: Option<Fresh>,
    /// The entity tag of the state that the hosts file has.
    pub(super) applied: Option<String>,
    pub(super) client: watch::Receiver<HubClient>,
    pub(super) answers: mpsc::Sender<Polled>,
    /// Bounds how many requests that do not wait are made at once.
    pub(super) slots: Arc<Semaphore>,
}

impl Poller {
    /// Asks until the main loop ends.
    pub(super) async fn run(mut self) {
        let mut pace = Pace::new(self.mode, SystemJitter);
        loop {
            let wait = pace.next_wait();
            let started = Instant::now();
            let result = self.ask(wait).await;
            let pause = pace.pause(match &result {
                Ok(answered) if answered.is_unchanged => Ended::Unchanged(started.elapsed()),
                Ok(_) => Ended::Changed,
                Err(error) => Ended::by(error),
            });
            if let Ok(answered) = &result {
                self.known = Some(answered.fresh.clone());
            }
            let (reply, replied) = oneshot::channel();
            let silo = self.silo.clone();
            let polled = Polled {
                silo,
                generation: self.generation,
                result,
                reply,
            };
            if self.answers.send(polled).await.is_err() {
                return;
            }
            let Ok(reply) = replied.await else {
                return;
            };
            self.applied = reply.applied;
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                Ok(()) = self.client.changed() => {}
            }
        }
    }

    async fn ask(&mut self, wait: Option<Duration>) -> Result<Answered, PullError> {
        // Never closed.
        let slots = Arc::clone(&self.slots);
        let _slot = match wait {
            None => slots.acquire().await.ok(),
            Some(_) => None,
        };
        let client = self.client.borrow_and_update().clone();
        let question = Question {
            known: self.known.as_ref(),
            wait,
            applied: self.applied.as_deref(),
        };
        let deadline = DEADLINE + wait.unwrap_or_default();
        tokio::time::timeout(deadline, pull_one(&client, &self.silo, question))
            .await
            .unwrap_or_else(|_| Err(PullError::Late(client.hub().to_owned())))
    }
}
