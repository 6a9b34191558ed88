//! The counters that show how far a database has got, and the silos that changed since.

use std::sync::atomic::Ordering;

use silo_shared::silo::SiloId;
use sqlx::{Executor, Row};

use super::connection::DbConnection;
use super::dialect::Dialect;
use super::{DELIVERIES, FAILURES, FEED_FLOOR, SIGNED_NOT_BEFORE, Store, StoreError, silo_id};
use crate::domain::revision::Revision;
use crate::domain::signed_not_before::SignedNotBefore;
use crate::domain::time::Time;

/// A changed silo, as reported by the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedSilo {
    /// The silo.
    pub id: SiloId,
    /// The revision of the last change.
    pub revision: Revision,
    /// Whether that change was its deletion.
    pub deleted: bool,
}

/// The position of the database: its counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The last committed revision.
    pub revision: Revision,
    /// Increases with every change of a token.
    pub tokens: i64,
    /// Increases with every delivery that becomes pending or due again.
    pub deliveries: i64,
    /// Increases with every change of the failed attempts that hubs count jointly.
    pub failures: i64,
    /// The highest revision of a deletion that the feed no longer reports.
    pub feed_floor: Revision,
    /// From when signatures are valid.
    pub signed_not_before: SignedNotBefore,
}

impl Store {
    /// The current position of the database.
    pub async fn position(&self) -> Result<Position, StoreError> {
        let mut position = Position::default();
        let mut connection = self.readers.acquire().await?;
        let rows = connection
            .fetch_all(self.dialect.counters_question())
            .await?;
        self.note_time(rows.first())?;
        for row in rows {
            let value: i64 = row.try_get(1)?;
            match row.try_get(0)? {
                "revision" => position.revision = value.into(),
                "tokens" => position.tokens = value,
                FEED_FLOOR => position.feed_floor = value.into(),
                DELIVERIES => position.deliveries = value,
                FAILURES => position.failures = value,
                SIGNED_NOT_BEFORE => {
                    position.signed_not_before = SignedNotBefore(Time::from_millis(value));
                }
                _ => {}
            }
        }
        Ok(position)
    }

    /// The silos, including deleted ones, that changed after a revision, ordered by revision.
    pub async fn changed_since(
        &self,
        revision: Revision,
        limit: i64,
    ) -> Result<Vec<ChangedSilo>, StoreError> {
        self.change_reads.fetch_add(1, Ordering::Relaxed);
        self.dialect
            .query(
                "SELECT id, revision, deleted FROM silos WHERE revision > ? \
                 ORDER BY revision LIMIT ?",
            )
            .bind(revision)
            .bind(limit)
            .fetch_all(&self.readers)
            .await?
            .iter()
            .map(|row| {
                Ok(ChangedSilo {
                    id: silo_id(row, 0)?,
                    revision: row.try_get(1)?,
                    deleted: row.try_get::<i64, _>(2)? != 0,
                })
            })
            .collect()
    }

    /// Number of queries of [`Store::changed_since`] since the hub was opened.
    pub fn change_reads(&self) -> u64 {
        self.change_reads.load(Ordering::Relaxed)
    }
}

/// The value of a counter; `None`: there is no such counter.
pub(super) async fn find_counter(
    dialect: Dialect,
    connection: &mut DbConnection,
    name: &str,
) -> Result<Option<i64>, StoreError> {
    let row = dialect
        .query("SELECT value FROM counters WHERE name = ?")
        .bind(name)
        .fetch_optional(connection)
        .await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}

/// The value of a counter that every database has.
pub(super) async fn read_counter(
    dialect: Dialect,
    connection: &mut DbConnection,
    name: &str,
) -> Result<i64, StoreError> {
    let value = find_counter(dialect, connection, name).await?;
    value.ok_or_else(|| sqlx::Error::RowNotFound.into())
}
