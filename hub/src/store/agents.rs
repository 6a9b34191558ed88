//! The agents of silos.

use std::collections::HashSet;
use std::hash::Hash;
use std::net::IpAddr;

use silo_shared::credential::TokenId;
use silo_shared::silo::SiloId;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{
    Statements, Store, StoreError, WriteTransaction, insert_rows, padded_chunks, silo_id,
    statement_chunks, time,
};
use crate::domain::agents::{Agent, AgentKey, AgentKind, AgentName, AgentVersion};
use crate::domain::time::Time;

const KEY: [&str; 3] = ["silo", "name", "token"];
const VALUES: [&str; 5] = ["kind", "version", "applied", "last_seen", "address"];
/// Of a statement by the whole key.
const BY_KEY: &str = "(silo = ? AND name = ? AND token = ?)";

/// The columns of an agent, as [`agent`] reads them.
pub(super) const COLUMNS: &str = "silo, name, token, kind, version, applied, last_seen, address";

fn key(row: &AnyRow) -> Result<AgentKey, StoreError> {
    Ok(AgentKey {
        silo: silo_id(row, 0)?,
        name: AgentName::parse(row.try_get(1)?)
            .map_err(|_| StoreError::Corrupt("name of an agent"))?,
        token: token(row, 2)?,
    })
}

fn token(row: &AnyRow, column: usize) -> Result<TokenId, StoreError> {
    TokenId::parse(row.try_get(column)?).map_err(|_| StoreError::Corrupt("token id"))
}

pub(super) fn agent(row: &AnyRow) -> Result<Agent, StoreError> {
    let kind: Option<&str> = row.try_get(3)?;
    let version: Option<&str> = row.try_get(4)?;
    let address: &str = row.try_get(7)?;
    Ok(Agent {
        key: key(row)?,
        // A newer hub may store more kinds.
        kind: kind.and_then(AgentKind::parse),
        version: version.and_then(AgentVersion::parse),
        applied: row.try_get(5)?,
        last_seen: time(row, 6)?,
        address: address
            .parse::<IpAddr>()
            .map_err(|_| StoreError::Corrupt("address of an agent"))?,
    })
}

impl Store {
    /// The stored agents of a silo after a name and token, in their order.
    pub async fn agents(
        &self,
        silo: &SiloId,
        after: Option<(&AgentName, TokenId)>,
        limit: i64,
    ) -> Result<Vec<Agent>, StoreError> {
        const PAGE: &str = "SELECT silo, name, token, kind, version, applied, last_seen, address \
             FROM agents WHERE silo = ? AND name >= ? AND (name > ? OR token > ?) \
             ORDER BY name, token LIMIT ?";
        let name = after.map_or("", |(name, _)| name.as_str());
        let token = after.map_or_else(String::new, |(_, token)| token.to_string());
        let query = self.dialect.query(PAGE).bind(silo.to_string());
        let query = query.bind(name.to_owned()).bind(name.to_owned());
        let rows = self.read(query.bind(token).bind(limit)).await?;
        rows.iter().map(agent).collect()
    }

    /// The stored agents of all silos after one of them, in their order.
    pub async fn all_agents(
        &self,
        after: Option<&AgentKey>,
        limit: i64,
    ) -> Result<Vec<Agent>, StoreError> {
        const PAGE: &str = "SELECT silo, name, token, kind, version, applied, last_seen, address \
             FROM agents WHERE silo >= ? AND (silo > ? OR name > ? OR (name = ? AND token > ?)) \
             ORDER BY silo, name, token LIMIT ?";
        let silo = after.map_or_else(String::new, |key| key.silo.to_string());
        let name = after.map_or_else(String::new, |key| key.name.as_str().to_owned());
        let token = after.map_or_else(String::new, |key| key.token.to_string());
        let query = self.dialect.query(PAGE).bind(silo.clone()).bind(silo);
        let query = query.bind(name.clone()).bind(name).bind(token);
        let rows = self.read(query.bind(limit)).await?;
        rows.iter().map(agent).collect()
    }

    /// Some agents that were not seen since a time.
    pub async fn old_agents(&self, before: Time, limit: i64) -> Result<Vec<AgentKey>, StoreError> {
        const OLD: &str = "SELECT silo, name, token FROM agents WHERE last_seen < ? LIMIT ?";
        let query = self.dialect.query(OLD).bind(before.as_millis());
        let rows = self.read(query.bind(limit)).await?;
        rows.iter().map(key).collect()
    }
}

impl WriteTransaction {
    /// Those of the tokens that were not revoked.
    pub async fn unrevoked(&mut self, ids: &[TokenId]) -> Result<HashSet<TokenId>, StoreError> {
        let of = "SELECT id FROM tokens WHERE revoked_at IS NULL AND id IN";
        self.found(of, ids, |row| token(row, 0)).await
    }

    /// Those of the silos that are there.
    pub async fn silos_there(&mut self, ids: &[&SiloId]) -> Result<HashSet<SiloId>, StoreError> {
        let of = "SELECT id FROM silos WHERE deleted = 0 AND id IN";
        self.found(of, ids, |row| silo_id(row, 0)).await
    }

    /// All stored agents of these tokens.
    pub async fn agents_of(&mut self, tokens: &[TokenId]) -> Result<Vec<Agent>, StoreError> {
        let of = "SELECT silo, name, token, kind, version, applied, last_seen, address \
             FROM agents WHERE token IN";
        self.agent_rows(of, tokens, agent).await
    }

    async fn found<K: Copy + ToString, T: Eq + Hash>(
        &mut self,
        of: &str,
        keys: &[K],
        read: impl Fn(&AnyRow) -> Result<T, StoreError>,
    ) -> Result<HashSet<T>, StoreError> {
        let found = self.agent_rows(of, keys, read).await?;
        Ok(found.into_iter().collect())
    }

    async fn agent_rows<K: Copy + ToString, T>(
        &mut self,
        of: &str,
        keys: &[K],
        read: impl Fn(&AnyRow) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let mut statements = Statements::new(self.dialect);
        for chunk in padded_chunks(keys) {
            let marks = vec!["?"; chunk.len()].join(", ");
            statements.add(format!("{of} ({marks})"));
            for key in chunk {
                statements.bind(key.to_string());
            }
        }
        let rows = statements.fetch(&mut self.inner).await?;
        rows.iter().flatten().map(read).collect()
    }

    /// Writes agents.
    pub async fn put_agents(&mut self, agents: &[Agent]) -> Result<(), StoreError> {
        let columns = [&KEY[..], &VALUES].concat();
        let head = format!("INSERT INTO agents ({})", columns.join(", "));
        let mut statements = Statements::new(self.dialect);
        for chunk in statement_chunks(agents) {
            let insert = insert_rows(&head, columns.len(), chunk.len());
            statements.add_upsert(insert, &KEY, &VALUES);
            for agent in chunk {
                bind_key(&mut statements, &agent.key);
                statements
                    .bind(agent.kind.map(|kind| kind.as_str().to_owned()))
                    .bind(agent.version.as_ref().map(|text| text.as_str().to_owned()))
                    .bind(agent.applied)
                    .bind(agent.last_seen.as_millis())
                    .bind(agent.address.to_string());
            }
            self.must_commit = true;
        }
        statements.execute(&mut self.inner).await
    }

    /// Removes names of agents in all silos.
    pub async fn remove_agent_names(
        &mut self,
        names: &[(TokenId, AgentName)],
    ) -> Result<(), StoreError> {
        let mut statements = Statements::new(self.dialect);
        for (token, name) in names {
            statements.add("DELETE FROM agents WHERE token = ? AND name = ?");
            statements.bind(token.to_string());
            statements.bind(name.as_str().to_owned());
            self.must_commit = true;
        }
        statements.execute(&mut self.inner).await
    }

    /// Removes agents found by [`Store::old_agents`], unless they have been seen since.
    pub async fn purge_agents(
        &mut self,
        keys: &[AgentKey],
        before: Time,
    ) -> Result<u64, StoreError> {
        let mut gone = 0;
        for chunk in statement_chunks(keys) {
            let any = vec![BY_KEY; chunk.len()].join(" OR ");
            let sql = format!("DELETE FROM agents WHERE last_seen < ? AND ({any})");
            let mut query = self.dialect.query(sql).bind(before.as_millis());
            for key in chunk {
                query = query
                    .bind(key.silo.to_string())
                    .bind(key.name.as_str().to_owned())
                    .bind(key.token.to_string());
            }
            gone += query.execute(&mut *self.inner).await?.rows_affected();
        }
        self.must_commit |= gone > 0;
        Ok(gone)
    }

    /// Removes the agents of a token that ended.
    pub(super) async fn remove_agents_of_token(
        &mut self,
        token: TokenId,
    ) -> Result<(), StoreError> {
        self.dialect
            .query("DELETE FROM agents WHERE token = ?")
            .bind(token.to_string())
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }

    /// Removes the agents of a silo that was deleted.
    pub async fn remove_agents_of_silo(&mut self, silo: &SiloId) -> Result<(), StoreError> {
        self.dialect
            .query("DELETE FROM agents WHERE silo = ?")
            .bind(silo.to_string())
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }
}

fn bind_key(statements: &mut Statements, key: &AgentKey) {
    statements
        .bind(key.silo.to_string())
        .bind(key.name.as_str().to_owned())
        .bind(key.token.to_string());
}
