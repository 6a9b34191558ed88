//! The commands of the comparison of ledger and silos, and of merging and adopting without sending.

use crate::domain::sink::SinkName;
use crate::domain::time::Time;
use crate::registry::{ApplyError, Command, Refusal};
use crate::store::{
    Activity, COMPARING, DeliveryKind, DueName, LedgerRow, NamesDelivery, Queries, SinkTrouble,
    WriteTransaction,
};

/// Enqueues records whose publication differs, unless they are pending already.
#[derive(Debug)]
pub struct EnqueueDifference {
    /// The sink.
    pub sink: SinkName,
    /// The records, each once.
    pub differing: Vec<DueName>,
}

/// Merges pending deliveries of a state sink written by version 0.1.0, one per change, into one
/// open delivery per record.
#[derive(Debug)]
pub struct MergeDeliveries {
    /// The sink.
    pub sink: SinkName,
    /// The records, at most [`MERGED_TOGETHER`].
    pub names: Vec<DueName>,
}

/// Maximum number of records whose deliveries one transaction merges.
pub const MERGED_TOGETHER: usize = 64;

/// Records that ledger and silos are being compared.
#[derive(Debug)]
pub struct BeginReconciling(pub SinkName);

/// Records that they were compared, unless a new comparison was requested in the meantime.
#[derive(Debug)]
pub struct EndReconciling {
    /// The sink.
    pub sink: SinkName,
    /// How long ago it counts as done.
    pub seconds_ago: i64,
}

/// Enqueues names that the receiver has lost.
#[derive(Debug)]
pub struct PublishAgain {
    /// The sink.
    pub sink: SinkName,
    /// The rows of the ledger by which the receiver was asked; those that have changed since are
    /// left out.
    pub rows: Vec<LedgerRow>,
}

/// Sends everything that is published by a sink again.
#[derive(Debug)]
pub struct PublishAll(pub SinkName);

/// Takes over a name that already has the silo's addresses.
#[derive(Debug)]
pub struct AdoptName {
    /// The sink.
    pub sink: SinkName,
    /// What is published under the name.
    pub row: LedgerRow,
}

impl Command for EnqueueDifference {
    /// Number of hostnames that became pending.
    type Outcome = usize;

    async fn run(
        &self,
        transaction: &mut WriteTransaction,
        now: Time,
    ) -> Result<usize, ApplyError> {
        let pending = transaction
            .pending_of(&self.sink, &self.differing, i64::MAX)
            .await?;
        let is_new = |name: &&DueName| !pending.contains_key(*name);
        let names: Vec<_> = self.differing.iter().filter(is_new).cloned().collect();
        let delivery = NamesDelivery {
            sink: &self.sink,
            kind: DeliveryKind::Reconcile,
            revision: transaction.revision(),
            at: now,
        };
        transaction.enqueue_names(&delivery, &names).await?;
        Ok(names.len())
    }
}

impl Command for MergeDeliveries {
    /// Whether there may be more to merge.
    type Outcome = bool;

    async fn run(&self, transaction: &mut WriteTransaction, now: Time) -> Result<bool, ApplyError> {
        Ok(transaction
            .merge_names(&self.sink, &self.names, now)
            .await?)
    }
}

impl Command for BeginReconciling {
    type Outcome = ();

    async fn run(&self, transaction: &mut WriteTransaction, _: Time) -> Result<(), ApplyError> {
        Ok(transaction.set_reconciled(&self.0, COMPARING, None).await?)
    }
}

impl Command for EndReconciling {
    type Outcome = ();

    async fn run(&self, transaction: &mut WriteTransaction, now: Time) -> Result<(), ApplyError> {
        let at = now.plus_seconds(-self.seconds_ago);
        Ok(transaction
            .set_reconciled(&self.sink, at, Some(COMPARING))
            .await?)
    }
}

impl Command for PublishAgain {
    /// Number of names that became pending.
    type Outcome = usize;

    async fn run(
        &self,
        transaction: &mut WriteTransaction,
        now: Time,
    ) -> Result<usize, ApplyError> {
        let names: Vec<&str> = self.rows.iter().map(|row| row.name.as_str()).collect();
        let present = transaction.ledger(&self.sink, &names).await?;
        let rows: Vec<LedgerRow> = present
            .into_iter()
            .filter(|row| self.rows.contains(row))
            .map(|row| LedgerRow {
                ours: row.ours.unconfirmed(),
                ..row
            })
            .collect();
        transaction.put_ledger(&self.sink, &rows).await?;
        let differing = rows.into_iter().map(|row| DueName {
            silo: row.silo,
            hostname: row.hostname,
        });
        let enqueue = EnqueueDifference {
            sink: self.sink.clone(),
            differing: differing.collect(),
        };
        enqueue.run(transaction, now).await
    }
}

impl Command for PublishAll {
    type Outcome = ();

    async fn run(&self, transaction: &mut WriteTransaction, _: Time) -> Result<(), ApplyError> {
        let sink = transaction.sink(&self.0).await?;
        let sink = sink.filter(|sink| sink.active == Activity::Active);
        let name = sink.ok_or(Refusal::SinkGone)?.name;
        transaction.doubt_ledger(&name).await?;
        transaction.revive_names(&name).await?;
        transaction
            .set_sink_trouble(&name, &SinkTrouble::default())
            .await?;
        transaction
            .set_reconciled(&name, Time::default(), None)
            .await?;
        transaction.wake_workers().await?;
        Ok(())
    }
}

impl Command for AdoptName {
    /// Whether the name was not in the ledger.
    type Outcome = bool;

    async fn run(&self, transaction: &mut WriteTransaction, now: Time) -> Result<bool, ApplyError> {
        let (sink, row) = (&self.sink, &self.row);
        let known = transaction.ledger(sink, &[&row.name]).await?;
        if !known.is_empty() {
            return Ok(false);
        }
        transaction
            .put_ledger(sink, std::slice::from_ref(row))
            .await?;
        // Deliveries that failed because the name was not ours are now done.
        let record = DueName {
            silo: row.silo.clone(),
            hostname: row.hostname.clone(),
        };
        let pending = transaction.pending_of(sink, &[record], i64::MAX).await?;
        let pending: Vec<_> = pending.into_iter().collect();
        transaction
            .finish_names(sink, &pending, i64::MAX, None, now)
            .await?;
        Ok(true)
    }
}
