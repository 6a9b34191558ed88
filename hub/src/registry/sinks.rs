//! The commands that register sinks and the hubs that serve them.

use silo_shared::silo::{Hostname, SiloId};

use super::{ApplyError, Command, Refusal};
use crate::domain::elapsed::lies_ahead_anywhere;
use crate::domain::sink::{SinkFilter, SinkKind, SinkName, SinkSort};
use crate::domain::time::Time;
use crate::store::{
    Activity, DeliveryKind, DueName, KnownSink, NamesDelivery, Queries, StoreError,
    WriteTransaction,
};

/// Validity of a hub's registration for its sinks, in seconds; renewed well before.
const PROMISE: i64 = 180;
/// How long a sink's deliveries wait for a hub that serves it, in seconds from its last registration: a hub that is
/// repaired or replaced comes back within this time.
const ABSENCE: i64 = 24 * 3600;

/// A sink as configured in a hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfiguredSink {
    /// Its name.
    pub name: SinkName,
    /// Its kind, as in the configuration.
    pub kind: &'static str,
    /// Whether it publishes the current state.
    pub is_state: bool,
    /// The changes it receives.
    pub takes: SinkFilter,
    /// Changes with its settings.
    pub fingerprint: String,
    /// The sink that receives its failures.
    pub tell_failures: Option<SinkName>,
}

/// Registers the sinks that a hub starts to serve.
#[derive(Debug)]
pub struct BeginSinks {
    /// Its sinks.
    pub sinks: Vec<ConfiguredSink>,
    /// Whether no other hub can serve this database, so that any lease is of a dead hub.
    pub alone: bool,
}

/// The state of the database's sinks when a hub starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SinksAtStart {
    /// Sinks that another hub serves with other settings, or that this hub lacks.
    pub differing: Vec<SinkName>,
    /// Sinks that no hub has any more, each with its number of abandoned deliveries.
    pub gone: Vec<(SinkName, u64)>,
}

/// Renews a hub's registration for its sinks, and gives up those that no hub serves.
#[derive(Debug)]
pub struct KeepSinks(pub Vec<SinkName>);

/// Begins to remove what a sink published.
#[derive(Debug)]
pub struct BeginCleaning(pub SinkName);

/// Enqueues the removal of a sink's publications of a silo.
#[derive(Debug)]
pub struct EnqueueRemoval {
    /// The sink.
    pub sink: SinkName,
    /// The silo.
    pub silo: SiloId,
    /// The records, each once.
    pub hostnames: Vec<Hostname>,
}

/// Ends the removal; the sink is then as if never configured.
#[derive(Debug)]
pub struct EndCleaning(pub SinkName);

/// Makes a delivery due immediately, whatever holds back its sink: also the lease of a worker, which
/// may have died. The result of one that is at work is then discarded, or its message arrives twice.
#[derive(Debug)]
pub struct RetryDelivery(pub i64);

impl Command for BeginSinks {
    type Outcome = SinksAtStart;

    async fn run(
        &self,
        transaction: &mut WriteTransaction,
        now: Time,
    ) -> Result<SinksAtStart, ApplyError> {
        let known = transaction.sinks().await?;
        let mut started = SinksAtStart::default();
        let mut changed = false;
        for sink in &self.sinks {
            let old = known.iter().find(|old| old.name == sink.name);
            changed |= self
                .begin(transaction, sink, old, &mut started, now)
                .await?;
        }
        let names: Vec<_> = self.sinks.iter().map(|sink| sink.name.clone()).collect();
        for old in &known {
            let is_at_work = match old.active {
                Activity::Active => true,
                Activity::Cleaning => !lies_ahead_anywhere(old.lease_until, PROMISE, now),
                Activity::Gone | Activity::Cleaned => false,
            };
            if !is_at_work || names.contains(&old.name) {
                continue;
            }
            if !self.alone && may_be_served(old, now) {
                started.differing.push(old.name.clone());
            } else {
                started.gone.push(give_up(transaction, old).await?);
                changed = true;
            }
        }
        if changed {
            transaction.note_sinks_changed().await?;
        }
        Ok(started)
    }
}

impl BeginSinks {
    /// Registers one sink; returns whether its registration changes.
    async fn begin(
        &self,
        transaction: &mut WriteTransaction,
        sink: &ConfiguredSink,
        old: Option<&KnownSink>,
        started: &mut SinksAtStart,
        now: Time,
    ) -> Result<bool, StoreError> {
        let same_receiver = old.is_some_and(|old| {
            old.fingerprint == sink.fingerprint && old.active == Activity::Active
        });
        let same = same_receiver && old.is_some_and(|old| old.takes == sink.takes);
        if let Some(old) = old
            && !self.alone
            && old.active == Activity::Active
            && lies_ahead_anywhere(old.served_until, PROMISE, now)
            && !same
        {
            started.differing.push(sink.name.clone());
        }
        let fresh = KnownSink {
            name: sink.name.clone(),
            kind: sink.kind.to_owned(),
            takes: sink.takes.clone(),
            fingerprint: sink.fingerprint.clone(),
            active: Activity::Active,
            served_until: now.plus_seconds(PROMISE),
            reconciled_at: Time::default(),
            lease_owner: String::new(),
            lease_until: Time::default(),
            attempts: 0,
            next_at: 0,
            hurry_at: None,
            failing_since: None,
            why: None,
            tell_failures: sink.tell_failures.clone(),
        };
        let new = match old {
            Some(old) => {
                let keeps_lease = !self.alone;
                let keeps_trouble = same_receiver;
                KnownSink {
                    lease_owner: if keeps_lease {
                        old.lease_owner.clone()
                    } else {
                        String::new()
                    },
                    lease_until: if keeps_lease {
                        old.lease_until
                    } else {
                        Time::default()
                    },
                    attempts: if keeps_trouble { old.attempts } else { 0 },
                    next_at: if keeps_trouble { old.next_at } else { 0 },
                    failing_since: old.failing_since.filter(|_| keeps_trouble),
                    why: old.why.clone().filter(|_| keeps_trouble),
                    ..fresh
                }
            }
            None => fresh,
        };
        transaction.put_sink(&new, old.is_some()).await?;
        if !same_receiver && sink.is_state {
            // Deliveries refused under the old settings may be accepted under the new ones, and
            // addresses already published may be missing there.
            transaction.revive_names(&sink.name).await?;
            match old {
                Some(old) if old.kind != sink.kind => transaction.drop_ledger(&sink.name).await?,
                _ => transaction.release_ledger(&sink.name).await?,
            }
        }
        Ok(!same)
    }
}

/// Whether a hub serves a sink, or may come back to it.
fn may_be_served(sink: &KnownSink, now: Time) -> bool {
    let until = sink.served_until.plus_seconds(ABSENCE - PROMISE);
    lies_ahead_anywhere(until, ABSENCE, now)
}

async fn give_up(
    transaction: &mut WriteTransaction,
    old: &KnownSink,
) -> Result<(SinkName, u64), StoreError> {
    let gone = KnownSink {
        active: Activity::Gone,
        ..old.clone()
    };
    transaction.put_sink(&gone, true).await?;
    let given_up = transaction
        .give_up(&old.name, "no hub has this sink any more")
        .await?;
    Ok((old.name.clone(), given_up))
}

impl Command for KeepSinks {
    /// Sinks that no hub serves any more, and sinks of this hub that another hub had given up.
    type Outcome = (Vec<(SinkName, u64)>, Vec<SinkName>);

    async fn run(
        &self,
        transaction: &mut WriteTransaction,
        now: Time,
    ) -> Result<Self::Outcome, ApplyError> {
        let (mut gone, mut back) = (Vec::new(), Vec::new());
        for sink in transaction.sinks().await? {
            let is_ours = self.0.contains(&sink.name);
            if is_ours && sink.active == Activity::Gone {
                back.push(sink.name.clone());
                let kept = KnownSink {
                    active: Activity::Active,
                    served_until: now.plus_seconds(PROMISE),
                    reconciled_at: Time::default(),
                    ..sink
                };
                transaction.put_sink(&kept, true).await?;
                if SinkKind::parse(&kept.kind).map(SinkKind::sort) == Some(SinkSort::State) {
                    // Abandoned deliveries become pending again: they are the only open ones.
                    transaction.revive_names(&kept.name).await?;
                }
                continue;
            }
            if sink.active != Activity::Active {
                continue;
            }
            if is_ours {
                let kept = KnownSink {
                    served_until: now.plus_seconds(PROMISE),
                    ..sink
                };
                transaction.put_sink(&kept, true).await?;
            } else if !may_be_served(&sink, now) {
                gone.push(give_up(transaction, &sink).await?);
            }
        }
        if !gone.is_empty() || !back.is_empty() {
            transaction.note_sinks_changed().await?;
        }
        Ok((gone, back))
    }
}

impl Command for BeginCleaning {
    type Outcome = ();

    async fn run(&self, transaction: &mut WriteTransaction, _: Time) -> Result<(), ApplyError> {
        let sink = transaction.sink(&self.0).await?;
        let cleaning = KnownSink {
            active: Activity::Cleaning,
            attempts: 0,
            next_at: 0,
            failing_since: None,
            why: None,
            ..sink.ok_or(Refusal::NoSink)?
        };
        transaction.put_sink(&cleaning, true).await?;
        transaction.note_sinks_changed().await?;
        Ok(())
    }
}

impl Command for EnqueueRemoval {
    type Outcome = ();

    async fn run(&self, transaction: &mut WriteTransaction, now: Time) -> Result<(), ApplyError> {
        let delivery = NamesDelivery {
            sink: &self.sink,
            kind: DeliveryKind::Clean,
            revision: transaction.revision(),
            at: now,
        };
        let due = |hostname: &Hostname| DueName {
            silo: self.silo.clone(),
            hostname: hostname.clone(),
        };
        let names: Vec<_> = self.hostnames.iter().map(due).collect();
        transaction.enqueue_names(&delivery, &names).await?;
        Ok(())
    }
}

impl Command for EndCleaning {
    type Outcome = ();

    async fn run(&self, transaction: &mut WriteTransaction, _: Time) -> Result<(), ApplyError> {
        let Some(sink) = transaction.sink(&self.0).await? else {
            return Err(Refusal::NoSink.into());
        };
        let cleaned = KnownSink {
            active: Activity::Cleaned,
            ..sink
        };
        transaction.put_sink(&cleaned, true).await?;
        transaction.note_sinks_changed().await?;
        Ok(())
    }
}

impl Command for RetryDelivery {
    type Outcome = ();

    async fn run(&self, transaction: &mut WriteTransaction, _: Time) -> Result<(), ApplyError> {
        let sink = transaction.delivery_sink(self.0).await?;
        let sink = sink.ok_or(Refusal::NoDelivery)?;
        let known = transaction.sink(&sink).await?;
        if !known.is_some_and(|known| known.active == Activity::Active) {
            return Err(Refusal::SinkGone.into());
        }
        transaction.retry_delivery(self.0, &sink).await?;
        transaction.set_lease(&sink, "", Time::default()).await?;
        transaction.wake_workers().await?;
        tracing::debug!(%sink, delivery = self.0, "to be tried again");
        Ok(())
    }
}
