//! The commands of a worker that keeps a state sink up to date: take up names, write down how it ended.

use silo_shared::silo::{Hostname, SiloId};

use super::sinks::worse;
use super::{ApplyError, Command};
use crate::domain::backoff::{LONGEST, wait_ms};
use crate::domain::delivery::{Outcome, Publication, Reach, Standing, Trouble};
use crate::domain::sink::SinkName;
use crate::domain::time::Time;
use crate::store::{
    Activity, DueName, Happening, KnownSink, LedgerRow, NEVER, Ours, OwedEvent, SinkTrouble,
    WriteTransaction,
};

/// How soon something that was handed over is asked after again, in milliseconds.
const ASK_AGAIN_MS: i64 = 500;

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
        publications: Vec<Publication>,
        /// The last delivery that this covers.
        through: i64,
    },
}

/// Writes down how publications ended and gives the lease back.
#[derive(Debug)]
pub struct EndPublishing {
    /// The sink.
    pub sink: SinkName,
    /// The worker that has the lease.
    pub owner: String,
    /// What was tried; what is missing stays owed.
    pub ended: Vec<(Publication, Outcome)>,
    /// As [`Publishing::Names`] said.
    pub through: i64,
    /// Any number, for the jitter of waits.
    pub jitter: u64,
}

/// Owes a sink the hostnames of a silo whose publication differs, unless they are owed already.
#[derive(Debug)]
pub struct OweDifference {
    /// The sink.
    pub sink: SinkName,
    /// The silo.
    pub silo: SiloId,
    /// The hostnames.
    pub hostnames: Vec<Hostname>,
}

/// Notes that ledger and silos were compared.
#[derive(Debug)]
pub struct EndReconciling(pub SinkName);

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
    sink.active != Activity::Gone
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
        let mut publications = Vec::new();
        for (record, name) in &self.records {
            let attempts = transaction.attempts_at(&self.sink, record, through).await?;
            if attempts.is_none() {
                continue;
            }
            match name {
                Ok(name) => {
                    if let Some(publication) = self
                        .take_up(transaction, &sink, record, name, through, now)
                        .await?
                    {
                        publications.push(publication);
                    }
                }
                Err(why) => {
                    transaction
                        .finish_name(&self.sink, record, through, Some(why), now)
                        .await?;
                }
            }
        }
        if !publications.is_empty() {
            let until = now.plus_seconds(self.lease_seconds);
            transaction
                .set_lease(&self.sink, &self.owner, until)
                .await?;
        }
        Ok(Publishing::Names {
            publications,
            through,
        })
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
    ) -> Result<Option<Publication>, ApplyError> {
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
                let next_at = now.plus_seconds(LONGEST).as_millis();
                transaction
                    .postpone_name(
                        &self.sink,
                        record,
                        through,
                        true,
                        1,
                        next_at,
                        Some(&why),
                        now,
                    )
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
        if !settles && ours.claimed != Some(wanted) {
            let claim = LedgerRow {
                name: name.to_owned(),
                silo: record.silo.clone(),
                hostname: record.hostname.clone(),
                ours: Ours {
                    claimed: Some(wanted),
                    ..ours
                },
            };
            transaction.put_ledger(&self.sink, &claim).await?;
        }
        let standing = match ours.standing() {
            Standing::Nothing => Standing::Claimed(wanted),
            standing => standing,
        };
        Ok(Some(Publication {
            silo: record.silo.clone(),
            hostname: record.hostname.clone(),
            name: name.to_owned(),
            wanted,
            standing,
        }))
    }
}

impl Command for EndPublishing {
    type Outcome = ();

    async fn run(&self, transaction: &mut WriteTransaction, now: Time) -> Result<(), ApplyError> {
        let Some(sink) = transaction.sink(&self.sink).await? else {
            return Ok(());
        };
        let mut whole = None;
        let mut reached = false;
        for (publication, outcome) in &self.ended {
            match outcome {
                Outcome::Retry(trouble) | Outcome::Failed(trouble) | Outcome::Refused(trouble)
                    if trouble.reach == Reach::Sink =>
                {
                    whole = Some((outcome, trouble));
                }
                _ => reached = true,
            }
            self.write_down(transaction, publication, outcome, now)
                .await?;
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
        if sink.lease_owner == self.owner {
            transaction
                .set_lease(&self.sink, "", Time::default())
                .await?;
        }
        Ok(())
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
        publication: &Publication,
        outcome: &Outcome,
        now: Time,
    ) -> Result<(), ApplyError> {
        let record = DueName {
            silo: publication.silo.clone(),
            hostname: publication.hostname.clone(),
        };
        let (sink, through) = (&self.sink, self.through);
        let row = transaction.ledger(sink, &publication.name).await?;
        let stands = row.map(|row| row.ours).unwrap_or_default();
        let (ours, verdict) = match outcome {
            Outcome::Done => (Some(surely(publication.wanted)), None),
            Outcome::Found(standing) => (Some(found(*standing)), Some((false, 0, None, None))),
            Outcome::Waiting => (
                None,
                Some((false, now.as_millis() + ASK_AGAIN_MS, None, None)),
            ),
            Outcome::Retry(trouble) => (None, Some((false, 0, Some(trouble), Some(())))),
            // Nothing was written there: what was claimed for it is not ours.
            Outcome::Failed(trouble) | Outcome::Refused(trouble) => {
                let ours = Ours {
                    claimed: None,
                    ..stands
                };
                (Some(ours), Some((true, 0, Some(trouble), Some(()))))
            }
        };
        if let Some(ours) = ours
            && ours != stands
        {
            let row = LedgerRow {
                name: publication.name.clone(),
                silo: publication.silo.clone(),
                hostname: publication.hostname.clone(),
                ours,
            };
            transaction.put_ledger(sink, &row).await?;
        }
        let attempts = transaction.attempts_at(sink, &record, through).await?;
        let Some(attempts) = attempts else {
            return Ok(());
        };
        let Some((failed, soon, trouble, counts)) = verdict else {
            return Ok(transaction
                .finish_name(sink, &record, through, None, now)
                .await?);
        };
        let attempts = attempts + i64::from(counts.is_some());
        let next_at = match (outcome, trouble) {
            (Outcome::Refused(_), _) => NEVER,
            // The sink as a whole is held back; its names then go on at once.
            (_, Some(trouble)) if trouble.reach == Reach::Sink => 0,
            (Outcome::Failed(_), Some(trouble)) => next_at(attempts, trouble, self.jitter, now)
                .max(now.plus_seconds(LONGEST).as_millis()),
            (_, Some(trouble)) => next_at(attempts, trouble, self.jitter, now),
            (_, None) => soon,
        };
        let why = trouble.map(|trouble| trouble.why.as_str());
        Ok(transaction
            .postpone_name(sink, &record, through, failed, attempts, next_at, why, now)
            .await?)
    }
}

/// What is ours once the receiver has taken these.
fn surely(wanted: silo_shared::silo::Addresses) -> Ours {
    Ours {
        claimed: None,
        published: (!wanted.is_empty()).then_some(wanted),
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
        },
        Standing::Replacing { published, sent } => Ours {
            claimed: Some(sent),
            published: Some(published),
        },
    }
}

impl Command for OweDifference {
    /// Whether anything was owed anew.
    type Outcome = bool;

    async fn run(&self, transaction: &mut WriteTransaction, now: Time) -> Result<bool, ApplyError> {
        let last = transaction.last_delivery().await?;
        let mut names = Vec::new();
        for hostname in &self.hostnames {
            let record = DueName {
                silo: self.silo.clone(),
                hostname: hostname.clone(),
            };
            if transaction
                .attempts_at(&self.sink, &record, last)
                .await?
                .is_none()
            {
                names.push((hostname.clone(), None));
            }
        }
        if names.is_empty() {
            return Ok(false);
        }
        let owed = OwedEvent {
            sink: &self.sink,
            happening: Happening::Reconcile,
            silo: &self.silo,
            revision: transaction.revision(),
            at: now,
            last_seen: None,
        };
        transaction.owe(&owed, &names).await?;
        Ok(true)
    }
}

impl Command for EndReconciling {
    type Outcome = ();

    async fn run(&self, transaction: &mut WriteTransaction, now: Time) -> Result<(), ApplyError> {
        transaction.set_reconciled(&self.0, now).await?;
        Ok(())
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
