//! The export lines that grant rights: hashes, sealed keys and sealed logins, never a credential.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use silo_shared::credential::TokenId;
use silo_shared::silo::{Hostname, SiloId};

use super::check::Wrong;
use crate::auth::secrets::parse_secid_hash;
use crate::domain::dynahost::{Binding, KnownLogin, SealedLogin};
use crate::domain::sink::SinkName;
use crate::domain::time::Time;
use crate::domain::token::{CredentialHash, Role, Token, TokenSpec};
use crate::domain::update_key::KeyHash;
use crate::domain::update_key::UpdateKey;
use crate::store::{KnownToken, SealedKey, TransferredBinding, TransferredUpdateKey};

/// Above the maximum size of a sealed login, in bytes: each half has at most a kilobyte.
const MAX_LOGIN: usize = 4096;

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

// No Debug: a secret chosen by a person can be guessed from its hash.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DynahostLine {
    id: String,
    silo: SiloId,
    hostname: Hostname,
    created_at: Time,
    confirmed: bool,
    secid_hash: Option<String>,
    login: Option<LoginLine>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LoginLine {
    sink: String,
    sealed: String,
    hash: String,
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

impl From<TransferredBinding> for DynahostLine {
    fn from(TransferredBinding { binding, login }: TransferredBinding) -> Self {
        Self {
            id: binding.id.to_string(),
            silo: binding.silo,
            hostname: binding.hostname,
            created_at: binding.created_at,
            confirmed: binding.is_confirmed,
            secid_hash: binding.secid.map(|hash| hash.0),
            login: binding.login.zip(login).map(|(known, sealed)| LoginLine {
                sink: known.sink.to_string(),
                sealed: sealed.0,
                hash: known.hash,
            }),
        }
    }
}

/// Whether a text is base64 of at most `longest` bytes.
fn is_base64(text: &str, longest: usize) -> bool {
    STANDARD
        .decode(text)
        .is_ok_and(|bytes| bytes.len() <= longest)
}

impl TokenLine {
    pub(super) fn check(self) -> Result<KnownToken, Wrong> {
        let id = TokenId::parse(&self.id).map_err(|error| error.to_string())?;
        let spec = TokenSpec {
            name: self.name,
            // A newer version may have exported it: kept as it is, it grants nothing here.
            role: Role::stored(&self.role)
                .ok_or_else(|| format!("{id}: {:?} is not a role", self.role))?,
            silos: self.silos,
            hostnames: self.hostnames,
            // An expired token is valid here, and stays expired.
            expires_at: None,
        };
        let mut spec = spec.check(Time::default()).map_err(|errors| {
            let words: Vec<_> = errors.iter().map(ToString::to_string).collect();
            format!("{id}: {}", words.join("; "))
        })?;
        spec.expires_at = self.expires_at;
        let credential_hash = CredentialHash::parse(&self.credential_hash)
            .ok_or_else(|| format!("{id}: credential_hash has 64 hexadecimal digits"))?;
        if !is_base64(&self.signing_key, 256) {
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
            // Former secrets are not exported, as they expire soon.
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

impl DynahostLine {
    pub(super) fn check(self) -> Result<TransferredBinding, Wrong> {
        let id = TokenId::parse(&self.id).map_err(|error| error.to_string())?;
        let wrong = |what: &str| format!("{id}: {what}");
        if self.secid_hash.is_none() && !(self.confirmed && self.login.is_none()) {
            return Err(wrong(
                "without a secid_hash it is confirmed and has no login",
            ));
        }
        let secid = self
            .secid_hash
            .map(|hash| {
                parse_secid_hash(&hash).ok_or_else(|| {
                    wrong("secid_hash is not an Argon2id hash with this hub's parameters")
                })
            })
            .transpose()?;
        let login = self
            .login
            .map(|login| login.check().map_err(|what| wrong(&what)))
            .transpose()?;
        let (known, login) = login.unzip();
        Ok(TransferredBinding {
            binding: Binding {
                id,
                silo: self.silo,
                hostname: self.hostname,
                secid,
                is_confirmed: self.confirmed,
                created_at: self.created_at,
                login: known,
            },
            login,
        })
    }
}

impl LoginLine {
    fn check(self) -> Result<(KnownLogin, SealedLogin), Wrong> {
        let sink = SinkName::parse(&self.sink).map_err(|error| error.to_string())?;
        let KeyHash(hash) =
            KeyHash::parse(&self.hash).ok_or("login.hash has 64 lower-case hexadecimal digits")?;
        if !is_base64(&self.sealed, MAX_LOGIN) {
            return Err(format!(
                "login.sealed is base64 of at most {MAX_LOGIN} bytes"
            ));
        }
        Ok((KnownLogin { sink, hash }, SealedLogin(self.sealed)))
    }
}
