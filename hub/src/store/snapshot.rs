//! Reads a consistent snapshot of the database, a page at a time, for an export.

use silo_shared::silo::SiloId;
use sqlx::any::AnyRow;
use sqlx::{Executor, Row};

use super::dialect::Dialect;
use super::dynahost::binding;
use super::history::history_row;
use super::pool::Lease;
use super::silos::{RECORD_COLUMNS, head, record};
use super::tokens::known_token;
use super::transferred::{
    TransferredBinding, TransferredRow, TransferredSilo, TransferredUpdateKey,
};
use super::update_keys::update_key;
use super::{KnownToken, SiloHead, Store, StoreError};
use super::{optional_time, read_fact, silo_id};
use crate::domain::dynahost::SealedLogin;
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

impl Snapshot {
    /// A fact about this database.
    pub async fn fact(&mut self, name: &str) -> Result<Option<String>, StoreError> {
        read_fact(self.dialect, &mut self.inner, name).await
    }

    /// The silos after `after` in byte order, including deleted ones.
    pub async fn silos(
        &mut self,
        after: Option<&SiloId>,
        limit: i64,
    ) -> Result<Vec<(SiloId, SiloHead)>, StoreError> {
        self.dialect
            .query(
                "SELECT revision, updated_at, deleted, id FROM silos WHERE id > ? \
                 ORDER BY id LIMIT ?",
            )
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
        let records = self
            .dialect
            .query(format!(
                "SELECT {RECORD_COLUMNS} FROM records WHERE silo = ? ORDER BY hostname"
            ))
            .bind(id.as_str())
            .fetch_all(&mut *self.inner)
            .await?
            .iter()
            .map(record)
            .collect::<Result<_, _>>()?;
        Ok(TransferredSilo { id, head, records })
    }

    /// All history rows after `after`, oldest first.
    pub async fn history(
        &mut self,
        after: Option<&TransferredRow>,
        limit: i64,
    ) -> Result<Vec<TransferredRow>, StoreError> {
        const ROWS: &str = "SELECT changed_at, revision, hostname, family, old_ip, new_ip, via, \
             token, client_ip, silo FROM history WHERE revision >= ? AND (revision > ? \
             OR hostname > ? OR (hostname = ? AND family > ?)) \
             ORDER BY revision, hostname, family LIMIT ?";
        let after = after.map(|after| &after.row);
        let revision = after.map_or(i64::MIN, |row| row.revision);
        let name = after.map_or("", |row| row.hostname.as_str());
        self.dialect
            .query(ROWS)
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
        sql: &'static str,
        after: &str,
        limit: i64,
    ) -> Result<Vec<AnyRow>, StoreError> {
        let query = self.dialect.query(sql).bind(after.to_owned()).bind(limit);
        Ok(query.fetch_all(&mut *self.inner).await?)
    }

    /// The tokens with ids after `after`, including revoked ones.
    pub async fn tokens(&mut self, after: &str, limit: i64) -> Result<Vec<KnownToken>, StoreError> {
        const PAGE: &str = "SELECT id, name, role, silos, hostnames, created_at, expires_at, \
             revoked_at, last_used_at, credential_hash, signing_key FROM tokens WHERE id > ? \
             ORDER BY id LIMIT ?";
        let rows = self.page(PAGE, after, limit).await?;
        rows.iter().map(known_token).collect()
    }

    /// The update keys with ids after `after`, including revoked ones.
    pub async fn update_keys(
        &mut self,
        after: &str,
        limit: i64,
    ) -> Result<Vec<TransferredUpdateKey>, StoreError> {
        const PAGE: &str = "SELECT id, silo, hostname, created_at, key_hash, revoked_at \
             FROM update_keys WHERE id > ? ORDER BY id LIMIT ?";
        let rows = self.page(PAGE, after, limit).await?;
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
        const PAGE: &str = "SELECT id, silo, hostname, secid_hash, confirmed, created_at, \
             sink, login_hash, login FROM dynahost WHERE id > ? ORDER BY id LIMIT ?";
        let rows = self.page(PAGE, after, limit).await?;
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
