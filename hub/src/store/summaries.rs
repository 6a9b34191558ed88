//! Silos in short: how much they hold and which agents they have, for lists that show many of them.

use silo_shared::silo::SiloId;
use sqlx::Row;

use super::agents::{COLUMNS as AGENT_COLUMNS, agent};
use super::silos::{RECORD_COLUMNS, record};
use super::{Store, StoreError, StoredRecord, padded_chunks, silo_id, time};
use crate::domain::agents::Agent;
use crate::domain::revision::Revision;
use crate::domain::time::Time;

/// A silo without its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiloSummary {
    /// Its id.
    pub id: SiloId,
    /// The revision of its last change.
    pub revision: Revision,
    /// The time of its last change.
    pub updated_at: Time,
    /// Number of records.
    pub records: i64,
}

impl Store {
    /// Those of these silos that exist, in byte order of their ids. `ids` must be in that order.
    pub async fn silo_summaries(&self, ids: &[SiloId]) -> Result<Vec<SiloSummary>, StoreError> {
        let names: Vec<&str> = ids.iter().map(SiloId::as_str).collect();
        let mut summaries = Vec::with_capacity(ids.len());
        for chunk in padded_chunks(&names) {
            let marks = vec!["?"; chunk.len()].join(", ");
            let mut query = self.dialect.query(format!(
                "SELECT s.id, s.revision, s.updated_at, \
                 (SELECT count(*) FROM records r WHERE r.silo = s.id) \
                 FROM silos s WHERE s.id IN ({marks}) AND s.deleted = 0 ORDER BY s.id"
            ));
            for name in chunk {
                query = query.bind(name.to_owned());
            }
            for row in &self.read(query).await? {
                summaries.push(SiloSummary {
                    id: silo_id(row, 0)?,
                    revision: row.try_get(1)?,
                    updated_at: time(row, 2)?,
                    records: row.try_get(3)?,
                });
            }
        }
        Ok(summaries)
    }

    /// Some records of a silo in the order of their hostnames, from an index on.
    pub async fn records_at(
        &self,
        id: &SiloId,
        index: usize,
        limit: usize,
        is_descending: bool,
    ) -> Result<Vec<StoredRecord>, StoreError> {
        let order = if is_descending { " DESC" } else { "" };
        let number = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let query = self
            .dialect
            .query(format!(
                "SELECT {RECORD_COLUMNS} FROM records WHERE silo = ? \
                 ORDER BY hostname{order} LIMIT ? OFFSET ?"
            ))
            .bind(id.to_string())
            .bind(number(limit))
            .bind(number(index));
        self.read(query).await?.iter().map(record).collect()
    }

    /// Records that have not been seen for more than half of their expiry, as far as that is stored: some of them, by silo
    /// and hostname.
    pub async fn half_expired(
        &self,
        now: Time,
        limit: i64,
    ) -> Result<Vec<(SiloId, StoredRecord)>, StoreError> {
        let query = self
            .dialect
            .query(format!(
                "SELECT {RECORD_COLUMNS}, silo FROM records WHERE expires_after > 0 \
                 AND last_seen + expires_after * 500 < ? ORDER BY silo, hostname LIMIT ?"
            ))
            .bind(now.as_millis())
            .bind(limit);
        let rows = self.read(query).await?;
        rows.iter()
            .map(|row| Ok((silo_id(row, 11)?, record(row)?)))
            .collect()
    }

    /// The stored agents of these silos, at most about `limit`.
    pub async fn agents_of(&self, ids: &[SiloId], limit: i64) -> Result<Vec<Agent>, StoreError> {
        let names: Vec<&str> = ids.iter().map(SiloId::as_str).collect();
        let mut agents = Vec::new();
        for chunk in padded_chunks(&names) {
            let marks = vec!["?"; chunk.len()].join(", ");
            let mut query = self.dialect.query(format!(
                "SELECT {AGENT_COLUMNS} FROM agents WHERE silo IN ({marks}) \
                 ORDER BY silo, name, token LIMIT ?"
            ));
            for name in chunk {
                query = query.bind(name.to_owned());
            }
            for row in &self.read(query.bind(limit)).await? {
                agents.push(agent(row)?);
            }
        }
        Ok(agents)
    }
}
