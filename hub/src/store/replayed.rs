//! Reads of a silo's history for a replay.

use std::collections::BTreeMap;
use std::net::IpAddr;

use silo_shared::silo::{Family, SiloId};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::queries::Source;
use super::{Store, StoreError, hostname, optional};
use crate::domain::replay::{Replay, ReplayRow, Slot, Unfitting};
use crate::domain::revision::Revision;

/// History rows read at once.
const PAGE: i64 = 1000;

/// A replay of a silo's history, up to a revision that the silo has had.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// The last revision of the silo that it includes.
    pub until: Revision,
    /// The replay, or the first row that does not fit.
    pub replay: Result<Replay, Unfitting>,
}

impl Store {
    /// Replays a silo's history from a revision to the present one; `None`: there is no such silo, or its history may
    /// still grow at the front. Reads all rows in between, page by page, as a scan.
    pub async fn replayed(
        &self,
        silo: &SiloId,
        revision: Revision,
    ) -> Result<Option<Replayed>, StoreError> {
        let row = self
            .dialect
            .query("SELECT revision, importing FROM silos WHERE id = ?")
            .bind(silo.as_str())
            .fetch_optional(&self.readers)
            .await?;
        let Some(row) = row else { return Ok(None) };
        if row.try_get::<Option<Revision>, _>(1)?.is_some() {
            return Ok(None);
        }
        let until = row.try_get(0)?;
        let _permit = self.scan().await?;
        let mut replay = Replay::begin(self.addresses_at(silo, revision).await?);
        let mut last = None;
        loop {
            let after = last.as_ref();
            let page = self.history_after(silo, revision, after, PAGE).await?;
            for row in page.iter().filter(|row| row.revision <= until) {
                if let Err(unfitting) = replay.follow(row) {
                    let replay = Err(unfitting);
                    return Ok(Some(Replayed { until, replay }));
                }
            }
            last = page.into_iter().next_back();
            if last.as_ref().is_none_or(|row| row.revision > until) {
                let replay = Ok(replay);
                return Ok(Some(Replayed { until, replay }));
            }
        }
    }
}

/// The reads of a replay.
#[expect(
    async_fn_in_trait,
    reason = "callers name the type, which shows that its futures are Send"
)]
pub trait ReplayReads: Source {
    /// The new address in the last history row up to a revision, for each hostname and family of a silo.
    async fn addresses_at(
        mut self,
        silo: &SiloId,
        revision: Revision,
    ) -> Result<BTreeMap<Slot, Option<IpAddr>>, StoreError> {
        const LAST_UNTIL: &str = "SELECT h.hostname, h.family, h.new_ip FROM history h \
             JOIN (SELECT hostname, family, max(revision) AS revision FROM history \
             WHERE silo = ? AND revision <= ? GROUP BY hostname, family) f \
             ON f.revision = h.revision AND f.hostname = h.hostname AND f.family = h.family \
             WHERE h.silo = ?";
        self.flush().await?;
        let query = self
            .query(LAST_UNTIL)
            .bind(silo.to_string())
            .bind(revision)
            .bind(silo.to_string());
        let rows = self.fetch_all(query).await?;
        rows.iter()
            .map(|row| Ok((slot(row, 0, 1)?, optional(row, 2, "address")?)))
            .collect()
    }

    /// A page of a silo's history rows after a revision or row, oldest first.
    async fn history_after(
        mut self,
        silo: &SiloId,
        revision: Revision,
        after: Option<&ReplayRow>,
        limit: i64,
    ) -> Result<Vec<ReplayRow>, StoreError> {
        const ROWS: &str = "SELECT revision, hostname, family, old_ip, new_ip FROM history \
             WHERE silo = ? AND revision >= ? AND (revision > ? OR hostname > ? \
             OR (hostname = ? AND family > ?)) ORDER BY revision, hostname, family LIMIT ?";
        self.flush().await?;
        let from = after.map_or(revision.next(), |row| row.revision);
        let name = after.map_or("", |row| row.slot.0.as_str());
        let query = self
            .query(ROWS)
            .bind(silo.to_string())
            .bind(from)
            .bind(from)
            .bind(name.to_owned())
            .bind(name.to_owned())
            .bind(after.map_or(0, |row| i64::from(row.slot.1.number())))
            .bind(limit);
        let rows = self.fetch_all(query).await?;
        rows.iter()
            .map(|row| {
                Ok(ReplayRow {
                    revision: row.try_get(0)?,
                    slot: slot(row, 1, 2)?,
                    old: optional(row, 3, "address")?,
                    new: optional(row, 4, "address")?,
                })
            })
            .collect()
    }
}

impl<S: Source> ReplayReads for S {}

fn slot(row: &AnyRow, name: usize, family: usize) -> Result<Slot, StoreError> {
    let family = match row.try_get::<i64, _>(family)? {
        4 => Family::V4,
        6 => Family::V6,
        _ => return Err(StoreError::Corrupt("address family")),
    };
    Ok((hostname(row, name)?, family))
}
