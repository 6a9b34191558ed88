//! Who may: the look at a secid, and how often anybody gets one.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use silo_shared::credential::Secret;
use silo_shared::silo::{Hostname, SiloId};
use tokio::sync::Semaphore;

use super::reply::Reply;
use crate::auth::secrets::{NoRandomness, hash_secid, is_secid_of};
use crate::domain::dynahost::{Binding, SecidHash};
use crate::http::Hub;
use crate::http::error::ApiError;
use crate::registry::Refusal;

/// How many secids are hashed at once: each takes 19 MiB and a processor.
const HASHED_AT_ONCE: usize = 2;
/// How long a request waits for its turn.
const PATIENCE: Duration = Duration::from_secs(10);

/// Gives turns to hash.
#[derive(Debug)]
pub(super) struct Guard(Arc<Semaphore>);

impl Default for Guard {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(HASHED_AT_ONCE)))
    }
}

/// What a look at a secid came to, unless it is wrong.
pub(super) enum Look {
    /// It is the one that the hostname is bound to.
    Known {
        /// To which it is bound.
        binding: Binding,
        /// The secid's hash there.
        hash: SecidHash,
    },
    /// The hostname is free, or open; this is what the secid hashes to.
    New(SecidHash),
}

impl Guard {
    /// Looks at a secid. It takes the same reads and one hash, whatever is known of the host.
    pub(super) async fn look(
        &self,
        hub: &Hub,
        ip: IpAddr,
        secid: &Secret,
        silo: &SiloId,
        host: &Hostname,
    ) -> Result<Look, Reply> {
        let turn = Arc::clone(&self.0).acquire_owned();
        let Ok(Ok(turn)) = tokio::time::timeout(PATIENCE, turn).await else {
            return Err(ApiError::Unavailable.into());
        };
        // Others from there may have failed while this one waited.
        require_patience(hub, ip)?;
        // In this order: a record that a first use makes comes with its binding.
        let has_record = hub.store.record(silo, host).await?.is_some();
        let stored = hub.store.dynahost(silo, host).await?;
        let known = stored.as_ref().and_then(|binding| binding.secid.clone());
        let secid = secid.clone();
        let hashed = tokio::task::spawn_blocking(move || {
            let hashed = match known {
                Some(known) => Ok(is_secid_of(&secid, &known).then_some(known)),
                None => hash_secid(&secid).map(Some),
            };
            // The turn lasts until it is done, also when the caller has gone.
            (hashed, turn)
        });
        // A failure is counted before the next one's turn.
        let (hashed, _turn) = hashed.await.map_err(|_| ApiError::Internal)?;
        let hashed = hashed.map_err(|NoRandomness| ApiError::Internal)?;
        match (hashed, stored) {
            (Some(hash), Some(binding)) if binding.secid.is_some() => {
                Ok(Look::Known { binding, hash })
            }
            (Some(hash), Some(_)) => Ok(Look::New(hash)),
            (Some(hash), None) if !has_record => Ok(Look::New(hash)),
            (Some(_), None) | (None, _) => Err(refused(hub, ip, Refusal::WrongSecid)),
        }
    }
}

/// Refuses an address that has had its failures of the minute.
pub(super) fn require_patience(hub: &Hub, ip: IpAddr) -> Result<(), ApiError> {
    match hub.failures.over_for(ip, hub.clock.reading()) {
        Some(retry_after) => Err(ApiError::TooManyFailures { retry_after }),
        None => Ok(()),
    }
}

/// A refusal that counts as a failure.
pub(super) fn refused(hub: &Hub, ip: IpAddr, why: Refusal) -> Reply {
    // Counted; from the eleventh on nothing is looked at.
    let _ = hub.failures.count(ip, hub.clock.reading());
    Reply::forbidden(why)
}
