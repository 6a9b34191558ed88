//! Deliveries as shown to operators, and manual retries.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use silo_shared::silo::{Hostname, SiloId};
use sqlx::Row;
use sqlx::any::AnyRow;
use utoipa::ToSchema;

use super::{DONE, FAILED, PENDING};
use crate::domain::revision::Revision;
use crate::domain::sink::SinkName;
use crate::domain::time::Time;
use crate::store::{Store, StoreError, WriteTransaction, hostname, optional_time, silo_id, time};

/// The state of a delivery, or of one of its hostnames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "lowercase", example = "pending")]
pub enum DeliveryState {
    /// Still pending.
    Pending,
    /// Delivered.
    Done,
    /// Refused, given up, or waiting for manual action.
    Failed,
}

impl DeliveryState {
    /// The displayed form, also used in queries.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }

    fn number(self) -> i16 {
        match self {
            Self::Pending => PENDING,
            Self::Done => DONE,
            Self::Failed => FAILED,
        }
    }

    fn of(row: &AnyRow, column: usize) -> Result<Self, StoreError> {
        let number: i64 = row.try_get(column)?;
        [Self::Pending, Self::Done, Self::Failed]
            .into_iter()
            .find(|state| i64::from(state.number()) == number)
            .ok_or(StoreError::Corrupt("delivery"))
    }
}

impl std::str::FromStr for DeliveryState {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Pending, Self::Done, Self::Failed]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or("one of pending, failed and done")
    }
}

/// One delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryRow {
    /// Its id.
    pub id: i64,
    /// The sink.
    pub sink: SinkName,
    /// What it reports.
    pub event: String,
    /// The silo.
    pub silo: SiloId,
    /// Its revision.
    pub revision: Revision,
    /// Since when it is pending.
    pub at: Time,
    /// Its state.
    pub state: DeliveryState,
    /// When it was done.
    pub done_at: Option<Time>,
    /// Number of attempts (event sinks).
    pub attempts: i64,
    /// When it is tried next, in milliseconds since the epoch (event sinks).
    pub next_at: i64,
    /// Since when it has been failing (event sinks).
    pub failing_since: Option<Time>,
    /// The reason (event sinks).
    pub why: Option<String>,
    /// Its hostnames.
    pub names: Vec<NameRow>,
}

/// One hostname of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameRow {
    /// The hostname.
    pub hostname: Hostname,
    /// Its state.
    pub state: DeliveryState,
    /// Number of attempts.
    pub attempts: i64,
    /// When it is tried next, in milliseconds since the epoch.
    pub next_at: i64,
    /// Since when it has been failing.
    pub failing_since: Option<Time>,
    /// The reason of the failure, or why there was nothing to do.
    pub why: Option<String>,
}

/// Number of deliveries of a sink in one state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryCount {
    /// The sink.
    pub sink: SinkName,
    /// Pending or failed.
    pub state: DeliveryState,
    /// Their number.
    pub deliveries: i64,
}

/// A position in the list; older deliveries follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdCursor(pub i64);

impl IdCursor {
    /// An opaque text form.
    pub fn encode(self) -> String {
        URL_SAFE_NO_PAD.encode(self.0.to_string())
    }

    /// Parses the text from [`IdCursor::encode`].
    pub fn decode(text: &str) -> Option<Self> {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        text.parse().ok().map(Self)
    }
}

const COLUMNS: &str = "SELECT id, sink, event, silo, revision, created_at, state, done_at, \
     attempts, next_at, failing_since, why FROM deliveries WHERE id < ?";

impl Store {
    /// Deliveries, newest first.
    pub async fn deliveries(
        &self,
        state: Option<DeliveryState>,
        sink: Option<&SinkName>,
        before: IdCursor,
        limit: i64,
    ) -> Result<Vec<DeliveryRow>, StoreError> {
        let by_state = state.map_or("", |_| " AND state = ?");
        let by_sink = sink.map_or("", |_| " AND sink = ?");
        let mut query = self
            .dialect
            .query(format!(
                "{COLUMNS}{by_state}{by_sink} ORDER BY id DESC LIMIT ?"
            ))
            .bind(before.0);
        if let Some(state) = state {
            query = query.bind(state.number());
        }
        if let Some(sink) = sink {
            query = query.bind(sink.as_str());
        }
        let rows = query.bind(limit).fetch_all(&self.readers).await?;
        let mut deliveries = Vec::with_capacity(rows.len());
        for row in &rows {
            deliveries.push(self.delivery_row(row).await?);
        }
        Ok(deliveries)
    }

    /// Number of pending and failed deliveries, by sink.
    pub async fn open_deliveries(&self) -> Result<Vec<DeliveryCount>, StoreError> {
        self.dialect
            .query(
                "SELECT sink, state, count(*) FROM deliveries WHERE state IN (?, ?) \
                 GROUP BY sink, state ORDER BY sink, state",
            )
            .bind(PENDING)
            .bind(FAILED)
            .fetch_all(&self.readers)
            .await?
            .iter()
            .map(|row| {
                Ok(DeliveryCount {
                    sink: super::sinks::sink_name(row, 0)?,
                    state: DeliveryState::of(row, 1)?,
                    deliveries: row.try_get(2)?,
                })
            })
            .collect()
    }

    /// One delivery.
    pub async fn delivery(&self, id: i64) -> Result<Option<DeliveryRow>, StoreError> {
        let row = self
            .dialect
            .query(format!("{COLUMNS} AND id = ?"))
            .bind(i64::MAX)
            .bind(id)
            .fetch_optional(&self.readers)
            .await?;
        match row {
            Some(row) => self.delivery_row(&row).await.map(Some),
            None => Ok(None),
        }
    }

    async fn delivery_row(&self, row: &AnyRow) -> Result<DeliveryRow, StoreError> {
        let id: i64 = row.try_get(0)?;
        let names = self
            .dialect
            .query(
                "SELECT hostname, state, attempts, next_at, failing_since, why \
                 FROM delivery_names WHERE delivery = ? ORDER BY hostname",
            )
            .bind(id)
            .fetch_all(&self.readers)
            .await?;
        let names = names.iter().map(|row| {
            Ok(NameRow {
                hostname: hostname(row, 0)?,
                state: DeliveryState::of(row, 1)?,
                attempts: row.try_get(2)?,
                next_at: row.try_get(3)?,
                failing_since: optional_time(row, 4)?,
                why: row.try_get(5)?,
            })
        });
        Ok(DeliveryRow {
            id,
            sink: super::sinks::sink_name(row, 1)?,
            event: row.try_get(2)?,
            silo: silo_id(row, 3)?,
            revision: row.try_get(4)?,
            at: time(row, 5)?,
            state: DeliveryState::of(row, 6)?,
            done_at: optional_time(row, 7)?,
            attempts: row.try_get(8)?,
            next_at: row.try_get(9)?,
            failing_since: optional_time(row, 10)?,
            why: row.try_get(11)?,
            names: names.collect::<Result<_, StoreError>>()?,
        })
    }
}

impl WriteTransaction {
    /// The sink of a delivery; `None`: the delivery does not exist.
    pub async fn delivery_sink(&mut self, id: i64) -> Result<Option<SinkName>, StoreError> {
        self.dialect
            .query("SELECT sink FROM deliveries WHERE id = ?")
            .bind(id)
            .fetch_optional(&mut *self.inner)
            .await?
            .map(|row| super::sinks::sink_name(&row, 0))
            .transpose()
    }

    /// Makes an unfinished delivery due now, and releases its sink if it is on hold.
    pub async fn retry_delivery(&mut self, id: i64, sink: &SinkName) -> Result<(), StoreError> {
        self.must_commit = true;
        for statement in [
            "UPDATE deliveries SET state = ?, next_at = 0, attempts = 0, why = NULL, \
             failing_since = NULL WHERE id = ? AND state IN (?, ?)",
            "UPDATE delivery_names SET state = ?, next_at = 0, attempts = 0, why = NULL, \
             failing_since = NULL WHERE delivery = ? AND state IN (?, ?)",
        ] {
            self.dialect
                .query(statement)
                .bind(PENDING)
                .bind(id)
                .bind(PENDING)
                .bind(FAILED)
                .execute(&mut *self.inner)
                .await?;
        }
        // Also retries a sink that was refused as a whole.
        self.set_sink_trouble(sink, &super::SinkTrouble::default())
            .await
    }
}
