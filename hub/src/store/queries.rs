//! The queries that are asked of readers and within a transaction, each written once.

use std::borrow::Cow;
use std::future::Future;

use silo_shared::credential::TokenId;
use silo_shared::silo::{Hostname, SiloId};
use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, Row};

use super::dynahost::{self, binding};
use super::invitations::{self, known_invitation};
use super::links::history_node;
use super::outbox::{LEDGER_COLUMNS, SINK_COLUMNS, known_sink, ledger_row};
use super::rows::{UPDATE_KEY_COLUMNS, hostname, silo_id, update_key};
use super::silos::{RECORD_COLUMNS, record};
use super::{
    HistoryNode, KnownInvitation, KnownSink, LedgerRow, NodePlace, StoreError, StoredRecord,
};
use crate::domain::database_id::DatabaseId;
use crate::domain::dynahost::Binding;
use crate::domain::sink::SinkName;
use crate::domain::update_key::{KeyHash, UpdateKey};

/// The fact that a token was ever created, whether it still exists or not.
pub(super) const TOKEN_MADE: &str = "token_made";
/// The fact that holds the id of the database.
pub(super) const DATABASE_ID: &str = "database_id";
const FACT: &str = "SELECT fact FROM facts WHERE name = ?";

/// A query with its values.
pub(super) type Question = Query<'static, Any, AnyArguments>;

/// What a query is sent to: any reading connection, or the one of a transaction.
pub trait Source: Send + Sized {
    /// A query in the dialect of the database, written with `?` for each value.
    fn query(&self, sql: impl Into<Cow<'static, str>>) -> Question;

    /// Sends the changes that a transaction still holds, so that the rows include them.
    fn flush(&mut self) -> impl Future<Output = Result<(), StoreError>> + Send {
        std::future::ready(Ok(()))
    }

    /// All rows.
    fn fetch_all(
        &mut self,
        query: Question,
    ) -> impl Future<Output = Result<Vec<AnyRow>, sqlx::Error>> + Send;

    /// The first row.
    fn fetch_optional(
        &mut self,
        query: Question,
    ) -> impl Future<Output = Result<Option<AnyRow>, sqlx::Error>> + Send;
}

/// Reads each row of a query.
async fn all<T>(
    mut source: impl Source,
    query: Question,
    read: impl Fn(&AnyRow) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    source.fetch_all(query).await?.iter().map(read).collect()
}

/// Reads the only row of a query, if there is one.
async fn one<T>(
    mut source: impl Source,
    query: Question,
    read: impl Fn(&AnyRow) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    let row = source.fetch_optional(query).await?;
    row.as_ref().map(read).transpose()
}

/// The queries of [`super::Store`], [`super::Snapshot`] and [`super::WriteTransaction`].
#[expect(
    async_fn_in_trait,
    reason = "callers name the type, which shows that its futures are Send"
)]
pub trait Queries: Source {
    /// A fact about this database, such as the fingerprint of the hub's key.
    async fn fact(self, name: &str) -> Result<Option<String>, StoreError> {
        let query = self.query(FACT).bind(name);
        one(self, query, |row| Ok(row.try_get(0)?)).await
    }

    /// The id of this database, if it has one.
    async fn database_id(self) -> Result<Option<DatabaseId>, StoreError> {
        let parse = |fact: String| {
            DatabaseId::parse(&fact).ok_or(StoreError::Corrupt("id of the database"))
        };
        self.fact(DATABASE_ID).await?.map(parse).transpose()
    }

    /// Whether a token was ever created.
    async fn any_token(mut self) -> Result<bool, StoreError> {
        // A hub of version 0.1.0 creates tokens without the fact.
        let noted = self.query(FACT).bind(TOKEN_MADE);
        if self.fetch_optional(noted).await?.is_some() {
            return Ok(true);
        }
        let stored = self.query("SELECT id FROM tokens LIMIT 1");
        Ok(self.fetch_optional(stored).await?.is_some())
    }

    /// Whether a token has used this nonce. Outside of a transaction it is an early check, before
    /// waiting for the body; the check in the transaction is decisive.
    async fn nonce_is_spent(mut self, token: TokenId, nonce: &str) -> Result<bool, StoreError> {
        let query = self
            .query("SELECT token FROM signed_writes WHERE token = ? AND nonce = ?")
            .bind(token.to_string())
            .bind(nonce);
        Ok(self.fetch_optional(query).await?.is_some())
    }

    /// All complete records of a silo as stored, by hostname.
    async fn stored_records(self, silo: &SiloId) -> Result<Vec<StoredRecord>, StoreError> {
        let query = self.query(format!(
            "SELECT {RECORD_COLUMNS} FROM records WHERE silo = ? ORDER BY hostname"
        ));
        all(self, query.bind(silo.as_str()), record).await
    }

    /// The rows of a silo's history after a position, as nodes, oldest first; a node of two rows
    /// occurs twice.
    async fn history_nodes(
        mut self,
        silo: &SiloId,
        place: &NodePlace,
        limit: i64,
    ) -> Result<Vec<HistoryNode>, StoreError> {
        self.flush().await?;
        let query = self
            .query(
                "SELECT revision, hostname, previous FROM history WHERE silo = ? AND revision >= ? \
                 AND (revision > ? OR hostname > ?) ORDER BY revision, hostname LIMIT ?",
            )
            .bind(silo.as_str())
            .bind(place.revision)
            .bind(place.revision)
            .bind(place.hostname.as_str())
            .bind(limit);
        all(self, query, history_node).await
    }

    /// An invitation by its id, whatever its state.
    async fn invitation(self, id: TokenId) -> Result<Option<KnownInvitation>, StoreError> {
        let query = self.query(format!(
            "SELECT {} FROM invitations WHERE id = ?",
            invitations::COLUMNS
        ));
        one(self, query.bind(id.to_string()), known_invitation).await
    }

    /// The unrevoked update key with this hash.
    async fn update_key(self, hash: &KeyHash) -> Result<Option<UpdateKey>, StoreError> {
        let query = self.query(format!(
            "SELECT {UPDATE_KEY_COLUMNS} FROM update_keys WHERE key_hash = ? AND revoked_at IS NULL"
        ));
        one(self, query.bind(hash.0.as_str()), update_key).await
    }

    /// The binding of a hostname by dynahost's protocol.
    async fn dynahost(
        self,
        silo: &SiloId,
        hostname: &Hostname,
    ) -> Result<Option<Binding>, StoreError> {
        let query = self
            .query(format!(
                "SELECT {} FROM dynahost WHERE silo = ? AND hostname = ?",
                dynahost::COLUMNS
            ))
            .bind(silo.as_str())
            .bind(hostname.as_str());
        one(self, query, binding).await
    }

    /// The hostnames of a silo that have a login for this sink.
    async fn hostnames_with_login(
        self,
        sink: &SinkName,
        silo: &SiloId,
    ) -> Result<Vec<Hostname>, StoreError> {
        let query = self
            .query("SELECT hostname FROM dynahost WHERE sink = ? AND silo = ?")
            .bind(sink.as_str())
            .bind(silo.as_str());
        all(self, query, |row| hostname(row, 0)).await
    }

    /// Every sink that was ever configured.
    async fn sinks(self) -> Result<Vec<KnownSink>, StoreError> {
        let query = format!("SELECT {SINK_COLUMNS} FROM sinks");
        let query = self.query(query);
        all(self, query, known_sink).await
    }

    /// One sink.
    async fn sink(self, name: &SinkName) -> Result<Option<KnownSink>, StoreError> {
        let query = format!("SELECT {SINK_COLUMNS} FROM sinks WHERE name = ?");
        let query = self.query(query).bind(name.as_str());
        one(self, query, known_sink).await
    }

    /// The silos of which a sink has published something.
    async fn ledger_silos(self, sink: &SinkName) -> Result<Vec<SiloId>, StoreError> {
        let query = self
            .query("SELECT DISTINCT silo FROM ledger WHERE sink = ? ORDER BY silo")
            .bind(sink.as_str());
        all(self, query, |row| silo_id(row, 0)).await
    }

    /// What a sink has published of a silo.
    async fn ledger_of_silo(
        self,
        sink: &SinkName,
        silo: &SiloId,
    ) -> Result<Vec<LedgerRow>, StoreError> {
        let query = self
            .query(format!(
                "SELECT {LEDGER_COLUMNS} FROM ledger WHERE sink = ? AND silo = ?"
            ))
            .bind(sink.as_str())
            .bind(silo.as_str());
        all(self, query, ledger_row).await
    }
}

impl<S: Source> Queries for S {}
