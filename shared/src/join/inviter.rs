//! The hub that made an invitation, over the network.

use super::JoinError;
use super::steps::Inviter;
use crate::agent_name::AgentKind;
use crate::client::{ClientError, HubClient, InvitationClient, Route, TokenVerdict};
use crate::connection::{AuthMode, Connection, ConnectionSettings};
use crate::credential::{Credential, Secret};
use crate::flags::ConnectionFlags;
use crate::install::Agent;
use crate::invitation::Invitation;
use crate::invitation::documents::{
    ConfirmRequest, Confirmed, InvitationGrant, RedeemRequest, Redeemed,
};
use crate::pin::Pins;

/// The hub of an invitation.
pub(super) struct Remote {
    client: InvitationClient,
    kind: AgentKind,
    settings: ConnectionSettings,
}

impl Remote {
    /// Finds the first hub of the invitation that answers.
    pub(super) async fn find(
        agent: Agent,
        invitation: &Invitation,
        flags: &ConnectionFlags,
    ) -> Result<Self, JoinError> {
        let kind = kind(agent);
        let settings = settings(invitation, flags);
        let connection = with(&settings, invitation.key())?;
        let client = InvitationClient::find(&connection, kind, invitation.key().id()).await?;
        Ok(Self {
            client,
            kind,
            settings,
        })
    }

    pub(super) fn name(&self) -> &str {
        self.client.hub()
    }

    pub(super) async fn grant(&self) -> Result<InvitationGrant, JoinError> {
        self.client.grant().await.map_err(refusal)
    }
}

impl Inviter for Remote {
    async fn redeem(&self, request: &RedeemRequest) -> Result<Redeemed, JoinError> {
        self.client.redeem(request).await.map_err(refusal)
    }

    async fn confirm(&self, request: &ConfirmRequest) -> Result<Confirmed, JoinError> {
        self.client.confirm(request).await.map_err(refusal)
    }

    async fn knows(&self, credential: &Credential) -> Result<bool, JoinError> {
        let connection = with(&self.settings, credential)?;
        let client = HubClient::new(&connection, self.kind, &Route::default())?;
        match client.check_token().await {
            Ok(()) => Ok(true),
            Err(error) if error.token() == Some(TokenVerdict::Refused) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

pub(super) fn kind(agent: Agent) -> AgentKind {
    match agent {
        Agent::Upstream => AgentKind::Upstream,
        Agent::Downstream => AgentKind::Downstream,
    }
}

/// Everything but the credential. All calls are signed, whatever the URL is: what is not signed by the hub does not count.
fn settings(invitation: &Invitation, flags: &ConnectionFlags) -> ConnectionSettings {
    ConnectionSettings {
        hubs: invitation.hubs().to_vec(),
        auth: Some(AuthMode::Signed),
        ca_file: flags.ca_file.clone(),
        pins: invitation.pin().map(Pins::from),
        agent_name: flags.agent_name.clone(),
        trust: flags.trust(),
        ..ConnectionSettings::default()
    }
}

fn with(settings: &ConnectionSettings, credential: &Credential) -> Result<Connection, JoinError> {
    let settings = ConnectionSettings {
        token: Some(Secret::new(credential.expose())),
        ..settings.clone()
    };
    Ok(settings.resolve(None)?)
}

/// The connection of a token that was agreed on.
pub(super) fn connection(
    invitation: &Invitation,
    credential: &Credential,
    flags: &ConnectionFlags,
) -> Result<Connection, JoinError> {
    with(&settings(invitation, flags), credential)
}

/// Only what is signed ends an invitation.
fn refusal(error: ClientError) -> JoinError {
    match error {
        ClientError::Status {
            status: 409 | 410,
            is_signed: true,
            ..
        } => JoinError::Ended(error.to_string()),
        ClientError::Unsigned {
            hub, status: 401, ..
        } => JoinError::Unknown(hub),
        other => other.into(),
    }
}
