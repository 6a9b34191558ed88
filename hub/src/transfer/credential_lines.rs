//! The lines of an export that hold tokens and update keys: hashes and sealed keys, never a credential.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use silo_shared::credential::TokenId;
use silo_shared::silo::{Hostname, SiloId};

use super::line::Wrong;
use crate::domain::time::Time;
use crate::domain::token::{CredentialHash, Token, TokenSpec};
use crate::domain::update_key::UpdateKey;
use crate::store::{KeyHash, KnownToken, SealedKey, TransferredUpdateKey};

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenLine {
    id: String,
    name: String,
    role: String,
    silos: Vec<String>,
    hostnames: Option<Vec<String>>,
    created_at: Time,
    expires_at: Option<Time>,
    revoked_at: Option<Time>,
    last_used_at: Option<Time>,
    credential_hash: String,
    signing_key: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UpdateKeyLine {
    id: String,
    silo: SiloId,
    hostname: Hostname,
    created_at: Time,
    revoked_at: Option<Time>,
    key_hash: String,
}

impl From<KnownToken> for TokenLine {
    fn from(known: KnownToken) -> Self {
        let Token {
            id,
            spec,
            created_at,
            revoked_at,
            last_used_at,
        } = known.token;
        Self {
            id: id.to_string(),
            name: spec.name,
            role: spec.role.to_string(),
            silos: spec.silos,
            hostnames: spec.hostnames,
            created_at,
            expires_at: spec.expires_at,
            revoked_at,
            last_used_at,
            credential_hash: known.credential_hash.to_string(),
            signing_key: known.signing_key.0,
        }
    }
}

impl From<TransferredUpdateKey> for UpdateKeyLine {
    fn from(
        TransferredUpdateKey {
            key,
            hash,
            revoked_at,
        }: TransferredUpdateKey,
    ) -> Self {
        Self {
            id: key.id.to_string(),
            silo: key.silo,
            hostname: key.hostname,
            created_at: key.created_at,
            revoked_at,
            key_hash: hash.0,
        }
    }
}

impl TokenLine {
    pub(super) fn check(self) -> Result<KnownToken, Wrong> {
        let id = TokenId::parse(&self.id).map_err(|error| error.to_string())?;
        let spec = TokenSpec {
            name: self.name,
            role: self
                .role
                .parse()
                .map_err(|error| format!("{id}: {error}"))?,
            silos: self.silos,
            hostnames: self.hostnames,
            // One that has ended is a token all the same, and stays ended.
            expires_at: None,
        };
        let mut spec = spec.check(Time::default()).map_err(|errors| {
            let words: Vec<_> = errors.iter().map(ToString::to_string).collect();
            format!("{id}: {}", words.join("; "))
        })?;
        spec.expires_at = self.expires_at;
        let credential_hash = CredentialHash::parse(&self.credential_hash)
            .ok_or_else(|| format!("{id}: credential_hash has 64 hexadecimal digits"))?;
        let sealed = STANDARD.decode(&self.signing_key);
        if !sealed.is_ok_and(|bytes| bytes.len() <= 256) {
            return Err(format!("{id}: signing_key is base64 of at most 256 bytes"));
        }
        Ok(KnownToken {
            token: Token {
                id,
                spec,
                created_at: self.created_at,
                revoked_at: self.revoked_at,
                last_used_at: self.last_used_at,
            },
            credential_hash,
            signing_key: SealedKey(self.signing_key),
            // A secret that is about to end does not travel.
            former: None,
        })
    }
}

impl UpdateKeyLine {
    pub(super) fn check(self) -> Result<TransferredUpdateKey, Wrong> {
        let id = TokenId::parse(&self.id).map_err(|error| error.to_string())?;
        let hash = KeyHash::parse(&self.key_hash)
            .ok_or_else(|| format!("{id}: key_hash has 64 lower-case hexadecimal digits"))?;
        Ok(TransferredUpdateKey {
            key: UpdateKey {
                id,
                silo: self.silo,
                hostname: self.hostname,
                created_at: self.created_at,
            },
            hash,
            revoked_at: self.revoked_at,
        })
    }
}
