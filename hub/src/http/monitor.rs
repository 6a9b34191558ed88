//! What a running hub tells of itself besides what its parts count: its start, its listeners, and a census of the
//! database once a minute, so that the cost of metrics does not depend on how often they are read.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use silo_shared::credential::Credential;
use silo_shared::pin::Pin;
use tokio::time::timeout;

use super::Hub;
use super::database_copy::CopyMaker;
use super::load::Samples;
use crate::auth::secrets::{credential_hash, is_credential_of};
use crate::domain::time::Time;
use crate::domain::token::CredentialHash;
use crate::store::{Census, CensusTimes};

/// How often what is stored is counted.
const PERIOD: Duration = Duration::from_secs(60);
/// How long a census may take before its readers get the last one instead.
const CENSUS_TIMEOUT: Duration = Duration::from_secs(5);
/// After this time without a request, an agent counts as silent: twice the longest usual interval.
pub(crate) const SILENT_AFTER_SECONDS: i64 = 2 * 3600;
/// Tokens and certificates that end within this time are named.
pub(super) const ENDING_SECONDS: i64 = 30 * 86_400;

/// What a running hub tells of itself.
#[derive(Clone, Debug)]
pub struct Monitor(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    started_at: Time,
    /// The hash of the credential that this process alone accepts, for `/status`.
    run_credential: OnceLock<CredentialHash>,
    listening: OnceLock<Listening>,
    copies: OnceLock<Box<dyn CopyMaker>>,
    samples: Samples,
    counted: Mutex<Option<Counted>>,
    /// Held while a census runs, so that there is one at a time.
    counting: tokio::sync::Mutex<()>,
}

/// The result of a census.
#[derive(Clone, Debug)]
pub(super) struct Counted {
    /// When it was taken.
    pub(super) at: Time,
    /// The same by the monotonic clock.
    monotonic: Duration,
    /// What was counted.
    pub(super) census: Arc<Census>,
}

/// The listeners of a running hub.
pub(crate) struct Listening {
    /// The URLs, the main one first.
    pub(crate) urls: Vec<String>,
    /// The pin of the key.
    pub(crate) pin: Option<String>,
    /// The same for invitations, if the certificate is self-signed.
    pub(crate) invitation_pin: Option<Pin>,
    /// How many connections may be open.
    pub(crate) limit: usize,
    /// The number of open connections.
    pub(crate) connections: Box<dyn Fn() -> usize + Send + Sync>,
    /// When the certificate that is served expires; `None`: there is none, or it does not say.
    pub(crate) certificate_ends: Box<dyn Fn() -> Option<Time> + Send + Sync>,
}

impl fmt::Debug for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listening").finish_non_exhaustive()
    }
}

impl Monitor {
    /// Of a hub that started at this time.
    pub fn new(started_at: Time) -> Self {
        Self(Arc::new(Shared {
            started_at,
            run_credential: OnceLock::new(),
            listening: OnceLock::new(),
            copies: OnceLock::new(),
            samples: Samples::default(),
            counted: Mutex::default(),
            counting: tokio::sync::Mutex::default(),
        }))
    }

    /// Notes the listeners, once.
    pub(crate) fn set_listening(&self, listening: Listening) {
        let _ = self.0.listening.set(listening);
    }

    /// Sets the credential for `/status`, once.
    pub(crate) fn set_run_credential(&self, credential: &Credential) {
        let _ = self.0.run_credential.set(credential_hash(credential));
    }

    /// Whether this is the credential for `/status`.
    pub(super) fn is_run_credential(&self, shown: &Credential) -> bool {
        let known = self.0.run_credential.get();
        known.is_some_and(|known| is_credential_of(shown, known))
    }

    /// The listeners, once they are open.
    pub(crate) fn listening(&self) -> Option<&Listening> {
        self.0.listening.get()
    }

    /// Sets what copies an embedded database, once.
    pub(crate) fn set_copies(&self, copies: Box<dyn CopyMaker>) {
        let _ = self.0.copies.set(copies);
    }

    /// What copies the database; `None`: it is on a server.
    pub(crate) fn copies(&self) -> Option<&dyn CopyMaker> {
        self.0.copies.get().map(|copies| &**copies)
    }

    pub(super) fn samples(&self) -> &Samples {
        &self.0.samples
    }

    /// When the hub started.
    pub(crate) fn started_at(&self) -> Time {
        self.0.started_at
    }

    /// The last census, without taking one.
    pub(super) fn counted_last(&self) -> Option<Counted> {
        self.counted().clone()
    }

    fn counted(&self) -> MutexGuard<'_, Option<Counted>> {
        let counted = self.0.counted.lock();
        counted.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hub {
    /// Counts what is stored once a minute, forever.
    pub(crate) async fn count_every_minute(&self) {
        let mut due = tokio::time::interval(PERIOD);
        due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            due.tick().await;
            self.sample_load();
            self.count(Duration::ZERO).await;
        }
    }

    /// The last census; takes one if there was none yet. `None`: the database does not answer.
    pub(super) async fn last_census(&self) -> Option<Counted> {
        match self.monitor.counted_last() {
            Some(counted) => Some(counted),
            None => self.count(PERIOD).await,
        }
    }

    /// A census of at most this age, or if the database does not answer in time, the last one.
    pub(super) async fn count(&self, max_age: Duration) -> Option<Counted> {
        let _counting = self.monitor.0.counting.lock().await;
        let now = self.clock.reading();
        let last = self.monitor.counted_last();
        let is_fresh = |last: &Counted| now.monotonic.saturating_sub(last.monotonic) < max_age;
        if last.as_ref().is_some_and(is_fresh) {
            return last;
        }
        let times = CensusTimes {
            silent_before: now.now.plus_seconds(-SILENT_AFTER_SECONDS),
            now: now.now,
            ending_before: now.now.plus_seconds(ENDING_SECONDS),
        };
        match timeout(CENSUS_TIMEOUT, self.store.census(times)).await {
            Ok(Ok(census)) => {
                let counted = Counted {
                    at: now.now,
                    monotonic: now.monotonic,
                    census: Arc::new(census),
                };
                *self.monitor.counted() = Some(counted.clone());
                Some(counted)
            }
            // That the database fails is reported by the feed.
            Ok(Err(error)) => {
                tracing::debug!("cannot count what is stored: {error}");
                last
            }
            Err(_) => last,
        }
    }
}
