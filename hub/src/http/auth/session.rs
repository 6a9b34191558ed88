//! Callers of the dashboard: by the credential at sign-in, and by a session afterwards.

use std::net::IpAddr;

use silo_shared::credential::{Credential, TokenId};

use super::super::Hub;
use super::super::client_ip::ClientIp;
use super::super::error::ApiError;
use super::{Caller, known_token, require_rate, require_recent, wrong_credential};
use crate::domain::token::CredentialHash;

impl Caller {
    /// The caller who signs in with a credential; a wrong one counts against the address, as for REST. A token at its
    /// limit of requests may sign in: its sessions are the way to see what uses it up.
    pub(crate) async fn signing_in(
        hub: &Hub,
        credential: Option<Credential>,
        client: ClientIp,
    ) -> Result<Self, ApiError> {
        let caller = Self::authenticated(hub, credential, client, None).await?;
        caller.note_new_secret(hub).await;
        Ok(caller)
    }

    /// The caller of a session that was made with this secret of a token; `None`: the token or the secret has ended.
    pub(crate) async fn of_session(
        hub: &Hub,
        token: TokenId,
        secret: CredentialHash,
        client: ClientIp,
    ) -> Result<Option<Self>, ApiError> {
        let now = hub.clock.now();
        let cached = hub.tokens.get(token).await?;
        let Some(cached) = cached.filter(|cached| cached.known.token.is_valid_at(now)) else {
            return Ok(None);
        };
        let known = &cached.known;
        let former = known.former_at(now).map(|former| former.credential_hash);
        let by_former = match secret {
            secret if secret == known.credential_hash => false,
            secret if former == Some(secret) => true,
            _ => return Ok(None),
        };
        require_recent(hub)?;
        hub.tokens.note_use(&cached, now);
        let caller = Self {
            cached,
            client,
            signature: None,
            by_former,
            agent: None,
        };
        caller.note_new_secret(hub).await;
        Ok(Some(caller))
    }

    /// Counts the request of a session as one of its token; refused at its limit.
    pub(crate) fn count_request(&self, hub: &Hub) -> Result<(), ApiError> {
        require_rate(hub, &self.cached)
    }

    /// Whether there is a token with this id, valid or not. Ids that clients make up cost a bounded number of statements.
    pub(crate) async fn is_token(
        hub: &Hub,
        id: TokenId,
        client: ClientIp,
    ) -> Result<bool, ApiError> {
        let known = known_token(hub, id, client.ip).await?;
        Ok(known.is_some())
    }

    /// The hash of the secret that authenticated the caller.
    pub(crate) fn secret(&self) -> CredentialHash {
        let known = &self.cached.known;
        match &known.former {
            Some(former) if self.by_former => former.credential_hash,
            _ => known.credential_hash,
        }
    }
}

/// Refuses an address that has sent too many wrong credentials.
pub(crate) fn require_few_failures(hub: &Hub, ip: IpAddr) -> Result<(), ApiError> {
    match hub.failures.over_for(ip, hub.clock.reading()) {
        None => Ok(()),
        Some(retry_after) => Err(ApiError::TooManyFailures { retry_after }),
    }
}

/// Counts a wrong code of a link, or a session id that never was one, like a wrong credential.
pub(crate) fn wrong_code(hub: &Hub, ip: IpAddr, refusal: ApiError) -> ApiError {
    wrong_credential(hub, ip, refusal)
}
