//! Identifies the signer of a request, and decides whether the request is accepted.

use std::net::IpAddr;
use std::sync::Arc;

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Method, header};
use silo_shared::credential::TokenId;
use silo_shared::signing::component::RequestHead;
use silo_shared::signing::request::RequestSignature;
use silo_shared::signing::{SIGNATURE, SIGNATURE_INPUT, SignatureError, SigningKey};

use super::{OnceWrite, SignedBy, SignedContent, Verified, invitation};
use crate::domain::time::Time;
use crate::http::Hub;
use crate::http::auth::{known_token, require_recent, wrong_credential};
use crate::http::body_budget::Content;
use crate::http::error::{ApiError, SignatureProblem};
use crate::registry::SignedWrite;
use crate::store::{KnownToken, Queries, SealedKey};

/// The signer of a request; from here on its response is signed too.
pub(super) struct Signer {
    pub(super) head: Arc<RequestHead>,
    pub(super) key: SigningKey,
    by: SignedBy,
    signature: Arc<RequestSignature>,
}

impl Signer {
    /// The id under which responses are signed.
    pub(super) fn keyid(&self) -> TokenId {
        self.by.keyid()
    }
}

/// Identifies the signer: all required parts are signed, and the signature was made with a valid token's key, or with that
/// of the invitation that the path names, whatever its state.
/// `has_content`: whether content follows, or may follow.
pub(super) async fn signer(
    hub: &Hub,
    parts: &Parts,
    has_content: bool,
    ip: IpAddr,
    now: Time,
) -> Result<Signer, ApiError> {
    if parts.headers.contains_key(header::AUTHORIZATION) {
        return Err(ApiError::Malformed(
            "a signature and Authorization together: send one of them".to_owned(),
        ));
    }
    let refuse = |error: SignatureError| wrong_signature(hub, ip, error.to_string());
    let (head, signature) = read(parts, has_content).map_err(refuse)?;
    let keyid = TokenId::parse(&signature.keyid).ok();
    let invited = match keyid.filter(|id| invitation::of_path(parts) == Some(*id)) {
        Some(id) => invitation::look_up(hub, id, ip).await?,
        None => None,
    };
    let (by, key) = match invited {
        Some(known) => {
            let id = known.invitation.id;
            let key = hub.key.open_invitation_key(&known.signing_key, id);
            let key = key.ok_or_else(|| wrong_signature(hub, ip, UNKNOWN.to_owned()))?;
            signature.verify(&head, &key).map_err(refuse)?;
            (SignedBy::Invitation(Arc::new(known)), key)
        }
        None => by_token(hub, &head, &signature, ip, now).await?,
    };
    Ok(Signer {
        head: Arc::new(head),
        key,
        by,
        signature: Arc::new(signature),
    })
}

/// Why a signature has no key.
const UNKNOWN: &str = "keyid is unknown, or its token is revoked or expired, or its signing key was lost with the hub's key";

/// The valid token whose key made a signature.
async fn by_token(
    hub: &Hub,
    head: &RequestHead,
    signature: &RequestSignature,
    ip: IpAddr,
    now: Time,
) -> Result<(SignedBy, SigningKey), ApiError> {
    let refuse = |error: SignatureError| wrong_signature(hub, ip, error.to_string());
    let cached = match TokenId::parse(&signature.keyid) {
        Ok(id) => known_token(hub, id, ip).await?,
        Err(_) => None,
    };
    let cached = cached.filter(|cached| cached.known.token.is_valid_at(now));
    let open =
        |sealed: &SealedKey, known: &KnownToken| hub.key.open_signing_key(sealed, known.token.id);
    let key = cached.as_ref().and_then(|cached| {
        let known = &cached.known;
        open(&known.signing_key, known)
    });
    let (Some(token), Some(key)) = (cached, key) else {
        return Err(wrong_signature(hub, ip, UNKNOWN.to_owned()));
    };
    let mut verified = signature.verify(head, &key).map(|()| (key, false));
    if verified.is_err()
        && let Some(former) = token.known.former_at(now)
        && let Some(key) = open(&former.signing_key, &token.known)
        && signature.verify(head, &key).is_ok()
    {
        verified = Ok((key, true));
    }
    if let Err(SignatureError::Wrong) = verified {
        let (id, now) = (token.known.token.id, hub.clock.monotonic());
        hub.mismatches.report(id, &head.authority, now);
    }
    let (key, by_former) = verified.map_err(refuse)?;
    Ok((SignedBy::Token { token, by_former }, key))
}

fn read(
    parts: &Parts,
    has_content: bool,
) -> Result<(RequestHead, RequestSignature), SignatureError> {
    let head = RequestHead {
        method: parts.method.clone(),
        authority: authority(parts)?,
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().map(ToOwned::to_owned),
        headers: parts.headers.clone(),
    };
    let signature = RequestSignature::read(&head, has_content)?;
    let missing = SignatureError::Malformed {
        field: "Signature",
        why: "is missing",
    };
    Ok((head, signature.ok_or(missing)?))
}

/// The host in the request, in lower case.
fn authority(parts: &Parts) -> Result<String, SignatureError> {
    let malformed = |why| SignatureError::Malformed { field: "Host", why };
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(SignatureError::Repeated("host".to_owned()));
    }
    let host = host
        .map(|host| host.to_str().map_err(|_| malformed("is not ASCII")))
        .transpose()?;
    let named = match (parts.uri.authority(), host) {
        (Some(target), Some(host)) if !target.as_str().eq_ignore_ascii_case(host) => {
            return Err(malformed("is not the host of the target"));
        }
        (Some(target), _) => target.as_str(),
        (None, Some(host)) => host,
        (None, None) => return Err(malformed("is missing")),
    };
    Ok(named.to_ascii_lowercase())
}

/// Admits a signed request: checks its time, and that it was not received before. Returns what handlers need. Content
/// that follows is checked when it is read, after the sender's right is checked; content that is not read has no
/// effect. `is_stream`: the request is for a stream, which keeps sending new data, so that its nonce is spent like that
/// of a write.
pub(super) async fn admit(
    hub: &Hub,
    signer: &Signer,
    has_content: bool,
    is_stream: bool,
    ip: IpAddr,
    now: Time,
) -> Result<Verified, ApiError> {
    let Signer {
        head,
        by,
        signature,
        ..
    } = signer;
    let refuse = |error: SignatureError| wrong_signature(hub, ip, error.to_string());
    if let Some(offset_ms) = signature.clock_offset(now.as_millis()) {
        let problem = SignatureProblem::Clock { offset_ms, now };
        return Err(wrong_credential(hub, ip, ApiError::Signature(problem)));
    }
    signature.check_end(now.as_millis()).map_err(refuse)?;
    let created = Time::from_millis(signature.created.saturating_mul(1000));
    // For writes, the transaction checks this again: this hub may not know the latest value yet.
    if hub.signed_not_before.get().refuses(created, now) {
        return Err(ApiError::Signature(SignatureProblem::BeforeRestore));
    }
    require_recent(hub)?;
    let nonce = &signature.nonce;
    let reads = !is_stream && matches!(head.method, Method::GET | Method::HEAD);
    let replay = || {
        let replay = ApiError::Signature(SignatureProblem::Replay);
        wrong_credential(hub, ip, replay)
    };
    // Otherwise a replayed request could make the hub wait for its content many times.
    let waits = !reads && has_content;
    if waits && hub.store.nonce_is_spent(signer.keyid(), nonce).await? {
        return Err(replay());
    }
    if !has_content {
        signature.check_content(head, &[]).map_err(refuse)?;
    }
    let write = if reads {
        if !hub
            .nonces
            .spend(signer.keyid(), nonce, hub.clock.monotonic())
        {
            return Err(replay());
        }
        None
    } else {
        Some(SignedWrite {
            token: signer.keyid(),
            nonce: nonce.clone(),
            created,
        })
    };
    if let SignedBy::Token { token, .. } = by {
        hub.tokens.note_use(token, now);
    }
    Ok(Verified {
        by: by.clone(),
        write: write.map(OnceWrite::new).map(Arc::new),
        content: SignedContent {
            head: Arc::clone(head),
            signature: Arc::clone(signature),
            ip,
        },
    })
}

impl Verified {
    /// Checks the content that came with the request. If it could not be read, or differs from what was signed, the
    /// nonce stays unspent: a relay could have caused that.
    pub(in crate::http) fn check_content(
        &self,
        hub: &Hub,
        content: Result<Content, ApiError>,
    ) -> Result<Content, ApiError> {
        let SignedContent {
            head,
            signature,
            ip,
        } = &self.content;
        let checked = content.and_then(|content| match signature.check_content(head, &content) {
            Ok(()) => Ok(content),
            Err(error) => Err(wrong_signature(hub, *ip, error.to_string())),
        });
        if let (Err(_), Some(write)) = (&checked, &self.write) {
            write.leave_unspent();
        }
        checked
    }
}

/// A signature that does not count is as good as a wrong credential.
fn wrong_signature(hub: &Hub, ip: IpAddr, detail: String) -> ApiError {
    let problem = ApiError::Signature(SignatureProblem::Wrong(detail));
    wrong_credential(hub, ip, problem)
}

/// Whether a message has any part of a signature. Comparing each name costs less than two lookups, which hash theirs.
pub(super) fn is_signed(headers: &HeaderMap) -> bool {
    headers.keys().any(is_of_signature)
}

/// Whether a header is part of a signature.
pub(in crate::http) fn is_of_signature(name: &HeaderName) -> bool {
    *name == SIGNATURE || *name == SIGNATURE_INPUT
}
