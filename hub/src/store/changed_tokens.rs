//! Changes to the properties of tokens.

use silo_shared::credential::TokenId;

use super::rows::stored_list;
use super::tokens::{COLUMNS, known_token};
use super::{StoreError, WriteTransaction};
use crate::domain::time::Time;
use crate::domain::token::{Token, TokenSpec};

impl WriteTransaction {
    /// A token that is not revoked; it may have expired.
    pub async fn unrevoked_token(&mut self, id: TokenId) -> Result<Option<Token>, StoreError> {
        let row = self
            .dialect
            .query(format!(
                "SELECT {COLUMNS} FROM tokens WHERE id = ? AND revoked_at IS NULL"
            ))
            .bind(id.to_string())
            .fetch_optional(&mut *self.inner)
            .await?;
        let known = row.as_ref().map(known_token).transpose()?;
        Ok(known.map(|known| known.token))
    }

    /// Sets the properties of a token; its role stays.
    pub async fn change_token(&mut self, id: TokenId, spec: &TokenSpec) -> Result<(), StoreError> {
        self.dialect
            .query(
                "UPDATE tokens SET name = ?, silos = ?, hostnames = ?, expires_at = ? WHERE id = ?",
            )
            .bind(spec.name.as_str())
            .bind(stored_list(&spec.silos))
            .bind(spec.hostnames.as_deref().map(stored_list))
            .bind(spec.expires_at.map(Time::as_millis))
            .bind(id.as_str())
            .execute(&mut *self.inner)
            .await?;
        self.note_token_changed(id).await
    }
}
