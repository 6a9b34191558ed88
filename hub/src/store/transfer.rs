//! What reverting, exporting, importing, backing up and restoring read and write beside the rest.

use std::collections::BTreeMap;
use std::net::IpAddr;

use silo_shared::silo::{Family, Hostname, SiloId};
use sqlx::Row;

use super::{StoreError, WriteTransaction, hostname, optional};

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
        let row = self
            .dialect
            .query("SELECT min(revision) FROM history WHERE silo = ?")
            .bind(silo.as_str())
            .fetch_one(&mut *self.inner)
            .await?;
        Ok(row.try_get(0)?)
    }
}
