//! Pages of records: of one silo, and of all silos that somebody may read.

use silo_shared::silo::{Hostname, SiloId};
use sqlx::Row;

use super::silos::{RECORD_COLUMNS, record};
use super::{Store, StoreError, StoredRecord, padded_chunks, silo_id};
use crate::domain::pattern::Span;
use crate::domain::revision::Revision;

/// From how many records on a read of a silo counts as a scan.
const MANY: usize = 1001;
/// From how many records on a step of a search counts as a scan.
const MANY_AT_ONCE: usize = 1000;
/// How many silos a step looks at if they are not all of a range.
const SILOS_AT_ONCE: usize = 64;

/// A position in the order of silos and hostnames.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordPlace {
    /// The silo's id; empty: before all silos.
    pub silo: String,
    /// The last hostname before the position; `None`: the position is behind the silo.
    pub hostname: Option<Hostname>,
}

/// One step of a walk through the records.
#[derive(Debug)]
pub struct RecordStep {
    /// The records, by silo and hostname.
    pub rows: Vec<(SiloId, StoredRecord)>,
    /// The position behind all that was looked at.
    pub place: RecordPlace,
    /// How many rows were looked at.
    pub cost: usize,
}

/// Which records a step reads.
#[derive(Clone, Copy, Debug)]
struct Wanted<'a> {
    hostname: Option<&'a Hostname>,
    limit: usize,
}

impl Store {
    /// The records of a silo after a hostname, in byte order, and the silo's revision at that moment; `None`: it does
    /// not exist.
    pub async fn silo_records(
        &self,
        id: &SiloId,
        after: &str,
        limit: usize,
    ) -> Result<Option<(Revision, Vec<StoredRecord>)>, StoreError> {
        // One statement, so that revision and records are consistent on every database.
        let query = self
            .dialect
            .query(format!(
                "SELECT {}, s.revision FROM silos s \
                 LEFT JOIN records r ON r.silo = s.id AND r.hostname > ? \
                 WHERE s.id = ? AND s.deleted = 0 ORDER BY r.hostname LIMIT ?",
                prefixed("r.")
            ))
            .bind(after.to_owned())
            .bind(id.to_string())
            .bind(i64::try_from(limit).unwrap_or(i64::MAX));
        let _permit = if limit > MANY {
            Some(self.scan().await?)
        } else {
            None
        };
        let rows = self.read(query).await?;
        let Some(first) = rows.first() else {
            return Ok(None);
        };
        let revision = first.try_get(11)?;
        let mut records = Vec::with_capacity(rows.len());
        for row in &rows {
            if row.try_get::<Option<&str>, _>(0)?.is_some() {
                records.push(record(row)?);
            }
        }
        Ok(Some((revision, records)))
    }

    /// The next records after a position in these ranges, or only those with a hostname, at most about `limit`; `None`:
    /// there are none behind it. The silo of the position, unless it is behind it, must be in the ranges.
    ///
    /// Reads at most `limit` rows, and 64 ids of silos. A range of all silos with a prefix is read by key. Of other
    /// ranges, the ids are read first ([`Store::silo_ids_in`]).
    pub async fn step_through_records(
        &self,
        spans: &[Span],
        place: &RecordPlace,
        hostname: Option<&Hostname>,
        limit: usize,
    ) -> Result<Option<RecordStep>, StoreError> {
        let wanted = Wanted { hostname, limit };
        if let (Some(last), None) = (&place.hostname, hostname) {
            let condition = "silo = ? AND hostname > ?";
            let values = [&place.silo, last.as_str()];
            let rows = self.records_where(condition, &values, wanted).await?;
            if !rows.is_empty() {
                let behind = RecordPlace {
                    silo: place.silo.clone(),
                    hostname: None,
                };
                return Ok(Some(step(rows, behind, 0, limit)));
            }
        }
        for span in spans {
            let found = match span {
                Span::Prefix {
                    prefix,
                    patterns: None,
                } => self.step_in_range(prefix, &place.silo, wanted).await?,
                _ => self.step_by_silo(span, &place.silo, wanted).await?,
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    async fn step_in_range(
        &self,
        prefix: &str,
        after: &str,
        wanted: Wanted<'_>,
    ) -> Result<Option<RecordStep>, StoreError> {
        // Sorts after every character of an id.
        let end = format!("{prefix}{{");
        if after >= end.as_str() {
            return Ok(None);
        }
        let rows = if after >= prefix {
            let values = [after, &end];
            self.records_where("silo > ? AND silo < ?", &values, wanted)
                .await?
        } else {
            let values = [prefix, &end];
            self.records_where("silo >= ? AND silo < ?", &values, wanted)
                .await?
        };
        let Some((silo, _)) = rows.last() else {
            return Ok(None);
        };
        let behind = RecordPlace {
            silo: silo.to_string(),
            hostname: None,
        };
        Ok(Some(step(rows, behind, 0, wanted.limit)))
    }

    async fn step_by_silo(
        &self,
        span: &Span,
        after: &str,
        wanted: Wanted<'_>,
    ) -> Result<Option<RecordStep>, StoreError> {
        let ids = self.silo_ids_in(span, after, SILOS_AT_ONCE).await?;
        let Some((last, _)) = ids.last() else {
            return Ok(None);
        };
        let names: Vec<&str> = ids.iter().map(|(id, _)| id.as_str()).collect();
        let behind = RecordPlace {
            silo: last.to_string(),
            hostname: None,
        };
        let mut rows = Vec::new();
        for chunk in padded_chunks(&names) {
            let marks = vec!["?"; chunk.len()].join(", ");
            let condition = format!("silo IN ({marks})");
            rows.extend(self.records_where(&condition, &chunk, wanted).await?);
        }
        Ok(Some(step(rows, behind, ids.len(), wanted.limit)))
    }

    async fn records_where(
        &self,
        condition: &str,
        values: &[&str],
        wanted: Wanted<'_>,
    ) -> Result<Vec<(SiloId, StoredRecord)>, StoreError> {
        let named = match wanted.hostname {
            Some(_) => "hostname = ? AND ",
            None => "",
        };
        let mut query = self.dialect.query(format!(
            "SELECT {RECORD_COLUMNS}, silo FROM records WHERE {named}{condition} \
             ORDER BY silo, hostname LIMIT ?"
        ));
        if let Some(hostname) = wanted.hostname {
            query = query.bind(hostname.to_string());
        }
        for value in values {
            query = query.bind((*value).to_owned());
        }
        let query = query.bind(i64::try_from(wanted.limit).unwrap_or(i64::MAX));
        // Searches of several clients must leave connections to other reads.
        let _permit = if wanted.limit >= MANY_AT_ONCE {
            Some(self.scan().await?)
        } else {
            None
        };
        let rows = self.read(query).await?;
        rows.iter()
            .map(|row| Ok((silo_id(row, 11)?, record(row)?)))
            .collect()
    }
}

/// A step that ends behind its rows if they are as many as wanted, else `behind`.
fn step(
    rows: Vec<(SiloId, StoredRecord)>,
    behind: RecordPlace,
    silos: usize,
    limit: usize,
) -> RecordStep {
    let place = match rows.last() {
        Some((silo, record)) if rows.len() >= limit => RecordPlace {
            silo: silo.to_string(),
            hostname: Some(record.hostname.clone()),
        },
        _ => behind,
    };
    RecordStep {
        cost: rows.len() + silos,
        rows,
        place,
    }
}

/// The columns of a record with a prefix before each.
fn prefixed(prefix: &str) -> String {
    let columns = RECORD_COLUMNS.split(", ");
    let columns: Vec<_> = columns
        .map(|column| format!("{prefix}{}", column.trim()))
        .collect();
    columns.join(", ")
}
