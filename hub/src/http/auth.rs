//! Authenticates callers by their credential and checks the rights of its token. The foreign protocols use it too, and
//! the dashboard, whose sessions stand for the credential that they were made with.

mod invited;
mod session;

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use silo_shared::credential::{Credential, TokenId};
use silo_shared::signing::SigningKey;
use silo_shared::silo::{Hostname, SiloId};

use super::Hub;
use super::agent_claim;
use super::client_ip::{ClientIp, NoCallerAddress};
use super::error::ApiError;
use super::origin::refuse_foreign_write;
use super::parameters;
use super::signing::{SignedBy, Verified};
use crate::auth::secrets::is_credential_of;
use crate::auth::token_cache::{CachedToken, LookupPriority};
use crate::domain::agents::AgentClaim;
use crate::domain::time::Time;
use crate::domain::token::{CredentialHash, Token};
use crate::follow::database_health::TOKENS_GOOD_FOR;
use crate::registry::{
    Actor, ApplyError, Command, NoteNewSecretUsed, Refusal, Signed, SpendNonceOnly,
};
use crate::store::{KnownToken, Via, WriteScope};

pub(super) use invited::Invited;
pub(crate) use session::{require_few_failures, wrong_code};

/// A caller with a valid token.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    cached: Arc<CachedToken>,
    client: ClientIp,
    signature: Option<Verified>,
    by_former: bool,
    /// What the request says of its agent.
    agent: Option<Box<AgentClaim>>,
}

const NO_SILO: ApiError = ApiError::NotFound("there is no such silo");

impl Caller {
    /// The token that authenticated the request.
    pub(crate) fn token(&self) -> &Token {
        &self.cached.known.token
    }

    /// The same token with what verifies its credential.
    pub(crate) fn known(&self) -> &KnownToken {
        &self.cached.known
    }

    /// The client's address.
    pub(crate) fn ip(&self) -> IpAddr {
        self.client.ip
    }

    /// The client's address, if it may be used as the address that the request omits: see [`ClientIp::implied`].
    /// Refused for a signed request, since a relay could then have its own address set.
    pub(crate) fn implied_ip(&self, hub: &Hub) -> Result<IpAddr, ApiError> {
        if self.signature.is_some() {
            let detail =
                "a signed request must name the address: a relay could otherwise change it";
            return Err(ApiError::invalid("/ip", detail));
        }
        self.implied_address(hub)
            .map_err(|why| ApiError::invalid("/ip", why.to_string()))
    }

    /// Like [`Self::implied_ip`], for protocols without signatures; logs the reason of a refusal.
    pub(crate) fn implied_address(&self, hub: &Hub) -> Result<IpAddr, NoCallerAddress> {
        self.client
            .implied()
            .inspect_err(|why| hub.trusted_proxies.report(why, &hub.clock))
    }

    /// Whether the request names its agent.
    pub(super) fn names_agent(&self) -> bool {
        self.agent.is_some()
    }

    /// Notes the agent that the request names, if any, for a silo that is there.
    pub(super) fn note_agent(&self, hub: &Hub, silo: &SiloId) {
        if let Some(claim) = &self.agent {
            let (agents, now) = (hub.registry.agents(), hub.clock.now());
            agents.note(claim, silo, self.token().id, self.ip(), now);
        }
    }

    /// Allows the token itself, authenticated with its current secret, and admins.
    pub(crate) fn require_revoke(&self, id: Option<TokenId>) -> Result<(), ApiError> {
        if id == Some(self.token().id) && !self.by_former && self.token().has_known_role() {
            Ok(())
        } else {
            self.require_admin()
        }
    }

    /// Allows the token itself and admins. Returns the former secret if it authenticated the request: it may rotate
    /// again until the new secret is used, since the response that contained the new secret may be lost. After that, a
    /// leaked former secret could lock the owner out.
    pub(crate) fn require_rotate(&self, id: TokenId) -> Result<Option<CredentialHash>, ApiError> {
        // A token of an unknown role may do nothing.
        if self.token().id != id || !self.token().has_known_role() {
            return self.require_admin().map(|()| None);
        }
        match &self.cached.known.former {
            Some(former) if self.by_former => match former.new_used_at {
                None => Ok(Some(former.credential_hash)),
                Some(_) => Err(Refusal::RotatedAlready.into()),
            },
            _ => Ok(None),
        }
    }

    /// The signing key of the secret that authenticated the request; `None`: it was lost with the hub's key.
    pub(super) fn signing_key(&self, hub: &Hub) -> Option<SigningKey> {
        let known = self.known();
        let sealed = match &known.former {
            Some(former) if self.by_former => &former.signing_key,
            _ => &known.signing_key,
        };
        hub.key.open_signing_key(sealed, known.token.id)
    }

    /// Refuses a token that was revoked or expired since, or whose secret ended: receiving a body and waiting in a read
    /// take time. Also one whose rights were changed, since those that it had were checked.
    pub(crate) async fn require_still(&self, hub: &Hub) -> Result<(), ApiError> {
        let now = self.refreshed(hub).await?;
        let (before, now) = (&self.token().spec, &now.token().spec);
        let is_same = before.silos == now.silos && before.hostnames == now.hostnames;
        is_same.then_some(()).ok_or(ApiError::Forbidden(
            "the rights of the token were changed while the request ran: send it again",
        ))
    }

    /// The caller with the present rights of its token; refused like [`Self::require_still`] if the token or its secret
    /// has ended.
    pub(crate) async fn refreshed(&self, hub: &Hub) -> Result<Self, ApiError> {
        let now = hub.clock.now();
        let then = &self.cached.known;
        let shown = match (self.by_former, &then.former) {
            (true, Some(former)) => former.credential_hash,
            _ => then.credential_hash,
        };
        let still = hub.tokens.get(then.token.id).await?.filter(|cached| {
            let known = &cached.known;
            let former = known.former_at(now).map(|former| former.credential_hash);
            known.token.is_valid_at(now)
                && (known.credential_hash == shown || former == Some(shown))
        });
        let cached = still.ok_or(ApiError::Unauthorized(
            "the token was revoked, or its secret ended, while the request ran",
        ))?;
        Ok(Self {
            cached,
            ..self.clone()
        })
    }

    /// Runs a command. A signed command runs at most once, and not after a newer one in the same scope.
    pub(crate) async fn apply<C: Command>(
        &self,
        hub: &Hub,
        place: WriteScope,
        command: C,
    ) -> Result<C::Outcome, ApiError> {
        self.require_still(hub).await?;
        let write = self
            .signature
            .as_ref()
            .and_then(|signed| signed.write.as_ref());
        match write {
            None => Ok(hub.registry.apply(command).await?),
            Some(write) => {
                let signed = Signed {
                    write: write.take(),
                    place,
                    command,
                };
                apply(hub, self.ip(), signed).await
            }
        }
    }

    /// Spends the nonce of a signed request for a stream, durably, before the stream starts.
    pub(super) async fn spend_nonce(&self, hub: &Hub) -> Result<(), ApiError> {
        let write = self
            .signature
            .as_ref()
            .and_then(|signed| signed.write.as_ref());
        let Some(write) = write else { return Ok(()) };
        let nothing = Signed {
            write: write.take(),
            place: WriteScope::Unscoped,
            command: SpendNonceOnly,
        };
        apply(hub, self.ip(), nothing).await
    }

    /// The actor to record in the history for a change by REST.
    pub(super) fn actor(&self) -> Actor {
        self.actor_via(Via::Rest)
    }

    /// The actor to record for a change through this interface.
    pub(crate) fn actor_via(&self, via: Via) -> Actor {
        Actor {
            via,
            token: Some(self.token().id),
            client_ip: Some(self.ip()),
        }
    }

    /// Admins only.
    pub(crate) fn require_admin(&self) -> Result<(), ApiError> {
        let right = self.token().is_admin();
        right
            .then_some(())
            .ok_or(ApiError::Forbidden("this needs an admin token"))
    }

    /// Admins, and tokens for metrics.
    pub(crate) fn require_metrics(&self) -> Result<(), ApiError> {
        let right = self.token().may_read_metrics();
        right.then_some(()).ok_or(ApiError::Forbidden(
            "this needs an admin token, or one with the role metrics",
        ))
    }

    /// Tokens whose role concerns silos, which may still name none that is there.
    pub(crate) fn require_silos(&self) -> Result<(), ApiError> {
        let right = self.token().reads_silos();
        right
            .then_some(())
            .ok_or(ApiError::Forbidden("this token's role reads no silos"))
    }

    /// Checks read access. A silo that the token may not read is reported as missing.
    pub(crate) fn require_read(&self, id: &SiloId) -> Result<(), ApiError> {
        self.token().may_read(id).then_some(()).ok_or(NO_SILO)
    }

    /// Checks the right to replace or delete a whole silo.
    pub(crate) fn require_replace(&self, id: &SiloId) -> Result<(), ApiError> {
        let right = self.token().may_replace(id);
        right.then_some(()).ok_or(ApiError::Forbidden(
            "this token may not replace or delete the silo",
        ))
    }

    /// Checks the right to write any record of the silo.
    pub(crate) fn require_write_some(&self, id: &SiloId) -> Result<(), ApiError> {
        let right = self.token().may_write(id);
        right
            .then_some(())
            .ok_or(ApiError::Forbidden("this token may not write the silo"))
    }

    /// Checks the right to write one record.
    pub(crate) fn require_write(&self, id: &SiloId, hostname: &Hostname) -> Result<(), ApiError> {
        let right = self.token().may_write_record(id, hostname);
        right
            .then_some(())
            .ok_or(ApiError::Forbidden("this token may not write this record"))
    }
}

impl FromRequestParts<Arc<Hub>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, hub: &Arc<Hub>) -> Result<Self, ApiError> {
        let caller = Self::of(parts, hub).await?;
        parameters::check(parts)?;
        Ok(caller)
    }
}

impl Caller {
    async fn of(parts: &mut Parts, hub: &Arc<Hub>) -> Result<Self, ApiError> {
        refuse_foreign_write(parts, &hub.cors)?;
        let Ok(client) = ClientIp::from_request_parts(parts, hub).await;
        let agent = agent_claim::claim(&parts.headers).map(Box::new);
        if let Some(signature) = parts.extensions.get::<Verified>() {
            let SignedBy::Token { token, by_former } = &signature.by else {
                return Err(ApiError::Forbidden(
                    "the key of an invitation is for redeeming it alone",
                ));
            };
            require_rate(hub, token)?;
            if !by_former {
                note_new_secret(hub, token, hub.clock.now()).await;
            }
            return Ok(Self {
                cached: Arc::clone(token),
                client,
                signature: Some(signature.clone()),
                by_former: *by_former,
                agent,
            });
        }
        let headers = &parts.headers;
        let mut shown = headers.get_all(header::AUTHORIZATION).iter();
        let Some(authorization) = shown.next() else {
            let detail = "send a token: Authorization: Bearer silo_…";
            return Err(ApiError::Unauthorized(detail));
        };
        let is_only = shown.next().is_none();
        let credential = credential(authorization.as_bytes()).filter(|_| is_only);
        Self::by_credential(hub, credential, client, agent).await
    }

    /// The caller with this credential, whose request counts as one of its token.
    async fn by_credential(
        hub: &Hub,
        credential: Option<Credential>,
        client: ClientIp,
        agent: Option<Box<AgentClaim>>,
    ) -> Result<Self, ApiError> {
        let caller = Self::authenticated(hub, credential, client, agent).await?;
        require_rate(hub, &caller.cached)?;
        caller.note_new_secret(hub).await;
        Ok(caller)
    }

    /// The caller with this credential; `None`: what was shown is none. A wrong one counts against the address.
    async fn authenticated(
        hub: &Hub,
        credential: Option<Credential>,
        client: ClientIp,
        agent: Option<Box<AgentClaim>>,
    ) -> Result<Self, ApiError> {
        let (ip, now) = (client.ip, hub.clock.now());
        let known = match credential {
            None => None,
            Some(credential) => known_token(hub, credential.id(), ip)
                .await?
                .filter(|cached| cached.known.token.is_valid_at(now))
                .and_then(|cached| {
                    let by_former = shown_secret(&credential, &cached.known, now)?;
                    Some((cached, by_former))
                }),
        };
        let Some((cached, by_former)) = known else {
            let detail = "unknown, revoked or expired token; send it as `Bearer`, or as the password of `Basic`";
            let refusal = ApiError::Unauthorized(detail);
            return Err(wrong_credential(hub, ip, refusal));
        };
        require_recent(hub)?;
        hub.tokens.note_use(&cached, now);
        Ok(Self {
            cached,
            client,
            signature: None,
            by_former,
            agent,
        })
    }

    /// Stores that the token's present secret was used, if it was.
    async fn note_new_secret(&self, hub: &Hub) {
        if !self.by_former {
            note_new_secret(hub, &self.cached, hub.clock.now()).await;
        }
    }
}

/// Stores the first use of a token's current secret while its former one is valid: once per rotation.
async fn note_new_secret(hub: &Hub, cached: &CachedToken, now: Time) {
    let known = &cached.known;
    let is_first = known
        .former_at(now)
        .is_some_and(|former| former.new_used_at.is_none());
    if is_first {
        let command = NoteNewSecretUsed {
            id: known.token.id,
            credential_hash: known.credential_hash,
        };
        if let Err(error) = hub.registry.apply(command).await {
            tracing::warn!(token_id = %known.token.id, "the first use of a new secret is not recorded yet: {error}");
        }
    }
}

/// Whether a credential matches the token's former secret (`true`) or its current one (`false`); `None`: neither.
fn shown_secret(credential: &Credential, known: &KnownToken, now: Time) -> Option<bool> {
    if is_credential_of(credential, &known.credential_hash) {
        return Some(false);
    }
    let former = known.former_at(now)?;
    is_credential_of(credential, &former.credential_hash).then_some(true)
}

/// Looks up a token by the id in a credential. Lookups from an address with too many wrong credentials have lower
/// priority.
pub(super) async fn known_token(
    hub: &Hub,
    id: TokenId,
    ip: IpAddr,
) -> Result<Option<Arc<CachedToken>>, ApiError> {
    if let Some(held) = hub.tokens.held(id) {
        return Ok(Some(held));
    }
    let priority = if hub.failures.locked_out_for(ip, hub.clock.reading()) {
        LookupPriority::Low
    } else {
        LookupPriority::Normal
    };
    Ok(hub.tokens.look_up(id, priority).await?)
}

/// Counts a wrong credential; after too many of them the answer is another one.
pub(super) fn wrong_credential(hub: &Hub, ip: IpAddr, refusal: ApiError) -> ApiError {
    match hub.failures.count(ip, hub.clock.reading()) {
        Ok(()) => refusal,
        Err(retry_after) => ApiError::TooManyFailures { retry_after },
    }
}

/// Refuses a token that has used up its requests of this minute, if there is a limit.
fn require_rate(hub: &Hub, token: &CachedToken) -> Result<(), ApiError> {
    let counted = hub.rate.count(token.known.token.id);
    counted.map_err(|retry_after| ApiError::TooManyRequests { retry_after })
}

/// Refuses every token if the database has been unavailable for too long: this hub could not have learned of a
/// revocation since.
pub(super) fn require_recent(hub: &Hub) -> Result<(), ApiError> {
    let stale = hub.database_health.stale_for(hub.clock.monotonic());
    if stale.is_some_and(|seconds| seconds > TOKENS_GOOD_FOR) {
        Err(ApiError::Unavailable)
    } else {
        Ok(())
    }
}

/// Runs a signed command; a replay counts as a wrong credential.
pub(super) async fn apply<C: Command>(
    hub: &Hub,
    ip: IpAddr,
    command: Signed<C>,
) -> Result<C::Outcome, ApiError> {
    match hub.registry.apply(command).await {
        Err(ApplyError::Refused(refusal @ Refusal::Replayed)) => {
            Err(wrong_credential(hub, ip, refusal.into()))
        }
        outcome => Ok(outcome?),
    }
}

/// The credential of an `Authorization` header: Bearer, or the password of Basic.
fn credential(authorization: &[u8]) -> Option<Credential> {
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

/// User name and password of Basic. The user name may be in any character set (RFC 7617 section 2), but contains no
/// colon.
fn user_and_password(encoded: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut user = STANDARD.decode(encoded).ok()?;
    let colon = user.iter().position(|byte| *byte == b':')?;
    let password = user.split_off(colon + 1);
    user.truncate(colon);
    Some((user, password))
}

/// The user name of Basic, which REST ignores; `None` also if it is not UTF-8.
pub(crate) fn basic_user(headers: &HeaderMap) -> Option<String> {
    let authorization = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, rest) = authorization.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let (user, _) = user_and_password(rest.trim())?;
    String::from_utf8(user).ok()
}
