//! What reverting, exporting, importing, backing up and restoring read and write beside the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use silo_shared::silo::{Family, Hostname, SiloId};
use sqlx::Row;

use super::snapshot::TransferredRow;
use super::{
    KnownToken, ROWS_AT_ONCE, StoreError, WriteTransaction, hostname, insert_rows, optional,
};

impl WriteTransaction {
    /// What each address that changed after a revision was at that revision.
    pub async fn addresses_before(
        &mut self,
        silo: &SiloId,
        revision: i64,
    ) -> Result<BTreeMap<(Hostname, Family), Option<IpAddr>>, StoreError> {
        // The first change after the revision tells what stood there; one row an address, however
        // often it changed since.
        const FIRST_AFTER: &str = "SELECT h.hostname, h.family, h.old_ip FROM history h \
             JOIN (SELECT hostname, family, min(revision) AS revision FROM history \
             WHERE silo = ? AND revision > ? GROUP BY hostname, family) f \
             ON f.revision = h.revision AND f.hostname = h.hostname AND f.family = h.family \
             WHERE h.silo = ?";
        self.flush().await?;
        self.dialect
            .query(FIRST_AFTER)
            .bind(silo.as_str())
            .bind(revision)
            .bind(silo.as_str())
            .fetch_all(&mut *self.inner)
            .await?
            .iter()
            .map(|row| {
                let family = match row.try_get::<i64, _>(1)? {
                    4 => Family::V4,
                    6 => Family::V6,
                    _ => return Err(StoreError::Corrupt("address family")),
                };
                Ok(((hostname(row, 0)?, family), optional(row, 2, "address")?))
            })
            .collect()
    }

    /// The revision with which a silo's history begins; `None` when it has none.
    pub async fn first_revision(&mut self, silo: &SiloId) -> Result<Option<i64>, StoreError> {
        self.flush().await?;
        let row = self
            .dialect
            .query("SELECT min(revision) FROM history WHERE silo = ?")
            .bind(silo.as_str())
            .fetch_one(&mut *self.inner)
            .await?;
        Ok(row.try_get(0)?)
    }

    /// The revision that was taken last, by this transaction or before it.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// Moves the counter to a revision that was taken elsewhere, never back.
    pub fn raise_revision(&mut self, revision: i64) {
        self.revision = self.revision.max(revision);
    }

    /// Notes that a silo changed without taking a revision.
    pub fn note_changed(&mut self, silo: &SiloId) {
        self.must_commit = true;
        self.effects.silos.push(silo.clone());
    }

    /// Whether there never was a silo here.
    pub async fn holds_nothing(&mut self) -> Result<bool, StoreError> {
        self.flush().await?;
        for any in [
            "SELECT id FROM silos LIMIT 1",
            "SELECT silo FROM history LIMIT 1",
        ] {
            let row = self.dialect.query(any).fetch_optional(&mut *self.inner);
            if row.await?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Forgets a fact about this database.
    pub async fn remove_fact(&mut self, name: &str) -> Result<(), StoreError> {
        self.must_commit = true;
        self.dialect
            .query("DELETE FROM facts WHERE name = ?")
            .bind(name)
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }

    /// Adds the rows whose revision, hostname and family the history does not have; answers how many.
    pub async fn add_missing_history(
        &mut self,
        rows: &[TransferredRow],
    ) -> Result<u64, StoreError> {
        const HEAD: &str = "INSERT INTO history (revision, silo, hostname, family, changed_at, \
             old_ip, new_ip, via, token, client_ip)";
        self.flush().await?;
        let mut added = 0;
        for chunk in rows.chunks(ROWS_AT_ONCE) {
            let mut known = self.known_history(chunk).await?;
            let missing: Vec<&TransferredRow> = chunk
                .iter()
                .filter(|TransferredRow { row, .. }| {
                    known.insert((row.revision, row.hostname.clone(), row.family))
                })
                .collect();
            if missing.is_empty() {
                continue;
            }
            let mut query = self
                .dialect
                .query(insert_rows(HEAD, 10, missing.len()))
                .persistent(missing.len() == ROWS_AT_ONCE);
            for TransferredRow { silo, row } in &missing {
                query = query
                    .bind(row.revision)
                    .bind(silo.as_str())
                    .bind(row.hostname.as_str())
                    .bind(row.family)
                    .bind(row.at.as_millis())
                    .bind(row.old.map(|ip| ip.to_string()))
                    .bind(row.new.map(|ip| ip.to_string()))
                    .bind(row.via.as_str())
                    .bind(row.token.as_deref())
                    .bind(row.client_ip.map(|ip| ip.to_string()));
            }
            query.execute(&mut *self.inner).await?;
            self.must_commit = true;
            added += missing.len() as u64;
        }
        Ok(added)
    }

    async fn known_history(
        &mut self,
        rows: &[TransferredRow],
    ) -> Result<BTreeSet<(i64, Hostname, i64)>, StoreError> {
        let any = vec!["(revision = ? AND hostname = ? AND family = ?)"; rows.len()].join(" OR ");
        let mut query = self
            .dialect
            .query(format!(
                "SELECT revision, hostname, family FROM history WHERE {any}"
            ))
            .persistent(rows.len() == ROWS_AT_ONCE);
        for TransferredRow { row, .. } in rows {
            query = query
                .bind(row.revision)
                .bind(row.hostname.as_str())
                .bind(row.family);
        }
        query
            .fetch_all(&mut *self.inner)
            .await?
            .iter()
            .map(|row| Ok((row.try_get(0)?, hostname(row, 1)?, row.try_get(2)?)))
            .collect()
    }

    /// Adds a token unless there is one of its id; answers whether it did.
    pub async fn add_missing_token(&mut self, new: &KnownToken) -> Result<bool, StoreError> {
        let token = &new.token;
        let known = self
            .dialect
            .query("SELECT id FROM tokens WHERE id = ?")
            .bind(token.id.as_str())
            .fetch_optional(&mut *self.inner)
            .await?;
        if known.is_some() {
            return Ok(false);
        }
        self.insert_token(token, new.credential_hash, &new.signing_key)
            .await?;
        if let Some(revoked) = token.revoked_at {
            self.revoke_token(token.id, revoked).await?;
        }
        if let Some(used) = token.last_used_at {
            self.set_last_used(&[(token.id, used)]).await?;
        }
        Ok(true)
    }
}
