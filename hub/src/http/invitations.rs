//! `/invitations`, for admins.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, LOCATION};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use silo_shared::credential::TokenId;
use silo_shared::invitation::documents::InvitationState;
use silo_shared::openapi::Address;
use silo_shared::silo::{Hostname, SiloId};
use utoipa::ToSchema;

use super::Hub;
use super::auth::Caller;
use super::bodies;
use super::error::ApiError;
use super::headers::header_value;
use super::invitation_line::InvitationLine;
use super::openapi::invitation_bodies::InvitationBody;
use super::openapi::values::Limit;
use super::openapi::{self, tags};
use super::page::{Page, respond, rows_to_read};
use super::request::{JsonBody, Query, TokenPath};
use crate::domain::invitation::Invitation;
use crate::domain::time::Time;
use crate::registry::new_invitation::NewInvitation;
use crate::registry::{Refusal, RevokeInvitation};
use crate::store::WriteScope;

/// An invitation.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Invitation)]
struct Document<'a> {
    #[schema(value_type = TokenId)]
    id: &'a str,
    state: InvitationState,
    /// The name of the token.
    #[schema(example = "nas")]
    name: &'a str,
    /// The role of the token: `read` or `write`.
    #[schema(example = "write")]
    role: &'a str,
    /// The silos of the token.
    #[schema(value_type = Vec<SiloId>)]
    silos: &'a [String],
    /// The hostnames that the token may write; left out if it only reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Hostname>>, nullable = false)]
    hostnames: Option<&'a [String]>,
    /// When the token expires; `null`: never.
    #[schema(required = true)]
    token_expires_at: Option<Time>,
    created_at: Time,
    /// The token that made it; `null`: the command line.
    #[schema(value_type = Option<TokenId>, required = true)]
    made_by: Option<String>,
    /// Until when it can be used.
    expires_at: Time,
    /// When it made its token.
    #[schema(required = true)]
    used_at: Option<Time>,
    /// Where the machine that redeemed it last called from.
    #[schema(value_type = Option<Address>, required = true)]
    address: Option<String>,
    /// The token that it made.
    #[schema(value_type = Option<TokenId>, required = true)]
    token: Option<String>,
    /// The line for the machine, in the answer that makes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(
        value_type = String,
        required = false,
        max_length = 1024,
        pattern = "^silo-invite:1:[A-Za-z0-9_-]+\\.[A-Za-z0-9_-]{6}$"
    )]
    invitation: Option<&'a str>,
}

fn document<'a>(invitation: &'a Invitation, line: Option<&'a str>, now: Time) -> Document<'a> {
    let redeemed = invitation.redeemed;
    let state = invitation.state_at(now);
    let made = redeemed.filter(|_| state == InvitationState::Used);
    Document {
        id: invitation.id.as_str(),
        state,
        name: &invitation.spec.name,
        role: invitation.spec.role.as_str(),
        silos: &invitation.spec.silos,
        hostnames: invitation.spec.hostnames.as_deref(),
        token_expires_at: invitation.spec.expires_at,
        created_at: invitation.created_at,
        made_by: invitation.made_by.map(|id| id.to_string()),
        expires_at: invitation.expires_at,
        used_at: invitation.used_at,
        address: redeemed.and_then(|by| by.client_ip.map(|ip| ip.to_string())),
        token: made.map(|by| by.token.to_string()),
        invitation: line,
    }
}

/// `Cache-Control` of answers with a secret.
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
/// The default number of invitations on a page.
const PAGE: usize = 1000;

/// Lists invitations
///
/// Also those that ended less than 24 hours ago, in byte order of their ids, without secrets. `limit` is 1000 unless given. For
/// admins.
#[utoipa::path(
    get,
    path = "/invitations",
    operation_id = "listInvitations",
    tag = tags::INVITATIONS,
    params(("limit" = Option<Limit>, Query), ("after" = Option<TokenId>, Query)),
    responses(
        (status = 200, description = "A page of invitations.", body = Vec<Document>, headers(("Link" = String), ("Cache-Control" = String))),
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
                "the id of an invitation: 10 lower-case letters and digits",
            )
        })?;
    }
    let found = hub.store.invitations(after, rows_to_read(limit)).await?;
    let page = Page::of(found, limit);
    let next = page.next("/invitations", |last| format!("after={}", last.id));
    let now = hub.clock.now();
    let documents = page.rows.iter().map(|found| document(found, None, now));
    respond(documents.collect(), next)
}

/// Invites a machine
///
/// Makes a line for one machine, which gets a token of its own by it, once. The line has a key and the URLs of the hub: those of
/// `urls`, else `public_url` of the configuration, else the address that the hub listens at, if other machines reach it. At most
/// 100 invitations can be open. Over plain HTTP, who reads along sees the line: use TLS, or `silo-hub invite` on the hub's machine.
/// For admins.
#[utoipa::path(
    post,
    path = "/invitations",
    operation_id = "createInvitation",
    tag = tags::INVITATIONS,
    request_body(content = InvitationBody, examples(("upstream" = (summary = "For a machine that reports its address", value = json!({"role": "write", "silos": ["office"], "hostnames": ["nas"], "urls": ["http://hub.lan:8053"]}))), ("downstream" = (summary = "For a machine that reads a silo", value = json!({"role": "read", "silos": ["office"], "name": "laptop", "expires_after": 86400, "token_expires_at": "2099-01-01T00:00:00Z", "urls": ["http://hub.lan:8053"]}))))),
    responses(
        (status = 201, description = "The invitation, with its line. It is shown only here.", body = Document, headers(("Location" = String), ("Cache-Control" = String))),
        openapi::problem_sets::NewInvitation,
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
    let (checked, urls) = bodies::invitation(&body, now)?;
    let line = InvitationLine::of(&hub, urls)?;
    let new = NewInvitation::make(checked, caller.actor(), &hub.key, now).map_err(|error| {
        tracing::error!("{error}");
        ApiError::Internal
    })?;
    let line = line.with_key(new.key)?;
    let invitation = new.command.invitation.clone();
    caller
        .apply(&hub, WriteScope::Unscoped, new.command)
        .await?;
    let location = header_value(&format!("/invitations/{}", invitation.id))?;
    let document = document(&invitation, Some(line.expose()), now);
    let headers = [(LOCATION, location), (CACHE_CONTROL, NO_STORE)];
    Ok((StatusCode::CREATED, headers, Json(document)).into_response())
}

/// Revokes an invitation
///
/// One that was not used; a token that it has made is revoked by itself. For admins.
#[utoipa::path(
    delete,
    path = "/invitations/{invitation}",
    operation_id = "revokeInvitation",
    tag = tags::INVITATIONS,
    params(("invitation" = TokenId, Path)),
    responses(
        (status = 204, description = "The invitation is revoked, on every hub."),
        openapi::problem_sets::RevocationOfInvitation,
    ),
)]
pub(super) async fn revoke(
    caller: Caller,
    State(hub): State<Arc<Hub>>,
    TokenPath(id): TokenPath,
) -> Result<StatusCode, ApiError> {
    caller.require_admin()?;
    let command = RevokeInvitation {
        actor: caller.actor(),
        id: id.ok_or(Refusal::NoInvitation)?,
    };
    caller.apply(&hub, WriteScope::Unscoped, command).await?;
    Ok(StatusCode::NO_CONTENT)
}
