//! Reads a consistent snapshot of the database, a page at a time, for an export.

use std::borrow::Cow;

use silo_shared::silo::SiloId;
use sqlx::any::AnyRow;
use sqlx::{Executor, Row};

use super::dialect::Dialect;
use super::dynahost::{self, binding};
use super::history::{HISTORY_COLUMNS, history_row};
use super::pool::Lease;
use super::queries::{Queries, Question, Source};
use super::rows::{UPDATE_KEY_COLUMNS, optional_time, silo_id, update_key};
use super::silos::{HEAD_COLUMNS, head};
use super::tokens::{self, known_token};
use super::transferred::{
    TransferredBinding, TransferredRow, TransferredSilo, TransferredUpdateKey,
};
use super::{KnownToken, SiloHead, Store, StoreError};
use crate::domain::dynahost::SealedLogin;
use crate::domain::revision::Revision;
use crate::domain::update_key::KeyHash;

/// A snapshot of the database.
#[derive(Debug)]
pub struct Snapshot {
    dialect: Dialect,
    /// Its transaction ends only with the connection.
    inner: Lease,
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        self.inner.discard();
    }
}

impl Store {
    /// Starts reading a snapshot of the current state, regardless of concurrent writes.
    pub async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let mut inner = self.readers.acquire().await?;
        inner.without_deadline();
        inner.execute("BEGIN").await?;
        if let Some(setup) = self.dialect.snapshot() {
            inner.execute(setup).await?;
        }
        Ok(Snapshot {
            dialect: self.dialect,
            inner,
        })
    }
}

impl Source for &mut Snapshot {
    fn query(&self, sql: impl Into<Cow<'static, str>>) -> Question {
        self.dialect.query(sql)
    }

    async fn fetch_all(&mut self, query: Question) -> Result<Vec<AnyRow>, sqlx::Error> {
        query.fetch_all(&mut *self.inner).await
    }

    async fn fetch_optional(&mut self, query: Question) -> Result<Option<AnyRow>, sqlx::Error> {
        query.fetch_optional(&mut *self.inner).await
    }
}

impl Snapshot {
    /// The silos after `after` in byte order, including deleted ones.
    pub async fn silos(
        &mut self,
        after: Option<&SiloId>,
        limit: i64,
    ) -> Result<Vec<(SiloId, SiloHead)>, StoreError> {
        self.dialect
            .query(format!(
                "SELECT {HEAD_COLUMNS}, id FROM silos WHERE id > ? ORDER BY id LIMIT ?"
            ))
            .bind(after.map_or("", SiloId::as_str).to_owned())
            .bind(limit)
            .fetch_all(&mut *self.inner)
            .await?
            .iter()
            .map(|row| Ok((silo_id(row, 3)?, head(row)?)))
            .collect()
    }

    /// A whole silo, whose size is limited.
    pub async fn silo(
        &mut self,
        id: SiloId,
        head: SiloHead,
    ) -> Result<TransferredSilo, StoreError> {
        let records = self.stored_records(&id).await?;
        Ok(TransferredSilo { id, head, records })
    }

    /// All history rows after `after`, oldest first.
    pub async fn history(
        &mut self,
        after: Option<&TransferredRow>,
        limit: i64,
    ) -> Result<Vec<TransferredRow>, StoreError> {
        let after = after.map(|after| &after.row);
        let revision = after.map_or(Revision::NONE, |row| row.revision);
        let name = after.map_or("", |row| row.hostname.as_str());
        self.dialect
            .query(format!(
                "SELECT {HISTORY_COLUMNS}, silo FROM history WHERE revision >= ? \
                 AND (revision > ? OR hostname > ? OR (hostname = ? AND family > ?)) \
                 ORDER BY revision, hostname, family LIMIT ?"
            ))
            .bind(revision)
            .bind(revision)
            .bind(name.to_owned())
            .bind(name.to_owned())
            .bind(after.map_or(0, |row| row.family))
            .bind(limit)
            .fetch_all(&mut *self.inner)
            .await?
            .iter()
            .map(transferred_row)
            .collect()
    }

    /// A page of rows with ids after `after`.
    async fn page(
        &mut self,
        sql: String,
        after: &str,
        limit: i64,
    ) -> Result<Vec<AnyRow>, StoreError> {
        let query = self.dialect.query(sql).bind(after.to_owned()).bind(limit);
        Ok(query.fetch_all(&mut *self.inner).await?)
    }

    /// The tokens with ids after `after`, including revoked ones; none of links: it would outlive its session elsewhere.
    pub async fn tokens(&mut self, after: &str, limit: i64) -> Result<Vec<KnownToken>, StoreError> {
        let page = format!(
            "SELECT {} FROM tokens WHERE id > ? \
             AND id NOT IN (SELECT token FROM sign_in_links) ORDER BY id LIMIT ?",
            tokens::COLUMNS
        );
        let rows = self.page(page, after, limit).await?;
        rows.iter().map(known_token).collect()
    }

    /// The update keys with ids after `after`, including revoked ones.
    pub async fn update_keys(
        &mut self,
        after: &str,
        limit: i64,
    ) -> Result<Vec<TransferredUpdateKey>, StoreError> {
        let page = format!(
            "SELECT {UPDATE_KEY_COLUMNS}, key_hash, revoked_at FROM update_keys \
             WHERE id > ? ORDER BY id LIMIT ?"
        );
        let rows = self.page(page, after, limit).await?;
        rows.iter()
            .map(|row| {
                Ok(TransferredUpdateKey {
                    key: update_key(row)?,
                    hash: KeyHash(row.try_get(4)?),
                    revoked_at: optional_time(row, 5)?,
                })
            })
            .collect()
    }

    /// The bindings of dynahost's protocol with ids after `after`.
    pub async fn dynahosts(
        &mut self,
        after: &str,
        limit: i64,
    ) -> Result<Vec<TransferredBinding>, StoreError> {
        let page = format!(
            "SELECT {}, login FROM dynahost WHERE id > ? ORDER BY id LIMIT ?",
            dynahost::COLUMNS
        );
        let rows = self.page(page, after, limit).await?;
        rows.iter()
            .map(|row| {
                Ok(TransferredBinding {
                    binding: binding(row)?,
                    login: row.try_get::<Option<String>, _>(8)?.map(SealedLogin),
                })
            })
            .collect()
    }
}

fn transferred_row(row: &AnyRow) -> Result<TransferredRow, StoreError> {
    Ok(TransferredRow {
        silo: silo_id(row, 9)?,
        row: history_row(row)?,
    })
}
