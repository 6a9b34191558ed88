//! Brings a state sink to what is true now.

use tokio::time::{Instant, timeout};

use super::reconcile::RECONCILE_EVERY;
use super::sink::{Outcome, Publication, Reach, SEND_DEADLINE, StateSink, Trouble};
use super::worker::{LEASE_SECONDS, Round, RoundError, SHIFT, Worker};
use crate::domain::time::Time;
use crate::registry::{BeginPublishing, EndPublishing, Publishing};
use crate::store::{Activity, KnownSink};

/// How many names are taken up at once.
const BATCH: i64 = 32;

impl Worker {
    pub(super) async fn publish_round(
        &self,
        sink: &dyn StateSink,
        known: &KnownSink,
        now: Time,
    ) -> Result<Round, RoundError> {
        let name = &self.sink.name;
        let due = known.reconciled_at.plus_seconds(RECONCILE_EVERY);
        if known.active == Activity::Active && due <= now {
            self.reconcile(sink, known).await?;
        }
        let records = self.office.store.due_names(name, now, BATCH).await?;
        if records.is_empty() {
            return Ok(match self.office.store.next_name(name).await? {
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
            records,
        };
        match self.office.registry.apply(command).await? {
            Publishing::NotNow => Ok(Round::Idle),
            Publishing::Names {
                publications,
                through,
            } => {
                if !publications.is_empty() {
                    let ended = self.publish_all(sink, publications).await;
                    self.end_publishing(ended, through).await?;
                }
                Ok(Round::Again)
            }
        }
    }

    /// Sends one after another until all are sent, the sink as a whole fails, or the shift is over.
    async fn publish_all(
        &self,
        sink: &dyn StateSink,
        publications: Vec<Publication>,
    ) -> Vec<(Publication, Outcome)> {
        let begun = Instant::now();
        let mut ended = Vec::with_capacity(publications.len());
        for publication in publications {
            let outcome = match timeout(SEND_DEADLINE, sink.publish(&publication)).await {
                Ok(outcome) => outcome,
                Err(_) => Outcome::Retry(Trouble::of_sink("it took too long")),
            };
            self.log(&publication, &outcome);
            let whole = is_of_sink(&outcome);
            ended.push((publication, outcome));
            if whole || begun.elapsed() > SHIFT || self.office.revision.is_over() {
                break;
            }
        }
        ended
    }

    async fn end_publishing(
        &self,
        ended: Vec<(Publication, Outcome)>,
        through: i64,
    ) -> Result<(), RoundError> {
        let command = EndPublishing {
            sink: self.sink.name.clone(),
            owner: self.owner.clone(),
            ended,
            through,
            jitter: self.jitter(),
        };
        self.office.registry.apply(command).await?;
        Ok(())
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
