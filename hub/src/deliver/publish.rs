//! Brings a state sink to the current state.

use tokio::time::{Instant, timeout};

use super::sink::{Outcome, Publication, Reach, SEND_DEADLINE, StateSink, Trouble};
use super::worker::{LEASE_SECONDS, Round, RoundError, SEND_WINDOW, Worker};
use crate::domain::time::Time;
use crate::registry::{BeginPublishing, EndPublishing, Publishing, TakenUp};
use crate::store::KnownSink;

/// Maximum number of names taken at once.
const BATCH: usize = 32;

impl Worker {
    pub(super) async fn publish_round(
        &self,
        sink: &dyn StateSink,
        known: &KnownSink,
        now: Time,
    ) -> Result<Round, RoundError> {
        let name = &self.sink.name;
        let records = self.context.store.due_names(name, now, BATCH).await?;
        if records.is_empty() {
            // Pending deliveries take precedence over the comparison.
            if self.reconcile_some(sink, known, now).await? {
                return Ok(Round::Again);
            }
            return Ok(match self.context.store.next_name(name).await? {
                Some(at) => Round::Until(at),
                None => Round::Idle,
            });
        }
        let records = records
            .into_iter()
            .map(|record| {
                let called = sink.published_name(&record.hostname);
                (record, called)
            })
            .collect();
        let command = BeginPublishing {
            sink: name.clone(),
            owner: self.owner.clone(),
            lease_seconds: LEASE_SECONDS,
            takes_host_names_only: sink.takes_host_names_only(),
            records,
        };
        // The lease starts inside the transaction, the send window before it.
        let started = Instant::now();
        match self.context.registry.apply(command).await? {
            Publishing::NotNow => Ok(Round::Idle),
            Publishing::Names { names, through } => {
                if !names.is_empty() {
                    let command = EndPublishing {
                        sink: name.clone(),
                        owner: self.owner.clone(),
                        ended: self.publish_all(sink, names, started).await,
                        through,
                        jitter: self.jitter(),
                    };
                    self.write_down(command).await?;
                }
                Ok(Round::Again)
            }
        }
    }

    /// Sends one name after another until all are sent, the sink as a whole fails, or the send window ends.
    async fn publish_all(
        &self,
        sink: &dyn StateSink,
        names: Vec<TakenUp>,
        started: Instant,
    ) -> Vec<(TakenUp, Outcome)> {
        let mut ended = Vec::with_capacity(names.len());
        for name in names {
            if started.elapsed() > SEND_WINDOW || self.context.bus.is_stopping() {
                break;
            }
            let publication = &name.publication;
            let outcome = match timeout(SEND_DEADLINE, sink.publish(publication)).await {
                Ok(outcome) => outcome,
                Err(_) => Outcome::Retry(Trouble::of_sink("timed out")),
            };
            self.log(publication, &outcome);
            self.context.attempts.note(&self.sink.name, &outcome);
            let whole = is_of_sink(&outcome);
            ended.push((name, outcome));
            if whole {
                break;
            }
        }
        ended
    }

    fn log(&self, publication: &Publication, outcome: &Outcome) {
        let Publication { silo, hostname, .. } = publication;
        let sink = &self.sink.name;
        match outcome {
            Outcome::Done => {
                tracing::info!(%sink, %silo, %hostname, "published: {}", words(publication));
            }
            Outcome::Found(_) | Outcome::Waiting => {}
            Outcome::Retry(trouble) => {
                tracing::warn!(%sink, %silo, %hostname, "not published yet: {}", trouble.why);
            }
            Outcome::Failed(trouble) | Outcome::Refused(trouble) => {
                tracing::error!(%sink, %silo, %hostname, "not published: {}", trouble.why);
            }
        }
    }
}

fn words(publication: &Publication) -> String {
    if publication.wanted.is_empty() {
        format!("{} is gone", publication.name)
    } else {
        format!("{} is {}", publication.name, publication.wanted)
    }
}

fn is_of_sink(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Retry(trouble) | Outcome::Failed(trouble) | Outcome::Refused(trouble) => {
            trouble.reach == Reach::Sink
        }
        Outcome::Done | Outcome::Found(_) | Outcome::Waiting => false,
    }
}
