//! Links that sign a browser in once, stored as hashes of their codes.

use silo_shared::credential::TokenId;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Store, StoreError, WriteTransaction, optional_time, time};
use crate::domain::session::{LINK_ENDS_WITHIN_SECONDS, LatelyShown, LinkHash, SignInLink};
use crate::domain::time::Time;
use crate::domain::token::CredentialHash;

/// Links that were not used in time, those that a wrong clock has made, and those whose session has ended; its values
/// are those of [`bounds`].
const OVER: &str = "SELECT token FROM sign_in_links \
     WHERE (used_at IS NULL AND (ends_at <= ? OR ends_at > ?)) \
     OR (used_at IS NOT NULL AND token NOT IN (SELECT token FROM sessions))";

fn bounds(shown: LatelyShown) -> [i64; 2] {
    let latest = shown.latest.plus_seconds(LINK_ENDS_WITHIN_SECONDS);
    [shown.earliest.as_millis(), latest.as_millis()]
}

fn hash(row: &AnyRow, column: usize) -> Result<CredentialHash, StoreError> {
    CredentialHash::parse(row.try_get(column)?).ok_or(StoreError::Corrupt("hash of a link"))
}

fn token(row: &AnyRow) -> Result<TokenId, StoreError> {
    TokenId::parse(row.try_get(0)?).map_err(|_| StoreError::Corrupt("token id"))
}

impl Store {
    /// The token of the link with this code, used or not.
    pub async fn token_of_link(&self, code: LinkHash) -> Result<Option<TokenId>, StoreError> {
        let query = self
            .dialect
            .query("SELECT token FROM sign_in_links WHERE code_hash = ?")
            .bind(code.to_string());
        self.read(query).await?.first().map(token).transpose()
    }

    /// Whether any link is over, so that its token is to be revoked.
    pub async fn has_links_over(&self, shown: LatelyShown) -> Result<bool, StoreError> {
        let mut query = self.dialect.query(format!("{OVER} LIMIT 1"));
        for bound in bounds(shown) {
            query = query.bind(bound);
        }
        Ok(!self.read(query).await?.is_empty())
    }
}

impl WriteTransaction {
    /// Adds a link.
    pub async fn insert_link(&mut self, link: &SignInLink) -> Result<(), StoreError> {
        self.dialect
            .query("INSERT INTO sign_in_links (token, code_hash, ends_at) VALUES (?, ?, ?)")
            .bind(link.token.to_string())
            .bind(link.code.to_string())
            .bind(link.ends_at.as_millis())
            .execute(&mut *self.inner)
            .await?;
        self.must_commit = true;
        Ok(())
    }

    /// The link of a token.
    pub async fn link_of(&mut self, token: TokenId) -> Result<Option<SignInLink>, StoreError> {
        let row = self
            .dialect
            .query("SELECT code_hash, ends_at, used_at FROM sign_in_links WHERE token = ?")
            .bind(token.to_string())
            .fetch_optional(&mut *self.inner)
            .await?;
        row.map(|row| {
            Ok(SignInLink {
                token,
                code: LinkHash(hash(&row, 0)?.0),
                ends_at: time(&row, 1)?,
                used_at: optional_time(&row, 2)?,
            })
        })
        .transpose()
    }

    /// Notes that a link was used.
    pub async fn note_link_used(&mut self, token: TokenId, now: Time) -> Result<(), StoreError> {
        self.dialect
            .query("UPDATE sign_in_links SET used_at = ? WHERE token = ?")
            .bind(now.as_millis())
            .bind(token.to_string())
            .execute(&mut *self.inner)
            .await?;
        self.must_commit = true;
        Ok(())
    }

    /// The hash of a token's present secret.
    pub async fn secret_of(
        &mut self,
        token: TokenId,
    ) -> Result<Option<CredentialHash>, StoreError> {
        let row = self
            .dialect
            .query("SELECT credential_hash FROM tokens WHERE id = ? AND revoked_at IS NULL")
            .bind(token.to_string())
            .fetch_optional(&mut *self.inner)
            .await?;
        row.map(|row| hash(&row, 0)).transpose()
    }

    /// The tokens of links that are over.
    pub async fn links_over(&mut self, shown: LatelyShown) -> Result<Vec<TokenId>, StoreError> {
        let mut query = self.dialect.query(OVER);
        for bound in bounds(shown) {
            query = query.bind(bound);
        }
        let rows = query.fetch_all(&mut *self.inner).await?;
        rows.iter().map(token).collect()
    }

    /// Removes the link of a token.
    pub async fn remove_link(&mut self, token: TokenId) -> Result<(), StoreError> {
        self.dialect
            .query("DELETE FROM sign_in_links WHERE token = ?")
            .bind(token.to_string())
            .execute(&mut *self.inner)
            .await?;
        self.must_commit = true;
        Ok(())
    }

    /// Lets no link that is there be used any more.
    pub async fn end_all_links(&mut self) -> Result<(), StoreError> {
        let ended = self
            .dialect
            .query("UPDATE sign_in_links SET ends_at = 0 WHERE used_at IS NULL AND ends_at > 0")
            .execute(&mut *self.inner)
            .await?;
        self.must_commit |= ended.rows_affected() > 0;
        Ok(())
    }
}
