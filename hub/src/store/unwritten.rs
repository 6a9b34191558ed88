//! Changes of a transaction not yet sent to the database: the heads of silos, their records
//! ([`super::records`]) and history rows. For a batch of many commands on a few silos, only each
//! silo's last head is written, and the rest takes a few statements: a statement costs more than a
//! row.

use std::collections::BTreeMap;
use std::mem;

use silo_shared::silo::{Hostname, SiloId};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::records::KnownRecords;
use super::silos::{HEAD_COLUMNS, SiloHead, head};
use super::{
    Statements, StoreError, WriteTransaction, insert_rows, padded_chunks, silo_id, statement_chunks,
};
use crate::domain::change::AddressChange;
use crate::domain::revision::Revision;
use crate::domain::time::Time;

/// The changes still to be sent.
#[derive(Debug, Default)]
pub(super) struct Unwritten {
    /// The heads that were read or set.
    heads: BTreeMap<SiloId, Head>,
    /// The records that were read or changed.
    pub(super) records: KnownRecords,
    history: Vec<Entry>,
    /// Removed hostnames, each with the revision of its last removal.
    former_names: BTreeMap<(SiloId, Hostname), Revision>,
    /// Deliveries whose state must be derived from their hostnames, and since when.
    unsettled: BTreeMap<i64, Time>,
}

/// The data to read.
#[derive(Debug)]
pub(super) struct Question<'a> {
    silos: Vec<&'a SiloId>,
    records: Vec<(&'a SiloId, &'a Hostname)>,
}

impl Question<'_> {
    /// Adds the statements that read it.
    pub(super) fn ask(&self, statements: &mut Statements) {
        for chunk in padded_chunks(&self.silos) {
            let marks = vec!["?"; chunk.len()].join(", ");
            statements.add(format!(
                "SELECT {HEAD_COLUMNS}, id, linked FROM silos WHERE id IN ({marks})"
            ));
            for id in chunk {
                statements.bind(id.as_str());
            }
        }
        KnownRecords::ask(&self.records, statements);
    }
}

impl Unwritten {
    /// The heads of silos, and the records with their silos' heads, that are not known yet.
    pub(super) fn question<'a>(
        &self,
        silos: &[&'a SiloId],
        records: &[(&'a SiloId, &'a Hostname)],
    ) -> Question<'a> {
        let of_records = records.iter().map(|(silo, _)| *silo);
        let mut silos: Vec<_> = silos.iter().copied().chain(of_records).collect();
        silos.retain(|id| !self.heads.contains_key(*id));
        silos.sort_unstable();
        silos.dedup();
        let mut records = records.to_vec();
        records.retain(|(silo, hostname)| !self.records.knows(silo, hostname));
        records.sort_unstable();
        records.dedup();
        Question { silos, records }
    }

    /// Keeps the rows returned for each statement of a question.
    pub(super) fn learn(
        &mut self,
        question: Question<'_>,
        mut answers: impl Iterator<Item = Vec<AnyRow>>,
    ) -> Result<(), StoreError> {
        let mut learn = |id: SiloId, head: Option<SiloHead>, linked: Option<i64>| {
            let head = Head {
                head,
                linked,
                ..Head::default()
            };
            self.heads.insert(id, head);
        };
        for id in &question.silos {
            learn((*id).clone(), None, None);
        }
        for rows in answers
            .by_ref()
            .take(padded_chunks(&question.silos).count())
        {
            for row in &rows {
                learn(silo_id(row, 3)?, Some(head(row)?), row.try_get(4)?);
            }
        }
        self.records.learn(&question.records, answers)
    }

    /// Adds the statements that write the changes, and marks them as written.
    pub(super) fn send(&mut self, statements: &mut Statements) {
        let mut changed: Vec<(&SiloId, SiloHead, Option<i64>)> = Vec::new();
        for (id, known) in &mut self.heads {
            if let Some(head) = known.head.filter(|_| known.changed) {
                changed.push((id, head, known.linked));
            }
            known.changed = false;
        }
        for chunk in statement_chunks(&changed) {
            const HEAD: &str = "INSERT INTO silos (id, revision, updated_at, deleted, linked)";
            let columns = ["revision", "updated_at", "deleted", "linked"];
            statements.add_upsert(insert_rows(HEAD, 5, chunk.len()), &["id"], &columns);
            for (id, head, linked) in chunk {
                statements
                    .bind(id.as_str())
                    .bind(head.revision)
                    .bind(head.updated_at.as_millis())
                    .bind(i16::from(head.deleted))
                    .bind(*linked);
            }
        }
        self.records.send(statements);
        const HEAD: &str = "INSERT INTO history (revision, silo, hostname, family, changed_at, \
             old_ip, new_ip, via, token, client_ip, previous)";
        for chunk in statement_chunks(&self.history) {
            statements.add(insert_rows(HEAD, 11, chunk.len()));
            for entry in chunk {
                statements
                    .bind(entry.revision)
                    .bind(entry.silo.as_str())
                    .bind(entry.change.hostname.as_str())
                    .bind(entry.change.family.number())
                    .bind(entry.at.as_millis())
                    .bind(entry.change.old.map(|ip| ip.to_string()))
                    .bind(entry.change.new.map(|ip| ip.to_string()))
                    .bind(entry.via)
                    .bind(entry.token.as_deref())
                    .bind(entry.client_ip.as_deref())
                    .bind(entry.previous.revision());
            }
        }
        self.history.clear();
        let former: Vec<_> = mem::take(&mut self.former_names).into_iter().collect();
        for chunk in statement_chunks(&former) {
            const HEAD: &str = "INSERT INTO former_names (silo, hostname, revision)";
            let insert = insert_rows(HEAD, 3, chunk.len());
            statements.add_upsert(insert, &["silo", "hostname"], &["revision"]);
            for ((silo, hostname), revision) in chunk {
                statements
                    .bind(silo.as_str())
                    .bind(hostname.as_str())
                    .bind(*revision);
            }
        }
    }

    /// Notes that a delivery's state must be derived from its hostnames.
    pub(super) fn settle(&mut self, delivery: i64, now: Time) {
        self.unsettled.insert(delivery, now);
    }
}

#[derive(Debug, Default)]
struct Head {
    head: Option<SiloHead>,
    /// Equal to the revision if the silo's history is linked.
    linked: Option<i64>,
    /// The silo did not exist when read; it is still unknown whether its history is linked.
    is_new: bool,
    changed: bool,
}

impl Head {
    fn is_linked(&self) -> bool {
        self.head
            .is_some_and(|head| self.linked == Some(head.revision.into()))
    }
}

/// The revision of the hostname's previous row.
#[derive(Clone, Copy, Debug)]
enum Previous {
    /// It is known; `None` inside: there is no previous row.
    Known(Option<Revision>),
    /// There was no record: look it up in the former names.
    OfFormerName,
}

impl Previous {
    fn revision(self) -> Option<Revision> {
        match self {
            Self::Known(revision) => revision,
            Self::OfFormerName => None,
        }
    }
}

/// One history row, with its context in stored form.
#[derive(Debug)]
struct Entry {
    revision: Revision,
    silo: SiloId,
    at: Time,
    via: &'static str,
    token: Option<String>,
    client_ip: Option<String>,
    change: AddressChange,
    previous: Previous,
}

/// The origin of history rows; see [`super::HistoryContext`].
pub(super) use super::history::HistoryContext;

impl WriteTransaction {
    /// Reads records that will be needed, with their silos' heads, in as few statements as possible.
    pub async fn look_up(&mut self, reads: &[(&SiloId, &Hostname)]) -> Result<(), StoreError> {
        self.answer(self.unwritten.question(&[], reads)).await
    }

    async fn answer(&mut self, question: Question<'_>) -> Result<(), StoreError> {
        let mut statements = Statements::new(self.dialect);
        question.ask(&mut statements);
        let answers = statements.fetch(&mut self.inner).await?;
        self.unwritten.learn(question, answers.into_iter())
    }

    /// The head of a silo that exists or ever existed, in its state within this transaction.
    pub async fn silo_head(&mut self, id: &SiloId) -> Result<Option<SiloHead>, StoreError> {
        self.answer(self.unwritten.question(&[id], &[])).await?;
        Ok(self.unwritten.heads.get(id).and_then(|known| known.head))
    }

    /// Sets a silo's revision, and whether it is deleted.
    pub fn set_silo_head(&mut self, id: &SiloId, new: SiloHead) {
        let old = self.unwritten.heads.remove(id).unwrap_or_default();
        let is_new = old.is_new || old.head.is_none();
        let linked = if is_new || old.is_linked() {
            Some(new.revision.into())
        } else {
            old.linked
        };
        let head = Head {
            head: Some(new),
            linked,
            is_new,
            changed: true,
        };
        self.unwritten.heads.insert(id.clone(), head);
    }

    /// Adds history rows. `before`: the revision of the previous address change, for the hostnames
    /// that had a record.
    pub fn add_history(
        &mut self,
        context: &HistoryContext<'_>,
        changes: &[AddressChange],
        before: &BTreeMap<Hostname, Revision>,
    ) {
        let former = &self.unwritten.former_names;
        let previous = |hostname: &Hostname| match before.get(hostname) {
            Some(revision) => Previous::Known(Some(*revision)),
            None => match former.get(&(context.silo.clone(), hostname.clone())) {
                Some(revision) => Previous::Known(Some(*revision)),
                None => Previous::OfFormerName,
            },
        };
        let entry = |change: &AddressChange| Entry {
            previous: previous(&change.hostname),
            revision: context.revision,
            silo: context.silo.clone(),
            at: context.at,
            via: context.via.as_str(),
            token: context.token.map(|id| id.to_string()),
            client_ip: context.client_ip.map(|ip| ip.to_string()),
            change: change.clone(),
        };
        let entries: Vec<_> = changes.iter().map(entry).collect();
        self.unwritten.history.extend(entries);
    }

    /// Records the revision at which a hostname was removed.
    pub fn note_former_name(&mut self, silo: &SiloId, hostname: &Hostname, revision: Revision) {
        let key = (silo.clone(), hostname.clone());
        self.unwritten.former_names.insert(key, revision);
    }

    /// The value of a silo's `linked`.
    pub async fn linked(&mut self, id: &SiloId) -> Result<Option<i64>, StoreError> {
        self.silo_head(id).await?;
        Ok(self.unwritten.heads.get(id).and_then(|known| known.linked))
    }

    /// Sets a silo's `linked`: to its revision if the history is linked; see migration 0023.
    pub async fn set_linked(&mut self, id: &SiloId, linked: Option<i64>) -> Result<(), StoreError> {
        self.silo_head(id).await?;
        if let Some(known) = self.unwritten.heads.get_mut(id)
            && (known.linked != linked || known.is_new)
        {
            known.linked = linked;
            known.is_new = false;
            known.changed = true;
            self.must_commit = true;
        }
        Ok(())
    }

    /// Determines the previous rows for new records, and whether new silos have earlier history.
    pub(super) async fn link_new(&mut self) -> Result<(), StoreError> {
        let heads = self.unwritten.heads.iter_mut();
        let new = heads.filter_map(|(id, head)| mem::take(&mut head.is_new).then(|| id.clone()));
        let new: Vec<SiloId> = new.collect();
        for id in self.in_history(&new).await? {
            self.set_linked(&id, None).await?;
        }
        let mut history = mem::take(&mut self.unwritten.history);
        let is_open = |entry: &&Entry| matches!(entry.previous, Previous::OfFormerName);
        let mut names: Vec<_> = history
            .iter()
            .filter(is_open)
            .map(|entry| (&entry.silo, &entry.change.hostname))
            .collect();
        names.sort_unstable();
        names.dedup();
        let found = self.former_names(&names).await;
        if let Ok(found) = &found {
            for entry in history.iter_mut().filter(|entry| is_open(&&**entry)) {
                let key = (entry.silo.clone(), entry.change.hostname.clone());
                entry.previous = Previous::Known(found.get(&key).copied());
            }
        }
        self.unwritten.history = history;
        found.map(drop)
    }

    /// Sends the changes, so that the database's own results include them.
    pub(super) async fn flush(&mut self) -> Result<(), StoreError> {
        self.link_new().await?;
        let mut statements = Statements::new(self.dialect);
        self.unwritten.send(&mut statements);
        statements.execute(&mut self.inner).await?;
        self.settle().await
    }

    /// Derives the state of deliveries from their hostnames.
    pub(super) async fn settle(&mut self) -> Result<(), StoreError> {
        let unsettled = std::mem::take(&mut self.unwritten.unsettled);
        self.settle_deliveries(unsettled).await
    }

    /// Clears the cached heads, since rows are about to be removed by other means.
    pub(super) fn forget_heads(&mut self) {
        self.unwritten.heads.clear();
    }
}
