//! The registered sinks: their filters, the hubs that serve them, and their state.

use std::sync::Arc;

use silo_shared::silo::SiloId;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::NEVER;
use crate::domain::backoff::AFTER_CHANGE;
use crate::domain::sink::{SinkFilter, SinkKind, SinkName, SinkSort};
use crate::domain::time::Time;
use crate::store::{
    Queries, Statements, StoreError, WriteTransaction, optional, optional_time, time,
};

/// Whether changes are enqueued for a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// No hub has it any more.
    Gone,
    /// It receives changes.
    Active,
    /// What it published is being removed.
    Cleaning,
    /// What it published was removed; it starts over when a hub that has it starts.
    Cleaned,
}

impl Activity {
    fn number(self) -> i16 {
        match self {
            Self::Gone => 0,
            Self::Active => 1,
            Self::Cleaning => 2,
            Self::Cleaned => 3,
        }
    }
}

/// A registered sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownSink {
    /// Its name.
    pub name: SinkName,
    /// Its kind, as in the configuration.
    pub kind: String,
    /// The changes it receives.
    pub takes: SinkFilter,
    /// Changes with its settings.
    pub fingerprint: String,
    /// Whether changes are enqueued for it.
    pub active: Activity,
    /// Until when some hub is registered to serve it.
    pub served_until: Time,
    /// When ledger and silos were last compared; the epoch: a comparison is due.
    pub reconciled_at: Time,
    /// The worker that holds the lease; empty: none.
    pub lease_owner: String,
    /// The end of the lease.
    pub lease_until: Time,
    /// Consecutive failed attempts that affect the whole sink.
    pub attempts: i64,
    /// Nothing is sent before this time, in milliseconds since the epoch.
    pub next_at: i64,
    /// When it is tried nevertheless because of a change; see [`crate::domain::backoff::is_hurried`].
    pub hurry_at: Option<i64>,
    /// Since when it has been failing.
    pub failing_since: Option<Time>,
    /// The reason.
    pub why: Option<String>,
    /// The sink that receives its failures.
    pub tell_failures: Option<SinkName>,
}

/// The value of `reconciled_at` during a comparison.
pub const COMPARING: Time = Time::from_millis(1);

impl KnownSink {
    /// Whether no comparison of ledger and silos is requested or running.
    pub fn is_compared(&self) -> bool {
        self.reconciled_at > COMPARING
    }
}

/// The failure state of a sink as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SinkTrouble {
    /// Consecutive failed attempts.
    pub attempts: i64,
    /// Nothing is sent before this time, in milliseconds since the epoch.
    pub next_at: i64,
    /// Whether a change shortens the wait.
    pub can_be_hurried: bool,
    /// Since when it has been failing.
    pub failing_since: Option<Time>,
    /// The reason.
    pub why: Option<String>,
}

/// A sink that receives changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interest {
    /// Its name.
    pub name: SinkName,
    /// The changes it receives.
    pub takes: SinkFilter,
    /// Whether it is a state sink rather than an event sink.
    pub is_state: bool,
    /// Whether deliveries store the records' own mail addresses.
    pub wants_notify: bool,
}

impl Interest {
    /// Whether it receives any changes of a silo.
    pub fn takes_silo(&self, silo: &SiloId) -> bool {
        self.takes.takes_silo(silo)
    }
}

/// The columns of a sink, as [`known_sink`] reads them.
pub(in crate::store) const SINK_COLUMNS: &str = "name, kind, takes, fingerprint, active, served_until, \
     reconciled_at, lease_owner, lease_until, attempts, next_at, failing_since, why, hurry_at, \
     tell_failures";

pub(in crate::store) fn known_sink(row: &AnyRow) -> Result<KnownSink, StoreError> {
    Ok(KnownSink {
        name: sink_name(row, 0)?,
        kind: row.try_get(1)?,
        takes: serde_json::from_str(row.try_get(2)?)
            .map_err(|_| StoreError::Corrupt("sink filter"))?,
        fingerprint: row.try_get(3)?,
        active: match row.try_get::<i64, _>(4)? {
            1 => Activity::Active,
            2 => Activity::Cleaning,
            3 => Activity::Cleaned,
            _ => Activity::Gone,
        },
        served_until: time(row, 5)?,
        reconciled_at: time(row, 6)?,
        lease_owner: row.try_get(7)?,
        lease_until: time(row, 8)?,
        attempts: row.try_get(9)?,
        next_at: row.try_get(10)?,
        failing_since: optional_time(row, 11)?,
        why: row.try_get(12)?,
        hurry_at: row.try_get(13)?,
        tell_failures: optional::<SinkName>(row, 14, "sink name")?,
    })
}

pub(in crate::store) fn sink_name(row: &AnyRow, column: usize) -> Result<SinkName, StoreError> {
    SinkName::parse(row.try_get(column)?).map_err(|_| StoreError::Corrupt("sink name"))
}

impl WriteTransaction {
    /// The sinks for which changes are enqueued. Read again only when they changed.
    pub async fn interests(&mut self) -> Result<Arc<[Interest]>, StoreError> {
        if !self.sinks_changed
            && let Some(known) = self.interests.get(self.sinks_version)
        {
            return Ok(known);
        }
        let interests: Vec<Interest> = self
            .sinks()
            .await?
            .into_iter()
            .filter(|sink| sink.active == Activity::Active)
            .map(|sink| {
                let kind = SinkKind::parse(&sink.kind);
                Interest {
                    is_state: kind.map(SinkKind::sort) == Some(SinkSort::State),
                    wants_notify: kind.is_some_and(SinkKind::uses_notify_address),
                    name: sink.name,
                    takes: sink.takes,
                }
            })
            .collect();
        if self.sinks_changed {
            // This transaction may still fail, and another one may then use the same version.
            return Ok(interests.into());
        }
        Ok(self.interests.put(self.sinks_version, interests))
    }

    /// Writes a sink's row, except for `hurry_at`. `known`: the row exists.
    pub async fn put_sink(&mut self, sink: &KnownSink, known: bool) -> Result<(), StoreError> {
        let statement = if known {
            "UPDATE sinks SET kind = ?, takes = ?, fingerprint = ?, active = ?, served_until = ?, \
             reconciled_at = ?, lease_owner = ?, lease_until = ?, attempts = ?, next_at = ?, \
             failing_since = ?, why = ?, tell_failures = ? WHERE name = ?"
        } else {
            "INSERT INTO sinks (kind, takes, fingerprint, active, served_until, reconciled_at, \
             lease_owner, lease_until, attempts, next_at, failing_since, why, tell_failures, name) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        };
        let takes =
            serde_json::to_string(&sink.takes).map_err(|_| StoreError::Corrupt("sink filter"))?;
        self.must_commit = true;
        self.dialect
            .query(statement)
            .bind(sink.kind.as_str())
            .bind(takes)
            .bind(sink.fingerprint.as_str())
            .bind(sink.active.number())
            .bind(sink.served_until.as_millis())
            .bind(sink.reconciled_at.as_millis())
            .bind(sink.lease_owner.as_str())
            .bind(sink.lease_until.as_millis())
            .bind(sink.attempts)
            .bind(sink.next_at)
            .bind(sink.failing_since.map(Time::as_millis))
            .bind(sink.why.as_deref())
            .bind(sink.tell_failures.as_ref().map(SinkName::as_str))
            .bind(sink.name.as_str())
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }

    /// Notifies all hubs that the sinks' filters have changed.
    pub async fn note_sinks_changed(&mut self) -> Result<(), StoreError> {
        self.must_commit = true;
        self.sinks_changed = true;
        self.dialect
            .query("UPDATE counters SET value = ? WHERE name = 'sinks'")
            .bind(self.sinks_version + 1)
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }

    /// Takes or releases the lease of a sink.
    pub async fn set_lease(
        &mut self,
        sink: &SinkName,
        owner: &str,
        until: Time,
    ) -> Result<(), StoreError> {
        self.must_commit = true;
        self.dialect
            .query("UPDATE sinks SET lease_owner = ?, lease_until = ? WHERE name = ?")
            .bind(owner)
            .bind(until.as_millis())
            .bind(sink.as_str())
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }

    /// Writes the failure state of a sink as a whole.
    pub async fn set_sink_trouble(
        &mut self,
        sink: &SinkName,
        trouble: &SinkTrouble,
    ) -> Result<(), StoreError> {
        self.must_commit = true;
        self.dialect
            .query(
                "UPDATE sinks SET attempts = ?, next_at = ?, failing_since = ?, why = ?, \
                 hurry_at = CASE WHEN ? = 1 THEN coalesce(hurry_at, ?) ELSE NULL END \
                 WHERE name = ?",
            )
            .bind(trouble.attempts)
            .bind(trouble.next_at)
            .bind(trouble.failing_since.map(Time::as_millis))
            .bind(trouble.why.as_deref())
            // Keeps a time set by a change while the sink was being tried.
            .bind(i64::from(trouble.can_be_hurried))
            .bind(NEVER)
            .bind(sink.as_str())
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }

    /// Adds the statements that let sinks on hold be tried soon, since something new is pending for
    /// them. They match no row of a sink that is not failing.
    pub(in crate::store) fn hurry_sinks(&self, statements: &mut Statements, now: Time) {
        let soon = now.plus_seconds(AFTER_CHANGE).as_millis();
        for sink in &self.enqueued_for {
            statements
                .add("UPDATE sinks SET hurry_at = ? WHERE name = ? AND hurry_at > ?")
                .bind(soon)
                .bind(sink.as_str())
                .bind(soon);
        }
    }

    /// Records that a sink is being tried now, which serves all requests by changes so far.
    pub async fn end_hurry(&mut self, sink: &SinkName) -> Result<(), StoreError> {
        self.must_commit = true;
        self.dialect
            .query("UPDATE sinks SET hurry_at = ? WHERE name = ?")
            .bind(NEVER)
            .bind(sink.as_str())
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }

    /// Sets when ledger and silos were last compared. `after`: only if the present value is this.
    pub async fn set_reconciled(
        &mut self,
        sink: &SinkName,
        at: Time,
        after: Option<Time>,
    ) -> Result<(), StoreError> {
        self.must_commit = true;
        let only = after.map_or("", |_| " AND reconciled_at = ?");
        let mut query = self
            .dialect
            .query(format!(
                "UPDATE sinks SET reconciled_at = ? WHERE name = ?{only}"
            ))
            .bind(at.as_millis())
            .bind(sink.as_str());
        if let Some(after) = after {
            query = query.bind(after.as_millis());
        }
        query.execute(&mut *self.inner).await?;
        Ok(())
    }

    /// Removes inactive or cleaned sinks that no hub has served since a time, with their ledger and
    /// reports; returns the number of sinks.
    pub async fn purge_sinks(&mut self, before: Time) -> Result<u64, StoreError> {
        let over = self.sinks().await?.into_iter().filter(|sink| {
            matches!(sink.active, Activity::Gone | Activity::Cleaned) && sink.served_until < before
        });
        let mut purged = 0;
        for sink in over {
            self.must_commit = true;
            for statement in [
                "DELETE FROM ledger WHERE sink = ?",
                "DELETE FROM unseen WHERE sink = ?",
                "DELETE FROM told_failures WHERE sink = ?",
                "DELETE FROM sinks WHERE name = ?",
            ] {
                self.dialect
                    .query(statement)
                    .bind(sink.name.to_string())
                    .execute(&mut *self.inner)
                    .await?;
            }
            purged += 1;
        }
        Ok(purged)
    }

    /// Marks what every receiver holds as uncertain, since this database was restored: ledger and
    /// silos are compared, and everything of ours is sent again.
    pub async fn mark_ledger_uncertain(&mut self) -> Result<(), StoreError> {
        self.must_commit = true;
        self.dialect
            .query("UPDATE ledger SET claimed = coalesce(claimed, published), unsure = 3")
            .execute(&mut *self.inner)
            .await?;
        self.reconcile_sinks().await
    }

    /// Schedules a comparison of ledger and silos for every sink.
    pub async fn reconcile_sinks(&mut self) -> Result<(), StoreError> {
        self.must_commit = true;
        self.dialect
            .query("UPDATE sinks SET reconciled_at = 0")
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }
}
