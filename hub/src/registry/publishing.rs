//! The commands of a worker that keeps a state sink up to date: take up names, write down how it ended.

use silo_shared::silo::{Hostname, SiloId};

use super::sinks::worse;
use super::{ApplyError, Command};
use crate::domain::backoff::{LONGEST, wait_ms};
use crate::domain::delivery::{Outcome, Publication, Reach, Standing, Trouble, Unsure};
use crate::domain::sink::SinkName;
use crate::domain::time::Time;
use crate::store::{
    Activity, DueName, Happening, KnownSink, Later, LedgerRow, NEVER, Ours, OwedEvent, SinkTrouble,
    WriteTransaction,
};

/// How soon something that was handed over is asked after again, in milliseconds; then twice as late each
/// time, so often.
const ASK_AGAIN_MS: i64 = 250;
/// See above: up to eight seconds.
const WAITING_ATTEMPTS: i64 = 5;

/// A record whose turn it is, and what the sink calls it; `Err`: why it is not for the sink.
pub type NamedRecord = (DueName, Result<String, String>);

/// Takes up records under a lease: nobody else sends to this sink until it ends.
#[derive(Debug)]
pub struct BeginPublishing {
    /// The sink.
    pub sink: SinkName,
    /// The worker that asks.
    pub owner: String,
    /// How long it may take, in seconds.
    pub lease_seconds: i64,
    /// The records.
    pub records: Vec<NamedRecord>,
}

/// What a worker is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Publishing {
    /// Another worker has the sink, or it is held back or gone: look again later.
    NotNow,
    /// Bring these to their wanted state; what is owed up to a delivery is then done.
    Names {
        /// Each name.
        names: Vec<TakenUp>,
        /// The last delivery that this covers.
        through: i64,
    },
}

/// A name that is to be published, and what the ledger said before it was claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenUp {
    /// What is to be published.
    pub publication: Publication,
    /// What was ours before.
    pub before: Ours,
}

/// Writes down how publications ended and gives the lease back.
#[derive(Clone, Debug)]
pub struct EndPublishing {
    /// The sink.
    pub sink: SinkName,
    /// The worker that has the lease.
    pub owner: String,
    /// What was tried; what is missing stays owed.
    pub ended: Vec<(TakenUp, Outcome)>,
    /// As [`Publishing::Names`] said.
    pub through: i64,
    /// Any number, for the jitter of waits.
    pub jitter: u64,
}

/// Owes a sink the hostnames whose publication differs, unless they are owed already.
#[derive(Debug)]
pub struct OweDifference {
    /// The sink.
    pub sink: SinkName,
    /// The hostnames by silo.
    pub differing: Vec<(SiloId, Vec<Hostname>)>,
}

/// Notes that ledger and silos are being compared.
#[derive(Debug)]
pub struct BeginReconciling(pub SinkName);

/// Notes that they were compared, unless somebody asked for it again meanwhile.
#[derive(Debug)]
pub struct EndReconciling(pub SinkName);

/// Stands in `reconciled_at` while ledger and silos are compared.
const COMPARING: Time = Time::from_millis(1);

/// Takes over a name that holds what the silo says.
#[derive(Debug)]
pub struct AdoptName {
    /// The sink.
    pub sink: SinkName,
    /// What is published there.
    pub row: LedgerRow,
}

/// Whether a worker may send to the sink now.
pub(super) fn may_send(sink: &KnownSink, owner: &str, now: Time) -> bool {
    matches!(sink.active, Activity::Active | Activity::Cleaning)
        && sink.next_at <= now.as_millis()
        && (sink.lease_owner == owner || sink.lease_until <= now)
}

impl Command for BeginPublishing {
    type Outcome = Publishing;

    async fn run(
        &self,
        transaction: &mut WriteTransaction,
        now: Time,
    ) -> Result<Publishing, ApplyError> {
        let Some(sink) = transaction.sink(&self.sink).await? else {
            return Ok(Publishing::NotNow);
        };
        if !may_send(&sink, &self.owner, now) {
            return Ok(Publishing::NotNow);
        }
        let through = transaction.last_delivery().await?;
        let mut names = Vec::new();
        for (record, name) in &self.records {
            let attempts = transaction.attempts_at(&self.sink, record, through).await?;
            if attempts.is_none() {
                continue;
            }
            match name {
                Ok(name) => {
                    names.extend(
                        self.take_up(transaction, &sink, record, name, through, now)
                            .await?,
                    );
                }
                Err(why) => {
                    transaction
                        .finish_name(&self.sink, record, through, Some(why), now)
                        .await?;
                }
            }
        }
        if !names.is_empty() {
            let until = now.plus_seconds(self.lease_seconds);
            transaction
                .set_lease(&self.sink, &self.owner, until)
                .await?;
        }
        Ok(Publishing::Names { names, through })
    }
}

impl BeginPublishing {
    /// Claims what is to be sent; `None`: there is nothing to send.
    async fn take_up(
        &self,
        transaction: &mut WriteTransaction,
        sink: &KnownSink,
        record: &DueName,
        name: &str,
        through: i64,
        now: Time,
    ) -> Result<Option<TakenUp>, ApplyError> {
        let is_for_it =
            sink.active == Activity::Active && sink.takes.takes(&record.silo, &record.hostname);
        let present = match is_for_it {
            true => transaction.record(&record.silo, &record.hostname).await?,
            false => None,
        };
        let wanted = present.map(|record| record.addresses).unwrap_or_default();
        let row = transaction.ledger(&self.sink, name).await?;
        let is_others = row
            .as_ref()
            .is_some_and(|row| (&row.silo, &row.hostname) != (&record.silo, &record.hostname));
        if let Some(row) = row.as_ref().filter(|_| is_others) {
            if wanted.is_empty() {
                transaction
                    .finish_name(&self.sink, record, through, None, now)
                    .await?;
            } else {
                let why = format!(
                    "{name} is published for {} of the silo {} already",
                    row.hostname, row.silo
                );
                let later = Later {
                    failed: true,
                    attempts: 1,
                    next_at: now.plus_seconds(LONGEST).as_millis(),
                    why: Some(why),
                };
                transaction
                    .postpone_name(&self.sink, record, through, &later, now)
                    .await?;
            }
            return Ok(None);
        }
        let ours = row.map(|row| row.ours).unwrap_or_default();
        if ours.is_surely(&wanted) {
            transaction
                .finish_name(&self.sink, record, through, None, now)
                .await?;
            return Ok(None);
        }
        // An older claim of a first publication is settled before anything else is claimed.
        let settles = ours.published.is_none() && ours.claimed.is_some_and(|old| old != wanted);
        let claimed = ours.claiming(wanted);
        if !settles && claimed != ours {
            let claim = LedgerRow {
                name: name.to_owned(),
                silo: record.silo.clone(),
                hostname: record.hostname.clone(),
                ours: claimed,
            };
            transaction.put_ledger(&self.sink, &claim).await?;
        }
        let standing = match ours.standing() {
            Standing::Nothing => Standing::Claimed(wanted),
            standing => standing,
        };
        let login = match sink.takes.with_login {
            true => {
                transaction
                    .login(&self.sink, &record.silo, &record.hostname)
                    .await?
            }
            false => None,
        };
        let publication = Publication {
            login,
            silo: record.silo.clone(),
            hostname: record.hostname.clone(),
            name: name.to_owned(),
            wanted,
            standing,
        };
        Ok(Some(TakenUp {
            publication,
            before: ours,
        }))
    }
}

impl Command for EndPublishing {
    type Outcome = ();

    async fn run(&self, transaction: &mut WriteTransaction, now: Time) -> Result<(), ApplyError> {
        let Some(sink) = transaction.sink(&self.sink).await? else {
            return Ok(());
        };
        if sink.lease_owner != self.owner {
            // It took so long that another worker was let in: what is claimed is for that one to settle.
            return Ok(());
        }
        let mut whole = None;
        let mut reached = false;
        for (name, outcome) in &self.ended {
            match trouble_of(outcome) {
                Some(trouble) if trouble.reach == Reach::Sink => whole = Some((outcome, trouble)),
                _ => reached = true,
            }
            self.write_down(transaction, name, outcome, now).await?;
        }
        if let Some((outcome, trouble)) = whole {
            let next_at = match outcome {
                Outcome::Refused(_) => NEVER,
                _ => next_at(sink.attempts + 1, trouble, self.jitter, now),
            };
            let trouble = worse(&sink, next_at, &trouble.why, now);
            transaction.set_sink_trouble(&self.sink, &trouble).await?;
        } else if reached && sink.attempts > 0 {
            transaction
                .set_sink_trouble(&self.sink, &SinkTrouble::default())
                .await?;
        }
        transaction
            .set_lease(&self.sink, "", Time::default())
            .await?;
        Ok(())
    }
}

fn trouble_of(outcome: &Outcome) -> Option<&Trouble> {
    match outcome {
        Outcome::Retry(trouble) | Outcome::Failed(trouble) | Outcome::Refused(trouble) => {
            Some(trouble)
        }
        Outcome::Done | Outcome::Found(_) | Outcome::Waiting => None,
    }
}

/// When to try again after so many attempts.
pub(super) fn next_at(attempts: i64, trouble: &Trouble, jitter: u64, now: Time) -> i64 {
    let not_before = trouble
        .not_before
        .and_then(|wait| i64::try_from(wait.as_millis()).ok())
        .unwrap_or(0);
    now.as_millis()
        .saturating_add(wait_ms(attempts, jitter).max(not_before))
}

impl EndPublishing {
    async fn write_down(
        &self,
        transaction: &mut WriteTransaction,
        name: &TakenUp,
        outcome: &Outcome,
        now: Time,
    ) -> Result<(), ApplyError> {
        let TakenUp {
            publication,
            before,
        } = name;
        let record = DueName {
            silo: publication.silo.clone(),
            hostname: publication.hostname.clone(),
        };
        let ours = match outcome {
            Outcome::Done => Some(surely(publication.wanted)),
            Outcome::Found(standing) => Some(found(*standing)),
            // It may have arrived: the claim stands.
            Outcome::Waiting | Outcome::Retry(_) => None,
            // Nothing was written by this attempt; an earlier one may still have been.
            Outcome::Failed(_) | Outcome::Refused(_) => Some(*before),
        };
        if let Some(ours) = ours {
            let row = LedgerRow {
                name: publication.name.clone(),
                silo: publication.silo.clone(),
                hostname: publication.hostname.clone(),
                ours,
            };
            transaction.put_ledger(&self.sink, &row).await?;
        }
        let (sink, through) = (&self.sink, self.through);
        let Some(attempts) = transaction.attempts_at(sink, &record, through).await? else {
            return Ok(());
        };
        let later = match outcome {
            Outcome::Done => {
                return Ok(transaction
                    .finish_name(sink, &record, through, None, now)
                    .await?);
            }
            Outcome::Found(standing) if *standing == publication.standing => {
                // The sink goes round in a circle: not at once again.
                let trouble = Trouble::of_name("what the receiver holds does not become clear");
                self.later(&trouble, outcome, attempts, now)
            }
            Outcome::Found(_) => Later::soon(attempts, now.as_millis()),
            Outcome::Waiting => {
                let asked = attempts.clamp(0, WAITING_ATTEMPTS);
                Later::soon(
                    (asked + 1).min(WAITING_ATTEMPTS).max(attempts),
                    now.as_millis() + (ASK_AGAIN_MS << asked),
                )
            }
            Outcome::Retry(trouble) | Outcome::Failed(trouble) | Outcome::Refused(trouble) => {
                self.later(trouble, outcome, attempts, now)
            }
        };
        Ok(transaction
            .postpone_name(sink, &record, through, &later, now)
            .await?)
    }

    fn later(&self, trouble: &Trouble, outcome: &Outcome, attempts: i64, now: Time) -> Later {
        let attempts = attempts + 1;
        let next_at = match outcome {
            Outcome::Refused(_) => NEVER,
            // The sink as a whole is held back. Then it is this name's turn after those that were
            // not tried yet: what is behind the trouble may be the name after all.
            _ if trouble.reach == Reach::Sink => now.as_millis(),
            Outcome::Failed(_) => next_at(attempts, trouble, self.jitter, now)
                .max(now.plus_seconds(LONGEST).as_millis()),
            _ => next_at(attempts, trouble, self.jitter, now),
        };
        Later {
            failed: matches!(outcome, Outcome::Failed(_) | Outcome::Refused(_)),
            attempts,
            next_at,
            why: Some(trouble.why.clone()),
        }
    }
}

/// What is ours once the receiver has taken these.
fn surely(wanted: silo_shared::silo::Addresses) -> Ours {
    Ours {
        claimed: None,
        published: (!wanted.is_empty()).then_some(wanted),
        unsure: Unsure::default(),
    }
}

/// What is ours by what a sink found.
fn found(standing: Standing) -> Ours {
    match standing {
        Standing::Nothing => Ours::default(),
        Standing::Published(published) => surely(published),
        Standing::Claimed(claimed) => Ours {
            claimed: Some(claimed),
            published: None,
            unsure: Unsure::BOTH,
        },
        Standing::Replacing {
            published,
            sent,
            unsure,
        } => Ours {
            claimed: Some(sent),
            published: Some(published),
            unsure,
        },
    }
}

impl Command for OweDifference {
    /// How many hostnames are owed anew.
    type Outcome = usize;

    async fn run(
        &self,
        transaction: &mut WriteTransaction,
        now: Time,
    ) -> Result<usize, ApplyError> {
        let last = transaction.last_delivery().await?;
        let mut count = 0;
        for (silo, hostnames) in &self.differing {
            let mut names = Vec::new();
            for hostname in hostnames {
                let record = DueName {
                    silo: silo.clone(),
                    hostname: hostname.clone(),
                };
                let attempts = transaction.attempts_at(&self.sink, &record, last).await?;
                if attempts.is_none() {
                    names.push((hostname.clone(), None));
                }
            }
            if names.is_empty() {
                continue;
            }
            let owed = OwedEvent {
                sink: &self.sink,
                happening: Happening::Reconcile,
                silo,
                revision: transaction.revision(),
                at: now,
                last_seen: None,
            };
            transaction.owe(&owed, &names).await?;
            count += names.len();
        }
        Ok(count)
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
        Ok(transaction
            .set_reconciled(&self.0, now, Some(COMPARING))
            .await?)
    }
}

impl Command for AdoptName {
    /// Whether it was nobody's before.
    type Outcome = bool;

    async fn run(&self, transaction: &mut WriteTransaction, now: Time) -> Result<bool, ApplyError> {
        if transaction
            .ledger(&self.sink, &self.row.name)
            .await?
            .is_some()
        {
            return Ok(false);
        }
        transaction.put_ledger(&self.sink, &self.row).await?;
        // What failed since the name was not ours is done now.
        let record = DueName {
            silo: self.row.silo.clone(),
            hostname: self.row.hostname.clone(),
        };
        let through = transaction.last_delivery().await?;
        transaction
            .finish_name(&self.sink, &record, through, None, now)
            .await?;
        Ok(true)
    }
}
