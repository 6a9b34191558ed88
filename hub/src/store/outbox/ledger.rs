//! The ledger: what is ours at a receiver. Addresses are recorded as claimed before they are sent.

use silo_shared::silo::{Addresses, Hostname, SiloId, parse_address};
use sqlx::Row;
use sqlx::any::AnyRow;

use crate::domain::delivery::{ReceiverState, UncertainFamilies};
use crate::domain::sink::SinkName;
use crate::store::{
    Statements, StoreError, WriteTransaction, hostname, insert_rows, padded_chunks, silo_id,
    statement_chunks,
};

/// What is ours under one name at a receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LedgerState {
    /// Addresses that may have been sent, with unknown result; empty: a deletion.
    pub claimed: Option<Addresses>,
    /// Addresses that the receiver certainly accepted.
    pub published: Option<Addresses>,
    /// Families in which unfinished sends may have changed that.
    pub unsure: UncertainFamilies,
}

impl LedgerState {
    /// The form in which sinks receive it.
    pub fn standing(&self) -> ReceiverState {
        match (self.published, self.claimed) {
            (None, None) => ReceiverState::Nothing,
            (None, Some(claimed)) => ReceiverState::Claimed(claimed),
            (Some(published), None) => ReceiverState::Published(published),
            (Some(published), Some(sent)) => ReceiverState::Replacing {
                published,
                sent,
                unsure: self.unsure,
            },
        }
    }

    /// The same with a claim on `wanted`, which is about to be sent.
    #[must_use]
    pub fn claiming(&self, wanted: Addresses) -> Self {
        let published = self.published.unwrap_or_default();
        Self {
            claimed: Some(wanted),
            published: self.published,
            unsure: self
                .unsure
                .and(UncertainFamilies::between(&published, &wanted)),
        }
    }

    /// The same if the receiver may have lost it.
    #[must_use]
    pub fn unconfirmed(&self) -> Self {
        Self {
            claimed: self.claimed.or(self.published),
            ..*self
        }
    }

    /// Whether the receiver certainly has exactly this, with no send in progress.
    pub fn is_surely(&self, wanted: &Addresses) -> bool {
        self.claimed.is_none() && self.published.unwrap_or_default() == *wanted
    }
}

/// One row of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerRow {
    /// The name at the receiver.
    pub name: String,
    /// The silo of the record.
    pub silo: SiloId,
    /// The record.
    pub hostname: Hostname,
    /// What is ours there.
    pub ours: LedgerState,
}

/// The columns of a row of the ledger, as [`ledger_row`] reads them.
pub(in crate::store) const LEDGER_COLUMNS: &str =
    "published_name, silo, hostname, claimed, published, unsure";

pub(in crate::store) fn ledger_row(row: &AnyRow) -> Result<LedgerRow, StoreError> {
    Ok(LedgerRow {
        name: row.try_get(0)?,
        silo: silo_id(row, 1)?,
        hostname: hostname(row, 2)?,
        ours: LedgerState {
            claimed: addresses(row.try_get(3)?)?,
            published: addresses(row.try_get(4)?)?,
            unsure: unsure(row.try_get(5)?),
        },
    })
}

fn unsure(number: i64) -> UncertainFamilies {
    UncertainFamilies {
        v4: number & 1 != 0,
        v6: number & 2 != 0,
    }
}

fn addresses(text: Option<&str>) -> Result<Option<Addresses>, StoreError> {
    text.map(|text| {
        text.split_ascii_whitespace()
            .map(|ip| parse_address(ip).map_err(|_| StoreError::Corrupt("address")))
            .collect()
    })
    .transpose()
}

impl WriteTransaction {
    /// Called when a sink's receiver, or the path to it, may have changed: nothing is certain to be
    /// there, and existing addresses are taken over only if they are those that we published.
    pub async fn release_ledger(&mut self, sink: &SinkName) -> Result<(), StoreError> {
        self.must_commit = true;
        self.dialect
            .query(
                "UPDATE ledger SET claimed = coalesce(published, claimed), published = NULL, \
                 unsure = 3 WHERE sink = ?",
            )
            .bind(sink.as_str())
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }

    /// The receiver may have lost what was published there: all of it is sent again.
    pub async fn doubt_ledger(&mut self, sink: &SinkName) -> Result<(), StoreError> {
        self.must_commit = true;
        self.dialect
            .query("UPDATE ledger SET claimed = coalesce(claimed, published) WHERE sink = ?")
            .bind(sink.as_str())
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }

    /// The same as [`Self::release_ledger`] for one record, after its login changed.
    pub async fn release_ledger_of(
        &mut self,
        sink: &SinkName,
        silo: &SiloId,
        hostname: &Hostname,
    ) -> Result<(), StoreError> {
        self.must_commit = true;
        self.dialect
            .query(
                "UPDATE ledger SET claimed = coalesce(published, claimed), published = NULL, \
                 unsure = 3 WHERE sink = ? AND silo = ? AND hostname = ?",
            )
            .bind(sink.as_str())
            .bind(silo.as_str())
            .bind(hostname.as_str())
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }

    /// Deletes a sink's ledger, since the name now belongs to another kind of receiver.
    pub async fn drop_ledger(&mut self, sink: &SinkName) -> Result<(), StoreError> {
        self.must_commit = true;
        self.dialect
            .query("DELETE FROM ledger WHERE sink = ?")
            .bind(sink.as_str())
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }

    /// What is ours under these names, and for which records.
    pub async fn ledger(
        &mut self,
        sink: &SinkName,
        names: &[&str],
    ) -> Result<Vec<LedgerRow>, StoreError> {
        let mut statements = Statements::new(self.dialect);
        for chunk in padded_chunks(names) {
            let marks = vec!["?"; chunk.len()].join(", ");
            statements
                .add(format!(
                    "SELECT {LEDGER_COLUMNS} FROM ledger \
                     WHERE sink = ? AND published_name IN ({marks})"
                ))
                .bind(sink.as_str());
            for name in chunk {
                statements.bind(name);
            }
        }
        let answers = statements.fetch(&mut self.inner).await?;
        answers.iter().flatten().map(ledger_row).collect()
    }

    /// Writes the ledger entries of names, each once; an empty entry is deleted.
    pub async fn put_ledger(
        &mut self,
        sink: &SinkName,
        rows: &[LedgerRow],
    ) -> Result<(), StoreError> {
        const HEAD: &str = "INSERT INTO ledger (sink, published_name, silo, hostname, claimed, \
             published, unsure)";
        let (gone, put): (Vec<&LedgerRow>, Vec<&LedgerRow>) = rows
            .iter()
            .partition(|row| row.ours == LedgerState::default());
        let mut statements = Statements::new(self.dialect);
        for chunk in padded_chunks(&gone) {
            let marks = vec!["?"; chunk.len()].join(", ");
            statements
                .add(format!(
                    "DELETE FROM ledger WHERE sink = ? AND published_name IN ({marks})"
                ))
                .bind(sink.as_str());
            for row in chunk {
                statements.bind(row.name.as_str());
            }
        }
        for chunk in statement_chunks(&put) {
            let key = ["sink", "published_name"];
            let columns = ["silo", "hostname", "claimed", "published", "unsure"];
            statements.add_upsert(insert_rows(HEAD, 7, chunk.len()), &key, &columns);
            for row in chunk {
                let unsure = i16::from(row.ours.unsure.v4) + 2 * i16::from(row.ours.unsure.v6);
                statements
                    .bind(sink.as_str())
                    .bind(row.name.as_str())
                    .bind(row.silo.as_str())
                    .bind(row.hostname.as_str())
                    .bind(row.ours.claimed.map(|ips| ips.to_string()))
                    .bind(row.ours.published.map(|ips| ips.to_string()))
                    .bind(unsure);
            }
        }
        self.must_commit |= !rows.is_empty();
        statements.execute(&mut self.inner).await
    }
}
