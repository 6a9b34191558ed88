//! Checks secids, and limits how many are checked.

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
use crate::store::Queries;

/// How many secids are hashed at once: each uses 19 MiB and a processor.
const HASHED_AT_ONCE: usize = 2;
/// How long a request waits to be checked.
const PATIENCE: Duration = Duration::from_secs(10);

/// Limits concurrent hashing.
#[derive(Debug)]
pub(super) struct Guard(Arc<Semaphore>);

impl Default for Guard {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(HASHED_AT_ONCE)))
    }
}

/// The result of a check, unless the secid is wrong.
pub(super) enum Look {
    /// The hostname is bound to this secid.
    Known {
        /// The binding.
        binding: Binding,
        /// The hash of the secid in it.
        hash: SecidHash,
    },
    /// The hostname is unbound, or open; this is the hash of the secid.
    New(SecidHash),
}

impl Guard {
    /// Checks a secid. Takes the same reads and one hash, regardless of the host's state.
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
        // Other requests from there may have failed while this one waited.
        require_patience(hub, ip)?;
        // In this order: a record and its binding are created together by the first use.
        let has_record = hub.store.record(silo, host).await?.is_some();
        let stored = hub.store.dynahost(silo, host).await?;
        let known = stored.as_ref().and_then(|binding| binding.secid.clone());
        let secid = secid.clone();
        let hashed = tokio::task::spawn_blocking(move || {
            let hashed = match known {
                Some(known) => Ok(is_secid_of(&secid, &known).then_some(known)),
                None => hash_secid(&secid).map(Some),
            };
            // The permit is held until the hash is done, even if the caller has disconnected.
            (hashed, turn)
        });
        // A failure is counted before the next check.
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

/// Refuses an address that has used up its failures of the minute.
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
