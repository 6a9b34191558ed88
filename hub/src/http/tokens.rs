//! `/tokens`, for admins, and `/token`, for each token itself.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, LOCATION};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use silo_shared::credential::TokenId;
use silo_shared::signing::SigningKey;

use super::Hub;
use super::auth::Caller;
use super::bodies::{self, Rotation};
use super::error::ApiError;
use super::headers::{PRIVATE, header_value};
use super::invitation_exchange::not_agreed;
use super::openapi::bodies::{RotateBody, TokenBody, TokenPatchBody};
use super::openapi::values::{EntityTags, Limit};
use super::openapi::{self, tags};
use super::page::{Page, respond, rows_to_read};
use super::request::{JsonBody, Query, TokenPath};
use crate::domain::precondition::Precondition;
use crate::domain::time::Time;
use crate::domain::token::Token;
use crate::registry::new_token::{NewSecret, NewToken};
use crate::registry::{Audited, ChangeToken, Refusal, RevokeToken, RotateToken};
use crate::store::WriteScope;
use utoipa::ToSchema;

/// A token.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Token)]
struct Document<'a> {
    #[schema(value_type = TokenId)]
    id: &'a str,
    /// The name for people.
    #[schema(example = "nas")]
    name: &'a str,
    /// `read`, `write`, `metrics` or `admin`; another one is of a newer version and may do nothing here.
    #[schema(pattern = "^[a-z-]{1,8}$", example = "write")]
    role: &'a str,
    /// Names or globs of silos; empty for admins and for metrics.
    #[schema(value_type = Vec<String>, example = json!(["office"]))]
    silos: &'a [String],
    /// Names or globs of the hostnames that the token may write; left out: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Vec<String>, required = false, example = json!(["nas", "nas-*"]))]
    hostnames: Option<&'a [String]>,
    created_at: Time,
    /// When it ends; `null`: never.
    #[schema(required = true)]
    expires_at: Option<Time>,
    /// When it was last used, as far as this is known.
    #[schema(required = true)]
    last_used_at: Option<Time>,
    /// The whole credential, in answers that make one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(
        value_type = String,
        required = false,
        pattern = "^silo_[a-z0-9]{10}_[A-Za-z0-9_-]{43}$"
    )]
    secret: Option<&'a str>,
    /// The hub's public key of X25519, in the answer to a rotation that has one. `secret` is left out then.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(
        value_type = String,
        required = false,
        pattern = "^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$",
        example = "3p7bfXt9wbTTW2HC7OQ1Nz-DQ8hbeGdNrfx-FG-IK08"
    )]
    public_key: Option<String>,
    /// Until when the secret from before a rotation is valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    old_secret_ends_at: Option<Time>,
}

fn document<'a>(token: &'a Token, secret: Option<&'a str>) -> Document<'a> {
    Document {
        id: token.id.as_str(),
        name: &token.spec.name,
        role: token.spec.role.as_str(),
        silos: &token.spec.silos,
        hostnames: token.spec.hostnames.as_deref(),
        created_at: token.created_at,
        expires_at: token.spec.expires_at,
        last_used_at: token.last_used_at,
        secret,
        public_key: None,
        old_secret_ends_at: None,
    }
}

/// Judges the preconditions of a write to a token, which has no entity tag. One that is not there is reported as missing
/// (RFC 9110 section 13.2.1).
async fn judge(hub: &Hub, precondition: &Precondition, id: TokenId) -> Result<(), ApiError> {
    if precondition.holds_without_tag() {
        return Ok(());
    }
    let token = hub.tokens.get(id).await?;
    token.map(drop).ok_or(Refusal::NoToken)?;
    Err(ApiError::precondition_without_tag())
}

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// The default number of tokens on a page.
const PAGE: usize = 1000;

/// Lists tokens
///
/// The tokens that are not revoked, in byte order of their ids. `limit` is 1000 unless given. For admins.
#[utoipa::path(
    get,
    path = "/tokens",
    operation_id = "listTokens",
    tag = tags::TOKENS,
    params(("limit" = Option<Limit>, Query), ("after" = Option<TokenId>, Query)),
    responses(
        (status = 200, description = "A page of tokens, without secrets.", body = Vec<Document>, headers(("Link" = String), ("Cache-Control" = String))),
        openapi::problem_sets::ReadByRight,
    ),
)]
pub(super) async fn list(
    caller: Caller,
    State(hub): State<Arc<Hub>>,
    query: Query,
) -> Result<Response, ApiError> {
    caller.require_admin()?;
    let limit = query.limit(PAGE)?;
    let after = query.get("after").unwrap_or("");
    if query.get("after").is_some() {
        TokenId::parse(after).map_err(|_| {
            ApiError::invalid(
                "/after",
                "the id of a token: 10 lower-case letters and digits",
            )
        })?;
    }
    let tokens = hub.store.tokens(after, rows_to_read(limit)).await?;
    let mut page = Page::of(tokens, limit);
    for token in &mut page.rows {
        token.last_used_at = hub.tokens.last_used(token.id, token.last_used_at);
    }
    let next = page.next("/tokens", |last| format!("after={}", last.id));
    let documents = page.rows.iter().map(|token| document(token, None));
    respond(documents.collect(), next)
}

/// Creates a token
///
/// For admins.
#[utoipa::path(
    post,
    path = "/tokens",
    operation_id = "createToken",
    tag = tags::TOKENS,
    request_body(content = TokenBody, examples(("writer" = (summary = "A token that sets some hostnames of one silo", value = json!({"name": "nas", "role": "write", "silos": ["office"], "hostnames": ["nas", "nas-*"], "expires_at": "2099-01-01T00:00:00Z"}))), ("reader" = (summary = "A token that reads one silo", value = json!({"name": "laptop", "role": "read", "silos": ["office"]}))), ("admin" = (summary = "A token that may do everything", value = json!({"name": "ops", "role": "admin"}))), ("metrics" = (summary = "A token that reads metrics and status", value = json!({"name": "prometheus", "role": "metrics"}))))),
    responses(
        (status = 201, description = "The token, with its secret. It is shown only here.", body = Document, headers(("Location" = String), ("Cache-Control" = String))),
        openapi::problem_sets::WriteOfNew,
    ),
)]
pub(super) async fn create(
    caller: Caller,
    State(hub): State<Arc<Hub>>,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    caller.require_admin()?;
    let body = body.read(&hub).await?;
    let now = hub.clock.now();
    let spec = bodies::token(&body, now)?;
    let new = NewToken::make(spec, &hub.key, now).map_err(|error| {
        tracing::error!("{error}");
        ApiError::Internal
    })?;
    let command = Audited {
        actor: caller.actor(),
        command: new.command,
    };
    caller.apply(&hub, WriteScope::Unscoped, command).await?;
    let location = header_value(&format!("/tokens/{}", new.token.id))?;
    let document = document(&new.token, Some(new.credential.expose()));
    let headers = [(LOCATION, location), (CACHE_CONTROL, NO_STORE)];
    Ok((StatusCode::CREATED, headers, Json(document)).into_response())
}

/// Revokes a token
///
/// For admins, and for the token itself with its present secret.
#[utoipa::path(
    delete,
    path = "/tokens/{token}",
    operation_id = "revokeToken",
    tag = tags::TOKENS,
    params(("token" = TokenId, Path), ("If-Match" = Option<EntityTags>, Header), ("If-None-Match" = Option<EntityTags>, Header)),
    responses(
        (status = 204, description = "The token is revoked, on every hub within a second."),
        openapi::problem_sets::WriteOfOne,
    ),
)]
pub(super) async fn revoke(
    caller: Caller,
    State(hub): State<Arc<Hub>>,
    TokenPath(id): TokenPath,
    precondition: Precondition,
) -> Result<StatusCode, ApiError> {
    caller.require_revoke(id)?;
    let id = id.ok_or(Refusal::NoToken)?;
    judge(&hub, &precondition, id).await?;
    let command = Audited {
        actor: caller.actor(),
        command: RevokeToken(id),
    };
    caller.apply(&hub, WriteScope::Token(id), command).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Describes the token of the request
///
/// With any credential.
#[utoipa::path(
    get,
    path = "/token",
    operation_id = "readOwnToken",
    tag = tags::TOKENS,
    responses(
        (status = 200, description = "The token of this request.", body = Document, headers(("Cache-Control" = String))),
        openapi::problem_sets::List,
    ),
)]
pub(super) async fn own(caller: Caller, State(hub): State<Arc<Hub>>) -> Response {
    let token = caller.token();
    let former = caller.known().former_at(hub.clock.now());
    let document = Document {
        last_used_at: hub.tokens.last_used(token.id, token.last_used_at),
        old_secret_ends_at: former.map(|former| former.ends_at),
        ..document(token, None)
    };
    ([(CACHE_CONTROL, PRIVATE)], Json(document)).into_response()
}

/// Changes a token
///
/// What is left out stays; `null` removes a limit. For admins.
#[utoipa::path(
    patch,
    path = "/tokens/{token}",
    operation_id = "changeToken",
    tag = tags::TOKENS,
    params(("token" = TokenId, Path), ("If-Match" = Option<EntityTags>, Header), ("If-None-Match" = Option<EntityTags>, Header)),
    request_body(content = TokenPatchBody, examples(("limits" = (summary = "Other limits", value = json!({"name": "nas", "silos": ["office", "lab-*"], "hostnames": null, "expires_at": null}))))),
    responses(
        (status = 200, description = "The token as it is now.", body = Document, headers(("Cache-Control" = String))),
        openapi::problem_sets::WriteOfOneWithBody,
    ),
)]
pub(super) async fn change(
    caller: Caller,
    State(hub): State<Arc<Hub>>,
    TokenPath(id): TokenPath,
    precondition: Precondition,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    caller.require_admin()?;
    let id = id.ok_or(Refusal::NoToken)?;
    judge(&hub, &precondition, id).await?;
    let body = body.read(&hub).await?;
    let command = ChangeToken {
        actor: caller.actor(),
        id,
        patch: bodies::token_patch(&body, id, hub.clock.now())?,
    };
    let mut token = caller.apply(&hub, WriteScope::Token(id), command).await?;
    token.last_used_at = hub.tokens.last_used(id, token.last_used_at);
    Ok(([(CACHE_CONTROL, PRIVATE)], Json(document(&token, None))).into_response())
}

/// The signing key of the token that rotates itself: no other caller could derive the new secret.
fn own_signing_key(hub: &Hub, caller: &Caller, id: TokenId) -> Result<SigningKey, ApiError> {
    if caller.token().id != id {
        let detail = "only the token itself can derive its secret: leave this out";
        return Err(ApiError::invalid("/public_key", detail));
    }
    caller.signing_key(hub).ok_or_else(|| {
        let detail = "the signing key of this token was lost with the hub's key: leave this out";
        ApiError::invalid("/public_key", detail)
    })
}

/// Gives a token a new secret
///
/// The old one ends after `overlap` seconds. Until the new one was used once, the old one may rotate again: an answer that was lost
/// does not lock the owner out. With `public_key`, the answer has no secret: the owner derives it, as docs/signing.md describes.
/// For admins, and for the token itself.
#[utoipa::path(
    post,
    path = "/tokens/{token}/rotate",
    operation_id = "rotateToken",
    tag = tags::TOKENS,
    params(("token" = TokenId, Path), ("If-Match" = Option<EntityTags>, Header), ("If-None-Match" = Option<EntityTags>, Header)),
    request_body(content = RotateBody, examples(("day" = (summary = "The old secret ends after a day", value = json!({"overlap": 86400}))), ("default" = (summary = "The same, since that is the default", value = json!({}))))),
    responses(
        (status = 201, description = "The token, with its new secret. It is shown only here.", body = Document, headers(("Cache-Control" = String))),
        openapi::problem_sets::WriteOfOneWithBody,
    ),
)]
pub(super) async fn rotate(
    caller: Caller,
    State(hub): State<Arc<Hub>>,
    TokenPath(id): TokenPath,
    precondition: Precondition,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let id = match id {
        Some(id) => id,
        None => {
            caller.require_admin()?;
            return Err(Refusal::NoToken.into());
        }
    };
    let by_former = caller.require_rotate(id)?;
    judge(&hub, &precondition, id).await?;
    let body = body.read(&hub).await?;
    let Rotation {
        overlap,
        public_key,
    } = bodies::rotation(&body)?;
    let (new, public_key) = match public_key {
        None => {
            let new = NewSecret::make(id, overlap, &hub.key, hub.clock.now());
            let new = new.map_err(|error| {
                tracing::error!("{error}");
                ApiError::Internal
            })?;
            (new, None)
        }
        Some(client) => {
            let key = own_signing_key(&hub, &caller, id)?;
            let now = hub.clock.now();
            let (new, own) =
                NewSecret::agree(id, &key, client, overlap, &hub.key, now).map_err(not_agreed)?;
            (new, Some(own.to_string()))
        }
    };
    let new = NewSecret {
        command: RotateToken {
            by_former,
            ..new.command
        },
        ..new
    };
    let ends_at = new.command.former_ends;
    let command = Audited {
        actor: caller.actor(),
        command: new.command,
    };
    caller.apply(&hub, WriteScope::Token(id), command).await?;
    let known = hub.store.token(id).await?.ok_or(Refusal::NoToken)?;
    let secret = public_key.is_none().then(|| new.credential.expose());
    let document = Document {
        old_secret_ends_at: Some(ends_at),
        public_key,
        ..document(&known.token, secret)
    };
    Ok((
        StatusCode::CREATED,
        [(CACHE_CONTROL, NO_STORE)],
        Json(document),
    )
        .into_response())
}
