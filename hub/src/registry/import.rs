//! The commands of an import.
//!
//! A silo that never existed here is added with its history. A silo that exists or existed here is
//! set to the exported state by an ordinary change and gets none of the exported history, as the
//! two histories do not fit together. The silos added by an import are recorded in the database
//! until it ends, so that an interrupted import can be repeated; after it has ended, importing the
//! same export again adds nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use silo_shared::silo::{Hostname, SiloId};

use super::change::Change;
use super::restored::begin_again;
use super::silos::new_record;
use super::{Actor, ApplyError, Command};
use crate::domain::change::address_changes;
use crate::domain::revision::Revision;
use crate::domain::time::Time;
use crate::store::{
    KnownToken, Queries, StoredRecord, TransferredBinding, TransferredRow, TransferredSilo,
    TransferredUpdateKey, Via, WriteTransaction,
};

/// The fact that holds the current revision of an import into an empty database. While the counter
/// has this value, nothing else has been written, and revisions can be kept.
const ARRIVED: &str = "import_arrived";

/// Begins an import.
#[derive(Debug)]
pub struct BeginImport;

/// Imports a part of an export.
#[derive(Debug, Default)]
pub struct ImportPart {
    /// Silos with their records.
    pub silos: Vec<TransferredSilo>,
    /// Rows of the history.
    pub history: Vec<TransferredRow>,
    /// The silos of these rows that earlier parts have [started](PartWritten::started).
    pub started: BTreeMap<SiloId, Revision>,
    /// Whether to leave silos alone that exist or existed here: another program's data is older
    /// than the hub's.
    pub only_new: bool,
    /// Tokens.
    pub tokens: Vec<KnownToken>,
    /// Update keys.
    pub update_keys: Vec<TransferredUpdateKey>,
    /// Bindings of dynahost's protocol.
    pub dynahosts: Vec<TransferredBinding>,
}

/// Records that the history of these silos is complete, before an import ends.
#[derive(Debug)]
pub struct CloseImported(pub Vec<SiloId>);

/// Ends an import: later revisions are above all revisions seen by any client, and streams and hubs
/// discard what they held before and start over.
#[derive(Debug)]
pub struct EndImport;

/// The results of an [`ImportPart`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartWritten {
    /// Silos added, including deleted ones.
    pub silos_added: u64,
    /// Existing silos that were changed to match the export.
    pub silos_changed: u64,
    /// Silos left unchanged because they exist or existed here.
    pub silos_kept: u64,
    /// History rows added.
    pub history: u64,
    /// History rows that did not exist and were left out.
    pub history_left_out: u64,
    /// Silos whose history comes from the export: added now, or by an earlier, interrupted import
    /// of it. Each with its revision in the export.
    pub started: Vec<(SiloId, Revision)>,
    /// Tokens added.
    pub tokens: u64,
    /// Update keys added.
    pub update_keys: u64,
    /// Bindings of dynahost's protocol added.
    pub dynahosts: u64,
}

impl Command for BeginImport {
    type Outcome = ();

    fn patience(&self) -> Option<Duration> {
        None
    }

    async fn run(&self, transaction: &mut WriteTransaction, _: Time) -> Result<(), ApplyError> {
        if transaction.holds_nothing().await? {
            let arrived = transaction.revision().to_string();
            transaction.set_fact(ARRIVED, &arrived).await?;
        }
        Ok(())
    }
}

impl ImportPart {
    fn newest(&self) -> Revision {
        let silos = self.silos.iter().map(|silo| silo.head.revision);
        let history = self.history.iter().map(|row| row.row.revision);
        silos.chain(history).max().unwrap_or_default()
    }
}

impl ImportPart {
    /// Adds the history of silos added by this import. A silo that exists or existed here keeps its
    /// own history: mixed with rows of another one, a replay would give states that never existed.
    async fn add_history(
        &self,
        transaction: &mut WriteTransaction,
        keeps: bool,
        written: &mut PartWritten,
    ) -> Result<(), ApplyError> {
        let mut started = self.started.clone();
        started.extend(written.started.iter().cloned());
        let (mut brought, mut left_out) = (Vec::new(), Vec::new());
        for row in &self.history {
            let is_brought = match started.get(&row.silo) {
                Some(newest) => keeps || row.row.revision <= *newest,
                // A silo whose tombstone was already purged.
                None => keeps && transaction.silo_head(&row.silo).await?.is_none(),
            };
            if is_brought {
                brought.push(row);
            } else {
                left_out.push(row);
            }
        }
        let done = transaction.add_missing_history(&brought).await?;
        written.history = done.added;
        written.history_left_out =
            done.left_out + transaction.count_missing_history(&left_out).await?;
        Ok(())
    }
}

impl Command for ImportPart {
    type Outcome = PartWritten;

    fn patience(&self) -> Option<Duration> {
        None
    }

    async fn run(
        &self,
        transaction: &mut WriteTransaction,
        now: Time,
    ) -> Result<PartWritten, ApplyError> {
        let arrived = transaction.fact(ARRIVED).await?;
        let keeps = arrived.is_some_and(|at| at == transaction.revision().to_string());
        // Before taking any revision, so that a silo's revision is above those of its history.
        transaction.raise_revision(self.newest());
        let mut written = PartWritten::default();
        let mut added = Vec::new();
        for silo in &self.silos {
            let head = transaction.silo_head(&silo.id).await?;
            let was_here = head.is_some() || !keeps && transaction.is_in_history(&silo.id).await?;
            if !was_here {
                add(transaction, silo, keeps, now).await?;
                written.silos_added += 1;
                added.push((silo.id.clone(), silo.head.revision));
                continue;
            }
            if self.only_new {
                written.silos_kept += 1;
                continue;
            }
            if transaction.importing(&silo.id).await? == Some(silo.head.revision) {
                written.started.push((silo.id.clone(), silo.head.revision));
            }
            let is_there = head.is_some_and(|head| !head.deleted);
            if !silo.head.deleted && change(transaction, silo, is_there, now).await? {
                written.silos_changed += 1;
            }
        }
        transaction.begin_importing(&added).await?;
        written.started.append(&mut added);
        self.add_history(transaction, keeps, &mut written).await?;
        for token in &self.tokens {
            written.tokens += u64::from(transaction.add_missing_token(token).await?);
        }
        for key in &self.update_keys {
            written.update_keys += u64::from(transaction.add_missing_update_key(key).await?);
        }
        for binding in &self.dynahosts {
            written.dynahosts += u64::from(transaction.add_missing_dynahost(binding).await?);
        }
        if keeps {
            let arrived = transaction.revision().to_string();
            transaction.set_fact(ARRIVED, &arrived).await?;
        }
        Ok(written)
    }
}

/// Adds a silo that never existed here. Its history comes from the export.
async fn add(
    transaction: &mut WriteTransaction,
    silo: &TransferredSilo,
    keeps: bool,
    now: Time,
) -> Result<(), ApplyError> {
    let mut head = silo.head;
    if keeps {
        transaction.note_changed(&silo.id);
    } else {
        head.revision = transaction.take_revision(&silo.id);
        head.updated_at = now;
    }
    for mut record in silo.records.iter().cloned() {
        // An import counts as a write: otherwise records of an old export would expire at once.
        record.last_seen = now;
        if !keeps {
            record.revision = head.revision;
            record.addresses_at = head.revision;
            record.updated_at = now;
        }
        transaction.put_record(&silo.id, record).await?;
    }
    transaction.set_silo_head(&silo.id, head);
    Ok(())
}

/// Sets a silo that exists or existed here to the exported state; false if it is already in that state.
async fn change(
    transaction: &mut WriteTransaction,
    silo: &TransferredSilo,
    is_there: bool,
    now: Time,
) -> Result<bool, ApplyError> {
    let mut old: BTreeMap<Hostname, StoredRecord> = transaction
        .whole_records(&silo.id)
        .await?
        .into_iter()
        .map(|record| (record.hostname.clone(), record))
        .collect();
    let is_same = |new: &StoredRecord| {
        old.get(&new.hostname)
            .is_some_and(|old| old.addresses == new.addresses && old.attributes == new.attributes)
    };
    if is_there && old.len() == silo.records.len() && silo.records.iter().all(is_same) {
        return Ok(false);
    }
    let actor = Actor {
        via: Via::Import,
        token: None,
        client_ip: None,
    };
    let mut change = Change::begin(transaction, actor, &silo.id, now).await?;
    let mut history = Vec::new();
    for new in &silo.records {
        let before = old.remove(&new.hostname);
        let addresses = before.as_ref().map(|old| old.addresses).unwrap_or_default();
        history.extend(address_changes(&new.hostname, &addresses, &new.addresses));
        let same = before.as_ref().is_some_and(|before| {
            before.addresses == new.addresses && before.attributes == new.attributes
        });
        if !same {
            let mut record = new_record(
                new.hostname.clone(),
                new.addresses,
                new.attributes.clone(),
                change.revision(),
                now,
            );
            if let Some(before) = &before {
                change.replaces(before);
                if before.addresses == new.addresses {
                    record.addresses_at = before.addresses_at;
                }
            }
            transaction.put_record(&silo.id, record).await?;
        }
    }
    for (hostname, gone) in &old {
        history.extend(address_changes(
            hostname,
            &gone.addresses,
            &Default::default(),
        ));
        change.removes(transaction, gone);
        transaction.delete_record(&silo.id, hostname);
    }
    change.end(transaction, false, &history).await?;
    Ok(true)
}

impl Command for CloseImported {
    type Outcome = ();

    async fn run(&self, transaction: &mut WriteTransaction, _: Time) -> Result<(), ApplyError> {
        Ok(transaction.end_importing(&self.0).await?)
    }
}

impl Command for EndImport {
    type Outcome = ();

    fn patience(&self) -> Option<Duration> {
        None
    }

    async fn run(&self, transaction: &mut WriteTransaction, now: Time) -> Result<(), ApplyError> {
        begin_again(transaction, Revision::NONE, now).await?;
        // Imported tokens may replace what people were signed in with.
        transaction.end_all_sessions().await?;
        transaction.revoke_all_invitations(now).await?;
        transaction.remove_fact(ARRIVED).await?;
        // Imported history was not enqueued for any sink.
        transaction.reconcile_sinks().await?;
        Ok(())
    }
}
