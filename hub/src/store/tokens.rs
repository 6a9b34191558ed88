//! Tokens, stored as hashes and sealed keys: no credential can be recovered from them.

use silo_shared::credential::TokenId;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::queries::{Queries, TOKEN_MADE};
use super::rows::{list, stored_list};
use super::{
    Statements, Store, StoreError, WriteTransaction, optional_time, padded_chunks,
    statement_chunks, time,
};
use crate::domain::time::Time;
use crate::domain::token::{CredentialHash, Role, Token, TokenSpec};

/// A token's signing key, sealed under the hub's key (base64); empty after a key reset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedKey(pub String);

/// A token with the data to verify its credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownToken {
    /// The token.
    pub token: Token,
    /// The hash of its credential.
    pub credential_hash: CredentialHash,
    /// Its sealed signing key.
    pub signing_key: SealedKey,
    /// The previous secret.
    pub former: Option<FormerSecret>,
}

/// A token's secret from before its rotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormerSecret {
    /// The hash of the whole credential.
    pub credential_hash: CredentialHash,
    /// The sealed signing key.
    pub signing_key: SealedKey,
    /// When it stops being valid.
    pub ends_at: Time,
    /// When the new secret was first used; until then the former one may rotate the token again.
    pub new_used_at: Option<Time>,
}

impl KnownToken {
    /// The former secret, while it is valid.
    pub fn former_at(&self, now: Time) -> Option<&FormerSecret> {
        self.former.as_ref().filter(|former| former.ends_at > now)
    }
}

/// Number of token changes remembered individually.
const CHANGES_KEPT: i64 = 1000;
/// The placeholder for a purged token's hash. No credential has this hash.
const NO_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The columns of a token, as [`known_token`] reads them.
pub(super) const COLUMNS: &str = "id, name, role, silos, hostnames, created_at, expires_at, \
     revoked_at, last_used_at, credential_hash, signing_key";

pub(super) fn known_token(row: &AnyRow) -> Result<KnownToken, StoreError> {
    let role: &str = row.try_get(2)?;
    let hostnames: Option<&str> = row.try_get(4)?;
    Ok(KnownToken {
        token: Token {
            id: TokenId::parse(row.try_get(0)?).map_err(|_| StoreError::Corrupt("token id"))?,
            spec: TokenSpec {
                name: row.try_get(1)?,
                role: Role::stored(role).ok_or(StoreError::Corrupt("role"))?,
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

/// The former secret in a row, after the token's own columns, if there is one.
fn former_secret(row: &AnyRow) -> Result<Option<FormerSecret>, StoreError> {
    let Some(hash) = row.try_get::<Option<&str>, _>(11)? else {
        return Ok(None);
    };
    Ok(Some(FormerSecret {
        credential_hash: CredentialHash::parse(hash)
            .ok_or(StoreError::Corrupt("credential hash"))?,
        signing_key: SealedKey(row.try_get(12)?),
        ends_at: time(row, 13)?,
        new_used_at: optional_time(row, 14)?,
    }))
}

impl Store {
    /// A token by its id, revoked or not.
    pub async fn token(&self, id: TokenId) -> Result<Option<KnownToken>, StoreError> {
        Ok(self.known_tokens(&[id]).await?.pop())
    }

    /// The tokens with these ids, revoked or not; unknown ids are skipped.
    pub async fn known_tokens(&self, ids: &[TokenId]) -> Result<Vec<KnownToken>, StoreError> {
        let mut known: Vec<KnownToken> = Vec::new();
        for chunk in padded_chunks(ids) {
            let marks = vec!["?"; chunk.len()].join(", ");
            let mut query = self.dialect.query(format!(
                "SELECT t.id, t.name, t.role, t.silos, t.hostnames, t.created_at, t.expires_at, \
                 t.revoked_at, t.last_used_at, t.credential_hash, t.signing_key, \
                 f.credential_hash, f.signing_key, f.ends_at, f.new_used_at FROM tokens t \
                 LEFT JOIN former_secrets f ON f.token = t.id WHERE t.id IN ({marks})"
            ));
            for id in chunk {
                query = query.bind(id.to_string());
            }
            for row in &self.read(query).await? {
                known.push(KnownToken {
                    former: former_secret(row)?,
                    ..known_token(row)?
                });
            }
        }
        Ok(known)
    }

    /// The tokens that changed while the counter went from `after` to `upto`; `None`: not all of
    /// these changes are known, or one of them affected all tokens.
    pub async fn token_changes(
        &self,
        after: i64,
        upto: i64,
    ) -> Result<Option<Vec<TokenId>>, StoreError> {
        const CHANGES: &str =
            "SELECT token FROM token_changes WHERE version > ? AND version <= ? LIMIT ?";
        if !(0..=CHANGES_KEPT).contains(&(upto - after)) {
            return Ok(None);
        }
        let query = self.dialect.query(CHANGES);
        let query = query.bind(after).bind(upto).bind(CHANGES_KEPT);
        let rows = self.read(query).await?;
        if i64::try_from(rows.len()).ok() != Some(upto - after) {
            return Ok(None);
        }
        rows.iter()
            .map(|row| match row.try_get::<Option<&str>, _>(0)? {
                None => Ok(None),
                Some(id) => TokenId::parse(id)
                    .map(Some)
                    .map_err(|_| StoreError::Corrupt("token id")),
            })
            .collect()
    }

    /// Whether the creation of a token is recorded. A hub of version 0.1.0 creates tokens without that.
    pub async fn is_token_noted(&self) -> Result<bool, StoreError> {
        Ok(self.fact(TOKEN_MADE).await?.is_some())
    }

    /// The unrevoked tokens with ids after `after` in byte order.
    pub async fn tokens(&self, after: &str, limit: i64) -> Result<Vec<Token>, StoreError> {
        let query = self
            .dialect
            .query(format!(
                "SELECT {COLUMNS} FROM tokens WHERE id > ? AND revoked_at IS NULL \
                 ORDER BY id LIMIT ?"
            ))
            .bind(after.to_owned())
            .bind(limit);
        let rows = self.read(query).await?;
        rows.iter()
            .map(|row| known_token(row).map(|known| known.token))
            .collect()
    }

    /// Some tokens that were revoked or expired before a time and are not yet reduced to a stub.
    pub async fn ended_tokens(&self, before: Time, limit: i64) -> Result<Vec<TokenId>, StoreError> {
        const ENDED: &str = "SELECT id FROM tokens WHERE coalesce(revoked_at, expires_at) < ? \
             AND credential_hash <> ? LIMIT ?";
        let query = self.dialect.query(ENDED).bind(before.as_millis());
        let query = query.bind(NO_HASH).bind(limit);
        let rows = self.read(query).await?;
        rows.iter()
            .map(|row| TokenId::parse(row.try_get(0)?).map_err(|_| StoreError::Corrupt("token id")))
            .collect()
    }
}

impl WriteTransaction {
    /// Records that a token was created, so that no later one counts as the first.
    pub async fn note_token_made(&mut self) -> Result<(), StoreError> {
        match self.fact(TOKEN_MADE).await? {
            Some(_) => Ok(()),
            None => self.set_fact(TOKEN_MADE, "yes").await,
        }
    }

    /// Adds a token.
    pub async fn insert_token(
        &mut self,
        token: &Token,
        credential_hash: CredentialHash,
        signing_key: &SealedKey,
    ) -> Result<(), StoreError> {
        self.dialect.query(
            "INSERT INTO tokens (id, name, role, silos, hostnames, credential_hash, signing_key, \
             created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(token.id.as_str())
        .bind(token.spec.name.as_str())
        .bind(token.spec.role.to_string())
        .bind(stored_list(&token.spec.silos))
        .bind(token.spec.hostnames.as_deref().map(stored_list))
        .bind(credential_hash.to_string())
        .bind(signing_key.0.as_str())
        .bind(token.created_at.as_millis())
        .bind(token.spec.expires_at.map(Time::as_millis))
        .execute(&mut *self.inner)
        .await?;
        self.note_token_made().await?;
        self.note_token_changed(token.id).await
    }

    /// Revokes a token; false if no valid one exists.
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
        self.remove_agents_of_token(id).await?;
        self.note_token_changed(id).await?;
        Ok(true)
    }

    /// Gives a token a new secret; the previous one stays valid until `former_ends`, the one before
    /// that becomes invalid. False if no valid token exists.
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
        self.note_token_changed(id).await?;
        Ok(true)
    }

    /// Replaces a token's new secret, which was never used, by means of its former secret, which
    /// stays valid until `former_ends`. False if the former secret is wrong, or the new secret was
    /// already used.
    pub async fn rotate_unused_token(
        &mut self,
        id: TokenId,
        former: CredentialHash,
        credential_hash: CredentialHash,
        signing_key: &SealedKey,
        former_ends: Time,
    ) -> Result<bool, StoreError> {
        let kept = self
            .dialect
            .query(
                "UPDATE former_secrets SET ends_at = ? WHERE token = ? AND credential_hash = ? \
                 AND new_used_at IS NULL",
            )
            .bind(former_ends.as_millis())
            .bind(id.as_str())
            .bind(former.to_string())
            .execute(&mut *self.inner)
            .await?;
        if kept.rows_affected() == 0 {
            return Ok(false);
        }
        self.dialect
            .query("UPDATE tokens SET credential_hash = ?, signing_key = ? WHERE id = ?")
            .bind(credential_hash.to_string())
            .bind(signing_key.0.as_str())
            .bind(id.as_str())
            .execute(&mut *self.inner)
            .await?;
        self.note_token_changed(id).await?;
        Ok(true)
    }

    /// Records that a token's present secret is in use, if this hash is still the present one.
    pub async fn note_new_secret_used(
        &mut self,
        id: TokenId,
        credential_hash: CredentialHash,
        now: Time,
    ) -> Result<(), StoreError> {
        let noted = self
            .dialect
            .query(
                "UPDATE former_secrets SET new_used_at = ? WHERE token = ? AND new_used_at IS NULL \
                 AND EXISTS (SELECT 1 FROM tokens t WHERE t.id = ? AND t.credential_hash = ?)",
            )
            .bind(now.as_millis())
            .bind(id.as_str())
            .bind(id.as_str())
            .bind(credential_hash.to_string())
            .execute(&mut *self.inner)
            .await?;
        if noted.rows_affected() > 0 {
            self.note_token_changed(id).await?;
        }
        Ok(())
    }

    /// Removes the former secrets that expired before a time; returns their number.
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

    /// Writes the last-used times of tokens.
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

    /// Deletes every sealed signing key, since the key that opens them no longer exists.
    pub async fn forget_signing_keys(&mut self) -> Result<(), StoreError> {
        self.dialect
            .query("UPDATE tokens SET signing_key = ''")
            .execute(&mut *self.inner)
            .await?;
        self.dialect
            .query("UPDATE former_secrets SET signing_key = ''")
            .execute(&mut *self.inner)
            .await?;
        self.note_all_tokens_changed().await
    }

    /// Reduces tokens that ended before a time to their id and that time, so that no import
    /// restores them; returns the number of tokens.
    pub async fn purge_tokens(&mut self, ids: &[TokenId], before: Time) -> Result<u64, StoreError> {
        // A hub of version 0.1.0 must be able to read the row. MariaDB evaluates assignments from
        // left to right.
        const PURGE: &str = "UPDATE tokens SET revoked_at = coalesce(revoked_at, expires_at), \
             expires_at = NULL, name = 'revoked', role = 'read', silos = '[\"revoked\"]', \
             hostnames = NULL, credential_hash = ?, signing_key = '', created_at = 0, \
             last_used_at = NULL WHERE id = ? AND coalesce(revoked_at, expires_at) < ?";
        let mut purged = 0;
        for id in ids {
            let updated = self
                .dialect
                .query(PURGE)
                .bind(NO_HASH)
                .bind(id.to_string())
                .bind(before.as_millis())
                .execute(&mut *self.inner)
                .await?;
            if updated.rows_affected() == 0 {
                continue;
            }
            self.must_commit = true;
            purged += updated.rows_affected();
            self.dialect
                .query("DELETE FROM former_secrets WHERE token = ?")
                .bind(id.to_string())
                .execute(&mut *self.inner)
                .await?;
            // It may have expired without being revoked.
            self.remove_agents_of_token(*id).await?;
        }
        Ok(purged)
    }

    pub(super) async fn note_token_changed(&mut self, id: TokenId) -> Result<(), StoreError> {
        self.effects.tokens.push(id);
        self.add_token_change(Some(id)).await
    }

    pub(super) async fn note_all_tokens_changed(&mut self) -> Result<(), StoreError> {
        self.effects.all_tokens_changed = true;
        self.add_token_change(None).await
    }

    /// Increments the counter and records the changed token.
    async fn add_token_change(&mut self, id: Option<TokenId>) -> Result<(), StoreError> {
        let version = self.advance("tokens").await?;
        self.dialect
            .query("INSERT INTO token_changes (version, token) VALUES (?, ?)")
            .bind(version)
            .bind(id.map(|id| id.to_string()))
            .execute(&mut *self.inner)
            .await?;
        self.dialect
            .query("DELETE FROM token_changes WHERE version <= ?")
            .bind(version - CHANGES_KEPT)
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }
}
