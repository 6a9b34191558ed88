//! Asks receivers whether they still have what was published, during a comparison of ledger and
//! silos: a server that was restored from an old copy has lost it, and nothing else would notice.

use futures_util::future::join_all;
use tokio::time::{Instant, timeout};

use super::comparison::{Comparison, Published};
use super::sink::{Reach, SEND_DEADLINE, StateSink, Trouble};
use super::worker::{RoundError, SEND_WINDOW, Worker};
use crate::registry::PublishAgain;

/// How many names are asked for at the same time.
const AT_ONCE: usize = 8;
/// How many names are asked for before their results are written.
const BATCH: usize = 64;

impl Worker {
    /// Asks for some of the names that the comparison has found to be published, and enqueues those
    /// that the receiver has lost.
    pub(super) async fn verify_some(
        &self,
        sink: &dyn StateSink,
        comparison: &mut Comparison,
    ) -> Result<(), RoundError> {
        let started = Instant::now();
        while !comparison.unverified.is_empty() && started.elapsed() < SEND_WINDOW {
            let rest = comparison.unverified.len().saturating_sub(BATCH);
            let some = comparison.unverified.split_off(rest);
            let (lost, trouble) = ask(sink, some).await;
            if !lost.is_empty() {
                let command = PublishAgain {
                    sink: self.sink.name.clone(),
                    rows: lost.into_iter().map(|name| name.row).collect(),
                };
                comparison.differing += self.context.registry.apply(command).await?;
            }
            if let Some(trouble) = trouble {
                tracing::warn!(sink = %self.sink.name, "cannot compare what is published: {}", trouble.why);
                comparison.unverified.clear();
                comparison.is_unverified = true;
            }
        }
        Ok(())
    }
}

/// The names that the receiver does not have as they were published. If it can't be asked at all,
/// the reason.
async fn ask(sink: &dyn StateSink, names: Vec<Published>) -> (Vec<Published>, Option<Trouble>) {
    let mut lost = Vec::new();
    for some in names.chunks(AT_ONCE) {
        let answers = some.iter().map(|name| {
            let holds = sink.holds(&name.row.name, &name.addresses);
            timeout(SEND_DEADLINE, holds)
        });
        for (name, holds) in some.iter().zip(join_all(answers).await) {
            match holds.unwrap_or_else(|_| Some(Err(Trouble::of_sink("timed out")))) {
                None | Some(Ok(true)) => {}
                Some(Ok(false)) => lost.push(name.clone()),
                Some(Err(trouble)) if trouble.reach == Reach::Sink => {
                    return (lost, Some(trouble));
                }
                Some(Err(trouble)) => {
                    tracing::debug!(name = name.row.name, "cannot be compared: {}", trouble.why);
                }
            }
        }
    }
    (lost, None)
}
