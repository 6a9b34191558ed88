//! Failed authentication attempts, counted jointly by several hubs.

use std::collections::HashMap;

use sqlx::Row;
use sqlx::any::AnyRow;

use super::statements::{insert_rows, statement_chunks};
use super::{
    FAILURES, Statements, Store, StoreError, WriteTransaction, optional, optional_time, time,
};
use crate::domain::failures::AddressFailures;
use crate::domain::time::Time;

fn address_failures(row: &AnyRow) -> Result<AddressFailures, StoreError> {
    Ok(AddressFailures {
        ip: optional(row, 0, "address")?.ok_or(StoreError::Corrupt("address"))?,
        began: time(row, 1)?,
        times: u32::try_from(row.try_get::<i64, _>(2)?).unwrap_or(u32::MAX),
    })
}

impl Store {
    /// The joint counts of the addresses that changed after a version.
    pub async fn failures_since(&self, version: i64) -> Result<Vec<AddressFailures>, StoreError> {
        self.dialect
            .query("SELECT client_ip, began_at, times FROM failures WHERE version > ?")
            .bind(version)
            .fetch_all(&self.readers)
            .await?
            .iter()
            .map(address_failures)
            .collect()
    }

    /// Whether there are counts of windows that began before a time or after another one.
    pub async fn has_failures_outside(
        &self,
        before: Time,
        after: Time,
    ) -> Result<bool, StoreError> {
        if self.has_older("failures", "began_at", before).await? {
            return Ok(true);
        }
        let row = self
            .dialect
            .query("SELECT began_at FROM failures WHERE began_at > ? LIMIT 1")
            .bind(after.as_millis())
            .fetch_optional(&self.readers)
            .await?;
        Ok(row.is_some())
    }
}

impl WriteTransaction {
    /// Adds to the joint counts, each address once. Clients control how often this is called, so it
    /// takes a few statements regardless of the number of addresses.
    pub async fn add_failures(
        &mut self,
        new: &[AddressFailures],
        now: Time,
    ) -> Result<(), StoreError> {
        let version = self.advance(FAILURES).await?;
        let mut questions = Statements::new(self.dialect);
        for chunk in statement_chunks(new) {
            let marks = vec!["?"; chunk.len()].join(", ");
            questions.add(format!(
                "SELECT client_ip, began_at, times FROM failures WHERE client_ip IN ({marks})"
            ));
            for failures in chunk {
                questions.bind(failures.ip.to_string());
            }
        }
        let mut counted = HashMap::new();
        for row in questions.fetch(&mut self.inner).await?.iter().flatten() {
            let failures = address_failures(row)?;
            counted.insert(failures.ip, failures);
        }
        let mut statements = Statements::new(self.dialect);
        for chunk in statement_chunks(new) {
            const HEAD: &str = "INSERT INTO failures (client_ip, began_at, times, version)";
            let columns = ["began_at", "times", "version"];
            statements.add_upsert(insert_rows(HEAD, 4, chunk.len()), &["client_ip"], &columns);
            for failures in chunk {
                let together = failures.added_to(counted.get(&failures.ip).copied(), now);
                statements
                    .bind(together.ip.to_string())
                    .bind(together.began.as_millis())
                    .bind(i64::from(together.times))
                    .bind(version);
            }
        }
        statements.execute(&mut self.inner).await
    }

    /// Forgets counts of windows that began before a time, or after another one, at most about `limit` of each;
    /// answers how many went.
    pub async fn purge_failures(
        &mut self,
        before: Time,
        after: Time,
        limit: i64,
    ) -> Result<u64, StoreError> {
        let old = self
            .purge_oldest("failures", "began_at", before, limit)
            .await?;
        let last = self
            .dialect
            .query(
                "SELECT min(began_at) FROM (SELECT began_at FROM failures WHERE began_at > ? \
                 ORDER BY began_at DESC LIMIT ?) AS newest",
            )
            .bind(after.as_millis())
            .bind(limit)
            .fetch_one(&mut *self.inner)
            .await?;
        let Some(last) = optional_time(&last, 0)? else {
            return Ok(old);
        };
        self.must_commit = true;
        let ahead = self
            .dialect
            .query("DELETE FROM failures WHERE began_at >= ?")
            .bind(last.as_millis())
            .execute(&mut *self.inner)
            .await?;
        Ok(old + ahead.rows_affected())
    }
}
