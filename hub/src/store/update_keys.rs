//! Update keys, as keyed hashes.

use silo_shared::credential::TokenId;

use super::queries::Queries;
use super::rows::{UPDATE_KEY_COLUMNS, update_key};
use super::transferred::TransferredUpdateKey;
use super::{Store, StoreError, WriteTransaction};
use crate::domain::time::Time;
use crate::domain::update_key::{KeyHash, UpdateKey};
use sqlx::Row;

impl Store {
    /// All unrevoked update keys, oldest first.
    pub async fn update_keys(&self) -> Result<Vec<UpdateKey>, StoreError> {
        self.dialect
            .query(format!(
                "SELECT {UPDATE_KEY_COLUMNS} FROM update_keys WHERE revoked_at IS NULL \
                 ORDER BY created_at, id"
            ))
            .fetch_all(&self.readers)
            .await?
            .iter()
            .map(update_key)
            .collect()
    }
}

impl WriteTransaction {
    /// Adds an update key.
    pub async fn insert_update_key(
        &mut self,
        key: &UpdateKey,
        hash: &KeyHash,
    ) -> Result<(), StoreError> {
        self.must_commit = true;
        self.dialect
            .query(
                "INSERT INTO update_keys (id, key_hash, silo, hostname, created_at) \
                 VALUES (?, ?, ?, ?, ?)",
            )
            .bind(key.id.as_str())
            .bind(hash.0.as_str())
            .bind(key.silo.as_str())
            .bind(key.hostname.as_str())
            .bind(key.created_at.as_millis())
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }

    /// Adds an update key as exported, unless its id exists or a valid one has the same key;
    /// returns whether it was added.
    pub async fn add_missing_update_key(
        &mut self,
        new: &TransferredUpdateKey,
    ) -> Result<bool, StoreError> {
        let known = self
            .dialect
            .query("SELECT id FROM update_keys WHERE id = ?")
            .bind(new.key.id.as_str())
            .fetch_optional(&mut *self.inner)
            .await?;
        if known.is_some() {
            return Ok(false);
        }
        if new.revoked_at.is_none() && self.update_key(&new.hash).await?.is_some() {
            return Ok(false);
        }
        self.insert_update_key(&new.key, &new.hash).await?;
        if let Some(revoked) = new.revoked_at {
            self.revoke_update_key(new.key.id, revoked).await?;
        }
        Ok(true)
    }

    /// Revokes an update key; false if no valid one exists.
    pub async fn revoke_update_key(&mut self, id: TokenId, now: Time) -> Result<bool, StoreError> {
        let updated = self
            .dialect
            .query("UPDATE update_keys SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL")
            .bind(now.as_millis())
            .bind(id.as_str())
            .execute(&mut *self.inner)
            .await?;
        let revoked = updated.rows_affected() > 0;
        self.must_commit |= revoked;
        Ok(revoked)
    }

    /// Removes some update keys that were revoked before a time; returns their number.
    pub async fn purge_update_keys(&mut self, before: Time, limit: i64) -> Result<u64, StoreError> {
        let rows = self
            .dialect
            .query("SELECT id FROM update_keys WHERE revoked_at < ? LIMIT ?")
            .bind(before.as_millis())
            .bind(limit)
            .fetch_all(&mut *self.inner)
            .await?;
        for row in &rows {
            self.must_commit = true;
            self.dialect
                .query("DELETE FROM update_keys WHERE id = ?")
                .bind(row.try_get::<String, _>(0)?)
                .execute(&mut *self.inner)
                .await?;
        }
        Ok(rows.len() as u64)
    }

    /// Revokes every update key, since the key that made their hashes no longer exists.
    pub async fn revoke_update_keys(&mut self, now: Time) -> Result<(), StoreError> {
        self.dialect
            .query("UPDATE update_keys SET revoked_at = ? WHERE revoked_at IS NULL")
            .bind(now.as_millis())
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }
}
