//! What a transaction has decided and not yet sent to the database: the heads of silos and the rows of the
//! history. Of a batch of many commands on a few silos, only each silo's last head is written, and the
//! history goes in a few statements: a statement costs more than a row.

use std::collections::BTreeMap;

use silo_shared::silo::SiloId;

use super::silos::{SiloHead, head};
use super::{StoreError, WriteTransaction, insert_rows, statement_chunks};
use crate::domain::change::AddressChange;
use crate::domain::time::Time;

/// What is still to be sent.
#[derive(Debug, Default)]
pub(super) struct Unwritten {
    /// The heads that were read or set.
    heads: BTreeMap<SiloId, Head>,
    history: Vec<Entry>,
    /// Deliveries whose state follows from their hostnames', and when that became so.
    unsettled: BTreeMap<i64, Time>,
}

impl Unwritten {
    /// Notes that a delivery's state is to be told from its hostnames.
    pub(super) fn settle(&mut self, delivery: i64, now: Time) {
        self.unsettled.insert(delivery, now);
    }
}

#[derive(Debug)]
struct Head {
    head: Option<SiloHead>,
    /// Whether the database has a row of it.
    has_row: bool,
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
    /// Whether a silo is there or ever was, as this transaction leaves it.
    pub async fn silo_head(&mut self, id: &SiloId) -> Result<Option<SiloHead>, StoreError> {
        if let Some(known) = self.unwritten.heads.get(id) {
            return Ok(known.head);
        }
        let row = self
            .dialect
            .query(super::silos::HEAD)
            .bind(id.as_str())
            .fetch_optional(&mut *self.inner)
            .await?;
        let found = row.as_ref().map(head).transpose()?;
        let known = Head {
            head: found,
            has_row: found.is_some(),
            changed: false,
        };
        self.unwritten.heads.insert(id.clone(), known);
        Ok(found)
    }

    /// Sets at which revision a silo stands, there or deleted.
    pub async fn set_silo_head(&mut self, id: &SiloId, new: SiloHead) -> Result<(), StoreError> {
        let has_row = match self.unwritten.heads.get(id) {
            Some(known) => known.has_row,
            None => self.silo_head(id).await?.is_some(),
        };
        let head = Head {
            head: Some(new),
            has_row,
            changed: true,
        };
        self.unwritten.heads.insert(id.clone(), head);
        Ok(())
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
        for (id, head) in &mut self.unwritten.heads {
            let Some(new) = head.head.filter(|_| head.changed) else {
                continue;
            };
            let statement = if head.has_row {
                "UPDATE silos SET revision = ?, updated_at = ?, deleted = ? WHERE id = ?"
            } else {
                "INSERT INTO silos (revision, updated_at, deleted, id) VALUES (?, ?, ?, ?)"
            };
            self.dialect
                .query(statement)
                .bind(new.revision)
                .bind(new.updated_at.as_millis())
                .bind(i16::from(new.deleted))
                .bind(id.as_str())
                .execute(&mut *self.inner)
                .await?;
            head.has_row = true;
            head.changed = false;
        }
        const HEAD: &str = "INSERT INTO history (revision, silo, hostname, family, changed_at, \
             old_ip, new_ip, via, token, client_ip)";
        let history = std::mem::take(&mut self.unwritten.history);
        for chunk in statement_chunks(&history) {
            let mut query = self.dialect.query(insert_rows(HEAD, 10, chunk.len()));
            for entry in chunk {
                query = query
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
            query.execute(&mut *self.inner).await?;
        }
        let unsettled = std::mem::take(&mut self.unwritten.unsettled);
        self.settle_deliveries(unsettled).await
    }

    /// Forgets which heads were read, since rows are removed by other means than these.
    pub(super) fn forget_heads(&mut self) {
        self.unwritten.heads.clear();
    }
}
