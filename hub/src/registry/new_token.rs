//! Creation of a token: the credential, which is shown once, and the command that stores the rest.

use silo_shared::credential::{Credential, TokenId};
use silo_shared::invitation::{ExchangeError, PublicKey};
use silo_shared::signing::SigningKey;

use crate::auth::secrets::{
    HubKey, NoRandomness, credential_hash, new_credential, renewed_credential,
};
use crate::domain::time::Time;
use crate::domain::token::{Token, TokenSpec};
use crate::registry::new_invitation::agree;
use crate::registry::{CreateToken, RotateToken};

/// A token that is not yet stored.
#[derive(Debug)]
pub struct NewToken {
    /// The whole credential.
    pub credential: Credential,
    /// The token.
    pub token: Token,
    /// Stores it.
    pub command: CreateToken,
}

impl NewToken {
    /// Creates a token with a random credential.
    pub fn make(spec: TokenSpec, key: &HubKey, now: Time) -> Result<Self, NoRandomness> {
        Self::with_credential(new_credential()?, spec, key, now)
    }

    /// Creates a token with an existing credential.
    pub fn with_credential(
        credential: Credential,
        spec: TokenSpec,
        key: &HubKey,
        now: Time,
    ) -> Result<Self, NoRandomness> {
        let token = Token {
            id: credential.id(),
            spec,
            created_at: now,
            revoked_at: None,
            last_used_at: None,
        };
        let command = CreateToken {
            token: token.clone(),
            credential_hash: credential_hash(&credential),
            signing_key: key.seal_signing_key(&credential)?,
            sealed_by: key.fingerprint(),
        };
        Ok(Self {
            credential,
            token,
            command,
        })
    }
}

/// Default validity of the old secret after a rotation, in seconds.
pub const DEFAULT_OVERLAP: u32 = 86_400;
/// Maximum validity of the old secret after a rotation, in seconds: 90 days.
pub const MAX_OVERLAP: u32 = 90 * 86_400;

/// A new secret of a token that is not yet stored.
#[derive(Debug)]
pub struct NewSecret {
    /// The whole credential.
    pub credential: Credential,
    /// Stores it.
    pub command: RotateToken,
}

impl NewSecret {
    /// Creates a random secret for a token; the old one remains valid for `overlap` seconds.
    pub fn make(id: TokenId, overlap: u32, key: &HubKey, now: Time) -> Result<Self, NoRandomness> {
        Self::with_credential(renewed_credential(id)?, overlap, key, now)
    }

    /// Derives a secret together with the owner of a public key, by the token's signing key; returns the public key from
    /// which the owner derives the same.
    pub fn agree(
        id: TokenId,
        signing_key: &SigningKey,
        client: PublicKey,
        overlap: u32,
        key: &HubKey,
        now: Time,
    ) -> Result<(Self, PublicKey), ExchangeError> {
        let (credential, hub) = agree(id, id, signing_key, client)?;
        let new = Self::with_credential(credential, overlap, key, now);
        let new = new.map_err(|_| ExchangeError::NoRandomness)?;
        Ok((new, hub))
    }

    fn with_credential(
        credential: Credential,
        overlap: u32,
        key: &HubKey,
        now: Time,
    ) -> Result<Self, NoRandomness> {
        let id = credential.id();
        let command = RotateToken {
            id,
            credential_hash: credential_hash(&credential),
            signing_key: key.seal_signing_key(&credential)?,
            sealed_by: key.fingerprint(),
            former_ends: now.plus_seconds(overlap.into()),
            by_former: None,
        };
        Ok(Self {
            credential,
            command,
        })
    }
}
