//! `/invitations/{id}` and below it, for machines: their requests are signed with the invitation's key, and so are the
//! answers. The credential of the token is never sent; both sides derive it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use silo_shared::credential::TokenId;
use silo_shared::invitation::ExchangeError;
use silo_shared::invitation::documents::{Confirmed, InvitationGrant, Redeemed};

use super::Hub;
use super::auth::Invited;
use super::bodies;
use super::error::ApiError;
use super::openapi::invitation_bodies::{ConfirmBody, RedeemBody};
use super::openapi::{self, tags};
use super::request::JsonBody;
use crate::domain::time::Time;
use crate::registry::new_invitation::NewPending;
use crate::registry::{ConfirmInvitation, RedeemInvitation};

/// `Cache-Control` of all answers here.
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// Shows what an invitation grants
///
/// Signed with the invitation's key (`keyid` is its id); no token can do this. It changes nothing.
#[utoipa::path(
    get,
    path = "/invitations/{invitation}",
    operation_id = "readInvitation",
    tag = tags::INVITATIONS,
    params(("invitation" = TokenId, Path)),
    responses(
        (status = 200, description = "What the token will be.", body = InvitationGrant, headers(("Cache-Control" = String))),
        openapi::problem_sets::ReadOfInvitation,
    ),
)]
pub(super) async fn read(
    caller: Invited,
    State(hub): State<Arc<Hub>>,
) -> Result<Response, ApiError> {
    let invitation = caller.usable(&hub)?;
    let spec = &invitation.spec;
    let grant = InvitationGrant {
        id: invitation.id.to_string(),
        state: invitation.state_at(hub.clock.now()),
        name: spec.name.clone(),
        role: spec.role.to_string(),
        silos: spec.silos.clone(),
        hostnames: spec.hostnames.clone(),
        expires_at: invitation.expires_at.to_string(),
        token_expires_at: spec.expires_at.map(|at| at.to_string()),
    };
    Ok(answer(grant))
}

/// Redeems an invitation
///
/// Signed with the invitation's key. The hub answers the id of the token and a public key, with which the machine derives the
/// token's credential: docs/invitations.md. The token is made by `confirm`. Until then a later redemption replaces this one.
#[utoipa::path(
    post,
    path = "/invitations/{invitation}/redeem",
    operation_id = "redeemInvitation",
    tag = tags::INVITATIONS,
    params(("invitation" = TokenId, Path)),
    request_body(content = RedeemBody, examples(("key" = (summary = "A new public key of X25519", value = json!({"public_key": "hSDwCYkwp1R0i33ctD73Wg2_Og0mOBr066SpjqqbTmo"}))))),
    responses(
        (status = 200, description = "The id of the token, and the hub's public key.", body = Redeemed, headers(("Cache-Control" = String))),
        openapi::problem_sets::WriteOfInvitation,
    ),
)]
pub(super) async fn redeem(
    caller: Invited,
    State(hub): State<Arc<Hub>>,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    caller.usable(&hub)?;
    let body = body.read(&hub).await?;
    let client = bodies::redemption(&body)?;
    let new = NewPending::agree(
        caller.invitation().id,
        &caller.signing_key(&hub)?,
        client,
        caller.ip(),
        &hub.key,
        hub.clock.now(),
    )
    .map_err(not_agreed)?;
    let RedeemInvitation { redeemer, .. } = &new.command;
    let token = redeemer.token;
    let spec = caller.apply(&hub, new.command).await?.spec;
    Ok(answer(Redeemed {
        token_id: token.to_string(),
        public_key: new.public_key.to_string(),
        role: spec.role.to_string(),
        silos: spec.silos,
        hostnames: spec.hostnames,
    }))
}

/// Confirms an invitation
///
/// Signed with the invitation's key. Makes the token, once; the same proof again is answered in the same way until the
/// invitation is removed, 24 hours after its end.
#[utoipa::path(
    post,
    path = "/invitations/{invitation}/confirm",
    operation_id = "confirmInvitation",
    tag = tags::INVITATIONS,
    params(("invitation" = TokenId, Path)),
    request_body(content = ConfirmBody, examples(("proof" = (summary = "The proof of the derived credential", value = json!({"token_id": "zyxwvuts98", "proof": "cPehZmFdKs_FI00Vas1GC8mRyhrrjxU_u9CHX__po9Y"}))))),
    responses(
        (status = 200, description = "The token is valid.", body = Confirmed, headers(("Cache-Control" = String))),
        openapi::problem_sets::Confirmation,
    ),
)]
pub(super) async fn confirm(
    caller: Invited,
    State(hub): State<Arc<Hub>>,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let body = body.read(&hub).await?;
    let (token, proof) = bodies::confirmation(&body)?;
    let command = ConfirmInvitation {
        actor: caller.actor(),
        id: caller.invitation().id,
        token,
        proof,
        key: hub.key.clone(),
    };
    let token = caller.apply(&hub, command).await??;
    Ok(answer(Confirmed {
        token_id: token.id.to_string(),
        expires_at: token.spec.expires_at.map(|at: Time| at.to_string()),
    }))
}

/// The error of an exchange that has no result.
pub(super) fn not_agreed(error: ExchangeError) -> ApiError {
    match error {
        ExchangeError::WeakKey => ApiError::invalid("/public_key", error),
        ExchangeError::NoRandomness => {
            tracing::error!("{error}");
            ApiError::Internal
        }
    }
}

fn answer(document: impl serde::Serialize) -> Response {
    ([(CACHE_CONTROL, NO_STORE)], Json(document)).into_response()
}
