//! The sessions of the dashboard, stored as hashes: no id can be recovered from them.

use silo_shared::credential::TokenId;
use silo_shared::signing::MAX_CLOCK_OFFSET;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Store, StoreError, WriteTransaction, time};
use crate::domain::session::{
    IDLE_SECONDS, KEPT_AFTER_END_SECONDS, LONGEST_AHEAD_SECONDS, LONGEST_SECONDS, LatelyShown,
    Session, SessionHash, USE_RESOLUTION_SECONDS,
};
use crate::domain::time::Time;
use crate::domain::token::CredentialHash;

const COLUMNS: &str = "token, id_hash, secret, made_at, used_at";

/// Sessions that have ended by themselves a day ago or earlier; its values are those of [`bounds`].
const OVER: &str = "made_at <= ? OR used_at <= ? OR made_at > ? OR used_at > ?";

fn bounds(shown: LatelyShown) -> [i64; 4] {
    let earliest = shown.earliest.plus_seconds(-KEPT_AFTER_END_SECONDS);
    let latest = shown.latest.plus_seconds(KEPT_AFTER_END_SECONDS);
    let ahead = latest.plus_seconds(LONGEST_AHEAD_SECONDS).as_millis();
    [
        earliest.plus_seconds(-LONGEST_SECONDS).as_millis(),
        earliest.plus_seconds(-IDLE_SECONDS).as_millis(),
        ahead,
        ahead,
    ]
}

fn session(row: &AnyRow) -> Result<Session, StoreError> {
    let hash = |column| -> Result<CredentialHash, StoreError> {
        CredentialHash::parse(row.try_get(column)?).ok_or(StoreError::Corrupt("hash of a session"))
    };
    Ok(Session {
        token: TokenId::parse(row.try_get(0)?).map_err(|_| StoreError::Corrupt("token id"))?,
        hash: SessionHash(hash(1)?.0),
        secret: hash(2)?,
        made_at: time(row, 3)?,
        used_at: time(row, 4)?,
    })
}

impl Store {
    /// A session by the hash of its id, ended or not.
    pub async fn session(
        &self,
        token: TokenId,
        hash: SessionHash,
    ) -> Result<Option<Session>, StoreError> {
        let query = self
            .dialect
            .query(format!(
                "SELECT {COLUMNS} FROM sessions WHERE token = ? AND id_hash = ?"
            ))
            .bind(token.to_string())
            .bind(hash.to_string());
        self.read(query).await?.first().map(session).transpose()
    }

    /// Whether any session has ended by itself, and may be removed.
    pub async fn has_ended_sessions(&self, shown: LatelyShown) -> Result<bool, StoreError> {
        let mut query = self
            .dialect
            .query(format!("SELECT token FROM sessions WHERE {OVER} LIMIT 1"));
        for bound in bounds(shown) {
            query = query.bind(bound);
        }
        Ok(!self.read(query).await?.is_empty())
    }
}

impl WriteTransaction {
    /// The sessions of a token, the oldest first.
    pub async fn sessions_of(&mut self, token: TokenId) -> Result<Vec<Session>, StoreError> {
        let rows = self
            .dialect
            .query(format!(
                "SELECT {COLUMNS} FROM sessions WHERE token = ? ORDER BY made_at, id_hash"
            ))
            .bind(token.to_string())
            .fetch_all(&mut *self.inner)
            .await?;
        rows.iter().map(session).collect()
    }

    /// Adds a session.
    pub async fn insert_session(&mut self, session: &Session) -> Result<(), StoreError> {
        self.dialect
            .query(format!(
                "INSERT INTO sessions ({COLUMNS}) VALUES (?, ?, ?, ?, ?)"
            ))
            .bind(session.token.to_string())
            .bind(session.hash.to_string())
            .bind(session.secret.to_string())
            .bind(session.made_at.as_millis())
            .bind(session.used_at.as_millis())
            .execute(&mut *self.inner)
            .await?;
        self.must_commit = true;
        Ok(())
    }

    /// Stores that a session was used, unless it has ended, or this was stored less than a minute ago. A time that a
    /// wrong clock has stored is replaced.
    pub async fn note_session_used(
        &mut self,
        token: TokenId,
        hash: SessionHash,
        now: Time,
    ) -> Result<(), StoreError> {
        let noted = self
            .dialect
            .query(
                "UPDATE sessions SET used_at = ? WHERE token = ? AND id_hash = ? \
                 AND (used_at <= ? OR used_at > ?)",
            )
            .bind(now.as_millis())
            .bind(token.to_string())
            .bind(hash.to_string())
            .bind(now.plus_seconds(-USE_RESOLUTION_SECONDS).as_millis())
            .bind(now.plus_seconds(MAX_CLOCK_OFFSET).as_millis())
            .execute(&mut *self.inner)
            .await?;
        self.must_commit |= noted.rows_affected() > 0;
        Ok(())
    }

    /// Ends a session; false if there is none. Its streams wake at all hubs, as those of a changed token.
    pub async fn end_session(
        &mut self,
        token: TokenId,
        hash: SessionHash,
    ) -> Result<bool, StoreError> {
        let ended = self
            .dialect
            .query("DELETE FROM sessions WHERE token = ? AND id_hash = ?")
            .bind(token.to_string())
            .bind(hash.to_string())
            .execute(&mut *self.inner)
            .await?;
        let is_ended = ended.rows_affected() > 0;
        if is_ended {
            self.must_commit = true;
            self.note_token_changed(token).await?;
        }
        Ok(is_ended)
    }

    /// Ends every session of a token; returns their number. Their streams wake at all hubs.
    pub async fn end_sessions_of(&mut self, token: TokenId) -> Result<u64, StoreError> {
        let ended = self
            .dialect
            .query("DELETE FROM sessions WHERE token = ?")
            .bind(token.to_string())
            .execute(&mut *self.inner)
            .await?;
        if ended.rows_affected() > 0 {
            self.must_commit = true;
            self.note_token_changed(token).await?;
        }
        Ok(ended.rows_affected())
    }

    /// Ends every session of the database, and every link to begin one. Their streams wake at all hubs.
    pub async fn end_all_sessions(&mut self) -> Result<(), StoreError> {
        self.end_all_links().await?;
        let ended = self
            .dialect
            .query("DELETE FROM sessions")
            .execute(&mut *self.inner)
            .await?;
        if ended.rows_affected() > 0 {
            self.must_commit = true;
            self.note_all_tokens_changed().await?;
        }
        Ok(())
    }

    /// Removes the sessions that have ended by themselves, a day after their end.
    pub async fn purge_sessions(&mut self, shown: LatelyShown) -> Result<(), StoreError> {
        let mut query = self
            .dialect
            .query(format!("DELETE FROM sessions WHERE {OVER}"));
        for bound in bounds(shown) {
            query = query.bind(bound);
        }
        let gone = query.execute(&mut *self.inner).await?;
        self.must_commit |= gone.rows_affected() > 0;
        Ok(())
    }
}
