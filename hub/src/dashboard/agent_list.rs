//! Which agents a page of the list has: the worst first, and how many there are of each state.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use silo_shared::credential::TokenId;
use silo_shared::silo::SiloId;

use crate::domain::agents::{AgentKey, AgentName, AgentState};
use crate::domain::time::Time;
use crate::store::AgentOfSilo;

/// What a list of agents is limited to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Filter {
    /// This silo.
    pub(super) silo: Option<SiloId>,
    /// A part of the agent's name, in lower case.
    pub(super) name: String,
    /// This state.
    pub(super) state: Option<AgentState>,
}

/// A place in the list: the state, and the agent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    rank: u8,
    key: AgentKey,
}

/// How many agents there are, whatever the state that the list is limited to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) current: usize,
    pub(super) behind: usize,
    pub(super) silent: usize,
}

/// The agents of one page, found among all.
#[derive(Debug)]
pub(super) struct Selection {
    filter: Filter,
    after: Option<Position>,
    limit: usize,
    silent_before: Time,
    pub(super) totals: Totals,
    found: BTreeMap<Position, (AgentState, AgentOfSilo)>,
}

/// Those that need a hand come first.
fn rank(state: AgentState) -> u8 {
    match state {
        AgentState::Behind => 0,
        AgentState::Silent => 1,
        AgentState::Current => 2,
    }
}

impl Totals {
    /// All agents.
    pub(super) fn all(&self) -> usize {
        self.current + self.behind + self.silent
    }

    /// Those in a state.
    pub(super) fn of(&self, state: AgentState) -> usize {
        match state {
            AgentState::Current => self.current,
            AgentState::Behind => self.behind,
            AgentState::Silent => self.silent,
        }
    }
}

impl Position {
    /// As an opaque text for a link.
    pub(super) fn encode(&self) -> String {
        let AgentKey { silo, name, token } = &self.key;
        URL_SAFE_NO_PAD.encode(format!("{} {silo} {token} {}", self.rank, name.as_str()))
    }

    /// Parses the text from [`Position::encode`].
    pub(super) fn decode(text: &str) -> Option<Self> {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        // The name, which may have blanks, is the last.
        let mut parts = text.splitn(4, ' ');
        Some(Self {
            rank: parts.next()?.parse().ok()?,
            key: AgentKey {
                silo: SiloId::parse(parts.next()?).ok()?,
                token: TokenId::parse(parts.next()?).ok()?,
                name: AgentName::parse(parts.next()?).ok()?,
            },
        })
    }
}

impl Selection {
    /// Begins with none. Agents that were not seen since `silent_before` are silent.
    pub(super) fn begin(
        filter: Filter,
        after: Option<Position>,
        limit: usize,
        silent_before: Time,
    ) -> Self {
        Self {
            filter,
            after,
            limit,
            silent_before,
            totals: Totals::default(),
            found: BTreeMap::new(),
        }
    }

    /// Adds one of the agents, which come in any order.
    pub(super) fn add(&mut self, agent: AgentOfSilo) {
        let key = &agent.agent.key;
        let is_other_silo = self
            .filter
            .silo
            .as_ref()
            .is_some_and(|silo| *silo != key.silo);
        let name = key.name.as_str().to_ascii_lowercase();
        if is_other_silo || !name.contains(&self.filter.name) {
            return;
        }
        let state = agent.agent.state(agent.revision, self.silent_before);
        match state {
            AgentState::Current => self.totals.current += 1,
            AgentState::Behind => self.totals.behind += 1,
            AgentState::Silent => self.totals.silent += 1,
        }
        if self.filter.state.is_some_and(|wanted| wanted != state) {
            return;
        }
        let position = Position {
            rank: rank(state),
            key: key.clone(),
        };
        if self.after.as_ref().is_some_and(|after| position <= *after) {
            return;
        }
        self.found.insert(position, (state, agent));
        // One more than the page has shows that there is a next one.
        if self.found.len() > self.limit + 1 {
            self.found.pop_last();
        }
    }

    /// The agents of the page, and where the next one begins.
    pub(super) fn end(mut self) -> (Vec<(AgentState, AgentOfSilo)>, Option<Position>) {
        let has_more = self.found.len() > self.limit;
        if has_more {
            self.found.pop_last();
        }
        let last = self.found.last_key_value().filter(|_| has_more);
        let next = last.map(|(position, _)| position.clone());
        (self.found.into_values().collect(), next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::agents::Agent;
    use crate::domain::revision::Revision;

    const NOW: Time = Time::from_millis(1_767_323_045_678);

    fn agent(silo: &str, name: &str, applied: i64, seconds_ago: i64) -> AgentOfSilo {
        AgentOfSilo {
            agent: Agent {
                key: AgentKey {
                    silo: SiloId::parse(silo).unwrap(),
                    name: AgentName::parse(name).unwrap(),
                    token: TokenId::parse("abcdefgh12").unwrap(),
                },
                kind: None,
                version: None,
                applied: Some(Revision::from(applied)),
                last_seen: NOW.plus_seconds(-seconds_ago),
                address: [192, 0, 2, 1].into(),
            },
            revision: Revision::from(7),
            changed_at: NOW,
        }
    }

    fn all() -> Vec<AgentOfSilo> {
        vec![
            agent("office", "b", 7, 0),
            agent("home", "Laptop 7", 6, 0),
            agent("office", "a", 7, 100),
            agent("lab", "c", 7, 0),
            agent("lab", "laptop", 5, 3),
        ]
    }

    fn select(filter: &Filter, after: Option<Position>) -> (Totals, Vec<String>, Option<Position>) {
        let mut selection = Selection::begin(filter.clone(), after, 2, NOW.plus_seconds(-50));
        all().into_iter().for_each(|agent| selection.add(agent));
        let totals = selection.totals;
        let (rows, next) = selection.end();
        let shown = |(state, of): (AgentState, AgentOfSilo)| {
            let key = of.agent.key;
            format!("{} {} {}", state.as_str(), key.silo, key.name.as_str())
        };
        (totals, rows.into_iter().map(shown).collect(), next)
    }

    #[test]
    fn pages_begin_with_the_agents_that_need_a_hand() {
        let mut shown = Vec::new();
        let mut after = None;
        loop {
            let (totals, rows, next) = select(&Filter::default(), after);
            assert_eq!((totals.all(), totals.behind, totals.silent), (5, 2, 1));
            shown.push(rows);
            let Some(next) = next else { break };
            let text = next.encode();
            assert_eq!(Position::decode(&text), Some(next.clone()));
            after = Some(next);
        }
        assert_eq!(
            shown,
            [
                vec!["behind home Laptop 7", "behind lab laptop"],
                vec!["silent office a", "current lab c"],
                vec!["current office b"],
            ]
        );
        assert_eq!(Position::decode("x"), None);
    }

    #[test]
    fn a_state_limits_the_rows_and_not_the_totals() {
        for (silo, name, state, expected, total) in [
            (
                None,
                "laptop",
                None,
                &["behind home Laptop 7", "behind lab laptop"][..],
                2,
            ),
            (
                Some("lab"),
                "",
                None,
                &["behind lab laptop", "current lab c"],
                2,
            ),
            (
                Some("lab"),
                "",
                Some(AgentState::Current),
                &["current lab c"],
                2,
            ),
            (Some("lab"), "", Some(AgentState::Silent), &[], 2),
            (None, "nothing", None, &[], 0),
        ] {
            let filter = Filter {
                silo: silo.map(|silo| SiloId::parse(silo).unwrap()),
                name: name.to_owned(),
                state,
            };
            let (totals, rows, next) = select(&filter, None);
            assert_eq!(
                (rows.as_slice(), totals.all()),
                (
                    &*expected
                        .iter()
                        .map(|row| (*row).to_owned())
                        .collect::<Vec<_>>(),
                    total
                )
            );
            assert_eq!(next, None);
        }
    }
}
