//! What the hub counts once a minute for its metrics and its status.

use silo_shared::credential::TokenId;
use silo_shared::silo::SiloId;
use sqlx::Row;

use super::queries::Question;
use super::{DeliveryCount, KnownSink, Queries, Store, StoreError, silo_id, time};
use crate::config::database_url::Dialect;
use crate::domain::agents::{AgentKind, AgentName, AgentState};
use crate::domain::sink::SinkName;
use crate::domain::time::Time;

/// How many agents, tokens or deliveries are named; the others are only counted.
const NAMED: i64 = 10;

/// Number of agents of a kind in one state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentCount {
    /// The kind, if it is a known one.
    pub kind: Option<AgentKind>,
    /// The state.
    pub state: AgentState,
    /// Their number.
    pub agents: i64,
}

/// An agent that is behind or silent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedAgent {
    /// The silo.
    pub silo: SiloId,
    /// The agent's name.
    pub name: AgentName,
    /// When it was last seen.
    pub last_seen: Time,
    /// When its silo last changed.
    pub silo_changed_at: Time,
}

/// A token that expires soon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndingToken {
    /// Its id.
    pub id: TokenId,
    /// Its name.
    pub name: String,
    /// When it expires.
    pub expires_at: Time,
}

/// The times that a census depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CensusTimes {
    /// Agents that were not seen since are silent.
    pub silent_before: Time,
    /// The present time.
    pub now: Time,
    /// Tokens that expire before this are named.
    pub ending_before: Time,
}

/// The result of a census.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Number of silos.
    pub silos: i64,
    /// Number of records.
    pub records: i64,
    /// Number of tokens that are neither revoked nor expired.
    pub tokens: i64,
    /// The size of the database in bytes, if it can be read.
    pub database_bytes: Option<i64>,
    /// Number of pending and failed deliveries.
    pub deliveries: Vec<DeliveryCount>,
    /// When the oldest pending delivery of each sink was made.
    pub oldest_pending: Vec<(SinkName, Time)>,
    /// The sinks that were ever configured.
    pub sinks: Vec<KnownSink>,
    /// Number of agents by kind and state.
    pub agents: Vec<AgentCount>,
    /// Some agents that are behind, those whose silos changed first first.
    pub behind: Vec<NamedAgent>,
    /// Some agents that are silent, last seen first.
    pub silent: Vec<NamedAgent>,
    /// Some tokens that expire soon, in order.
    pub ending_tokens: Vec<EndingToken>,
}

const COUNT_AGENTS: &str = "SELECT a.kind, CASE WHEN a.last_seen < ? THEN 2 \
     WHEN a.applied IS NULL OR a.applied = s.revision THEN 0 ELSE 1 END, count(*) \
     FROM agents a JOIN silos s ON s.id = a.silo WHERE s.deleted = 0 GROUP BY 1, 2 ORDER BY 1, 2";
const BEHIND: &str = "SELECT a.silo, a.name, a.last_seen, s.updated_at \
     FROM agents a JOIN silos s ON s.id = a.silo \
     WHERE s.deleted = 0 AND a.last_seen >= ? AND a.applied <> s.revision \
     ORDER BY s.updated_at, a.silo, a.name LIMIT ?";
const SILENT: &str = "SELECT a.silo, a.name, a.last_seen, s.updated_at \
     FROM agents a JOIN silos s ON s.id = a.silo WHERE s.deleted = 0 AND a.last_seen < ? \
     ORDER BY a.last_seen DESC, a.silo, a.name LIMIT ?";

impl Store {
    /// Counts what is stored.
    pub async fn census(&self, times: CensusTimes) -> Result<Census, StoreError> {
        let _permit = self.scan().await?;
        let now = times.now.as_millis();
        let tokens = "SELECT count(*) FROM tokens \
             WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?)";
        Ok(Census {
            silos: self
                .number(
                    self.dialect
                        .query("SELECT count(*) FROM silos WHERE deleted = 0"),
                )
                .await?,
            records: self
                .number(self.dialect.query("SELECT count(*) FROM records"))
                .await?,
            tokens: self.number(self.dialect.query(tokens).bind(now)).await?,
            // A user of the server may lack the right to know it.
            database_bytes: self
                .number(self.dialect.query(self.size_query()))
                .await
                .ok(),
            deliveries: self.open_deliveries().await?,
            oldest_pending: self.oldest_pending().await?,
            sinks: Queries::sinks(self).await?,
            agents: self.agent_counts(times.silent_before).await?,
            behind: self.named_agents(BEHIND, times.silent_before).await?,
            silent: self.named_agents(SILENT, times.silent_before).await?,
            ending_tokens: self.ending_tokens(&times).await?,
        })
    }

    /// About how many lines an export has.
    pub async fn exported_lines(&self) -> Result<u64, StoreError> {
        let query = self
            .dialect
            .query("SELECT (SELECT count(*) FROM silos) + (SELECT count(*) FROM history)");
        Ok(u64::try_from(self.number(query).await?).unwrap_or(0))
    }

    fn size_query(&self) -> &'static str {
        match self.dialect {
            Dialect::Sqlite => {
                "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
            }
            Dialect::Postgres => "SELECT pg_database_size(current_database())",
            Dialect::MariaDb => {
                "SELECT CAST(sum(data_length + index_length) AS SIGNED) \
                 FROM information_schema.tables WHERE table_schema = database()"
            }
        }
    }

    async fn number(&self, query: Question) -> Result<i64, StoreError> {
        let rows = query.fetch_all(&self.readers).await?;
        let row = rows.first().ok_or(StoreError::Corrupt("number of rows"))?;
        Ok(row.try_get(0)?)
    }

    async fn oldest_pending(&self) -> Result<Vec<(SinkName, Time)>, StoreError> {
        let query = self.dialect.query(
            "SELECT sink, min(created_at) FROM deliveries WHERE state = 0 GROUP BY sink ORDER BY sink",
        );
        let rows = query.fetch_all(&self.readers).await?;
        rows.iter()
            .map(|row| Ok((super::outbox::sink_name(row, 0)?, time(row, 1)?)))
            .collect()
    }

    async fn agent_counts(&self, silent_before: Time) -> Result<Vec<AgentCount>, StoreError> {
        let query = self.dialect.query(COUNT_AGENTS);
        let query = query.bind(silent_before.as_millis());
        let rows = query.fetch_all(&self.readers).await?;
        let counts = rows.iter().map(|row| {
            let kind: Option<&str> = row.try_get(0)?;
            let state: i64 = row.try_get(1)?;
            let state = usize::try_from(state).ok();
            let state = state.and_then(|state| AgentState::ALL.get(state));
            Ok(AgentCount {
                kind: kind.and_then(AgentKind::parse),
                state: *state.ok_or(StoreError::Corrupt("state of an agent"))?,
                agents: row.try_get(2)?,
            })
        });
        counts.collect()
    }

    async fn named_agents(
        &self,
        sql: &'static str,
        silent_before: Time,
    ) -> Result<Vec<NamedAgent>, StoreError> {
        let query = self.dialect.query(sql).bind(silent_before.as_millis());
        let rows = query.bind(NAMED).fetch_all(&self.readers).await?;
        let agents = rows.iter().map(|row| {
            Ok(NamedAgent {
                silo: silo_id(row, 0)?,
                name: AgentName::parse(row.try_get(1)?)
                    .map_err(|_| StoreError::Corrupt("name of an agent"))?,
                last_seen: time(row, 2)?,
                silo_changed_at: time(row, 3)?,
            })
        });
        agents.collect()
    }

    async fn ending_tokens(&self, times: &CensusTimes) -> Result<Vec<EndingToken>, StoreError> {
        let query = self.dialect.query(
            "SELECT id, name, expires_at FROM tokens WHERE revoked_at IS NULL \
             AND expires_at > ? AND expires_at < ? ORDER BY expires_at, id LIMIT ?",
        );
        let query = query.bind(times.now.as_millis());
        let query = query.bind(times.ending_before.as_millis()).bind(NAMED);
        let rows = query.fetch_all(&self.readers).await?;
        let tokens = rows.iter().map(|row| {
            Ok(EndingToken {
                id: TokenId::parse(row.try_get(0)?).map_err(|_| StoreError::Corrupt("token id"))?,
                name: row.try_get(1)?,
                expires_at: time(row, 2)?,
            })
        });
        tokens.collect()
    }
}
