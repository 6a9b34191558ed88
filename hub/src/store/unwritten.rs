//! What a transaction has decided and not yet sent to the database: the heads of silos, their records
//! ([`super::records`]) and the rows of the history. Of a batch of many commands on a few silos, only each
//! silo's last head is written, and the rest goes in a few statements: a statement costs more than a row.

use std::collections::BTreeMap;

use silo_shared::silo::{Hostname, SiloId};
use sqlx::any::AnyRow;

use super::records::KnownRecords;
use super::silos::{SiloHead, head};
use super::{
    Statements, StoreError, WriteTransaction, insert_rows, padded_chunks, silo_id, statement_chunks,
};
use crate::domain::change::AddressChange;
use crate::domain::time::Time;

/// What is still to be sent.
#[derive(Debug, Default)]
pub(super) struct Unwritten {
    /// The heads that were read or set.
    heads: BTreeMap<SiloId, Head>,
    /// The records that were read or changed.
    pub(super) records: KnownRecords,
    history: Vec<Entry>,
    /// Deliveries whose state follows from their hostnames', and when that became so.
    unsettled: BTreeMap<i64, Time>,
}

/// What is to be read.
#[derive(Debug)]
pub(super) struct Question<'a> {
    silos: Vec<&'a SiloId>,
    records: Vec<(&'a SiloId, &'a Hostname)>,
}

impl Question<'_> {
    /// Adds the statements that ask it.
    pub(super) fn ask(&self, statements: &mut Statements) {
        for chunk in padded_chunks(&self.silos) {
            let marks = vec!["?"; chunk.len()].join(", ");
            statements.add(format!(
                "SELECT revision, updated_at, deleted, id FROM silos WHERE id IN ({marks})"
            ));
            for id in chunk {
                statements.bind(id.as_str());
            }
        }
        KnownRecords::ask(&self.records, statements);
    }
}

impl Unwritten {
    /// Asks for the heads of silos, and for records with their silos' heads, as far as they are not known.
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

    /// Keeps what the database answered to each statement of a question.
    pub(super) fn learn(
        &mut self,
        question: Question<'_>,
        mut answers: impl Iterator<Item = Vec<AnyRow>>,
    ) -> Result<(), StoreError> {
        let mut learn = |id: SiloId, head: Option<SiloHead>| {
            let changed = false;
            self.heads.insert(id, Head { head, changed });
        };
        for id in &question.silos {
            learn((*id).clone(), None);
        }
        for rows in answers
            .by_ref()
            .take(padded_chunks(&question.silos).count())
        {
            for row in &rows {
                learn(silo_id(row, 3)?, Some(head(row)?));
            }
        }
        self.records.learn(&question.records, answers)
    }

    /// Adds the statements that write what was decided, and counts it as written.
    pub(super) fn send(&mut self, statements: &mut Statements) {
        let mut changed: Vec<(&SiloId, SiloHead)> = Vec::new();
        for (id, known) in &mut self.heads {
            if let Some(head) = known.head.filter(|_| known.changed) {
                changed.push((id, head));
            }
            known.changed = false;
        }
        for chunk in statement_chunks(&changed) {
            const HEAD: &str = "INSERT INTO silos (id, revision, updated_at, deleted)";
            let columns = ["revision", "updated_at", "deleted"];
            statements.add_upsert(insert_rows(HEAD, 4, chunk.len()), &["id"], &columns);
            for (id, head) in chunk {
                statements
                    .bind(id.as_str())
                    .bind(head.revision)
                    .bind(head.updated_at.as_millis())
                    .bind(i16::from(head.deleted));
            }
        }
        self.records.send(statements);
        const HEAD: &str = "INSERT INTO history (revision, silo, hostname, family, changed_at, \
             old_ip, new_ip, via, token, client_ip)";
        for chunk in statement_chunks(&self.history) {
            statements.add(insert_rows(HEAD, 10, chunk.len()));
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
                    .bind(entry.client_ip.as_deref());
            }
        }
        self.history.clear();
    }

    /// Notes that a delivery's state is to be told from its hostnames.
    pub(super) fn settle(&mut self, delivery: i64, now: Time) {
        self.unsettled.insert(delivery, now);
    }
}

#[derive(Debug)]
struct Head {
    head: Option<SiloHead>,
    changed: bool,
}

/// One row of the history, its context as it is stored.
#[derive(Debug)]
struct Entry {
    revision: i64,
    silo: SiloId,
    at: Time,
    via: &'static str,
    token: Option<String>,
    client_ip: Option<String>,
    change: AddressChange,
}

/// Where the rows of a history come from; see [`super::HistoryContext`].
pub(super) use super::history::HistoryContext;

impl WriteTransaction {
    /// Reads records that will be asked for, with their silos' heads, in as few statements as may be.
    pub async fn look_up(&mut self, reads: &[(&SiloId, &Hostname)]) -> Result<(), StoreError> {
        self.answer(self.unwritten.question(&[], reads)).await
    }

    async fn answer(&mut self, question: Question<'_>) -> Result<(), StoreError> {
        let mut statements = Statements::new(self.dialect);
        question.ask(&mut statements);
        let answers = statements.fetch(&mut self.inner).await?;
        self.unwritten.learn(question, answers.into_iter())
    }

    /// Whether a silo is there or ever was, as this transaction leaves it.
    pub async fn silo_head(&mut self, id: &SiloId) -> Result<Option<SiloHead>, StoreError> {
        self.answer(self.unwritten.question(&[id], &[])).await?;
        Ok(self.unwritten.heads.get(id).and_then(|known| known.head))
    }

    /// Sets at which revision a silo stands, there or deleted.
    pub fn set_silo_head(&mut self, id: &SiloId, new: SiloHead) {
        let head = Head {
            head: Some(new),
            changed: true,
        };
        self.unwritten.heads.insert(id.clone(), head);
    }

    /// Writes down what changed.
    pub fn add_history(&mut self, context: &HistoryContext<'_>, changes: &[AddressChange]) {
        let entry = |change: &AddressChange| Entry {
            revision: context.revision,
            silo: context.silo.clone(),
            at: context.at,
            via: context.via.as_str(),
            token: context.token.map(|id| id.to_string()),
            client_ip: context.client_ip.map(|ip| ip.to_string()),
            change: change.clone(),
        };
        self.unwritten.history.extend(changes.iter().map(entry));
    }

    /// Sends what was decided, so that the database's own answers include it.
    pub(super) async fn flush(&mut self) -> Result<(), StoreError> {
        let mut statements = Statements::new(self.dialect);
        self.unwritten.send(&mut statements);
        statements.execute(&mut self.inner).await?;
        self.settle().await
    }

    /// Brings deliveries to the state that their hostnames come to.
    pub(super) async fn settle(&mut self) -> Result<(), StoreError> {
        let unsettled = std::mem::take(&mut self.unwritten.unsettled);
        self.settle_deliveries(unsettled).await
    }

    /// Forgets which heads were read, since rows are removed by other means than these.
    pub(super) fn forget_heads(&mut self) {
        self.unwritten.heads.clear();
    }
}
