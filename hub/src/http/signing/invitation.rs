//! Finds the invitation whose key signs a request. Below its own path alone, an invitation's id is a `keyid`.

use std::time::Duration;

use axum::extract::MatchedPath;
use axum::http::request::Parts;
use silo_shared::credential::TokenId;
use std::net::IpAddr;
use tokio::sync::Semaphore;

use crate::http::Hub;
use crate::http::error::ApiError;
use crate::store::{KnownInvitation, Queries};

/// How the routes of an invitation begin.
const ROUTES: &str = "/invitations/{";
/// How many lookups run at once.
const LOOKUPS: usize = 2;
/// How long a lookup for an address with too many wrong credentials takes at least, one at a time.
const PAUSE: Duration = Duration::from_millis(10);
/// The total time that a request may wait for its lookup.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Limits how many lookups of invitations run at once: clients may make up any number of ids.
#[derive(Debug)]
pub struct InvitationLookups {
    normal: Semaphore,
    low: Semaphore,
}

impl Default for InvitationLookups {
    fn default() -> Self {
        Self {
            normal: Semaphore::new(LOOKUPS),
            low: Semaphore::new(1),
        }
    }
}

/// The invitation that the path of a request names, if its route is one of an invitation.
pub(super) fn of_path(parts: &Parts) -> Option<TokenId> {
    let route = parts.extensions.get::<MatchedPath>()?;
    if !route.as_str().starts_with(ROUTES) {
        return None;
    }
    let id = parts.uri.path().split('/').nth(2)?;
    TokenId::parse(id).ok()
}

/// Looks an invitation up. Lookups from an address with too many wrong credentials have lower priority.
pub(super) async fn look_up(
    hub: &Hub,
    id: TokenId,
    ip: IpAddr,
) -> Result<Option<KnownInvitation>, ApiError> {
    let is_low = hub.failures.locked_out_for(ip, hub.clock.reading());
    let lookups = if is_low {
        &hub.invitation_lookups.low
    } else {
        &hub.invitation_lookups.normal
    };
    let looked_up = async {
        let _permit = lookups.acquire().await.map_err(|_| ApiError::Internal)?;
        if is_low {
            tokio::time::sleep(PAUSE).await;
        }
        Ok(hub.store.invitation(id).await?)
    };
    let looked_up = tokio::time::timeout(TIMEOUT, looked_up).await;
    looked_up.unwrap_or(Err(ApiError::Unavailable))
}
