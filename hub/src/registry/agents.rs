//! The commands on agents.

use std::collections::HashSet;

use silo_shared::credential::TokenId;
use silo_shared::silo::SiloId;

use super::{ApplyError, Command};
use crate::domain::agents::{Agent, AgentKey, changes};
use crate::domain::time::Time;
use crate::store::WriteTransaction;

/// Writes agents that were noted. Those of revoked tokens and of silos that are not there are left out.
#[derive(Debug)]
pub struct WriteAgents(pub Vec<Agent>);

/// Removes agents that have not been seen since a time.
#[derive(Debug)]
pub struct PurgeAgents {
    /// The agents.
    pub keys: Vec<AgentKey>,
    /// The time.
    pub before: Time,
}

impl Command for WriteAgents {
    /// Those that were left out.
    type Outcome = Vec<AgentKey>;

    async fn run(
        &self,
        transaction: &mut WriteTransaction,
        now: Time,
    ) -> Result<Vec<AgentKey>, ApplyError> {
        let tokens: HashSet<TokenId> = self.0.iter().map(|agent| agent.key.token).collect();
        let tokens: Vec<TokenId> = tokens.into_iter().collect();
        let silos: HashSet<&SiloId> = self.0.iter().map(|agent| &agent.key.silo).collect();
        let silos: Vec<&SiloId> = silos.into_iter().collect();
        let tokens_there = transaction.unrevoked(&tokens).await?;
        let silos_there = transaction.silos_there(&silos).await?;
        let stored = transaction.agents_of(&tokens).await?;
        let is_kept = |agent: &&Agent| {
            tokens_there.contains(&agent.key.token) && silos_there.contains(&agent.key.silo)
        };
        let (kept, left_out): (Vec<&Agent>, Vec<&Agent>) = self.0.iter().partition(is_kept);
        let changes = changes(kept.into_iter().cloned().collect(), stored, now);
        transaction.put_agents(&changes.write).await?;
        transaction.remove_agent_names(&changes.remove).await?;
        let removed: HashSet<_> = changes.remove.into_iter().collect();
        let is_removed =
            |agent: &&Agent| removed.contains(&(agent.key.token, agent.key.name.clone()));
        let displaced = self.0.iter().filter(is_removed);
        Ok(left_out
            .into_iter()
            .chain(displaced)
            .map(|agent| agent.key.clone())
            .collect())
    }
}

impl Command for PurgeAgents {
    /// How many were removed.
    type Outcome = u64;

    async fn run(&self, transaction: &mut WriteTransaction, _: Time) -> Result<u64, ApplyError> {
        Ok(transaction.purge_agents(&self.keys, self.before).await?)
    }
}
