//! The signed writes of the last minutes, so that none is executed twice and no delayed one undoes
//! a newer one.

use silo_shared::credential::TokenId;
use silo_shared::silo::{Hostname, SiloId};

use super::{Store, StoreError, WriteTransaction, time};
use crate::domain::time::Time;

/// The target of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteScope {
    /// One hostname of a silo.
    Record(SiloId, Hostname),
    /// A silo as a whole.
    Silo(SiloId),
    /// A token.
    Token(TokenId),
    /// Something whose writes have no order, such as a new token.
    Unscoped,
}

/// What the column `silo` has for tokens: no silo has this id.
const TOKENS: &str = "/tokens";

impl Store {
    /// Whether there are signed writes from before a time.
    pub async fn has_signed_writes(&self, before: Time) -> Result<bool, StoreError> {
        self.has_older("signed_writes", "created", before).await
    }
}

impl WriteTransaction {
    /// When the token's newest accepted write that overlaps this target was signed: for a record, a
    /// write to it or to the whole silo; for a silo, any write in it; for a token, any write to it. Signatures from after
    /// `latest` don't count: they were accepted by a clock that was wrong.
    pub async fn last_signed_write(
        &mut self,
        token: TokenId,
        place: &WriteScope,
        latest: Time,
    ) -> Result<Option<Time>, StoreError> {
        let query = match place {
            WriteScope::Record(silo, hostname) => self
                .dialect
                .query(
                    "SELECT created FROM signed_writes WHERE token = ? AND silo = ? \
                     AND hostname IN (?, '') AND created <= ? ORDER BY created DESC LIMIT 1",
                )
                .bind(token.as_str())
                .bind(silo.as_str())
                .bind(hostname.as_str()),
            WriteScope::Token(id) => self
                .dialect
                .query(
                    "SELECT created FROM signed_writes WHERE token = ? AND silo = ? \
                     AND hostname = ? AND created <= ? ORDER BY created DESC LIMIT 1",
                )
                .bind(token.as_str())
                .bind(TOKENS)
                .bind(id.as_str()),
            WriteScope::Silo(silo) => self
                .dialect
                .query(
                    "SELECT created FROM signed_writes WHERE token = ? AND silo = ? \
                     AND created <= ? ORDER BY created DESC LIMIT 1",
                )
                .bind(token.as_str())
                .bind(silo.as_str()),
            WriteScope::Unscoped => return Ok(None),
        };
        let row = query
            .bind(latest.as_millis())
            .fetch_optional(&mut *self.inner)
            .await?;
        row.as_ref().map(|row| time(row, 0)).transpose()
    }

    /// Records an unused nonce as used; durable even if the transaction changes nothing else.
    pub async fn spend_nonce(
        &mut self,
        token: TokenId,
        nonce: &str,
        created: Time,
        place: &WriteScope,
    ) -> Result<(), StoreError> {
        self.must_commit = true;
        let (silo, hostname) = match place {
            WriteScope::Record(silo, hostname) => (silo.as_str(), hostname.as_str()),
            WriteScope::Silo(silo) => (silo.as_str(), ""),
            WriteScope::Token(id) => (TOKENS, id.as_str()),
            WriteScope::Unscoped => ("", ""),
        };
        self.dialect
            .query(
                "INSERT INTO signed_writes (token, nonce, silo, hostname, created) \
                 VALUES (?, ?, ?, ?, ?)",
            )
            .bind(token.as_str())
            .bind(nonce)
            .bind(silo)
            .bind(hostname)
            .bind(created.as_millis())
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }

    /// Deletes the oldest signed writes, at most about `limit`; returns the number of deleted rows.
    pub async fn purge_signed_writes(
        &mut self,
        before: Time,
        limit: i64,
    ) -> Result<u64, StoreError> {
        self.purge_oldest("signed_writes", "created", before, limit)
            .await
    }
}
