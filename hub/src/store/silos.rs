//! Silos and their records.

use std::net::Ipv6Addr;

use silo_shared::signing::MAX_CLOCK_OFFSET;
use silo_shared::silo::{Addresses, Hostname, Records, SiloId};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Store, StoreError, hostname, optional, padded_chunks, silo_id, time};
use crate::domain::change::Attributes;
use crate::domain::pattern::Span;
use crate::domain::revision::Revision;
use crate::domain::time::Time;

/// A silo with its records' addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSilo {
    /// Its id.
    pub id: SiloId,
    /// The revision of the last change.
    pub revision: Revision,
    /// The time of the last change.
    pub updated_at: Time,
    /// The addresses of each hostname.
    pub records: Records,
}

/// One complete record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRecord {
    /// Its hostname.
    pub hostname: Hostname,
    /// Its addresses.
    pub addresses: Addresses,
    /// Its attributes.
    pub attributes: Attributes,
    /// The revision of its last change.
    pub revision: Revision,
    /// The revision of its last address change.
    pub addresses_at: Revision,
    /// The time of its last change.
    pub updated_at: Time,
    /// When a write last named it, as far as stored.
    pub last_seen: Time,
}

/// A silo's revision, and whether it is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SiloHead {
    /// The revision of the last change, which may be its deletion.
    pub revision: Revision,
    /// The time of that change.
    pub updated_at: Time,
    /// Whether it is deleted.
    pub deleted: bool,
}

/// The columns of a record other than its silo, as [`record`] reads them.
pub(super) const RECORD_COLUMNS: &str = "hostname, ipv4, ipv6, note, notify, ipv6_suffix, \
     expires_after, revision, updated_at, last_seen, addresses_at";

pub(super) fn addresses(row: &AnyRow, v4: usize, v6: usize) -> Result<Addresses, StoreError> {
    Ok(Addresses {
        v4: optional(row, v4, "address")?,
        v6: optional(row, v6, "address")?,
    })
}

pub(super) fn record(row: &AnyRow) -> Result<StoredRecord, StoreError> {
    let revision = row.try_get(7)?;
    Ok(StoredRecord {
        hostname: hostname(row, 0)?,
        addresses: addresses(row, 1, 2)?,
        attributes: Attributes {
            comment: row.try_get(3)?,
            notify: row.try_get(4)?,
            ipv6_suffix: optional::<Ipv6Addr>(row, 5, "IPv6 suffix")?,
            expires_after: row.try_get(6)?,
        },
        revision,
        addresses_at: row.try_get::<Option<Revision>, _>(10)?.unwrap_or(revision),
        updated_at: time(row, 8)?,
        last_seen: time(row, 9)?,
    })
}

/// The columns of a silo's head, as [`head`] reads them.
pub(super) const HEAD_COLUMNS: &str = "revision, updated_at, deleted";

pub(super) fn head(row: &AnyRow) -> Result<SiloHead, StoreError> {
    Ok(SiloHead {
        revision: row.try_get(0)?,
        updated_at: time(row, 1)?,
        deleted: row.try_get::<i64, _>(2)? != 0,
    })
}

impl Store {
    /// A silo's current state; `None` if it does not exist.
    pub async fn silo(&self, id: &SiloId) -> Result<Option<StoredSilo>, StoreError> {
        // One statement, so that revision and records are consistent on every database.
        let rows = self
            .dialect
            .query(
                "SELECT s.revision, s.updated_at, r.hostname, r.ipv4, r.ipv6 FROM silos s \
             LEFT JOIN records r ON r.silo = s.id WHERE s.id = ? AND s.deleted = 0",
            )
            .bind(id.as_str())
            .fetch_all(&self.readers)
            .await?;
        let Some(first) = rows.first() else {
            return Ok(None);
        };
        let mut records = Records::new();
        for row in &rows {
            if row.try_get::<Option<&str>, _>(2)?.is_some() {
                records.insert(hostname(row, 2)?, addresses(row, 3, 4)?);
            }
        }
        Ok(Some(StoredSilo {
            id: id.clone(),
            revision: first.try_get(0)?,
            updated_at: time(first, 1)?,
            records,
        }))
    }

    /// One record's current state; `None` if it does not exist.
    pub async fn record(
        &self,
        id: &SiloId,
        hostname: &Hostname,
    ) -> Result<Option<StoredRecord>, StoreError> {
        self.dialect
            .query(format!(
                "SELECT {RECORD_COLUMNS} FROM records WHERE silo = ? AND hostname = ?"
            ))
            .bind(id.as_str())
            .bind(hostname.as_str())
            .fetch_optional(&self.readers)
            .await?
            .as_ref()
            .map(record)
            .transpose()
    }

    /// The head of a silo that exists or ever existed.
    pub async fn silo_head(&self, id: &SiloId) -> Result<Option<SiloHead>, StoreError> {
        let row = self
            .dialect
            .query(format!("SELECT {HEAD_COLUMNS} FROM silos WHERE id = ?"))
            .bind(id.as_str())
            .fetch_optional(&self.readers)
            .await?;
        row.as_ref().map(head).transpose()
    }

    /// The ids of the silos after `after` in byte order.
    pub async fn silo_ids(&self, after: &str, limit: i64) -> Result<Vec<SiloId>, StoreError> {
        const AFTER: &str = "SELECT id FROM silos WHERE id > ? AND deleted = 0 ORDER BY id LIMIT ?";
        let query = self.dialect.query(AFTER).bind(after.to_owned()).bind(limit);
        let rows = self.read(query).await?;
        rows.iter().map(|row| silo_id(row, 0)).collect()
    }

    /// The ids in a range after `after` in byte order, at most `limit`, with the revisions. The database evaluates the
    /// patterns, so that no rows are returned unnecessarily; a glob without a literal prefix makes
    /// it scan every id.
    pub async fn silo_ids_in(
        &self,
        span: &Span,
        after: &str,
        limit: usize,
    ) -> Result<Vec<(SiloId, Revision)>, StoreError> {
        let rows = match span {
            Span::Names(names) => self.silo_ids_named(names, after, limit).await?,
            Span::Prefix { prefix, patterns } => {
                // Sorts after every character of an id.
                let end = format!("{prefix}{{");
                if after >= end.as_str() {
                    return Ok(Vec::new());
                }
                let (from, start) = if after >= prefix.as_str() {
                    (">", after)
                } else {
                    (">=", prefix.as_str())
                };
                let patterns = patterns.as_deref();
                let like = patterns.map_or(String::new(), |patterns| {
                    let like = vec!["id LIKE ? ESCAPE '!'"; patterns.len()].join(" OR ");
                    format!(" AND ({like})")
                });
                let mut query = self
                    .dialect
                    .query(format!(
                        "SELECT id, revision FROM silos WHERE id {from} ? AND id < ?{like} AND deleted = 0 \
                         ORDER BY id LIMIT ?"
                    ))
                    .bind(start.to_owned())
                    .bind(end);
                for pattern in patterns.unwrap_or_default() {
                    query = query.bind(pattern.replace('_', "!_").replace('*', "%"));
                }
                let query = query.bind(i64::try_from(limit).unwrap_or(i64::MAX));
                let _permit = match patterns {
                    Some(_) => Some(self.scan().await?),
                    None => None,
                };
                self.read(query).await?
            }
        };
        rows.iter()
            .map(|row| Ok((silo_id(row, 0)?, row.try_get(1)?)))
            .collect()
    }

    async fn silo_ids_named(
        &self,
        names: &[String],
        after: &str,
        limit: usize,
    ) -> Result<Vec<AnyRow>, StoreError> {
        let names: Vec<&str> = names
            .iter()
            .map(String::as_str)
            .filter(|name| *name > after)
            .collect();
        let mut rows = Vec::new();
        for chunk in padded_chunks(&names) {
            let marks = vec!["?"; chunk.len()].join(", ");
            let mut query = self.dialect.query(format!(
                "SELECT id, revision FROM silos WHERE id IN ({marks}) AND deleted = 0 ORDER BY id"
            ));
            for name in chunk {
                query = query.bind(name.to_owned());
            }
            rows.extend(self.read(query).await?);
            if rows.len() >= limit {
                rows.truncate(limit);
                break;
            }
        }
        Ok(rows)
    }

    /// The records without a write for their `expires_after`: silo, hostname.
    ///
    /// Silence counts from `since` at the earliest: before that, writes could not be received. See
    /// [`crate::domain::elapsed::is_silent`].
    pub async fn overdue_records(
        &self,
        now: Time,
        since: Time,
        limit: i64,
    ) -> Result<Vec<(SiloId, Hostname)>, StoreError> {
        self.dialect
            .query(
                "SELECT silo, hostname FROM records WHERE expires_after <= ? \
             AND (last_seen + expires_after * 1000 <= ? OR last_seen > ?) \
             ORDER BY expires_after LIMIT ?",
            )
            .bind((now.as_millis() - since.as_millis()) / 1000)
            .bind(now.as_millis())
            .bind(now.plus_seconds(MAX_CLOCK_OFFSET).as_millis())
            .bind(limit)
            .fetch_all(&self.readers)
            .await?
            .iter()
            .map(|row| Ok((silo_id(row, 0)?, hostname(row, 1)?)))
            .collect()
    }
}
