//! The agents that requests named: kept in memory and written later, so that no request of an agent costs a commit.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use silo_shared::credential::TokenId;
use silo_shared::silo::SiloId;

use crate::domain::agents::{Agent, AgentClaim, AgentKey, AgentName, NAMES_OF_TOKEN};
use crate::domain::time::Time;

/// How often an agent of a silo is written at most.
const PERIOD: Duration = Duration::from_secs(60);
/// For how long an agent that was written is kept.
const KEPT: Duration = Duration::from_secs(300);
/// How many agents are kept at most. Further ones are not noted until there is room.
const MOST: usize = 100_000;
/// How many of them one token may take: the agents of other tokens are always noted.
const MOST_OF_TOKEN: usize = 10_000;

/// The agents that this hub has seen lately.
#[derive(Debug, Default)]
pub struct NotedAgents(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    agents: BTreeMap<AgentKey, Noted>,
    /// The names of each token, so that the oldest one can give way.
    names: HashMap<TokenId, Vec<Name>>,
    /// How many requests were not noted for lack of room.
    unnoted: u64,
}

#[derive(Debug)]
struct Noted {
    agent: Agent,
    is_written: bool,
    /// By the monotonic clock; `None`: never.
    written_at: Option<Duration>,
}

#[derive(Debug)]
struct Name {
    name: AgentName,
    last_seen: Time,
    silos: BTreeSet<SiloId>,
}

impl NotedAgents {
    /// Notes that an agent sent a request for a silo that is there.
    pub fn note(
        &self,
        claim: &AgentClaim,
        silo: &SiloId,
        token: TokenId,
        address: IpAddr,
        now: Time,
    ) {
        let key = AgentKey {
            silo: silo.clone(),
            name: claim.name.clone(),
            token,
        };
        let agent = Agent {
            key,
            kind: claim.kind,
            version: claim.version.clone(),
            applied: claim.applied,
            last_seen: now,
            address,
        };
        self.lock().note(agent);
    }

    /// The agents of a silo after a name and token, in their order.
    pub fn of_silo(
        &self,
        silo: &SiloId,
        after: Option<(&AgentName, TokenId)>,
        limit: usize,
    ) -> Vec<Agent> {
        let held = self.lock();
        let begin = match after {
            Some((name, token)) => Bound::Excluded(AgentKey {
                silo: silo.clone(),
                name: name.clone(),
                token,
            }),
            None => Bound::Included(least_of(silo)),
        };
        held.agents
            .range((begin, Bound::Unbounded))
            .take_while(|(key, _)| key.silo == *silo)
            .take(limit)
            .map(|(_, noted)| noted.agent.clone())
            .collect()
    }

    /// The agents to write, by the monotonic clock; `None`: all that are not written yet.
    pub fn due(&self, now: Option<Duration>) -> Vec<Agent> {
        let is_due = |noted: &&Noted| match (noted.written_at, now) {
            _ if noted.is_written => false,
            (Some(written_at), Some(now)) => now >= written_at + PERIOD,
            _ => true,
        };
        let held = self.lock();
        let due = held.agents.values().filter(is_due);
        due.map(|noted| noted.agent.clone()).collect()
    }

    /// Records that agents were written, except those that were left out.
    pub fn written(&self, agents: &[Agent], left_out: &[AgentKey], now: Duration) {
        let mut held = self.lock();
        for agent in agents {
            if let Some(noted) = held.agents.get_mut(&agent.key) {
                noted.written_at = Some(now);
                // What was noted meanwhile is written later.
                noted.is_written = noted.agent == *agent;
            }
        }
        for key in left_out {
            held.forget(key);
        }
    }

    /// Forgets the agents that were written a while ago. Returns how many requests were not noted for lack of room
    /// since the last call.
    pub fn forget_old(&self, now: Duration) -> u64 {
        let mut held = self.lock();
        let is_old = |(_, noted): &(&AgentKey, &Noted)| {
            noted.is_written && noted.written_at.is_some_and(|at| now >= at + KEPT)
        };
        let old: Vec<AgentKey> = held
            .agents
            .iter()
            .filter(is_old)
            .map(|(key, _)| key.clone())
            .collect();
        for key in &old {
            held.forget(key);
        }
        std::mem::take(&mut held.unnoted)
    }

    /// Forgets the agents of a silo that was deleted.
    pub fn forget_silo(&self, silo: &SiloId) {
        let mut held = self.lock();
        let of_silo: Vec<AgentKey> = held
            .agents
            .range(least_of(silo)..)
            .map(|(key, _)| key)
            .take_while(|key| key.silo == *silo)
            .cloned()
            .collect();
        for key in &of_silo {
            held.forget(key);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn note(&mut self, agent: Agent) {
        if let Some(noted) = self.agents.get_mut(&agent.key) {
            let (last_seen, key) = (agent.last_seen, agent.key.clone());
            let known = noted.agent.clone();
            // Not joined by time: the clock may have been set back.
            noted.agent = Agent {
                kind: agent.kind.or(known.kind),
                version: agent.version.or(known.version),
                applied: agent.applied.or(known.applied),
                ..agent
            };
            noted.is_written = false;
            if let Some(name) = self.name_of(&key) {
                name.last_seen = last_seen;
            }
            return;
        }
        if self.agents.len() >= MOST || self.of_token(agent.key.token) >= MOST_OF_TOKEN {
            self.unnoted += 1;
            return;
        }
        self.add_name(&agent);
        let noted = Noted {
            agent,
            is_written: false,
            written_at: None,
        };
        self.agents.insert(noted.agent.key.clone(), noted);
    }

    /// How many agents of a token are kept.
    fn of_token(&self, token: TokenId) -> usize {
        let names = self.names.get(&token).into_iter().flatten();
        names.map(|name| name.silos.len()).sum()
    }

    fn name_of(&mut self, key: &AgentKey) -> Option<&mut Name> {
        let names = self.names.get_mut(&key.token)?;
        names.iter_mut().find(|name| name.name == key.name)
    }

    /// Adds a silo to the name of an agent; the oldest name gives way to a new one.
    fn add_name(&mut self, agent: &Agent) {
        let key = &agent.key;
        if let Some(name) = self.name_of(key) {
            name.last_seen = agent.last_seen;
            name.silos.insert(key.silo.clone());
            return;
        }
        let names = self.names.entry(key.token).or_default();
        let oldest = (0..names.len()).min_by_key(|index| names[*index].last_seen);
        if let Some(oldest) = oldest.filter(|_| names.len() >= NAMES_OF_TOKEN) {
            let gone = names.swap_remove(oldest);
            for silo in gone.silos {
                self.agents.remove(&AgentKey {
                    silo,
                    name: gone.name.clone(),
                    token: key.token,
                });
            }
        }
        names.push(Name {
            name: key.name.clone(),
            last_seen: agent.last_seen,
            silos: BTreeSet::from([key.silo.clone()]),
        });
    }

    fn forget(&mut self, key: &AgentKey) {
        self.agents.remove(key);
        let Some(names) = self.names.get_mut(&key.token) else {
            return;
        };
        for name in names.iter_mut().filter(|name| name.name == key.name) {
            name.silos.remove(&key.silo);
        }
        names.retain(|name| !name.silos.is_empty());
        if names.is_empty() {
            self.names.remove(&key.token);
        }
    }
}

/// What comes before every agent of a silo in their order.
fn least_of(silo: &SiloId) -> AgentKey {
    AgentKey {
        silo: silo.clone(),
        name: AgentName::first(),
        token: TokenId::parse("0000000000").expect("it has the form of an id"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::agents::AgentVersion;
    use crate::domain::revision::Revision;

    const START: Time = Time::from_millis(1_767_323_045_678);

    fn claim(name: &str, applied: Option<i64>) -> AgentClaim {
        AgentClaim {
            name: AgentName::parse(name).unwrap(),
            kind: None,
            version: applied.and(AgentVersion::parse("1")),
            applied: applied.map(Revision::from),
        }
    }

    fn note(agents: &NotedAgents, name: &str, silo: &str, applied: Option<i64>, seconds: i64) {
        let silo = SiloId::parse(silo).unwrap();
        let token = TokenId::parse("abcdefgh12").unwrap();
        let at = START.plus_seconds(seconds);
        agents.note(
            &claim(name, applied),
            &silo,
            token,
            [192, 0, 2, 1].into(),
            at,
        );
    }

    fn shown(agents: Vec<Agent>) -> Vec<String> {
        let text = |agent: Agent| {
            let applied = agent.applied.unwrap_or_default();
            format!("{} {} {applied}", agent.key.silo, agent.key.name.as_str())
        };
        agents.into_iter().map(text).collect()
    }

    #[test]
    fn an_agent_is_due_at_once_and_then_once_a_minute() {
        let agents = NotedAgents::default();
        let at = Duration::from_secs;
        note(&agents, "a", "office", Some(1), 0);
        let due = agents.due(Some(at(100)));
        assert_eq!(shown(due.clone()), ["office a 1"]);
        // Noted during the write.
        note(&agents, "a", "office", None, 1);
        agents.written(&due, &[], at(100));
        assert_eq!(shown(agents.due(Some(at(159)))), [""; 0]);
        assert_eq!(shown(agents.due(None)), ["office a 1"]);
        let due = agents.due(Some(at(160)));
        assert_eq!(shown(due.clone()), ["office a 1"]);
        agents.written(&due, &[], at(160));
        assert_eq!(shown(agents.due(None)), [""; 0]);
        agents.forget_old(at(459));
        assert_eq!(agents.lock().agents.len(), 1);
        agents.forget_old(at(460));
        assert!(agents.lock().agents.is_empty() && agents.lock().names.is_empty());
    }

    #[test]
    fn a_token_takes_its_share_and_leaves_room_for_others() {
        let agents = NotedAgents::default();
        let silos = MOST_OF_TOKEN / NAMES_OF_TOKEN + 1;
        for silo in 0..silos {
            for name in 0..NAMES_OF_TOKEN {
                note(&agents, &format!("a{name}"), &format!("s{silo}"), None, 0);
            }
        }
        assert_eq!(agents.lock().agents.len(), MOST_OF_TOKEN);
        // What is noted already is still kept current, and another token has room.
        note(&agents, "a0", "s0", Some(7), 1);
        let (silo, other) = (SiloId::parse("s0"), TokenId::parse("zyxwvuts98"));
        let address = [192, 0, 2, 1].into();
        agents.note(
            &claim("b", Some(8)),
            &silo.unwrap(),
            other.unwrap(),
            address,
            START,
        );
        let all = shown(agents.due(None));
        for noted in ["s0 a0 7", "s0 b 8"] {
            assert!(all.iter().any(|agent| agent == noted), "{noted}");
        }
        let unnoted = silos * NAMES_OF_TOKEN - MOST_OF_TOKEN;
        assert_eq!(agents.forget_old(Duration::ZERO), unnoted as u64);
    }

    #[test]
    fn what_was_left_out_is_forgotten_and_the_oldest_name_gives_way_in_all_silos() {
        let agents = NotedAgents::default();
        for number in 0..NAMES_OF_TOKEN {
            let seconds = i64::try_from(number).unwrap();
            for silo in ["office", "other"] {
                note(&agents, &format!("a{number:02}"), silo, None, seconds);
            }
        }
        note(&agents, "a00", "office", None, 50);
        note(&agents, "b", "office", None, 51);
        let all = shown(agents.due(None));
        assert_eq!(all.len(), 2 * NAMES_OF_TOKEN - 1);
        assert!(all.iter().all(|agent| !agent.contains("a01")), "{all:?}");
        let due = agents.due(None);
        let left_out: Vec<AgentKey> = due.iter().skip(1).map(|agent| agent.key.clone()).collect();
        agents.written(&due, &left_out, Duration::from_secs(100));
        assert_eq!(
            shown(agents.of_silo(&due[0].key.silo, None, 100)),
            ["office a00 0"]
        );
        assert_eq!(agents.lock().names.len(), 1);
        agents.forget_silo(&due[0].key.silo);
        assert!(agents.lock().agents.is_empty() && agents.lock().names.is_empty());
    }
}
