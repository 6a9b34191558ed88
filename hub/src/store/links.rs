//! The links in a hostname's history: each row holds the revision of the one before it
//! (`history.previous`), a record or the row of a former name points to the newest one, and
//! `silos.linked` marks the silos for which this is complete.
//!
//! Writers maintain existing links. Rows from older versions and imports are linked later by
//! [`crate::runtime::link_history`], with the functions here.

use std::collections::BTreeMap;

use silo_shared::silo::{Hostname, SiloId};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{
    Store, StoreError, WriteTransaction, hostname, padded_chunks, silo_id, statement_chunks,
};

use crate::domain::revision::Revision;

/// A hostname in one revision of a silo's history: one row, or two if both its addresses changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryNode {
    /// The revision.
    pub revision: Revision,
    /// The hostname.
    pub hostname: Hostname,
    /// The stored revision of the node before it.
    pub previous: Option<Revision>,
}

/// A position among a silo's nodes, by revision and hostname. The default is before all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodePlace {
    pub(super) revision: Revision,
    pub(super) hostname: String,
}

impl From<&HistoryNode> for NodePlace {
    fn from(node: &HistoryNode) -> Self {
        Self {
            revision: node.revision,
            hostname: node.hostname.to_string(),
        }
    }
}

pub(super) fn history_node(row: &AnyRow) -> Result<HistoryNode, StoreError> {
    Ok(HistoryNode {
        revision: row.try_get(0)?,
        hostname: hostname(row, 1)?,
        previous: row.try_get(2)?,
    })
}

impl Store {
    /// Silos whose history is not linked, including deleted ones, each with its revision, ordered
    /// by revision and id; those after `after`.
    pub async fn unlinked_silos(
        &self,
        after: &(Revision, String),
        limit: i64,
    ) -> Result<Vec<(SiloId, Revision)>, StoreError> {
        self.dialect
            .query(
                "SELECT id, revision FROM silos WHERE revision >= ? AND (revision > ? OR id > ?) \
                 AND (linked IS NULL OR linked <> revision) ORDER BY revision, id LIMIT ?",
            )
            .bind(after.0)
            .bind(after.0)
            .bind(after.1.clone())
            .bind(limit)
            .fetch_all(&self.readers)
            .await?
            .iter()
            .map(|row| Ok((silo_id(row, 0)?, row.try_get(1)?)))
            .collect()
    }
}

impl WriteTransaction {
    /// Sets the previous node of nodes.
    pub async fn set_previous(
        &mut self,
        silo: &SiloId,
        nodes: &[HistoryNode],
    ) -> Result<(), StoreError> {
        self.flush().await?;
        for chunk in statement_chunks(nodes) {
            let cases = " WHEN revision = ? AND hostname = ? THEN ?".repeat(chunk.len());
            // The silo within each part: otherwise SQLite scans all rows of the silo.
            let any = vec!["(silo = ? AND revision = ? AND hostname = ?)"; chunk.len()];
            let mut query = self.dialect.query(format!(
                "UPDATE history SET previous = CASE{cases} ELSE previous END WHERE {}",
                any.join(" OR ")
            ));
            for node in chunk {
                query = query
                    .bind(node.revision)
                    .bind(node.hostname.as_str())
                    .bind(node.previous);
            }
            for node in chunk {
                query = query
                    .bind(silo.as_str())
                    .bind(node.revision)
                    .bind(node.hostname.as_str());
            }
            query.execute(&mut *self.inner).await?;
            self.must_commit = true;
        }
        Ok(())
    }

    /// The stored revision of each record's last address change in a silo.
    pub async fn addresses_changed_at(
        &mut self,
        silo: &SiloId,
    ) -> Result<BTreeMap<Hostname, Revision>, StoreError> {
        self.rows_of(
            "SELECT hostname, COALESCE(addresses_at, revision) FROM records WHERE silo = ?",
            silo,
        )
        .await?
        .iter()
        .map(|row| Ok((hostname(row, 0)?, row.try_get(1)?)))
        .collect()
    }

    /// Sets the revisions of records' last address changes.
    pub async fn set_addresses_changed_at(
        &mut self,
        silo: &SiloId,
        records: &[(&Hostname, Revision)],
    ) -> Result<(), StoreError> {
        self.forget_records().await?;
        for chunk in statement_chunks(records) {
            let cases = " WHEN ? THEN ?".repeat(chunk.len());
            let names = vec!["?"; chunk.len()].join(", ");
            let mut query = self.dialect.query(format!(
                "UPDATE records SET addresses_at = CASE hostname{cases} ELSE addresses_at END \
                 WHERE silo = ? AND hostname IN ({names})"
            ));
            for (hostname, revision) in chunk {
                query = query.bind(hostname.as_str().to_owned()).bind(*revision);
            }
            query = query.bind(silo.as_str());
            for (hostname, _) in chunk {
                query = query.bind(hostname.as_str().to_owned());
            }
            query.execute(&mut *self.inner).await?;
            self.must_commit = true;
        }
        Ok(())
    }

    /// Records the revision of the last removal of hostnames without a record, unless a later one is known.
    pub async fn raise_former_names(
        &mut self,
        silo: &SiloId,
        names: &[(Hostname, Revision)],
    ) -> Result<(), StoreError> {
        self.flush().await?;
        let keys: Vec<_> = names.iter().map(|(name, _)| (silo, name)).collect();
        let known = self.former_names(&keys).await?;
        for (name, revision) in names {
            let key = (silo.clone(), name.clone());
            if known.get(&key).is_none_or(|known| known < revision) {
                self.note_former_name(silo, name, *revision);
            }
        }
        self.must_commit = true;
        Ok(())
    }

    /// The stored revision of the last removal of each of these hostnames that was ever removed.
    pub(super) async fn former_names(
        &mut self,
        names: &[(&SiloId, &Hostname)],
    ) -> Result<BTreeMap<(SiloId, Hostname), Revision>, StoreError> {
        let mut found = BTreeMap::new();
        for chunk in padded_chunks(names) {
            let any = vec!["(silo = ? AND hostname = ?)"; chunk.len()].join(" OR ");
            let mut query = self.dialect.query(format!(
                "SELECT silo, hostname, revision FROM former_names WHERE {any}"
            ));
            for (silo, hostname) in chunk {
                query = query.bind(silo.to_string()).bind(hostname.to_string());
            }
            for row in &query.fetch_all(&mut *self.inner).await? {
                found.insert((silo_id(row, 0)?, hostname(row, 1)?), row.try_get(2)?);
            }
        }
        Ok(found)
    }

    /// Those of these silos that have history.
    pub(super) async fn in_history(&mut self, silos: &[SiloId]) -> Result<Vec<SiloId>, StoreError> {
        let mut found = Vec::new();
        let silos: Vec<_> = silos.iter().collect();
        for chunk in padded_chunks(&silos) {
            let each = (0..chunk.len()).map(|at| {
                format!("SELECT * FROM (SELECT silo FROM history WHERE silo = ? LIMIT 1) s{at}")
            });
            let each = each.collect::<Vec<_>>().join(" UNION ALL ");
            let mut query = self.dialect.query(each);
            for silo in chunk {
                query = query.bind(silo.to_string());
            }
            for row in &query.fetch_all(&mut *self.inner).await? {
                found.push(silo_id(row, 0)?);
            }
        }
        Ok(found)
    }
}
