//! The commands of a worker that keeps a state sink up to date: take up names, write down how it ended.

use std::collections::BTreeMap;

use super::failing::Fared;
use super::sinks::FailedTry;
use super::{ApplyError, Command};
use crate::domain::backoff::{LONGEST, is_hurried, is_over, wait_ms};
use crate::domain::delivery::{Outcome, Publication, Reach, Standing, Trouble, Unsure};
use crate::domain::elapsed::lies_ahead_anywhere;
use crate::domain::sink::SinkName;
use crate::domain::time::Time;
use crate::store::{
    Activity, DueName, Happening, KnownSink, Later, LedgerRow, NEVER, Ours, Owed, OwedNames,
    SinkTrouble, WriteTransaction,
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
    /// Whether the sink takes only names that DNS takes for host names; what it holds already goes on.
    pub takes_host_names_only: bool,
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

impl TakenUp {
    fn record(&self) -> DueName {
        DueName {
            silo: self.publication.silo.clone(),
            hostname: self.publication.hostname.clone(),
        }
    }
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

/// Owes a sink the records whose publication differs, unless they are owed already.
#[derive(Debug)]
pub struct OweDifference {
    /// The sink.
    pub sink: SinkName,
    /// The records, each once.
    pub differing: Vec<DueName>,
}

/// Merges what version 0.1.0 owes a state sink, which wrote a delivery for each change, into one open
/// delivery a record.
#[derive(Debug)]
pub struct MergeDeliveries {
    /// The sink.
    pub sink: SinkName,
    /// The records, at most [`MERGED_TOGETHER`].
    pub names: Vec<DueName>,
}

/// How many records one transaction merges deliveries of, at most.
pub const MERGED_TOGETHER: usize = 64;

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
pub(super) fn may_send(sink: &KnownSink, owner: &str, lease_seconds: i64, now: Time) -> bool {
    matches!(sink.active, Activity::Active | Activity::Cleaning)
        && (is_over(sink.next_at, now) || is_hurried(sink.hurry_at, now))
        && (sink.lease_owner == owner || !lies_ahead_anywhere(sink.lease_until, lease_seconds, now))
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
        if !may_send(&sink, &self.owner, self.lease_seconds, now) {
            return Ok(Publishing::NotNow);
        }
        if sink.hurry_at.is_some_and(|at| at != NEVER) {
            transaction.end_hurry(&sink.name).await?;
        }
        let through = transaction.last_delivery().await?;
        let mut shift = Shift::begin(self, transaction, &sink, through).await?;
        for (record, name) in &self.records {
            let Some(owed) = shift.owed.remove(record) else {
                continue;
            };
            match name {
                Ok(name) => {
                    shift
                        .take_up(transaction, &sink, record.clone(), owed, name, now)
                        .await?;
                }
                Err(why) => {
                    let entry = shift.finished.entry(Some(why.clone())).or_default();
                    entry.push((record.clone(), owed));
                }
            }
        }
        let name = &self.sink;
        shift.fared().tell(transaction, &sink, now).await?;
        for (why, names) in &shift.finished {
            transaction
                .finish_names(name, names, through, why.as_deref(), now)
                .await?;
        }
        for (later, names) in &shift.postponed {
            transaction
                .postpone_names(name, names, through, later, now)
                .await?;
        }
        transaction.put_ledger(name, &shift.claims).await?;
        let names = shift.names;
        if !names.is_empty() {
            let until = now.plus_seconds(self.lease_seconds);
            transaction
                .set_lease(&self.sink, &self.owner, until)
                .await?;
        }
        Ok(Publishing::Names { names, through })
    }
}

/// What becomes of the records that are taken up together: read by a few statements, decided one by one,
/// written by a few statements.
#[derive(Debug, Default)]
struct Shift {
    /// What is owed of each record.
    owed: BTreeMap<DueName, Owed>,
    /// What is ours, by name at the receiver, claims of this shift included.
    ledger: BTreeMap<String, LedgerRow>,
    /// Whether the sink takes only names that DNS takes for host names.
    takes_host_names_only: bool,
    /// What is to be sent.
    names: Vec<TakenUp>,
    /// What is claimed for that.
    claims: Vec<LedgerRow>,
    /// What there is nothing to send of, by why.
    finished: BTreeMap<Option<String>, Vec<(DueName, Owed)>>,
    /// What can't be sent now.
    postponed: BTreeMap<Later, Vec<(DueName, Owed)>>,
}

impl Shift {
    /// How the records fared of which nothing is sent.
    fn fared(&self) -> Fared {
        let mut fared = Fared::default();
        let finished = self.finished.values().flatten();
        let finished = finished.map(|(name, _)| (name.clone(), None));
        fared.records.extend(finished);
        for (later, names) in self.postponed.iter().filter(|(later, _)| later.failed) {
            let names = names
                .iter()
                .map(|(name, _)| (name.clone(), later.why.clone()));
            fared.records.extend(names);
        }
        fared
    }

    /// Reads what the decisions need.
    async fn begin(
        command: &BeginPublishing,
        transaction: &mut WriteTransaction,
        sink: &KnownSink,
        through: i64,
    ) -> Result<Self, ApplyError> {
        let records: Vec<DueName> = command.records.iter().map(|(due, _)| due.clone()).collect();
        let names: Vec<&str> = command
            .records
            .iter()
            .filter_map(|(_, name)| name.as_deref().ok())
            .collect();
        let owed = transaction.owed(&sink.name, &records, through).await?;
        let reads: Vec<_> = owed
            .keys()
            .map(|name| (&name.silo, &name.hostname))
            .collect();
        transaction.look_up(&reads).await?;
        let ledger = transaction.ledger(&sink.name, &names).await?;
        Ok(Self {
            owed,
            ledger: ledger
                .into_iter()
                .map(|row| (row.name.clone(), row))
                .collect(),
            takes_host_names_only: command.takes_host_names_only,
            ..Self::default()
        })
    }

    /// Claims what is to be sent, if there is anything to send.
    async fn take_up(
        &mut self,
        transaction: &mut WriteTransaction,
        sink: &KnownSink,
        record: DueName,
        owed: Owed,
        name: &str,
        now: Time,
    ) -> Result<(), ApplyError> {
        let is_for_it =
            sink.active == Activity::Active && sink.takes.takes(&record.silo, &record.hostname);
        let present = match is_for_it {
            true => transaction.record(&record.silo, &record.hostname).await?,
            false => None,
        };
        let wanted = present.map(|record| record.addresses).unwrap_or_default();
        let row = self.ledger.get(name);
        let is_others =
            row.is_some_and(|row| (&row.silo, &row.hostname) != (&record.silo, &record.hostname));
        if let Some(row) = row.filter(|_| is_others) {
            if wanted.is_empty() {
                self.finished.entry(None).or_default().push((record, owed));
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
                let entry = self.postponed.entry(later).or_default();
                entry.push((record, owed));
            }
            return Ok(());
        }
        if row.is_none() && self.takes_host_names_only && !record.hostname.is_dns_host_name() {
            let why = format!("{name} has \"_\", which no host name in DNS has");
            let entry = self.finished.entry(Some(why)).or_default();
            entry.push((record, owed));
            return Ok(());
        }
        let ours = row.map(|row| row.ours).unwrap_or_default();
        if ours.is_surely(&wanted) {
            self.finished.entry(None).or_default().push((record, owed));
            return Ok(());
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
            self.claims.push(claim.clone());
            self.ledger.insert(claim.name.clone(), claim);
        }
        let standing = match ours.standing() {
            Standing::Nothing => Standing::Claimed(wanted),
            standing => standing,
        };
        let login = match sink.takes.with_login {
            true => {
                transaction
                    .login(&sink.name, &record.silo, &record.hostname)
                    .await?
            }
            false => None,
        };
        let publication = Publication {
            login,
            silo: record.silo,
            hostname: record.hostname,
            name: name.to_owned(),
            wanted,
            standing,
        };
        self.names.push(TakenUp {
            publication,
            before: ours,
        });
        Ok(())
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
        let (mut reached, mut taken) = (false, false);
        for (_, outcome) in &self.ended {
            match trouble_of(outcome) {
                Some(trouble) if trouble.reach == Reach::Sink => whole = Some((outcome, trouble)),
                _ => reached = true,
            }
            taken |= *outcome == Outcome::Done;
        }
        let is_back = whole.is_none() && reached && sink.attempts > 0;
        self.write_down(transaction, &sink, is_back, now).await?;
        if let Some((outcome, trouble)) = whole {
            let failed = FailedTry {
                trouble,
                is_refused: matches!(outcome, Outcome::Refused(_)),
                is_first: taken,
                jitter: self.jitter,
            };
            failed.write_down(transaction, &sink, now).await?;
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

/// What went wrong, if anything did.
pub(super) fn trouble_of(outcome: &Outcome) -> Option<&Trouble> {
    match outcome {
        Outcome::Retry(trouble) | Outcome::Failed(trouble) | Outcome::Refused(trouble) => {
            Some(trouble)
        }
        Outcome::Done | Outcome::Found(_) | Outcome::Waiting => None,
    }
}

/// Notes how a record fared by how its publication ended.
fn note_fared(fared: &mut Fared, record: &DueName, outcome: &Outcome) {
    let why = match outcome {
        Outcome::Done => None,
        Outcome::Failed(trouble) | Outcome::Refused(trouble) => Some(trouble),
        Outcome::Found(_) | Outcome::Waiting | Outcome::Retry(_) => {
            fared.is_served |= matches!(outcome, Outcome::Found(_));
            return;
        }
    };
    match why {
        Some(trouble) if trouble.reach == Reach::Sink => {
            fared.whole = Some((record.clone(), trouble.why.clone()));
        }
        why => {
            fared.is_served = true;
            let why = why.map(|trouble| trouble.why.clone());
            fared.records.insert(record.clone(), why);
        }
    }
}

/// When to try again after so many attempts.
pub(super) fn next_at(attempts: i64, trouble: &Trouble, jitter: u64, now: Time) -> i64 {
    let wait = now.as_millis().saturating_add(wait_ms(attempts, jitter));
    wait.max(not_before(trouble, now).unwrap_or(wait))
}

/// Before when the receiver asked not to be tried again, in milliseconds since the Unix epoch.
pub(super) fn not_before(trouble: &Trouble, now: Time) -> Option<i64> {
    let wait = i64::try_from(trouble.not_before?.as_millis()).unwrap_or(i64::MAX);
    Some(now.as_millis().saturating_add(wait))
}

impl EndPublishing {
    /// Writes down how each name ended, by a few statements for all of them. `is_back`: the receiver was away
    /// before.
    async fn write_down(
        &self,
        transaction: &mut WriteTransaction,
        known: &KnownSink,
        is_back: bool,
        now: Time,
    ) -> Result<(), ApplyError> {
        let records: Vec<DueName> = self.ended.iter().map(|(name, _)| name.record()).collect();
        let (sink, through) = (&self.sink, self.through);
        let mut owed = transaction.owed(sink, &records, through).await?;
        let mut tried = self.ended.iter().zip(&records);
        let is_cured = tried.any(|((_, outcome), record)| {
            *outcome == Outcome::Done && owed.get(record).is_some_and(|owed| owed.is_failing)
        });
        if is_back || is_cured {
            // Before what was just tried gets waits of its own.
            transaction.hurry_names(sink, now).await?;
        }
        let mut ledger = Vec::new();
        let mut finished = Vec::new();
        let mut postponed: BTreeMap<Later, Vec<(DueName, Owed)>> = BTreeMap::new();
        let mut fared = Fared::default();
        for ((name, outcome), record) in self.ended.iter().zip(records) {
            if let Some(ours) = ours_after(name, outcome) {
                ledger.push(LedgerRow {
                    name: name.publication.name.clone(),
                    silo: record.silo.clone(),
                    hostname: record.hostname.clone(),
                    ours,
                });
            }
            note_fared(&mut fared, &record, outcome);
            let Some(owed) = owed.remove(&record) else {
                continue;
            };
            match self.turn_after(name, outcome, owed.attempts, now) {
                None => finished.push((record, owed)),
                Some(later) => postponed.entry(later).or_default().push((record, owed)),
            }
        }
        fared.tell(transaction, known, now).await?;
        transaction.put_ledger(sink, &ledger).await?;
        transaction
            .finish_names(sink, &finished, through, None, now)
            .await?;
        for (later, names) in &postponed {
            transaction
                .postpone_names(sink, names, through, later, now)
                .await?;
        }
        Ok(())
    }

    /// When a name's turn comes again; `None`: it is done.
    fn turn_after(
        &self,
        name: &TakenUp,
        outcome: &Outcome,
        attempts: i64,
        now: Time,
    ) -> Option<Later> {
        Some(match outcome {
            Outcome::Done => return None,
            Outcome::Found(standing) if *standing == name.publication.standing => {
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
        })
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

/// What is ours once an attempt has ended; `None`: what was claimed before it.
fn ours_after(name: &TakenUp, outcome: &Outcome) -> Option<Ours> {
    match outcome {
        Outcome::Done => Some(surely(name.publication.wanted)),
        Outcome::Found(standing) => Some(found(*standing)),
        // It may have arrived: the claim stands.
        Outcome::Waiting | Outcome::Retry(_) => None,
        // Nothing was written by this attempt; an earlier one may still have been.
        Outcome::Failed(_) | Outcome::Refused(_) => Some(name.before),
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
        let owed = transaction
            .owed(&self.sink, &self.differing, i64::MAX)
            .await?;
        let is_new = |name: &&DueName| !owed.contains_key(*name);
        let names: Vec<_> = self.differing.iter().filter(is_new).cloned().collect();
        let owed = OwedNames {
            sink: &self.sink,
            happening: Happening::Reconcile,
            revision: transaction.revision(),
            at: now,
        };
        transaction.owe_names(&owed, &names).await?;
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
        Ok(transaction
            .set_reconciled(&self.0, now, Some(COMPARING))
            .await?)
    }
}

impl Command for AdoptName {
    /// Whether it was nobody's before.
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
        // What failed since the name was not ours is done now.
        let record = DueName {
            silo: row.silo.clone(),
            hostname: row.hostname.clone(),
        };
        let owed = transaction.owed(sink, &[record], i64::MAX).await?;
        let owed: Vec<_> = owed.into_iter().collect();
        transaction
            .finish_names(sink, &owed, i64::MAX, None, now)
            .await?;
        Ok(true)
    }
}
