//! Callers who have an invitation: their requests are signed with its key.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use silo_shared::signing::SigningKey;

use super::super::Hub;
use super::super::client_ip::ClientIp;
use super::super::error::ApiError;
use super::super::origin::refuse_foreign_write;
use super::super::parameters;
use super::super::signing::{SignedBy, Verified};
use super::{Caller, apply};
use crate::domain::invitation::{Invitation, InvitationEnd};
use crate::registry::{Actor, Command, Refusal, Signed};
use crate::store::{KnownInvitation, Via, WriteScope};

/// A caller who has the invitation that the path names.
#[derive(Debug)]
pub(in crate::http) struct Invited {
    known: Arc<KnownInvitation>,
    signature: Verified,
    ip: IpAddr,
}

impl Invited {
    /// The invitation, if it can be used.
    pub(in crate::http) fn usable(&self, hub: &Hub) -> Result<&Invitation, ApiError> {
        let invitation = &self.known.invitation;
        match InvitationEnd::of(invitation.state_at(hub.clock.now())) {
            None => Ok(invitation),
            Some(end) => Err(Refusal::InvitationEnded(end).into()),
        }
    }

    /// The invitation.
    pub(in crate::http) fn invitation(&self) -> &Invitation {
        &self.known.invitation
    }

    /// The key that signed the request.
    pub(in crate::http) fn signing_key(&self, hub: &Hub) -> Result<SigningKey, ApiError> {
        let known = &self.known;
        let key = hub
            .key
            .open_invitation_key(&known.signing_key, known.invitation.id);
        key.ok_or(ApiError::Internal)
    }

    /// The address of the caller.
    pub(in crate::http) fn ip(&self) -> IpAddr {
        self.ip
    }

    /// The actor to record: the invitation is recorded with what was done.
    pub(in crate::http) fn actor(&self) -> Actor {
        Actor {
            via: Via::Rest,
            token: None,
            client_ip: Some(self.ip),
        }
    }

    /// Runs a command, at most once for each signature.
    pub(in crate::http) async fn apply<C: Command>(
        &self,
        hub: &Hub,
        command: C,
    ) -> Result<C::Outcome, ApiError> {
        let write = self.signature.write.as_ref().ok_or(ApiError::Internal)?;
        let signed = Signed {
            write: write.take(),
            // Two machines may redeem one invitation, whose clocks differ: the later one counts.
            place: WriteScope::Unscoped,
            command,
        };
        apply(hub, self.ip, signed).await
    }
}

impl FromRequestParts<Arc<Hub>> for Invited {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, hub: &Arc<Hub>) -> Result<Self, ApiError> {
        let signature = parts.extensions.get::<Verified>().cloned();
        let Some((signature, known)) = signature.and_then(|signature| match &signature.by {
            SignedBy::Invitation(known) => {
                let known = Arc::clone(known);
                Some((signature, known))
            }
            SignedBy::Token { .. } => None,
        }) else {
            // A wrong credential counts here as everywhere.
            Caller::from_request_parts(parts, hub).await?;
            return Err(ApiError::Forbidden(
                "this needs a signature by the invitation's key",
            ));
        };
        refuse_foreign_write(parts, &hub.cors)?;
        let Ok(ClientIp { ip, .. }) = ClientIp::from_request_parts(parts, hub).await;
        let counted = hub.rate.count(known.invitation.id);
        counted.map_err(|retry_after| ApiError::TooManyRequests { retry_after })?;
        parameters::check(parts)?;
        Ok(Self {
            known,
            signature,
            ip,
        })
    }
}
