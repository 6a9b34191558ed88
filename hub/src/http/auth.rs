//! Who calls: the credential, and the rights that follow from its token. Foreign protocols ask here too.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use silo_shared::credential::Credential;
use silo_shared::silo::{Hostname, SiloId};

use super::Hub;
use super::client_ip::ClientIp;
use super::error::ApiError;
use super::origin::refuse_foreign_write;
use crate::contact::TOKENS_GOOD_FOR;
use crate::domain::token::Token;
use crate::registry::Actor;
use crate::secrets::is_credential_of;
use crate::store::Via;
use crate::token_cache::CachedToken;

/// A caller with a valid token.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    cached: Arc<CachedToken>,
    ip: IpAddr,
}

const NO_SILO: ApiError = ApiError::NotFound("there is no such silo");

impl Caller {
    /// The token that was shown.
    pub(crate) fn token(&self) -> &Token {
        &self.cached.known.token
    }

    /// Where the request came from.
    pub(crate) fn ip(&self) -> IpAddr {
        self.ip
    }

    /// Who asks for a change by REST, for the history.
    pub(super) fn actor(&self) -> Actor {
        self.actor_via(Via::Rest)
    }

    /// Who asks for a change, and by which way.
    pub(crate) fn actor_via(&self, via: Via) -> Actor {
        Actor {
            via,
            token: Some(self.token().id),
            client_ip: Some(self.ip),
        }
    }

    /// Admins only.
    pub(super) fn require_admin(&self) -> Result<(), ApiError> {
        let right = self.token().is_admin();
        right
            .then_some(())
            .ok_or(ApiError::Forbidden("this needs an admin token"))
    }

    /// A silo that the token may not read is as good as none.
    pub(super) fn require_read(&self, id: &SiloId) -> Result<(), ApiError> {
        self.token().may_read(id).then_some(()).ok_or(NO_SILO)
    }

    /// Replacing or deleting a whole silo.
    pub(super) fn require_replace(&self, id: &SiloId) -> Result<(), ApiError> {
        let right = self.token().may_replace(id);
        right.then_some(()).ok_or(ApiError::Forbidden(
            "this token may not replace or delete the silo",
        ))
    }

    /// Writing one record.
    pub(super) fn require_write(&self, id: &SiloId, hostname: &Hostname) -> Result<(), ApiError> {
        let right = self.token().may_write_record(id, hostname);
        right
            .then_some(())
            .ok_or(ApiError::Forbidden("this token may not write this record"))
    }
}

impl FromRequestParts<Arc<Hub>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, hub: &Arc<Hub>) -> Result<Self, ApiError> {
        refuse_foreign_write(parts)?;
        let Ok(ClientIp(ip)) = ClientIp::from_request_parts(parts, hub).await;
        let headers = &parts.headers;
        let browser = headers
            .get("sec-fetch-mode")
            .is_some_and(|mode| mode != "navigate");
        let Some(authorization) = headers.get(header::AUTHORIZATION) else {
            let detail = "send a token: Authorization: Bearer silo_…";
            return Err(ApiError::Unauthorized { detail, browser });
        };
        let now = hub.clock.now();
        let known = match credential(headers, authorization.as_bytes()) {
            None => None,
            Some(credential) => hub.tokens.get(credential.id()).await?.filter(|cached| {
                is_credential_of(&credential, &cached.known.credential_hash)
                    && cached.known.token.is_valid_at(now)
            }),
        };
        let Some(cached) = known else {
            hub.failures
                .count(ip, now)
                .map_err(|retry_after| ApiError::TooManyFailures { retry_after })?;
            let detail = "this is no credential of this hub, or it is revoked or expired; it is sent as Bearer, or as the password of Basic";
            return Err(ApiError::Unauthorized { detail, browser });
        };
        // Nobody could have told this hub of a revocation since.
        if hub
            .contact
            .stale_for(now)
            .is_some_and(|seconds| seconds > TOKENS_GOOD_FOR)
        {
            return Err(ApiError::Unavailable);
        }
        hub.tokens.note_use(&cached, now);
        hub.rate
            .count(cached.known.token.id)
            .map_err(|retry_after| ApiError::TooManyRequests { retry_after })?;
        Ok(Self { cached, ip })
    }
}

/// The credential of the one `Authorization` header: Bearer, or Basic with it as password.
fn credential(headers: &HeaderMap, authorization: &[u8]) -> Option<Credential> {
    if headers.get_all(header::AUTHORIZATION).iter().count() > 1 {
        return None;
    }
    let (scheme, rest) = std::str::from_utf8(authorization).ok()?.split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Credential::parse(rest).ok();
    }
    if scheme.eq_ignore_ascii_case("basic") {
        let (_, password) = user_and_password(rest)?;
        return Credential::parse(std::str::from_utf8(&password).ok()?).ok();
    }
    None
}

/// User name and password of Basic. The user name may be in any character set (RFC 7617 section 2),
/// but holds no colon.
fn user_and_password(encoded: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut user = STANDARD.decode(encoded).ok()?;
    let colon = user.iter().position(|byte| *byte == b':')?;
    let password = user.split_off(colon + 1);
    user.truncate(colon);
    Some((user, password))
}

/// The user name of Basic, which means nothing to REST; `None` also where it is not UTF-8.
pub(crate) fn basic_user(headers: &HeaderMap) -> Option<String> {
    let authorization = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, rest) = authorization.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let (user, _) = user_and_password(rest.trim())?;
    String::from_utf8(user).ok()
}
