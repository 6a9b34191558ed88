//! The history: one row an address changed.

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use silo_shared::credential::TokenId;
use silo_shared::silo::{Hostname, SiloId};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Store, StoreError, hostname, optional};
use crate::domain::time::Time;

/// Which way a change came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// The REST interface.
    Rest,
    /// The command line.
    Cli,
    /// A client that speaks dyndns2.
    Dyndns2,
    /// A call with an update key.
    Sftdyn,
    /// A call in dynahost's protocol.
    Dynahost,
    /// The hub itself, of a record that was not seen for too long.
    Expiry,
    /// An export that was read in.
    Import,
    /// The command line's way back to an older state.
    Revert,
}

impl Via {
    /// As it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rest => "rest",
            Self::Cli => "cli",
            Self::Dyndns2 => "dyndns2",
            Self::Sftdyn => "sftdyn",
            Self::Dynahost => "dynahost",
            Self::Expiry => "expiry",
            Self::Import => "import",
            Self::Revert => "revert",
        }
    }
}

/// Who changed something, when and by which way.
#[derive(Clone, Copy, Debug)]
pub struct HistoryContext<'a> {
    /// The silo.
    pub silo: &'a SiloId,
    /// The revision of the changing command.
    pub revision: i64,
    /// When.
    pub at: Time,
    /// Which way.
    pub via: Via,
    /// The token that was shown.
    pub token: Option<TokenId>,
    /// Where the request came from.
    pub client_ip: Option<IpAddr>,
}

/// One row of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryRow {
    /// When.
    pub at: Time,
    /// The revision of the changing command.
    pub revision: i64,
    /// The hostname.
    pub hostname: Hostname,
    /// 4 or 6.
    pub family: i64,
    /// The address before.
    pub old: Option<IpAddr>,
    /// The address after.
    pub new: Option<IpAddr>,
    /// Which way the change came.
    pub via: String,
    /// The token that was shown.
    pub token: Option<String>,
    /// Where the request came from.
    pub client_ip: Option<IpAddr>,
}

/// How many of a silo's rows a statement looks through for those of a hostname, beside the rest of a
/// revision that it has begun.
const WINDOW: i64 = 5000;

/// A place in the history, from which older rows follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryCursor {
    revision: i64,
    family: i64,
    hostname: String,
}

impl HistoryCursor {
    /// The place after a row.
    pub fn after(row: &HistoryRow) -> Self {
        Self {
            revision: row.revision,
            family: row.family,
            hostname: row.hostname.to_string(),
        }
    }

    /// As an opaque text.
    pub fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(format!(
            "{} {} {}",
            self.revision, self.family, self.hostname
        ))
    }

    /// From the text that [`HistoryCursor::encode`] gave.
    pub fn decode(text: &str) -> Option<Self> {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let mut words = text.splitn(3, ' ');
        Some(Self {
            revision: words.next()?.parse().ok()?,
            family: words.next()?.parse().ok()?,
            hostname: words.next()?.to_owned(),
        })
    }
}

impl Store {
    /// Rows of a silo, newest first, of one revision by hostname and family.
    pub async fn history(
        &self,
        silo: &SiloId,
        only: Option<&Hostname>,
        after: Option<&HistoryCursor>,
        limit: i64,
    ) -> Result<Vec<HistoryRow>, StoreError> {
        const ROWS: &str = "SELECT changed_at, revision, hostname, family, old_ip, new_ip, via, \
             token, client_ip FROM history WHERE silo = ? AND revision <= ? AND (revision < ? \
             OR hostname > ? OR (hostname = ? AND family > ?)) \
             ORDER BY revision DESC, hostname, family LIMIT ?";
        let newest = HistoryCursor {
            revision: i64::MAX,
            family: 0,
            hostname: String::new(),
        };
        let after = after.unwrap_or(&newest);
        if let Some(only) = only {
            return self.history_of_hostname(silo, only, after, limit).await;
        }
        let query = self
            .dialect
            .query(ROWS)
            .bind(silo.to_string())
            .bind(after.revision)
            .bind(after.revision)
            .bind(after.hostname.clone())
            .bind(after.hostname.clone())
            .bind(after.family)
            .bind(limit);
        let rows = self.read(query).await?;
        rows.iter().map(history_row).collect()
    }

    /// Rows of one hostname. The only index that serves this one begins with the revision, since one that
    /// began with the hostname would grow at random places. So the silo's rows are looked through, in windows:
    /// no statement holds a reader for long, and other reads get their turn between two of them.
    async fn history_of_hostname(
        &self,
        silo: &SiloId,
        only: &Hostname,
        after: &HistoryCursor,
        limit: i64,
    ) -> Result<Vec<HistoryRow>, StoreError> {
        const EDGE: &str = "SELECT revision FROM history WHERE silo = ? AND revision <= ? \
             ORDER BY revision DESC LIMIT 1 OFFSET ?";
        const ROWS: &str = "SELECT changed_at, revision, hostname, family, old_ip, new_ip, via, \
             token, client_ip FROM history WHERE silo = ? AND hostname = ? AND revision >= ? AND \
             revision <= ? AND (revision < ? OR hostname > ? OR (hostname = ? AND family > ?)) \
             ORDER BY revision DESC, hostname, family LIMIT ?";
        let mut after = after.clone();
        let mut found = Vec::new();
        loop {
            let _permit = self.scan().await?;
            let edge = self
                .dialect
                .query(EDGE)
                .bind(silo.to_string())
                .bind(after.revision)
                .bind(WINDOW);
            let edge = match self.read(edge).await?.first() {
                Some(row) => Some(row.try_get::<i64, _>(0)?),
                None => None,
            };
            let wanted = limit - i64::try_from(found.len()).unwrap_or(limit);
            let rows = self
                .dialect
                .query(ROWS)
                .bind(silo.to_string())
                .bind(only.to_string())
                .bind(edge.unwrap_or(i64::MIN))
                .bind(after.revision)
                .bind(after.revision)
                .bind(after.hostname.clone())
                .bind(after.hostname.clone())
                .bind(after.family)
                .bind(wanted);
            for row in &self.read(rows).await? {
                found.push(history_row(row)?);
            }
            let is_full = i64::try_from(found.len()).is_ok_and(|rows| rows >= limit);
            let Some(edge) = edge.filter(|_| !is_full) else {
                return Ok(found);
            };
            after = HistoryCursor {
                revision: edge - 1,
                family: 0,
                hostname: String::new(),
            };
        }
    }

    /// The rows of one revision of a silo, by hostname and family.
    pub async fn history_at(
        &self,
        silo: &SiloId,
        revision: i64,
    ) -> Result<Vec<HistoryRow>, StoreError> {
        self.dialect
            .query(
                "SELECT changed_at, revision, hostname, family, old_ip, new_ip, via, token, \
                 client_ip FROM history WHERE silo = ? AND revision = ? ORDER BY hostname, family",
            )
            .bind(silo.as_str())
            .bind(revision)
            .fetch_all(&self.readers)
            .await?
            .iter()
            .map(history_row)
            .collect()
    }
}

pub(super) fn history_row(row: &AnyRow) -> Result<HistoryRow, StoreError> {
    Ok(HistoryRow {
        at: super::time(row, 0)?,
        revision: row.try_get(1)?,
        hostname: hostname(row, 2)?,
        family: row.try_get(3)?,
        old: optional(row, 4, "address")?,
        new: optional(row, 5, "address")?,
        via: row.try_get(6)?,
        token: row.try_get(7)?,
        client_ip: optional(row, 8, "address")?,
    })
}
