//! Reads and writes used only for reverting, exporting, importing, backing up and restoring.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use silo_shared::silo::{Hostname, SiloId};
use sqlx::Row;

use super::transferred::TransferredRow;
use super::{
    KnownToken, ROWS_AT_ONCE, StoreError, WriteTransaction, hostname, insert_rows, optional,
    silo_id, statement_chunks, time,
};
use crate::domain::revision::Revision;
use crate::domain::time::Time;

/// The unique key of a history row: revision, hostname, family.
type RowKey = (Revision, Hostname, i64);
/// Distinguishes rows with the same key: silo, time, address before and after.
type RowContent = (SiloId, Time, Option<IpAddr>, Option<IpAddr>);

/// The result of adding rows to the history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HistoryAdded {
    /// Rows that were added.
    pub added: u64,
    /// Rows left out because another row has their key.
    pub left_out: u64,
}

fn key(TransferredRow { row, .. }: &TransferredRow) -> RowKey {
    (row.revision, row.hostname.clone(), row.family)
}

fn content(TransferredRow { silo, row }: &TransferredRow) -> RowContent {
    (silo.clone(), row.at, row.old, row.new)
}

impl WriteTransaction {
    /// The first revision in a silo's history; `None` if it has none.
    pub async fn first_revision(&mut self, silo: &SiloId) -> Result<Option<Revision>, StoreError> {
        self.flush().await?;
        let row = self
            .dialect
            .query("SELECT min(revision) FROM history WHERE silo = ?")
            .bind(silo.as_str())
            .fetch_one(&mut *self.inner)
            .await?;
        Ok(row.try_get(0)?)
    }

    /// Whether a silo without a head has history, which means that it existed before its tombstone
    /// was purged.
    pub async fn is_in_history(&mut self, silo: &SiloId) -> Result<bool, StoreError> {
        let row = self
            .dialect
            .query("SELECT revision FROM history WHERE silo = ? LIMIT 1")
            .bind(silo.as_str())
            .fetch_optional(&mut *self.inner)
            .await?;
        Ok(row.is_some())
    }

    /// The revision in the export of a silo that an import added and whose history it has not
    /// completed; `None` for any other silo.
    pub async fn importing(&mut self, silo: &SiloId) -> Result<Option<Revision>, StoreError> {
        self.flush().await?;
        let row = self
            .dialect
            .query("SELECT importing FROM silos WHERE id = ?")
            .bind(silo.as_str())
            .fetch_optional(&mut *self.inner)
            .await?;
        let importing = row.map(|row| row.try_get(0)).transpose()?;
        Ok(importing.flatten())
    }

    /// Records that an import added silos whose history is still incomplete, each with its revision
    /// in the export.
    pub async fn begin_importing(
        &mut self,
        silos: &[(SiloId, Revision)],
    ) -> Result<(), StoreError> {
        self.flush().await?;
        for chunk in statement_chunks(silos) {
            let cases = vec!["WHEN ? THEN ?"; chunk.len()].join(" ");
            let ids = vec!["?"; chunk.len()].join(", ");
            let mut query = self.dialect.query(format!(
                "UPDATE silos SET importing = CASE id {cases} END WHERE id IN ({ids})"
            ));
            for (id, revision) in chunk {
                query = query.bind(id.as_str()).bind(*revision);
            }
            for (id, _) in chunk {
                query = query.bind(id.as_str());
            }
            query.execute(&mut *self.inner).await?;
            self.must_commit = true;
        }
        Ok(())
    }

    /// Records that the history of silos is complete.
    pub async fn end_importing(&mut self, silos: &[SiloId]) -> Result<(), StoreError> {
        self.flush().await?;
        for chunk in statement_chunks(silos) {
            let ids = vec!["?"; chunk.len()].join(", ");
            let mut query = self.dialect.query(format!(
                "UPDATE silos SET importing = NULL WHERE id IN ({ids})"
            ));
            for id in chunk {
                query = query.bind(id.as_str());
            }
            query.execute(&mut *self.inner).await?;
            self.must_commit = true;
        }
        Ok(())
    }

    /// The last revision taken, by this transaction or earlier.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Raises the counter to a revision taken elsewhere; never lowers it.
    pub fn raise_revision(&mut self, revision: Revision) {
        self.revision = self.revision.max(revision);
    }

    /// Notes that a silo changed without taking a revision.
    pub fn note_changed(&mut self, silo: &SiloId) {
        self.must_commit = true;
        self.effects.silos.push(silo.clone());
    }

    /// Whether no silo ever existed here.
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

    /// Deletes a fact about this database.
    pub async fn remove_fact(&mut self, name: &str) -> Result<(), StoreError> {
        self.must_commit = true;
        self.dialect
            .query("DELETE FROM facts WHERE name = ?")
            .bind(name)
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }

    /// Adds the rows whose revision, hostname and family are not in the history.
    pub async fn add_missing_history(
        &mut self,
        rows: &[&TransferredRow],
    ) -> Result<HistoryAdded, StoreError> {
        const HEAD: &str = "INSERT INTO history (revision, silo, hostname, family, changed_at, \
             old_ip, new_ip, via, token, client_ip)";
        self.flush().await?;
        let mut done = HistoryAdded::default();
        let mut added_to = BTreeSet::new();
        for chunk in rows.chunks(ROWS_AT_ONCE) {
            let mut known = self.known_history(chunk).await?;
            let mut missing = Vec::with_capacity(chunk.len());
            for of in chunk {
                match known.insert(key(of), content(of)) {
                    None => missing.push(of),
                    Some(there) => done.left_out += u64::from(there != content(of)),
                }
            }
            if missing.is_empty() {
                continue;
            }
            let mut query = self
                .dialect
                .query(insert_rows(HEAD, 10, missing.len()))
                .persistent(missing.len() == ROWS_AT_ONCE);
            for TransferredRow { silo, row } in &missing {
                // The same types as in every insert of these columns: PostgreSQL prepares a
                // statement for its first types.
                let family =
                    i16::try_from(row.family).map_err(|_| StoreError::Corrupt("address family"))?;
                query = query
                    .bind(row.revision)
                    .bind(silo.as_str())
                    .bind(row.hostname.as_str())
                    .bind(family)
                    .bind(row.at.as_millis())
                    .bind(row.old.map(|ip| ip.to_string()))
                    .bind(row.new.map(|ip| ip.to_string()))
                    .bind(row.via.as_str())
                    .bind(row.token.as_deref())
                    .bind(row.client_ip.map(|ip| ip.to_string()));
            }
            query.execute(&mut *self.inner).await?;
            self.must_commit = true;
            done.added += missing.len() as u64;
            added_to.extend(missing.iter().map(|of| &of.silo));
        }
        // The rows may be between linked ones.
        for silo in added_to {
            self.set_linked(silo, None).await?;
        }
        Ok(done)
    }

    /// Number of these rows that are not in the history.
    pub async fn count_missing_history(
        &mut self,
        rows: &[&TransferredRow],
    ) -> Result<u64, StoreError> {
        self.flush().await?;
        let mut missing = 0;
        for chunk in rows.chunks(ROWS_AT_ONCE) {
            let known = self.known_history(chunk).await?;
            let is_missing = |of: &&&TransferredRow| known.get(&key(of)) != Some(&content(of));
            missing += chunk.iter().filter(is_missing).count() as u64;
        }
        Ok(missing)
    }

    /// The history rows with the keys of these rows.
    async fn known_history(
        &mut self,
        rows: &[&TransferredRow],
    ) -> Result<BTreeMap<RowKey, RowContent>, StoreError> {
        let any = vec!["(revision = ? AND hostname = ? AND family = ?)"; rows.len()].join(" OR ");
        let mut query = self
            .dialect
            .query(format!(
                "SELECT revision, hostname, family, silo, changed_at, old_ip, new_ip FROM history \
                 WHERE {any}"
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
            .map(|row| {
                let key = (row.try_get(0)?, hostname(row, 1)?, row.try_get(2)?);
                let (old, new) = (optional(row, 5, "address")?, optional(row, 6, "address")?);
                Ok((key, (silo_id(row, 3)?, time(row, 4)?, old, new)))
            })
            .collect()
    }

    /// Adds a token unless its id exists; returns whether it was added.
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
