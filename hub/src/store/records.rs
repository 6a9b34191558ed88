//! Records in a write transaction: read once, changed in memory, written together.
//!
//! A statement costs more than a row, so the records that the commands of a batch read first are
//! fetched with one statement, and their changes are written with one more when the transaction
//! ends, or when the database must answer for a whole silo.

use std::collections::BTreeMap;

use silo_shared::signing::MAX_CLOCK_OFFSET;
use silo_shared::silo::{Hostname, MAX_RECORDS, Records, SiloId};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::queries::Queries;
use super::silos::{RECORD_COLUMNS as COLUMNS, addresses, record};
use super::{
    Statements, StoreError, StoredRecord, WriteTransaction, hostname, insert_rows, padded_chunks,
    silo_id, statement_chunks,
};
use crate::domain::time::Time;

/// Number of changed records from which they are written before the transaction ends.
const MANY: usize = 1000;
/// Number of records from which written ones are dropped from memory: more than the largest silo has.
const TOO_MANY: usize = 2 * MAX_RECORDS;

/// The records that the transaction has read or changed.
#[derive(Debug, Default)]
pub(super) struct KnownRecords {
    silos: BTreeMap<SiloId, BTreeMap<Hostname, Known>>,
    /// Number of hostname/address pairs of a silo.
    pairs: BTreeMap<SiloId, i64>,
    changed: usize,
}

/// A record in its state within the transaction.
#[derive(Debug)]
struct Known {
    /// `None`: it does not exist.
    record: Option<StoredRecord>,
    /// Whether this state is not in the database yet.
    changed: bool,
}

impl KnownRecords {
    fn get(&self, silo: &SiloId, hostname: &Hostname) -> Option<&Known> {
        self.silos.get(silo)?.get(hostname)
    }

    /// Whether the database's state of a record was read.
    pub(super) fn knows(&self, silo: &SiloId, hostname: &Hostname) -> bool {
        self.get(silo, hostname).is_some()
    }

    /// Adds the statements that read records.
    pub(super) fn ask(records: &[(&SiloId, &Hostname)], statements: &mut Statements) {
        for chunk in padded_chunks(records) {
            let any = any_of(chunk.len());
            statements.add(format!("SELECT {COLUMNS}, silo FROM records WHERE {any}"));
            for (silo, hostname) in chunk {
                statements.bind(silo.as_str()).bind(hostname.as_str());
            }
        }
    }

    /// Keeps the rows that the database returned.
    pub(super) fn learn(
        &mut self,
        asked: &[(&SiloId, &Hostname)],
        answers: impl Iterator<Item = Vec<AnyRow>>,
    ) -> Result<(), StoreError> {
        let mut learn = |silo: SiloId, hostname: Hostname, record: Option<StoredRecord>| {
            let known = Known {
                record,
                changed: false,
            };
            self.silos.entry(silo).or_default().insert(hostname, known);
        };
        for (silo, hostname) in asked {
            learn((*silo).clone(), (*hostname).clone(), None);
        }
        for row in answers.flatten() {
            let found = record(&row)?;
            learn(silo_id(&row, 11)?, found.hostname.clone(), Some(found));
        }
        Ok(())
    }

    fn change(&mut self, silo: &SiloId, hostname: &Hostname, record: Option<StoredRecord>) {
        let pairs = |record: &Option<StoredRecord>| {
            let addresses = record.as_ref().map(|record| record.addresses);
            addresses.map_or(0, |addresses| addresses.iter().count() as i64)
        };
        let now = pairs(&record);
        let known = Known {
            record,
            changed: true,
        };
        let of_silo = self.silos.entry(silo.clone()).or_default();
        let before = of_silo.insert(hostname.clone(), known);
        self.changed += usize::from(!before.as_ref().is_some_and(|before| before.changed));
        match (before, self.pairs.get_mut(silo)) {
            (Some(before), Some(count)) => *count += now - pairs(&before.record),
            // The previous record is unknown, so the sum is too.
            (None, _) => drop(self.pairs.remove(silo)),
            (Some(_), None) => {}
        }
    }

    /// Adds the statements that write the changed records, and marks them as written.
    pub(super) fn send(&mut self, statements: &mut Statements) {
        if self.changed == 0 {
            return;
        }
        let (mut gone, mut put) = (Vec::new(), Vec::new());
        for (silo, of_silo) in &self.silos {
            for (hostname, known) in of_silo.iter().filter(|(_, known)| known.changed) {
                match &known.record {
                    Some(record) => put.push((silo, record)),
                    None => gone.push((silo, hostname)),
                }
            }
        }
        for chunk in padded_chunks(&gone) {
            let any = any_of(chunk.len());
            statements.add(format!("DELETE FROM records WHERE {any}"));
            for (silo, hostname) in chunk {
                statements.bind(silo.as_str()).bind(hostname.as_str());
            }
        }
        let head = format!("INSERT INTO records (silo, {COLUMNS})");
        let columns: Vec<&str> = COLUMNS.split(", ").skip(1).collect();
        for chunk in statement_chunks(&put) {
            let insert = insert_rows(&head, 2 + columns.len(), chunk.len());
            statements.add_upsert(insert, &["silo", "hostname"], &columns);
            for (silo, record) in chunk {
                statements
                    .bind(silo.as_str())
                    .bind(record.hostname.as_str())
                    .bind(record.addresses.v4.map(|ip| ip.to_string()))
                    .bind(record.addresses.v6.map(|ip| ip.to_string()))
                    .bind(record.attributes.comment.as_deref())
                    .bind(record.attributes.notify.as_deref())
                    .bind(record.attributes.ipv6_suffix.map(|ip| ip.to_string()))
                    .bind(record.attributes.expires_after)
                    .bind(record.revision)
                    .bind(record.updated_at.as_millis())
                    .bind(record.last_seen.as_millis())
                    .bind(
                        Some(record.addresses_at).filter(|revision| *revision != record.revision),
                    );
            }
        }
        if self.silos.values().map(BTreeMap::len).sum::<usize>() > TOO_MANY {
            *self = Self::default();
        }
        for known in self.silos.values_mut().flat_map(BTreeMap::values_mut) {
            known.changed = false;
        }
        self.changed = 0;
    }
}

impl WriteTransaction {
    /// One record.
    pub async fn record(
        &mut self,
        silo: &SiloId,
        hostname: &Hostname,
    ) -> Result<Option<StoredRecord>, StoreError> {
        self.look_up(&[(silo, hostname)]).await?;
        let known = self.unwritten.records.get(silo, hostname);
        Ok(known.and_then(|known| known.record.clone()))
    }

    /// Sets a record, whether it exists or not.
    pub async fn put_record(
        &mut self,
        silo: &SiloId,
        record: StoredRecord,
    ) -> Result<(), StoreError> {
        let hostname = record.hostname.clone();
        let known = &mut self.unwritten.records;
        known.change(silo, &hostname, Some(record));
        if known.changed >= MANY {
            self.flush_records().await?;
        }
        Ok(())
    }

    /// Removes one record.
    pub fn delete_record(&mut self, silo: &SiloId, hostname: &Hostname) {
        self.unwritten.records.change(silo, hostname, None);
    }

    /// Removes every record of a silo.
    pub async fn delete_records(&mut self, silo: &SiloId) -> Result<(), StoreError> {
        self.forget_records().await?;
        self.dialect
            .query("DELETE FROM records WHERE silo = ?")
            .bind(silo.as_str())
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }

    /// The addresses of all records of a silo.
    pub async fn records(&mut self, silo: &SiloId) -> Result<Records, StoreError> {
        self.rows_of(
            "SELECT hostname, ipv4, ipv6 FROM records WHERE silo = ?",
            silo,
        )
        .await?
        .iter()
        .map(|row| Ok((hostname(row, 0)?, addresses(row, 1, 2)?)))
        .collect()
    }

    /// All complete records of a silo, by hostname.
    pub async fn whole_records(&mut self, silo: &SiloId) -> Result<Vec<StoredRecord>, StoreError> {
        self.flush_records().await?;
        self.stored_records(silo).await
    }

    /// The records of a silo that name a mail address, with the address.
    pub async fn notify_addresses(
        &mut self,
        silo: &SiloId,
    ) -> Result<Vec<(Hostname, String)>, StoreError> {
        self.rows_of(
            "SELECT hostname, notify FROM records WHERE silo = ? AND notify IS NOT NULL",
            silo,
        )
        .await?
        .iter()
        .map(|row| Ok((hostname(row, 0)?, row.try_get(1)?)))
        .collect()
    }

    /// Number of hostname/address pairs of a silo.
    pub async fn count_pairs(&mut self, silo: &SiloId) -> Result<i64, StoreError> {
        if let Some(known) = self.unwritten.records.pairs.get(silo) {
            return Ok(*known);
        }
        const COUNT: &str = "SELECT count(ipv4), count(ipv6) FROM records WHERE silo = ?";
        let mut count = 0;
        for row in self.rows_of(COUNT, silo).await? {
            count += row.try_get::<i64, _>(0)? + row.try_get::<i64, _>(1)?;
        }
        self.unwritten.records.pairs.insert(silo.clone(), count);
        Ok(count)
    }

    /// Moves `last_seen` of records forward, each named once; a removed record stays removed.
    pub async fn set_last_seen(
        &mut self,
        seen: &[(SiloId, Hostname, Time)],
    ) -> Result<(), StoreError> {
        const RECORD: &str = "silo = ? AND hostname = ?";
        self.flush_records().await?;
        let mut statements = Statements::new(self.dialect);
        for chunk in statement_chunks(seen) {
            let cases = format!(" WHEN {RECORD} THEN ?").repeat(chunk.len());
            // Also replaces a time stored by a clock that was ahead.
            let older = format!("({RECORD} AND (last_seen < ? OR last_seen > ?))");
            let older = vec![older; chunk.len()].join(" OR ");
            statements.add(format!(
                "UPDATE records SET last_seen = CASE{cases} ELSE last_seen END WHERE {older}"
            ));
            for (silo, hostname, seen) in chunk {
                statements
                    .bind(silo.as_str())
                    .bind(hostname.as_str())
                    .bind(seen.as_millis());
            }
            for (silo, hostname, seen) in chunk {
                statements
                    .bind(silo.as_str())
                    .bind(hostname.as_str())
                    .bind(seen.as_millis())
                    .bind(seen.plus_seconds(MAX_CLOCK_OFFSET).as_millis());
            }
            for (silo, hostname, _) in chunk {
                if let Some(of_silo) = self.unwritten.records.silos.get_mut(silo) {
                    of_silo.remove(hostname);
                }
            }
            self.must_commit = true;
        }
        statements.execute(&mut self.inner).await
    }

    /// The database's rows of one silo, including all changes of this transaction.
    pub(super) async fn rows_of(
        &mut self,
        sql: impl Into<std::borrow::Cow<'static, str>>,
        silo: &SiloId,
    ) -> Result<Vec<AnyRow>, StoreError> {
        self.flush_records().await?;
        let query = self.dialect.query(sql).bind(silo.as_str());
        Ok(query.fetch_all(&mut *self.inner).await?)
    }

    /// Writes the changed records and clears the cache, since rows are about to be changed by other means.
    pub(super) async fn forget_records(&mut self) -> Result<(), StoreError> {
        self.flush_records().await?;
        self.unwritten.records = KnownRecords::default();
        Ok(())
    }

    /// Writes the changed records.
    async fn flush_records(&mut self) -> Result<(), StoreError> {
        let mut statements = Statements::new(self.dialect);
        self.unwritten.records.send(&mut statements);
        statements.execute(&mut self.inner).await
    }
}

/// The condition that a record is one of `records`.
fn any_of(records: usize) -> String {
    vec!["(silo = ? AND hostname = ?)"; records].join(" OR ")
}
