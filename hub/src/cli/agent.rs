//! `silo-hub agent`: the agents that the hubs of this database have seen.

use std::collections::HashMap;

use clap::Subcommand;
use serde::Serialize;
use silo_shared::silo::SiloId;

use super::{Failure, say};
use crate::domain::agents::{Agent, AgentKind};
use crate::domain::revision::Revision;
use crate::domain::time::Time;
use crate::runtime::open_hub::OpenHub;
use crate::store::{Store, StoreError};

/// How many rows are read at once.
const PAGE: i64 = 1000;

#[derive(Debug, Subcommand)]
pub(super) enum AgentCommand {
    /// List the agents of silos and what they have applied; a running hub stores this about once a minute
    List {
        /// Only those of this silo
        #[arg(long, value_name = "SILO", value_parser = parse_silo)]
        silo: Option<SiloId>,
        /// Print one JSON object for each agent
        #[arg(long)]
        json: bool,
    },
}

fn parse_silo(text: &str) -> Result<SiloId, String> {
    SiloId::parse(text).map_err(|error| error.to_string())
}

/// An agent, as in `GET /silos/{id}/agents`, with its silo.
#[derive(Debug, Serialize)]
struct Line {
    silo: SiloId,
    name: String,
    kind: Option<&'static str>,
    version: Option<String>,
    revision: Option<Revision>,
    behind: Option<bool>,
    last_seen: Time,
    address: String,
    token: String,
}

pub(super) async fn agent(hub: &OpenHub, command: AgentCommand) -> Result<(), Failure> {
    let AgentCommand::List { silo, json } = command;
    let agents = match &silo {
        Some(silo) => of_silo(&hub.store, silo).await?,
        None => all(&hub.store).await?,
    };
    let mut revisions: HashMap<SiloId, Option<Revision>> = HashMap::new();
    for agent in agents {
        let silo = &agent.key.silo;
        let revision = match revisions.get(silo) {
            Some(known) => *known,
            None => {
                let head = hub.store.silo_head(silo).await?;
                let revision = head.map(|head| head.revision);
                revisions.insert(silo.clone(), revision);
                revision
            }
        };
        print(line(agent, revision), json)?;
    }
    Ok(())
}

async fn of_silo(store: &Store, silo: &SiloId) -> Result<Vec<Agent>, Failure> {
    let head = store.silo_head(silo).await?;
    if head.is_none_or(|head| head.deleted) {
        return Err(Failure::Failed(format!("there is no silo {silo}")));
    }
    let mut agents: Vec<Agent> = Vec::new();
    loop {
        let last = agents.last().map(|last| (&last.key.name, last.key.token));
        let page = store.agents(silo, last, PAGE).await?;
        if page.is_empty() {
            return Ok(agents);
        }
        agents.extend(page);
    }
}

async fn all(store: &Store) -> Result<Vec<Agent>, StoreError> {
    let mut agents: Vec<Agent> = Vec::new();
    loop {
        let last = agents.last().map(|last| &last.key);
        let page = store.all_agents(last, PAGE).await?;
        if page.is_empty() {
            return Ok(agents);
        }
        agents.extend(page);
    }
}

fn line(agent: Agent, revision: Option<Revision>) -> Line {
    let behind = agent.applied.zip(revision);
    Line {
        silo: agent.key.silo,
        name: agent.key.name.as_str().to_owned(),
        kind: agent.kind.map(AgentKind::as_str),
        version: agent.version.map(|version| version.as_str().to_owned()),
        revision: agent.applied,
        behind: behind.map(|(applied, revision)| applied != revision),
        last_seen: agent.last_seen,
        address: agent.address.to_string(),
        token: agent.key.token.to_string(),
    }
}

fn print(line: Line, json: bool) -> Result<(), Failure> {
    if json {
        let text =
            serde_json::to_string(&line).map_err(|error| Failure::Failed(error.to_string()))?;
        return say(format_args!("{text}"));
    }
    let state = match line.behind {
        Some(true) => "behind",
        Some(false) => "current",
        None => "-",
    };
    say(format_args!(
        "{}  {}  {}  {}  applied {}  {state}  seen {}  from {}  token {}",
        line.silo,
        line.name,
        line.kind.unwrap_or("-"),
        line.version.as_deref().unwrap_or("-"),
        line.revision
            .map_or("-".to_owned(), |revision| revision.to_string()),
        line.last_seen,
        line.address,
        line.token,
    ))
}
