//! Invitations that machines have not used yet: shown with the tokens, and revoked.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use silo_shared::credential::TokenId;
use silo_shared::invitation::documents::InvitationState;

use super::error::PageError;
use super::form::PostedForm;
use super::href::href;
use super::layout::Notice;
use super::pages::tokens::OpenInvitation;
use super::session::see_other;
use super::sign_out::NoFields;
use super::when::When;
use crate::domain::invitation::MAX_OPEN;
use crate::http::Hub;
use crate::http::error::ApiError;
use crate::registry::{Refusal, RevokeInvitation};
use crate::store::{Via, WriteScope};

/// Those that can still be used, oldest first.
pub(super) async fn open(hub: &Hub) -> Result<Vec<OpenInvitation>, ApiError> {
    let now = hub.clock.now();
    let found = hub.store.open_invitations(now, MAX_OPEN).await?;
    let rows = found.into_iter().filter_map(|invitation| {
        let is_pending = match invitation.state_at(now) {
            InvitationState::Open => false,
            InvitationState::Pending => true,
            _ => return None,
        };
        let address = invitation.redeemed.and_then(|by| by.client_ip);
        Some(OpenInvitation {
            id: invitation.id.to_string(),
            name: invitation.spec.name,
            role: invitation.spec.role,
            silos: invitation.spec.silos,
            hostnames: invitation.spec.hostnames.unwrap_or_default(),
            until: When::new(invitation.expires_at, now),
            redeemed_by: is_pending
                .then(|| address.map(|ip| ip.to_string()))
                .flatten(),
        })
    });
    Ok(rows.collect())
}

/// Revokes one.
pub(super) async fn revoke(
    State(hub): State<Arc<Hub>>,
    Path(id): Path<String>,
    form: PostedForm<NoFields>,
) -> Result<Response, PageError> {
    let caller = form.session.caller();
    caller.require_admin()?;
    let id = TokenId::parse(&id).map_err(|_| ApiError::from(Refusal::NoInvitation))?;
    let actor = caller.actor_via(Via::Dashboard);
    let command = RevokeInvitation { actor, id };
    caller.apply(&hub, WriteScope::Unscoped, command).await?;
    let list = href("/dashboard/tokens").with("notice", Notice::InvitationRevoked.key());
    Ok(see_other(&list.to_string(), None))
}
