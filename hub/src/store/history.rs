//! The history: one row per changed address.

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use silo_shared::credential::TokenId;
use silo_shared::silo::{Hostname, SiloId};
use sqlx::Row;
use sqlx::any::AnyRow;
use utoipa::ToSchema;

use super::{Store, StoreError, hostname, optional};
use crate::domain::revision::Revision;
use crate::domain::time::Time;

/// The interface through which a change came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "lowercase", example = "rest")]
pub enum Via {
    /// The REST interface.
    Rest,
    /// The pages for browsers.
    Dashboard,
    /// The command line.
    Cli,
    /// The dyndns2 protocol.
    Dyndns2,
    /// An update key.
    Sftdyn,
    /// dynahost's protocol.
    Dynahost,
    /// The hub itself, for a record that was not seen for too long.
    Expiry,
    /// An import.
    Import,
    /// A revert on the command line.
    Revert,
}

impl Via {
    /// The stored and displayed form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rest => "rest",
            Self::Dashboard => "dashboard",
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

/// Who changed something, when and through which interface.
#[derive(Clone, Copy, Debug)]
pub struct HistoryContext<'a> {
    /// The silo.
    pub silo: &'a SiloId,
    /// The revision of the changing command.
    pub revision: Revision,
    /// The time of the change.
    pub at: Time,
    /// The interface.
    pub via: Via,
    /// The presented token.
    pub token: Option<TokenId>,
    /// The client's address.
    pub client_ip: Option<IpAddr>,
}

/// One row of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryRow {
    /// The time of the change.
    pub at: Time,
    /// The revision of the changing command.
    pub revision: Revision,
    /// The hostname.
    pub hostname: Hostname,
    /// 4 or 6.
    pub family: i64,
    /// The previous address.
    pub old: Option<IpAddr>,
    /// The new address.
    pub new: Option<IpAddr>,
    /// The interface.
    pub via: String,
    /// The presented token.
    pub token: Option<String>,
    /// The client's address.
    pub client_ip: Option<IpAddr>,
}

/// Maximum number of a silo's rows scanned per statement for those of a hostname, not counting the
/// rest of a started revision.
const WINDOW: i64 = 5000;

/// Maximum number of revisions followed per statement: MariaDB and MySQL limit a recursion to 1000 steps.
const ROWS_FOLLOWED: i64 = 200;
/// The linked rows of a hostname from a revision on, up to a number of revisions. Each should be
/// looked up by its key: SQLite joins in the order of a `CROSS JOIN`. PostgreSQL without statistics
/// would prefer a scan of the index that begins with the silo, so the condition does not match that
/// index.
const LINKED_ROWS: &str = "WITH RECURSIVE linked (changed_at, revision, hostname, family, old_ip, \
     new_ip, via, token, client_ip, previous, steps) AS \
     (SELECT h.changed_at, h.revision, h.hostname, h.family, h.old_ip, h.new_ip, h.via, h.token, \
     h.client_ip, h.previous, 1 FROM history h \
     WHERE COALESCE(h.silo, '') = ? AND h.revision = ? AND h.hostname = ? \
     UNION \
     SELECT h.changed_at, h.revision, h.hostname, h.family, h.old_ip, h.new_ip, h.via, h.token, \
     h.client_ip, h.previous, l.steps + 1 FROM linked l CROSS JOIN history h \
     WHERE COALESCE(h.silo, '') = ? AND h.revision = l.previous AND h.hostname = ? \
     AND l.steps < ?) \
     SELECT changed_at, revision, hostname, family, old_ip, new_ip, via, token, client_ip, \
     previous FROM linked ORDER BY revision DESC, family";

/// The revision of a hostname's newest row.
enum Newest {
    /// Unknown: the history is not linked.
    NotLinked,
    /// This revision, unless it was purged; `None`: no row ever existed.
    At(Option<Revision>),
}

/// A position in the history; older rows follow it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryCursor {
    revision: Revision,
    family: i64,
    hostname: String,
}

impl HistoryCursor {
    /// The position after a row.
    pub fn after(row: &HistoryRow) -> Self {
        Self {
            revision: row.revision,
            family: row.family,
            hostname: row.hostname.to_string(),
        }
    }

    /// An opaque text form.
    pub fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(format!(
            "{} {} {}",
            self.revision, self.family, self.hostname
        ))
    }

    /// Parses the text from [`HistoryCursor::encode`].
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
    /// Rows of a silo, newest first; within a revision by hostname and family.
    pub async fn history(
        &self,
        silo: &SiloId,
        only: Option<&Hostname>,
        after: Option<&HistoryCursor>,
        limit: i64,
    ) -> Result<Vec<HistoryRow>, StoreError> {
        let newest = HistoryCursor {
            revision: Revision::ABOVE_ALL,
            family: 0,
            hostname: String::new(),
        };
        let after = after.unwrap_or(&newest);
        if let Some(only) = only {
            return self.history_of_hostname(silo, only, after, limit).await;
        }
        let query = self
            .dialect
            .query(format!(
                "SELECT {HISTORY_COLUMNS} FROM history WHERE silo = ? AND revision <= ? \
                 AND (revision < ? OR hostname > ? OR (hostname = ? AND family > ?)) \
                 ORDER BY revision DESC, hostname, family LIMIT ?"
            ))
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

    /// Rows of one hostname. In a linked history, each row points to the one before it, so only the
    /// rows of the page are read; an index that begins with the hostname would grow at random
    /// places. Otherwise the silo's rows are scanned.
    async fn history_of_hostname(
        &self,
        silo: &SiloId,
        only: &Hostname,
        after: &HistoryCursor,
        limit: i64,
    ) -> Result<Vec<HistoryRow>, StoreError> {
        let newest = match self.newest_in_history(silo, only).await? {
            Newest::NotLinked => return self.look_through(silo, only, after, limit).await,
            Newest::At(revision) => revision,
        };
        let mut next = match after.hostname.as_str() {
            "" if after.revision == Revision::ABOVE_ALL => newest,
            name if name == only.as_str() => Some(after.revision),
            // A cursor from another list, which no row points to.
            _ => return self.look_through(silo, only, after, limit).await,
        };
        let mut found = Vec::new();
        while let Some(revision) = next {
            let missing = limit - i64::try_from(found.len()).unwrap_or(limit);
            if missing <= 0 {
                break;
            }
            // The first revision of a later page may have no rows left.
            let revisions = missing + i64::from(revision == after.revision);
            let rows = self
                .linked_rows(silo, only, revision, revisions.min(ROWS_FOLLOWED))
                .await?;
            next = match rows.last() {
                // Each must point to an older one, even if the data is corrupt.
                Some((last, previous)) => previous.filter(|previous| *previous < last.revision),
                // Purged, together with all older rows.
                None => None,
            };
            let is_after = |row: &HistoryRow| {
                row.revision < after.revision
                    || after.hostname.is_empty()
                    || row.family > after.family
            };
            let rows = rows.into_iter().map(|(row, _)| row);
            found.extend(rows.filter(is_after));
        }
        found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(found)
    }

    /// The revision of a hostname's newest row.
    async fn newest_in_history(
        &self,
        silo: &SiloId,
        only: &Hostname,
    ) -> Result<Newest, StoreError> {
        const NEWEST: &str = "SELECT COALESCE(r.addresses_at, r.revision, f.revision) \
             FROM silos s LEFT JOIN records r ON r.silo = s.id AND r.hostname = ? \
             LEFT JOIN former_names f ON f.silo = s.id AND f.hostname = ? \
             WHERE s.id = ? AND s.linked = s.revision";
        let query = self
            .dialect
            .query(NEWEST)
            .bind(only.to_string())
            .bind(only.to_string())
            .bind(silo.to_string());
        match self.read(query).await?.first() {
            Some(row) => Ok(Newest::At(row.try_get(0)?)),
            None => Ok(Newest::NotLinked),
        }
    }

    /// The rows of a hostname from a revision on, newest first, of at most `revisions` revisions,
    /// each with the revision of the row before it.
    async fn linked_rows(
        &self,
        silo: &SiloId,
        only: &Hostname,
        revision: Revision,
        revisions: i64,
    ) -> Result<Vec<(HistoryRow, Option<Revision>)>, StoreError> {
        let query = self
            .dialect
            .query(LINKED_ROWS)
            .bind(silo.to_string())
            .bind(revision)
            .bind(only.to_string())
            .bind(silo.to_string())
            .bind(only.to_string())
            .bind(revisions);
        self.read(query)
            .await?
            .iter()
            .map(|row| Ok((history_row(row)?, row.try_get(9)?)))
            .collect()
    }

    /// Rows of one hostname of a silo whose history is not linked. The only usable index begins
    /// with the revision, so the silo's rows are scanned in windows: no statement occupies a reader
    /// for long, and other reads can run between two of them.
    async fn look_through(
        &self,
        silo: &SiloId,
        only: &Hostname,
        after: &HistoryCursor,
        limit: i64,
    ) -> Result<Vec<HistoryRow>, StoreError> {
        const EDGE: &str = "SELECT revision FROM history WHERE silo = ? AND revision <= ? \
             ORDER BY revision DESC LIMIT 1 OFFSET ?";
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
                Some(row) => Some(row.try_get::<Revision, _>(0)?),
                None => None,
            };
            let wanted = limit - i64::try_from(found.len()).unwrap_or(limit);
            let rows = self
                .dialect
                .query(format!(
                    "SELECT {HISTORY_COLUMNS} FROM history WHERE silo = ? AND hostname = ? \
                     AND revision >= ? AND revision <= ? \
                     AND (revision < ? OR hostname > ? OR (hostname = ? AND family > ?)) \
                     ORDER BY revision DESC, hostname, family LIMIT ?"
                ))
                .bind(silo.to_string())
                .bind(only.to_string())
                .bind(edge.unwrap_or(Revision::NONE))
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
                revision: edge.previous(),
                family: 0,
                hostname: String::new(),
            };
        }
    }

    /// The rows of one revision of a silo, by hostname and family.
    pub async fn history_at(
        &self,
        silo: &SiloId,
        revision: Revision,
    ) -> Result<Vec<HistoryRow>, StoreError> {
        self.dialect
            .query(format!(
                "SELECT {HISTORY_COLUMNS} FROM history WHERE silo = ? AND revision = ? \
                 ORDER BY hostname, family"
            ))
            .bind(silo.as_str())
            .bind(revision)
            .fetch_all(&self.readers)
            .await?
            .iter()
            .map(history_row)
            .collect()
    }
}

/// The columns of a history row, as [`history_row`] reads them.
pub(super) const HISTORY_COLUMNS: &str =
    "changed_at, revision, hostname, family, old_ip, new_ip, via, token, client_ip";

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::database_url::DatabaseUrl;

    #[tokio::test]
    async fn linked_rows_are_looked_up_by_their_key() {
        let folder = tempfile::TempDir::new().unwrap();
        let url = DatabaseUrl::sqlite_file(&folder.path().join("hub.db"));
        let now = Time::from_millis(1_767_323_045_678);
        let store = Store::open(&url, crate::store::Schema::Make, now)
            .await
            .unwrap();
        let plan = store
            .dialect
            .query(format!("EXPLAIN QUERY PLAN {LINKED_ROWS}"))
            .fetch_all(&store.readers)
            .await
            .unwrap();
        let steps: Vec<String> = plan.iter().map(|row| row.get("detail")).collect();
        let look_ups = steps.iter().filter(|step| {
            step.starts_with("SEARCH h USING") && step.ends_with("(revision=? AND hostname=?)")
        });
        assert_eq!(look_ups.count(), 2, "{steps:#?}");
        let of_history = steps.iter().filter(|step| step.contains(" h"));
        assert_eq!(of_history.count(), 2, "{steps:#?}");
    }
}
