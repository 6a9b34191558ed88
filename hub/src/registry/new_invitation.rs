//! Creation of an invitation, whose key is shown once, and of the token that a machine gets by it, whose credential the
//! hub derives, stores as a hash, and forgets.

use std::net::IpAddr;

use silo_shared::credential::{Credential, TokenId};
use silo_shared::invitation::{EphemeralKey, Exchange, ExchangeError, PublicKey};
use silo_shared::signing::SigningKey;

use crate::auth::secrets::{HubKey, NoRandomness, credential_hash, new_credential, random_id};
use crate::domain::invitation::{CheckedInvitation, Invitation, Redeemer};
use crate::domain::time::Time;
use crate::registry::{Actor, AddInvitation, RedeemInvitation};
use crate::store::PendingToken;

/// An invitation that is not yet stored.
#[derive(Debug)]
pub struct NewInvitation {
    /// Its key.
    pub key: Credential,
    /// Stores it.
    pub command: AddInvitation,
}

impl NewInvitation {
    /// Creates an invitation with a random key.
    pub fn make(
        checked: CheckedInvitation,
        actor: Actor,
        key: &HubKey,
        now: Time,
    ) -> Result<Self, NoRandomness> {
        let credential = new_credential()?;
        let command = AddInvitation {
            actor,
            invitation: Invitation {
                id: credential.id(),
                spec: checked.token,
                made_by: actor.token,
                created_at: now,
                expires_at: checked.expires_at,
                revoked_at: None,
                used_at: None,
                redeemed: None,
            },
            signing_key: key.seal_invitation_key(&credential)?,
            sealed_by: key.fingerprint(),
        };
        Ok(Self {
            key: credential,
            command,
        })
    }
}

/// A token for the machine that redeems an invitation.
#[derive(Debug)]
pub struct NewPending {
    /// The hub's public key.
    pub public_key: PublicKey,
    /// Stores it.
    pub command: RedeemInvitation,
}

impl NewPending {
    /// Derives the credential of a token with a random id, by the invitation's signing key and the machine's public key.
    pub fn agree(
        invitation: TokenId,
        signing_key: &SigningKey,
        client: PublicKey,
        client_ip: IpAddr,
        key: &HubKey,
        now: Time,
    ) -> Result<Self, ExchangeError> {
        let no_randomness = |_: NoRandomness| ExchangeError::NoRandomness;
        let token = random_id().map_err(no_randomness)?;
        let (credential, public_key) = agree(invitation, token, signing_key, client)?;
        let command = RedeemInvitation {
            id: invitation,
            redeemer: Redeemer {
                token,
                client_ip: Some(client_ip),
                at: now,
            },
            token: PendingToken {
                credential_hash: credential_hash(&credential),
                signing_key: key.seal_signing_key(&credential).map_err(no_randomness)?,
            },
            sealed_by: key.fingerprint(),
        };
        Ok(Self {
            public_key,
            command,
        })
    }
}

/// The hub's side of an exchange: the credential, and the public key for the other side. The private key ends here.
pub(super) fn agree(
    id: TokenId,
    token: TokenId,
    signing_key: &SigningKey,
    client: PublicKey,
) -> Result<(Credential, PublicKey), ExchangeError> {
    let own = EphemeralKey::generate()?;
    let hub = own.public();
    let exchange = Exchange {
        key: signing_key,
        id,
        token,
        client,
        hub,
    };
    Ok((exchange.credential(&own.agree(&client)?), hub))
}
