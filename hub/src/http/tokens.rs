//! `/tokens`, for admins.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, LOCATION};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use silo_shared::credential::TokenId;

use super::Hub;
use super::auth::Caller;
use super::bodies;
use super::error::ApiError;
use super::headers::header_value;
use super::page::{Page, respond, rows_to_read};
use super::request::{JsonBody, Query, TokenPath};
use crate::domain::time::Time;
use crate::domain::token::Token;
use crate::registry::new_token::{NewSecret, NewToken};
use crate::registry::{Audited, Refusal, RevokeToken, RotateToken};
use crate::store::WriteScope;

#[derive(Debug, Serialize)]
struct Document<'a> {
    id: &'a str,
    name: &'a str,
    role: &'a str,
    silos: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    hostnames: Option<&'a [String]>,
    created_at: Time,
    expires_at: Option<Time>,
    last_used_at: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<&'a str>,
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
        old_secret_ends_at: None,
    }
}

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// The default number of tokens on a page.
const PAGE: usize = 1000;

/// `GET /tokens`: the tokens that are not revoked, in byte order of their ids, without secrets.
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

/// `POST /tokens`: responds with the credential, the only time that it is shown.
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

/// `DELETE /tokens/{id}`, by an admin or the token itself.
pub(super) async fn revoke(
    caller: Caller,
    State(hub): State<Arc<Hub>>,
    TokenPath(id): TokenPath,
) -> Result<StatusCode, ApiError> {
    caller.require_revoke(id)?;
    let command = Audited {
        actor: caller.actor(),
        command: RevokeToken(id.ok_or(Refusal::NoToken)?),
    };
    caller.apply(&hub, WriteScope::Unscoped, command).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /tokens/{id}/rotate`: responds with the new credential; the old one ends after `overlap` seconds.
pub(super) async fn rotate(
    caller: Caller,
    State(hub): State<Arc<Hub>>,
    TokenPath(id): TokenPath,
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
    let body = body.read(&hub).await?;
    let overlap = bodies::overlap(&body)?;
    let new = NewSecret::make(id, overlap, &hub.key, hub.clock.now()).map_err(|error| {
        tracing::error!("{error}");
        ApiError::Internal
    })?;
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
    caller.apply(&hub, WriteScope::Unscoped, command).await?;
    let known = hub.store.token(id).await?.ok_or(Refusal::NoToken)?;
    let document = Document {
        old_secret_ends_at: Some(ends_at),
        ..document(&known.token, Some(new.credential.expose()))
    };
    Ok((
        StatusCode::CREATED,
        [(CACHE_CONTROL, NO_STORE)],
        Json(document),
    )
        .into_response())
}
