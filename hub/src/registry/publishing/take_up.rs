//! Claims due records: decides what to send for each.

use std::collections::BTreeMap;

use silo_shared::silo::Addresses;

use super::{BeginPublishing, Publishing, TakenUp, may_send};
use crate::domain::backoff::LONGEST;
use crate::domain::delivery::{Publication, ReceiverState};
use crate::domain::time::Time;
use crate::registry::failing::RecordResults;
use crate::registry::{ApplyError, Command};
use crate::store::{
    Activity, DueName, KnownSink, Later, LedgerRow, LedgerState, NEVER, PendingName, Queries,
    WriteTransaction,
};

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
        let mut batch = ClaimBatch::begin(self, transaction, &sink, through).await?;
        for (record, name) in &self.records {
            let Some(pending) = batch.pending.remove(record) else {
                continue;
            };
            match name {
                Ok(name) => {
                    batch
                        .take_up(transaction, &sink, record.clone(), pending, name, now)
                        .await?;
                }
                Err(why) => {
                    let entry = batch.finished.entry(Some(why.clone())).or_default();
                    entry.push((record.clone(), pending));
                }
            }
        }
        let name = &self.sink;
        batch.results().report(transaction, &sink, now).await?;
        for (why, names) in &batch.finished {
            transaction
                .finish_names(name, names, through, why.as_deref(), now)
                .await?;
        }
        for (later, names) in &batch.postponed {
            transaction
                .postpone_names(name, names, through, later, now)
                .await?;
        }
        transaction.put_ledger(name, &batch.claims).await?;
        let names = batch.names;
        if !names.is_empty() {
            let until = now.plus_seconds(self.lease_seconds);
            transaction
                .set_lease(&self.sink, &self.owner, until)
                .await?;
        }
        Ok(Publishing::Names { names, through })
    }
}

/// What becomes of a due record.
enum Step {
    /// There is nothing to send, with a reason if it can't be published.
    Finish(Option<String>),
    /// It is looked at again later.
    Postpone(Later),
    /// It is sent, beginning with what the ledger says of its name.
    Claim(LedgerState),
}

/// The due records of one round: read with a few statements, decided one by one, written with a few
/// statements.
#[derive(Debug, Default)]
struct ClaimBatch {
    /// What is pending for each record.
    pending: BTreeMap<DueName, PendingName>,
    /// What is ours, by name at the receiver, including claims of this round.
    ledger: BTreeMap<String, LedgerRow>,
    /// Whether the sink accepts only valid DNS host names.
    takes_host_names_only: bool,
    /// The names to send.
    names: Vec<TakenUp>,
    /// The claims for them.
    claims: Vec<LedgerRow>,
    /// Records with nothing to send, by reason.
    finished: BTreeMap<Option<String>, Vec<(DueName, PendingName)>>,
    /// Records that can't be sent now.
    postponed: BTreeMap<Later, Vec<(DueName, PendingName)>>,
}

impl ClaimBatch {
    /// The results of records for which nothing is sent.
    fn results(&self) -> RecordResults {
        let mut results = RecordResults::default();
        let finished = self.finished.values().flatten();
        let finished = finished.map(|(name, _)| (name.clone(), None));
        results.records.extend(finished);
        for (later, names) in self.postponed.iter().filter(|(later, _)| later.failed) {
            let names = names
                .iter()
                .map(|(name, _)| (name.clone(), later.why.clone()));
            results.records.extend(names);
        }
        results
    }

    /// Reads the data for the decisions.
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
        let pending = transaction
            .pending_of(&sink.name, &records, through)
            .await?;
        let reads: Vec<_> = pending
            .keys()
            .map(|name| (&name.silo, &name.hostname))
            .collect();
        transaction.look_up(&reads).await?;
        let ledger = transaction.ledger(&sink.name, &names).await?;
        Ok(Self {
            pending,
            ledger: ledger
                .into_iter()
                .map(|row| (row.name.clone(), row))
                .collect(),
            takes_host_names_only: command.takes_host_names_only,
            ..Self::default()
        })
    }

    /// What becomes of a record whose addresses at the receiver's `name` shall be `wanted`.
    fn decide(&self, record: &DueName, name: &str, wanted: &Addresses, now: Time) -> Step {
        let row = self.ledger.get(name);
        let is_others =
            |row: &&LedgerRow| (&row.silo, &row.hostname) != (&record.silo, &record.hostname);
        if let Some(row) = row.filter(is_others) {
            if wanted.is_empty() {
                return Step::Finish(None);
            }
            let why = format!(
                "{name} is published for {} of the silo {} already",
                row.hostname, row.silo
            );
            return Step::Postpone(Later {
                failed: true,
                attempts: 1,
                next_at: now.plus_seconds(LONGEST).as_millis(),
                why: Some(why),
            });
        }
        if row.is_none() && self.takes_host_names_only && !record.hostname.is_dns_host_name() {
            let why = format!("{name} contains \"_\", which a host name in DNS can't");
            return Step::Finish(Some(why));
        }
        let ours = row.map(|row| row.ours).unwrap_or_default();
        if ours.is_surely(wanted) {
            return Step::Finish(None);
        }
        Step::Claim(ours)
    }

    /// Claims a record, if there is anything to send.
    async fn take_up(
        &mut self,
        transaction: &mut WriteTransaction,
        sink: &KnownSink,
        record: DueName,
        pending: PendingName,
        name: &str,
        now: Time,
    ) -> Result<(), ApplyError> {
        let is_for_it =
            sink.active == Activity::Active && sink.takes.takes(&record.silo, &record.hostname);
        let present = if is_for_it {
            transaction.record(&record.silo, &record.hostname).await?
        } else {
            None
        };
        let wanted = present.map(|record| record.addresses).unwrap_or_default();
        let ours = match self.decide(&record, name, &wanted, now) {
            Step::Claim(ours) => ours,
            Step::Finish(why) => {
                let entry = self.finished.entry(why).or_default();
                entry.push((record, pending));
                return Ok(());
            }
            Step::Postpone(later) => {
                let entry = self.postponed.entry(later).or_default();
                entry.push((record, pending));
                return Ok(());
            }
        };
        // An older claim of a first publication is resolved before anything else is claimed.
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
            ReceiverState::Nothing => ReceiverState::Claimed(wanted),
            standing => standing,
        };
        let login = if sink.takes.with_login {
            transaction
                .login(&sink.name, &record.silo, &record.hostname)
                .await?
        } else {
            None
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
