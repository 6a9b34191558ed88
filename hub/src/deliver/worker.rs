//! One task per sink: reads pending deliveries, sends them, and sleeps until there may be more.

use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use thiserror::Error;

use super::WorkerContext;
use super::comparison::Comparison;
use super::kinds::OpenSink;
use super::sink::Sink;
use crate::domain::backoff::{has_passed, is_hurried};
use crate::domain::elapsed::lies_ahead_anywhere;
use crate::domain::time::Time;
use crate::registry::{ApplyError, Command, KeepLease};
use crate::store::{Activity, KnownSink, Queries, StoreError};

/// Maximum sleep of a worker: deliveries of another hub or the command line may not wake it.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);
/// Pause after a database error.
const AFTER_FAILURE: Duration = Duration::from_secs(2);
/// Duration of a worker's lease on a sink, in seconds: covers one send of maximum duration that
/// starts at the last moment, and writing its result.
pub(super) const LEASE_SECONDS: i64 = 60;
/// Attempts to write the result of a round, within the lease.
const WRITE_DOWN_TRIES: usize = 5;
/// How long a worker starts sends under one lease.
pub(super) const SEND_WINDOW: Duration = Duration::from_secs(10);

/// The worker of one sink.
#[derive(Clone, Debug)]
pub struct Worker {
    pub(super) context: WorkerContext,
    pub(super) sink: Arc<OpenSink>,
    pub(super) owner: String,
    /// When silent records were last checked, by [`crate::domain::time::Clock::monotonic`].
    pub(super) listened_at: Arc<Mutex<Option<Duration>>>,
    /// Progress of the running comparison of ledger and silos.
    pub(super) compared: Arc<Mutex<Option<Comparison>>>,
    /// The last delivery checked for merging.
    pub(super) merged: Arc<AtomicI64>,
}

/// The result of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    /// Something was done: run another round immediately.
    Again,
    /// Nothing to do before this time, in milliseconds since the epoch.
    Until(i64),
    /// Nothing to do until a delivery is pending.
    Idle,
}

/// Why a round failed.
#[derive(Debug, Error)]
pub enum RoundError {
    /// The outbox can't be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The result can't be written.
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

impl Worker {
    /// A worker that signs its leases with `owner`.
    pub fn new(context: WorkerContext, sink: Arc<OpenSink>, owner: String) -> Self {
        Self {
            context,
            sink,
            owner,
            listened_at: Arc::default(),
            compared: Arc::default(),
            merged: Arc::default(),
        }
    }

    /// Works until the hub stops.
    pub async fn work(self) {
        let mut news = self.context.bus.subscribe_to_deliveries();
        let mut failing = false;
        loop {
            news.mark_known();
            if self.context.bus.is_stopping() {
                return;
            }
            let sleep = match self.round().await {
                Ok(round) => {
                    failing = false;
                    match round {
                        Round::Again => continue,
                        Round::Until(at) => self.time_until(at),
                        Round::Idle => LONGEST_SLEEP,
                    }
                }
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::error!(sink = %self.sink.name, "cannot read what is pending: {error}");
                    }
                    AFTER_FAILURE
                }
            };
            tokio::select! {
                () = tokio::time::sleep(sleep) => {}
                running = news.next(), if !failing => if !running {
                    return;
                }
            }
        }
    }

    fn time_until(&self, at: i64) -> Duration {
        let wait = at.saturating_sub(self.context.clock.now().as_millis());
        let wait = Duration::from_millis(u64::try_from(wait).unwrap_or(0));
        // In a test, a fixed clock does not advance while sleeping.
        wait.clamp(Duration::from_millis(5), LONGEST_SLEEP)
    }

    /// Checks for pending deliveries and handles some of them.
    pub async fn round(&self) -> Result<Round, RoundError> {
        let known = self.context.store.sink(&self.sink.name).await?;
        let Some(known) =
            known.filter(|known| matches!(known.active, Activity::Active | Activity::Cleaning))
        else {
            return Ok(Round::Idle);
        };
        if matches!(self.sink.sink, Sink::State(_)) && self.merge_some().await? {
            return Ok(Round::Again);
        }
        let now = self.context.clock.now();
        self.keep_lease(&known, now).await?;
        if !has_passed(known.next_at, now) && !is_hurried(known.hurry_at, now) {
            let hurry_at = known.hurry_at.unwrap_or(known.next_at);
            return Ok(Round::Until(known.next_at.min(hurry_at)));
        }
        if self.is_taken(&known, now) {
            return Ok(Round::Until(known.lease_until.as_millis()));
        }
        match &self.sink.sink {
            Sink::State(sink) => self.publish_round(&**sink, &known, now).await,
            Sink::Event(sink) => self.tell_round(&**sink, now).await,
        }
    }

    /// Extends the lease while something is still being sent.
    async fn keep_lease(&self, known: &KnownSink, now: Time) -> Result<(), RoundError> {
        let is_waiting = matches!(&self.sink.sink, Sink::Event(sink) if sink.is_waiting());
        if is_waiting && known.lease_until < now.plus_seconds(LEASE_SECONDS / 2) {
            let command = KeepLease {
                sink: self.sink.name.clone(),
                owner: self.owner.clone(),
                lease_seconds: LEASE_SECONDS,
            };
            self.context.registry.apply(command).await?;
        }
        Ok(())
    }

    /// Whether another worker holds the lease.
    fn is_taken(&self, known: &KnownSink, now: Time) -> bool {
        known.lease_owner != self.owner
            && lies_ahead_anywhere(known.lease_until, LEASE_SECONDS, now)
    }

    /// Writes the result of a round, with retries: otherwise the deliveries would be sent again.
    pub(super) async fn write_down<C: Command + Clone>(
        &self,
        command: C,
    ) -> Result<(), RoundError> {
        let mut tries = 0;
        loop {
            match self.context.registry.apply(command.clone()).await {
                Ok(_) => return Ok(()),
                // Writing the result twice is harmless.
                Err(
                    error @ (ApplyError::Store(_) | ApplyError::TimedOut | ApplyError::Unknown),
                ) if tries < WRITE_DOWN_TRIES => {
                    tracing::debug!(sink = %self.sink.name, "not recorded yet: {error}");
                    tries += 1;
                    tokio::time::sleep(AFTER_FAILURE).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// A random number, for jitter.
    pub(super) fn jitter(&self) -> u64 {
        crate::auth::secrets::random_number()
    }
}
