//! Records without a write for longer than a sink's limit.

use silo_shared::silo::{Hostname, SiloId};

use crate::domain::sink::SinkName;
use crate::domain::time::Time;
use crate::store::{Store, StoreError, WriteTransaction, hostname, optional_time, silo_id, time};

/// A record that is no longer seen, or is seen again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuietRecord {
    /// Its silo.
    pub silo: SiloId,
    /// Its hostname.
    pub hostname: Hostname,
    /// When a write last named it; `None`: the record was removed.
    pub last_seen: Option<Time>,
}

impl Store {
    /// Records last seen before `before`, or later than `latest`, which is impossible, and not yet
    /// reported to the sink; after a position in the order of silo and hostname.
    pub async fn quiet_records(
        &self,
        sink: &SinkName,
        (before, latest): (Time, Time),
        after: Option<&(SiloId, Hostname)>,
        limit: i64,
    ) -> Result<Vec<QuietRecord>, StoreError> {
        let (silo, name) = after.map_or(("", ""), |(silo, name)| (silo.as_str(), name.as_str()));
        self.dialect
            .query(
                "SELECT r.silo, r.hostname, r.last_seen FROM records r LEFT JOIN unseen u \
                 ON u.sink = ? AND u.silo = r.silo AND u.hostname = r.hostname \
                 WHERE (r.last_seen < ? OR r.last_seen > ?) AND u.sink IS NULL \
                 AND (r.silo > ? OR (r.silo = ? AND r.hostname > ?)) \
                 ORDER BY r.silo, r.hostname LIMIT ?",
            )
            .bind(sink.as_str())
            .bind(before.as_millis())
            .bind(latest.as_millis())
            .bind(silo)
            .bind(silo)
            .bind(name)
            .bind(limit)
            .fetch_all(&self.readers)
            .await?
            .iter()
            .map(|row| {
                Ok(QuietRecord {
                    silo: silo_id(row, 0)?,
                    hostname: hostname(row, 1)?,
                    last_seen: Some(time(row, 2)?),
                })
            })
            .collect()
    }

    /// Records reported to the sink as not seen, and since then seen or removed.
    pub async fn heard_records(
        &self,
        sink: &SinkName,
        limit: i64,
    ) -> Result<Vec<QuietRecord>, StoreError> {
        self.dialect
            .query(
                "SELECT u.silo, u.hostname, r.last_seen FROM unseen u LEFT JOIN records r \
                 ON r.silo = u.silo AND r.hostname = u.hostname \
                 WHERE u.sink = ? AND (r.last_seen IS NULL OR r.last_seen <> u.last_seen) LIMIT ?",
            )
            .bind(sink.as_str())
            .bind(limit)
            .fetch_all(&self.readers)
            .await?
            .iter()
            .map(|row| {
                Ok(QuietRecord {
                    silo: silo_id(row, 0)?,
                    hostname: hostname(row, 1)?,
                    last_seen: optional_time(row, 2)?,
                })
            })
            .collect()
    }
}

impl WriteTransaction {
    /// The last-seen time in the report of a record to a sink; `None`: not reported.
    pub async fn unseen(
        &mut self,
        sink: &SinkName,
        silo: &SiloId,
        hostname: &Hostname,
    ) -> Result<Option<Time>, StoreError> {
        let row = self
            .dialect
            .query("SELECT last_seen FROM unseen WHERE sink = ? AND silo = ? AND hostname = ?")
            .bind(sink.as_str())
            .bind(silo.as_str())
            .bind(hostname.as_str())
            .fetch_optional(&mut *self.inner)
            .await?;
        row.map(|row| time(&row, 0)).transpose()
    }

    /// Records that a record was reported to a sink as not seen.
    pub async fn put_unseen(
        &mut self,
        sink: &SinkName,
        silo: &SiloId,
        hostname: &Hostname,
        last_seen: Time,
    ) -> Result<(), StoreError> {
        self.must_commit = true;
        self.dialect
            .query("INSERT INTO unseen (sink, silo, hostname, last_seen) VALUES (?, ?, ?, ?)")
            .bind(sink.as_str())
            .bind(silo.as_str())
            .bind(hostname.as_str())
            .bind(last_seen.as_millis())
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }

    /// Deletes the entry of a record.
    pub async fn remove_unseen(
        &mut self,
        sink: &SinkName,
        silo: &SiloId,
        hostname: &Hostname,
    ) -> Result<(), StoreError> {
        self.must_commit = true;
        self.dialect
            .query("DELETE FROM unseen WHERE sink = ? AND silo = ? AND hostname = ?")
            .bind(sink.as_str())
            .bind(silo.as_str())
            .bind(hostname.as_str())
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }
}
