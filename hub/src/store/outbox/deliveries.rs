//! The rows of the outbox: written in the transaction of the change, read by the workers.

use serde::{Deserialize, Serialize};
use silo_shared::silo::{Hostname, SiloId};
use sqlx::Row;

use super::names::due_name;
use super::{DONE, DueName, FAILED, PENDING};
use crate::domain::delivery::SinkFailure;
use crate::domain::revision::Revision;
use crate::domain::sink::SinkName;
use crate::domain::time::Time;
use crate::store::{
    Statements, Store, StoreError, WriteTransaction, hostname, insert_rows, optional_time,
    padded_chunks, silo_id, statement_chunks, time,
};

/// What a delivery reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryKind {
    /// Addresses changed.
    Change,
    /// A publication differs from the silo.
    Reconcile,
    /// A publication is to be removed.
    Clean,
    /// A record was not seen for too long.
    Unseen,
    /// The record was seen again.
    Back,
    /// Another sink is refused by its receiver.
    Failing,
    /// The other sink has recovered.
    Recovered,
}

impl DeliveryKind {
    /// The stored and displayed form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Change => "change",
            Self::Reconcile => "reconcile",
            Self::Clean => "clean",
            Self::Unseen => "unseen",
            Self::Back => "back",
            Self::Failing => "failing",
            Self::Recovered => "recovered",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [
            Self::Change,
            Self::Reconcile,
            Self::Clean,
            Self::Unseen,
            Self::Back,
            Self::Failing,
            Self::Recovered,
        ]
        .into_iter()
        .find(|kind| kind.as_str() == text)
    }
}

/// A delivery to enqueue.
#[derive(Clone, Copy, Debug)]
pub struct EventDelivery<'a> {
    /// The sink.
    pub sink: &'a SinkName,
    /// What it reports.
    pub kind: DeliveryKind,
    /// The silo.
    pub silo: &'a SiloId,
    /// Its revision.
    pub revision: Revision,
    /// The time.
    pub at: Time,
    /// When the record was last seen, for events about that.
    pub last_seen: Option<Time>,
    /// The failure of another sink, for events about that.
    pub failure: Option<&'a SinkFailure>,
}

/// A pending delivery of an event sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingEvent {
    /// Its id.
    pub id: i64,
    /// What it reports.
    pub kind: DeliveryKind,
    /// The silo.
    pub silo: SiloId,
    /// Its revision.
    pub revision: Revision,
    /// Since when it is pending.
    pub created_at: Time,
    /// Not tried before this time, in milliseconds since the epoch.
    pub next_at: i64,
    /// Number of attempts.
    pub attempts: i64,
    /// When the record was last seen, for events about that.
    pub last_seen: Option<Time>,
    /// The failure of another sink, for events about that.
    pub failure: Option<SinkFailure>,
    /// Receivers already notified.
    pub notified: Vec<String>,
    /// Not stored; see [`crate::domain::delivery::Event::only_to`].
    pub only_to: Option<Vec<String>>,
    /// The hostnames, each with the record's own mail address.
    pub names: Vec<(Hostname, Option<String>)>,
}

/// The stored form of a failure.
#[derive(Serialize, Deserialize)]
struct StoredFailure {
    sink: String,
    why: Option<String>,
    of_all: bool,
}

fn failure(text: Option<&str>) -> Result<Option<SinkFailure>, StoreError> {
    let Some(text) = text else { return Ok(None) };
    let corrupt = || StoreError::Corrupt("delivery");
    let stored: StoredFailure = serde_json::from_str(text).map_err(|_| corrupt())?;
    Ok(Some(SinkFailure {
        sink: SinkName::parse(&stored.sink).map_err(|_| corrupt())?,
        why: stored.why,
        of_all: stored.of_all,
    }))
}

fn stored_failure(failure: &SinkFailure) -> Result<String, StoreError> {
    let stored = StoredFailure {
        sink: failure.sink.to_string(),
        why: failure.why.clone(),
        of_all: failure.of_all,
    };
    serde_json::to_string(&stored).map_err(|_| StoreError::Corrupt("delivery"))
}

/// When an event is due again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NextAttempt {
    /// The time, in milliseconds since the epoch.
    pub next_at: i64,
    /// The earliest time that the receiver asked for, if it did.
    pub not_before: Option<i64>,
}

impl Store {
    /// The oldest pending deliveries of an event sink after one.
    pub async fn pending_events(
        &self,
        sink: &SinkName,
        after: i64,
        limit: i64,
    ) -> Result<Vec<PendingEvent>, StoreError> {
        let rows = self
            .dialect
            .query(
                "SELECT id, event, silo, revision, created_at, next_at, attempts, last_seen, told, \
                 failure FROM deliveries WHERE sink = ? AND state = ? AND id > ? ORDER BY id LIMIT ?",
            )
            .bind(sink.as_str())
            .bind(PENDING)
            .bind(after)
            .bind(limit)
            .fetch_all(&self.readers)
            .await?;
        let mut events = Vec::with_capacity(rows.len());
        for row in &rows {
            let notified: Option<&str> = row.try_get(8)?;
            let notified = notified.map(serde_json::from_str).transpose();
            events.push(PendingEvent {
                id: row.try_get(0)?,
                kind: DeliveryKind::parse(row.try_get(1)?)
                    .ok_or(StoreError::Corrupt("delivery"))?,
                silo: silo_id(row, 2)?,
                revision: row.try_get(3)?,
                created_at: time(row, 4)?,
                next_at: row.try_get(5)?,
                attempts: row.try_get(6)?,
                last_seen: optional_time(row, 7)?,
                failure: failure(row.try_get(9)?)?,
                notified: notified
                    .map_err(|_| StoreError::Corrupt("delivery"))?
                    .unwrap_or_default(),
                only_to: None,
                names: Vec::new(),
            });
        }
        let ids: Vec<i64> = events.iter().map(|event| event.id).collect();
        for chunk in statement_chunks(&ids) {
            let marks = vec!["?"; chunk.len()].join(", ");
            let mut query = self.dialect.query(format!(
                "SELECT delivery, hostname, notify FROM delivery_names \
                     WHERE delivery IN ({marks}) ORDER BY delivery, hostname"
            ));
            for id in chunk {
                query = query.bind(*id);
            }
            for row in &query.fetch_all(&self.readers).await? {
                let delivery: i64 = row.try_get(0)?;
                if let Ok(at) = events.binary_search_by_key(&delivery, |event| event.id) {
                    events[at].names.push((hostname(row, 1)?, row.try_get(2)?));
                }
            }
        }
        Ok(events)
    }
}

impl WriteTransaction {
    /// Enqueues an event about these hostnames, each with the mail address that the record names;
    /// returns the delivery's id.
    pub async fn enqueue_event(
        &mut self,
        delivery: &EventDelivery<'_>,
        names: &[(Hostname, Option<String>)],
    ) -> Result<i64, StoreError> {
        const HEAD: &str = "INSERT INTO delivery_names (delivery, hostname, sink, silo, state, \
             attempts, next_at, notify)";
        let id = self.take_delivery().await?;
        self.enqueued_for.insert(delivery.sink.clone());
        self.dialect
            .query(
                "INSERT INTO deliveries (id, sink, event, silo, revision, created_at, state, \
                 attempts, next_at, last_seen, failure) \
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )
            .bind(id)
            .bind(delivery.sink.as_str())
            .bind(delivery.kind.as_str())
            .bind(delivery.silo.as_str())
            .bind(delivery.revision)
            .bind(delivery.at.as_millis())
            .bind(PENDING)
            .bind(0_i64)
            .bind(0_i64)
            .bind(delivery.last_seen.map(Time::as_millis))
            .bind(delivery.failure.map(stored_failure).transpose()?)
            .execute(&mut *self.inner)
            .await?;
        for chunk in statement_chunks(names) {
            let mut query = self.dialect.query(insert_rows(HEAD, 8, chunk.len()));
            for (hostname, notify) in chunk {
                query = query
                    .bind(id)
                    .bind(hostname.as_str())
                    .bind(delivery.sink.as_str())
                    .bind(delivery.silo.as_str())
                    .bind(PENDING)
                    .bind(0_i64)
                    .bind(0_i64)
                    .bind(notify.as_deref());
            }
            query.execute(&mut *self.inner).await?;
        }
        Ok(id)
    }

    /// The records of these deliveries, each with its delivery. Reports of other sinks' failures
    /// are left out.
    pub async fn records_of_events(
        &mut self,
        ids: &[i64],
    ) -> Result<Vec<(i64, DueName)>, StoreError> {
        let mut statements = Statements::new(self.dialect);
        for chunk in padded_chunks(ids) {
            let marks = vec!["?"; chunk.len()].join(", ");
            statements.add(format!(
                "SELECT n.silo, n.hostname, d.id FROM deliveries d \
                 JOIN delivery_names n ON n.delivery = d.id \
                 WHERE d.id IN ({marks}) AND d.failure IS NULL ORDER BY d.id, n.hostname"
            ));
            for id in chunk {
                statements.bind(id);
            }
        }
        let rows = statements.fetch(&mut self.inner).await?;
        let rows = rows.iter().flatten();
        rows.map(|row| Ok((row.try_get(2)?, due_name(row, 0)?)))
            .collect()
    }

    /// Makes events that wait for another attempt due now, or at the time that the receiver asked
    /// for, since it accepts messages again.
    pub async fn hurry_events(&mut self, sink: &SinkName, now: Time) -> Result<(), StoreError> {
        self.must_commit = true;
        let now = now.as_millis();
        self.dialect
            .query(
                "UPDATE deliveries SET next_at = CASE WHEN not_before > ? THEN not_before ELSE ? END \
                 WHERE sink = ? AND state = ? AND next_at > ?",
            )
            .bind(now)
            .bind(now)
            .bind(sink.as_str())
            .bind(PENDING)
            .bind(now)
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }

    /// Writes the result of an event. `state`: its new state.
    #[expect(clippy::too_many_arguments, reason = "one row's columns")]
    pub async fn end_event(
        &mut self,
        id: i64,
        state: super::DeliveryState,
        now: Time,
        attempts: i64,
        next_attempt: NextAttempt,
        why: Option<&str>,
        notified: &[String],
    ) -> Result<(), StoreError> {
        use super::DeliveryState as S;
        self.must_commit = true;
        let number = match state {
            S::Pending => PENDING,
            S::Done => DONE,
            S::Failed => FAILED,
        };
        let notified = match notified {
            [] => None,
            notified => {
                Some(serde_json::to_string(notified).map_err(|_| StoreError::Corrupt("delivery"))?)
            }
        };
        let failing = (state != S::Done).then_some(now.as_millis());
        self.dialect
            .query(
                "UPDATE deliveries SET state = ?, done_at = ?, attempts = ?, next_at = ?, \
                 not_before = ?, \
                 failing_since = CASE WHEN ? = 1 THEN NULL ELSE coalesce(failing_since, ?) END, \
                 why = ?, told = ? WHERE id = ?",
            )
            .bind(number)
            .bind((state == S::Done).then_some(now.as_millis()))
            .bind(attempts)
            .bind(next_attempt.next_at)
            .bind(next_attempt.not_before)
            .bind(i64::from(state == S::Done))
            .bind(failing)
            .bind(why)
            .bind(notified)
            .bind(id)
            .execute(&mut *self.inner)
            .await?;
        if state != S::Pending {
            self.dialect
                .query("UPDATE delivery_names SET state = ? WHERE delivery = ?")
                .bind(number)
                .bind(id)
                .execute(&mut *self.inner)
                .await?;
        }
        Ok(())
    }
}
