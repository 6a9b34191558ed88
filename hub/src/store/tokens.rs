//! Tokens, as hashes and sealed keys: nothing here gives a credential back.

use silo_shared::credential::TokenId;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{
    Statements, Store, StoreError, WriteTransaction, optional_time, statement_chunks, time,
};
use crate::domain::time::Time;
use crate::domain::token::{CredentialHash, Role, Token, TokenSpec};

/// A token's signing key, sealed under the hub's key (base64); empty after a key reset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedKey(pub String);

/// A token with what is needed to recognise its credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownToken {
    /// The token.
    pub token: Token,
    /// What its credential hashes to.
    pub credential_hash: CredentialHash,
    /// Its sealed signing key.
    pub signing_key: SealedKey,
    /// The secret that it had before.
    pub former: Option<FormerSecret>,
}

/// A token's secret from before its rotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormerSecret {
    /// What the whole credential hashes to.
    pub credential_hash: CredentialHash,
    /// The sealed signing key.
    pub signing_key: SealedKey,
    /// From when on it does not count any more.
    pub ends_at: Time,
}

impl KnownToken {
    /// The former secret, while it counts.
    pub fn former_at(&self, now: Time) -> Option<&FormerSecret> {
        self.former.as_ref().filter(|former| former.ends_at > now)
    }
}

const SELECT: &str = "SELECT id, name, role, silos, hostnames, created_at, expires_at, revoked_at, \
     last_used_at, credential_hash, signing_key FROM tokens";
const SELECT_ONE: &str = "SELECT id, name, role, silos, hostnames, created_at, expires_at, \
     revoked_at, last_used_at, credential_hash, signing_key FROM tokens WHERE id = ?";
const ANY: &str = "SELECT id FROM tokens LIMIT 1";

fn list(text: &str) -> Result<Vec<String>, StoreError> {
    serde_json::from_str(text).map_err(|_| StoreError::Corrupt("list of names"))
}

pub(super) fn known_token(row: &AnyRow) -> Result<KnownToken, StoreError> {
    let role: &str = row.try_get(2)?;
    let hostnames: Option<&str> = row.try_get(4)?;
    Ok(KnownToken {
        token: Token {
            id: TokenId::parse(row.try_get(0)?).map_err(|_| StoreError::Corrupt("token id"))?,
            spec: TokenSpec {
                name: row.try_get(1)?,
                role: role
                    .parse::<Role>()
                    .map_err(|_| StoreError::Corrupt("role"))?,
                silos: list(row.try_get(3)?)?,
                hostnames: hostnames.map(list).transpose()?,
                expires_at: optional_time(row, 6)?,
            },
            created_at: time(row, 5)?,
            revoked_at: optional_time(row, 7)?,
            last_used_at: optional_time(row, 8)?,
        },
        credential_hash: CredentialHash::parse(row.try_get(9)?)
            .ok_or(StoreError::Corrupt("credential hash"))?,
        signing_key: SealedKey(row.try_get(10)?),
        former: None,
    })
}

fn former_secret(row: &AnyRow) -> Result<FormerSecret, StoreError> {
    Ok(FormerSecret {
        credential_hash: CredentialHash::parse(row.try_get(0)?)
            .ok_or(StoreError::Corrupt("credential hash"))?,
        signing_key: SealedKey(row.try_get(1)?),
        ends_at: time(row, 2)?,
    })
}

impl Store {
    /// A token by its id, revoked or not.
    pub async fn token(&self, id: TokenId) -> Result<Option<KnownToken>, StoreError> {
        let row = self
            .dialect
            .query(SELECT_ONE)
            .bind(id.as_str())
            .fetch_optional(&self.readers)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let former = self
            .dialect
            .query(
                "SELECT credential_hash, signing_key, ends_at FROM former_secrets WHERE token = ?",
            )
            .bind(id.as_str())
            .fetch_optional(&self.readers)
            .await?;
        Ok(Some(KnownToken {
            former: former.as_ref().map(former_secret).transpose()?,
            ..known_token(&row)?
        }))
    }

    /// Whether a token was ever made.
    pub async fn any_token(&self) -> Result<bool, StoreError> {
        Ok(self
            .dialect
            .query(ANY)
            .fetch_optional(&self.readers)
            .await?
            .is_some())
    }

    /// Every token that was not revoked, oldest first.
    pub async fn tokens(&self) -> Result<Vec<Token>, StoreError> {
        let mut tokens: Vec<Token> = self
            .dialect
            .query(SELECT)
            .fetch_all(&self.readers)
            .await?
            .iter()
            .map(|row| known_token(row).map(|known| known.token))
            .collect::<Result<_, _>>()?;
        tokens.retain(|token| token.revoked_at.is_none());
        tokens.sort_by_key(|token| (token.created_at, token.id));
        Ok(tokens)
    }
}

impl WriteTransaction {
    /// Whether a token was ever made.
    pub async fn any_token(&mut self) -> Result<bool, StoreError> {
        Ok(self
            .dialect
            .query(ANY)
            .fetch_optional(&mut *self.inner)
            .await?
            .is_some())
    }

    /// Adds a token.
    pub async fn insert_token(
        &mut self,
        token: &Token,
        credential_hash: CredentialHash,
        signing_key: &SealedKey,
    ) -> Result<(), StoreError> {
        let json = |list: &Vec<String>| serde_json::Value::from(list.clone()).to_string();
        self.dialect.query(
            "INSERT INTO tokens (id, name, role, silos, hostnames, credential_hash, signing_key, \
             created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(token.id.as_str())
        .bind(token.spec.name.as_str())
        .bind(token.spec.role.as_str())
        .bind(json(&token.spec.silos))
        .bind(token.spec.hostnames.as_ref().map(json))
        .bind(credential_hash.to_string())
        .bind(signing_key.0.as_str())
        .bind(token.created_at.as_millis())
        .bind(token.spec.expires_at.map(Time::as_millis))
        .execute(&mut *self.inner)
        .await?;
        self.note_tokens_changed().await
    }

    /// Revokes a token; false when there is none that counts.
    pub async fn revoke_token(&mut self, id: TokenId, now: Time) -> Result<bool, StoreError> {
        let updated = self
            .dialect
            .query("UPDATE tokens SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL")
            .bind(now.as_millis())
            .bind(id.as_str())
            .execute(&mut *self.inner)
            .await?;
        if updated.rows_affected() == 0 {
            return Ok(false);
        }
        self.note_tokens_changed().await?;
        Ok(true)
    }

    /// Gives a token a new secret; the one that it had counts until `former_ends`, the one before that no
    /// more. False when there is none that counts.
    pub async fn rotate_token(
        &mut self,
        id: TokenId,
        credential_hash: CredentialHash,
        signing_key: &SealedKey,
        former_ends: Time,
    ) -> Result<bool, StoreError> {
        let present = self
            .dialect
            .query("SELECT credential_hash, signing_key FROM tokens WHERE id = ? AND revoked_at IS NULL")
            .bind(id.as_str())
            .fetch_optional(&mut *self.inner)
            .await?;
        let Some(present) = present else {
            return Ok(false);
        };
        let statements = [
            self.dialect
                .query("DELETE FROM former_secrets WHERE token = ?")
                .bind(id.as_str()),
            self.dialect
                .query(
                    "INSERT INTO former_secrets (token, credential_hash, signing_key, ends_at) \
                     VALUES (?, ?, ?, ?)",
                )
                .bind(id.as_str())
                .bind(present.try_get::<String, _>(0)?)
                .bind(present.try_get::<String, _>(1)?)
                .bind(former_ends.as_millis()),
            self.dialect
                .query("UPDATE tokens SET credential_hash = ?, signing_key = ? WHERE id = ?")
                .bind(credential_hash.to_string())
                .bind(signing_key.0.as_str())
                .bind(id.as_str()),
        ];
        for statement in statements {
            statement.execute(&mut *self.inner).await?;
        }
        self.note_tokens_changed().await?;
        Ok(true)
    }

    /// Removes the former secrets that ended before a time; answers how many.
    pub async fn purge_former_secrets(&mut self, before: Time) -> Result<u64, StoreError> {
        let gone = self
            .dialect
            .query("DELETE FROM former_secrets WHERE ends_at < ?")
            .bind(before.as_millis())
            .execute(&mut *self.inner)
            .await?;
        self.must_commit |= gone.rows_affected() > 0;
        Ok(gone.rows_affected())
    }

    /// Writes down when tokens were last used.
    pub async fn set_last_used(&mut self, used: &[(TokenId, Time)]) -> Result<(), StoreError> {
        let mut statements = Statements::new(self.dialect);
        for chunk in statement_chunks(used) {
            let cases = " WHEN ? THEN ?".repeat(chunk.len());
            let marks = vec!["?"; chunk.len()].join(", ");
            statements.add(format!(
                "UPDATE tokens SET last_used_at = CASE id{cases} ELSE last_used_at END \
                 WHERE id IN ({marks})"
            ));
            for (id, used) in chunk {
                statements.bind(id.as_str()).bind(used.as_millis());
            }
            for (id, _) in chunk {
                statements.bind(id.as_str());
            }
            self.must_commit = true;
        }
        statements.execute(&mut self.inner).await
    }

    /// Forgets every sealed signing key, since the key that opens them is gone.
    pub async fn forget_signing_keys(&mut self) -> Result<(), StoreError> {
        self.dialect
            .query("UPDATE tokens SET signing_key = ''")
            .execute(&mut *self.inner)
            .await?;
        self.dialect
            .query("UPDATE former_secrets SET signing_key = ''")
            .execute(&mut *self.inner)
            .await?;
        self.note_tokens_changed().await
    }

    async fn note_tokens_changed(&mut self) -> Result<(), StoreError> {
        self.effects.tokens_changed = true;
        self.advance("tokens").await?;
        Ok(())
    }
}
