//! Agents together with the present state of their silos, and how many changes they lack.

use std::collections::HashMap;

use silo_shared::silo::SiloId;
use sqlx::Row;

use super::agents::agent;
use super::{Store, StoreError, padded_chunks, silo_id, time};
use crate::domain::agents::{Agent, AgentKey};
use crate::domain::pattern::Span;
use crate::domain::revision::Revision;
use crate::domain::time::Time;

/// How many rows of the history are read at most to count changes.
const ROWS_COUNTED: i64 = 1000;

/// The columns of an agent, as [`agent`] reads them, of the table under the name `a`.
const COLUMNS: &str =
    "a.silo, a.name, a.token, a.kind, a.version, a.applied, a.last_seen, a.address";

/// An agent, and the present state of its silo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentOfSilo {
    /// The agent.
    pub agent: Agent,
    /// The silo's revision.
    pub revision: Revision,
    /// When the silo last changed.
    pub changed_at: Time,
}

/// The changes of a silo after a revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missed {
    /// How many changes of addresses there are.
    pub changes: i64,
    /// Whether there are more, which were not counted.
    pub has_more: bool,
    /// When the first of them was made.
    pub since: Option<Time>,
}

impl Store {
    /// The stored agents of the silos in a range, after one of them, in their order. The silos must still be matched
    /// against the patterns of the range.
    pub async fn agents_in(
        &self,
        span: &Span,
        after: Option<&AgentKey>,
        limit: i64,
    ) -> Result<Vec<AgentOfSilo>, StoreError> {
        let mut found = Vec::new();
        match span {
            // Sorts after every character of an id.
            Span::Prefix { prefix, .. } => {
                let end = format!("{prefix}{{");
                self.add_agents(prefix, &end, after, limit, &mut found)
                    .await?;
            }
            Span::Names(names) => {
                for name in names {
                    // Sorts before every character of an id.
                    let end = format!("{name}!");
                    self.add_agents(name, &end, after, limit, &mut found)
                        .await?;
                }
            }
        }
        Ok(found)
    }

    async fn add_agents(
        &self,
        start: &str,
        end: &str,
        after: Option<&AgentKey>,
        limit: i64,
        found: &mut Vec<AgentOfSilo>,
    ) -> Result<(), StoreError> {
        let limit = limit.saturating_sub(i64::try_from(found.len()).unwrap_or(limit));
        let after_silo = after.map_or("", |key| key.silo.as_str());
        if limit <= 0 || after_silo >= end {
            return Ok(());
        }
        let query = self.dialect.query(format!(
            "SELECT {COLUMNS}, s.revision, s.updated_at \
             FROM agents a JOIN silos s ON s.id = a.silo WHERE s.deleted = 0 AND a.silo >= ? \
             AND a.silo < ? AND (a.silo > ? OR a.name > ? OR (a.name = ? AND a.token > ?)) \
             ORDER BY a.silo, a.name, a.token LIMIT ?"
        ));
        let name = after.map_or_else(String::new, |key| key.name.as_str().to_owned());
        let token = after.map_or_else(String::new, |key| key.token.to_string());
        let query = query.bind(start.max(after_silo).to_owned());
        let query = query.bind(end.to_owned()).bind(after_silo.to_owned());
        let query = query.bind(name.clone()).bind(name).bind(token).bind(limit);
        for row in &self.read(query).await? {
            found.push(AgentOfSilo {
                agent: agent(row)?,
                revision: row.try_get(8)?,
                changed_at: time(row, 9)?,
            });
        }
        Ok(())
    }

    /// The revisions of silos, and when they last changed; those that are not there are left out.
    pub async fn silo_states(
        &self,
        ids: &[&SiloId],
    ) -> Result<HashMap<SiloId, (Revision, Time)>, StoreError> {
        let mut states = HashMap::new();
        for chunk in padded_chunks(ids) {
            let marks = vec!["?"; chunk.len()].join(", ");
            let mut query = self.dialect.query(format!(
                "SELECT id, revision, updated_at FROM silos WHERE deleted = 0 AND id IN ({marks})"
            ));
            for id in chunk {
                query = query.bind(id.to_string());
            }
            for row in &self.read(query).await? {
                states.insert(silo_id(row, 0)?, (row.try_get(1)?, time(row, 2)?));
            }
        }
        Ok(states)
    }

    /// What a silo changed after a revision, as far as the history is kept.
    pub async fn missed(&self, silo: &SiloId, after: Revision) -> Result<Missed, StoreError> {
        let query = self.dialect.query(
            "SELECT count(DISTINCT h.revision), min(h.changed_at), count(*) FROM \
             (SELECT revision, changed_at FROM history WHERE silo = ? AND revision > ? \
             ORDER BY revision LIMIT ?) h",
        );
        let query = query.bind(silo.to_string()).bind(after).bind(ROWS_COUNTED);
        let rows = self.read(query).await?;
        let row = rows.first().ok_or(StoreError::Corrupt("number of rows"))?;
        let since: Option<i64> = row.try_get(1)?;
        Ok(Missed {
            changes: row.try_get(0)?,
            has_more: row.try_get::<i64, _>(2)? == ROWS_COUNTED,
            since: since.map(Time::from_millis),
        })
    }
}
