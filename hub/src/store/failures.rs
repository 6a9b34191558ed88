//! Wrong credentials that several hubs count together.

use std::net::IpAddr;

use sqlx::Row;

use super::{FAILURES, Store, StoreError, WriteTransaction, optional, time};
use crate::domain::time::Time;

/// How many wrong credentials came from an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressFailures {
    /// The address, IPv6 by /64.
    pub ip: IpAddr,
    /// When the first one came.
    pub began: Time,
    /// How many.
    pub times: u32,
}

impl Store {
    /// What all hubs counted, of the addresses that changed after a version.
    pub async fn failures_since(&self, version: i64) -> Result<Vec<AddressFailures>, StoreError> {
        self.dialect
            .query("SELECT client_ip, began_at, times FROM failures WHERE version > ?")
            .bind(version)
            .fetch_all(&self.readers)
            .await?
            .iter()
            .map(|row| {
                Ok(AddressFailures {
                    ip: optional(row, 0, "address")?.ok_or(StoreError::Corrupt("address"))?,
                    began: time(row, 1)?,
                    times: u32::try_from(row.try_get::<i64, _>(2)?).unwrap_or(u32::MAX),
                })
            })
            .collect()
    }
}

impl WriteTransaction {
    /// Adds to what all hubs counted; what began before `ended` is forgotten.
    pub async fn add_failures(
        &mut self,
        failures: &[AddressFailures],
        ended: Time,
    ) -> Result<(), StoreError> {
        let version = self.advance(FAILURES).await?;
        self.dialect
            .query("DELETE FROM failures WHERE began_at <= ?")
            .bind(ended.as_millis())
            .execute(&mut *self.inner)
            .await?;
        for of in failures {
            let ip = of.ip.to_string();
            let updated = self
                .dialect
                .query("UPDATE failures SET times = times + ?, version = ? WHERE client_ip = ?")
                .bind(i64::from(of.times))
                .bind(version)
                .bind(ip.as_str())
                .execute(&mut *self.inner)
                .await?;
            if updated.rows_affected() == 0 {
                self.dialect
                    .query(
                        "INSERT INTO failures (client_ip, began_at, times, version) \
                         VALUES (?, ?, ?, ?)",
                    )
                    .bind(ip)
                    .bind(of.began.as_millis())
                    .bind(i64::from(of.times))
                    .bind(version)
                    .execute(&mut *self.inner)
                    .await?;
            }
        }
        Ok(())
    }
}
