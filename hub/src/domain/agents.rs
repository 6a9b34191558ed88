//! What is known of the agents of a silo, and what of it is kept.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

pub use silo_shared::agent_name::{AgentKind, AgentName};
use silo_shared::credential::TokenId;
use silo_shared::silo::SiloId;

use super::elapsed::is_ahead;
use super::revision::Revision;
use super::time::Time;

/// How many names of agents are remembered for each token.
pub const NAMES_OF_TOKEN: usize = 16;

/// The version of an agent: 1 to 32 characters of a version number (Semantic Versioning).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentVersion(Box<str>);

impl AgentVersion {
    /// The maximum length, in characters.
    pub const MAX: usize = 32;

    /// Parses a version.
    pub fn parse(text: &str) -> Option<Self> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".+-_~".contains(&byte);
        let is_valid = (1..=Self::MAX).contains(&text.len()) && text.bytes().all(is_allowed);
        is_valid.then(|| Self(text.into()))
    }

    /// The version as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What an agent was last known to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AgentState {
    /// The present state of its silo, or it only reports addresses.
    Current,
    /// Another revision of its silo than the present one.
    Behind,
    /// It has not called for long.
    Silent,
}

impl AgentState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Current, Self::Behind, Self::Silent];

    /// The displayed form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Behind => "behind",
            Self::Silent => "silent",
        }
    }
}

impl std::str::FromStr for AgentState {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|state| state.as_str() == text);
        found.ok_or("one of current, behind and silent")
    }
}

/// What a request says of the agent that sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentClaim {
    /// Its name.
    pub name: AgentName,
    /// Its kind, if it says so.
    pub kind: Option<AgentKind>,
    /// Its version, if it says so.
    pub version: Option<AgentVersion>,
    /// The revision of the silo that it has applied, if it says so.
    pub applied: Option<Revision>,
}

/// Identifies an agent of a silo. In the order in which agents are listed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentKey {
    /// The silo.
    pub silo: SiloId,
    /// The name, which different tokens may use.
    pub name: AgentName,
    /// The token of its requests.
    pub token: TokenId,
}

/// An agent of a silo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// Which one it is.
    pub key: AgentKey,
    /// Its kind.
    pub kind: Option<AgentKind>,
    /// Its version.
    pub version: Option<AgentVersion>,
    /// The revision that it has applied.
    pub applied: Option<Revision>,
    /// When its last request came.
    pub last_seen: Time,
    /// The client's address of that request.
    pub address: IpAddr,
}

impl Agent {
    /// Its state, if its silo is at `revision`. The census counts by the same rule.
    pub fn state(&self, revision: Revision, silent_before: Time) -> AgentState {
        if self.last_seen < silent_before {
            AgentState::Silent
        } else if self.applied.is_none_or(|applied| applied == revision) {
            AgentState::Current
        } else {
            AgentState::Behind
        }
    }

    /// What is known from two reports of one agent: the newer one counts, and the older one for what the newer one does
    /// not say. `stored` is from the database; a time that a clock ahead of `now` stored does not count.
    #[must_use]
    pub fn joined(self, stored: Self, now: Time) -> Self {
        let is_newer = stored.last_seen > self.last_seen && !is_ahead(stored.last_seen, now);
        let (newer, older) = if is_newer {
            (stored, self)
        } else {
            (self, stored)
        };
        Self {
            kind: newer.kind.or(older.kind),
            version: newer.version.or(older.version),
            applied: newer.applied.or(older.applied),
            ..newer
        }
    }
}

/// The first agents of both lists in their order. Both are sorted, and each has the first `limit` ones of its place.
pub fn first_of_both(stored: Vec<Agent>, noted: Vec<Agent>, limit: usize, now: Time) -> Vec<Agent> {
    let mut all: BTreeMap<AgentKey, Agent> = BTreeMap::new();
    for agent in stored {
        all.insert(agent.key.clone(), agent);
    }
    for agent in noted {
        let known = all.remove(&agent.key);
        let agent = match known {
            Some(stored) => agent.joined(stored, now),
            None => agent,
        };
        all.insert(agent.key.clone(), agent);
    }
    all.into_values().take(limit).collect()
}

/// What to write of reported agents.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct AgentChanges {
    /// The rows to write.
    pub write: Vec<Agent>,
    /// The names to remove, with all their rows.
    pub remove: Vec<(TokenId, AgentName)>,
}

/// What to write of reported agents, of which the database has `stored`: all rows of their tokens. Keeps the newest
/// names of each token.
pub fn changes(noted: Vec<Agent>, stored: Vec<Agent>, now: Time) -> AgentChanges {
    let mut names: BTreeMap<TokenId, BTreeMap<AgentName, Time>> = BTreeMap::new();
    let mut known: BTreeMap<AgentKey, Agent> = BTreeMap::new();
    let mut note = |agent: &Agent| {
        let names = names.entry(agent.key.token).or_default();
        // What a wrong clock stored must not displace others.
        let seen = if is_ahead(agent.last_seen, now) {
            Time::default()
        } else {
            agent.last_seen
        };
        let newest = names.entry(agent.key.name.clone()).or_insert(seen);
        *newest = seen.max(*newest);
    };
    noted.iter().chain(&stored).for_each(&mut note);
    for agent in stored {
        known.insert(agent.key.clone(), agent);
    }
    let mut remove = HashSet::new();
    for (token, names) in names {
        let mut names: Vec<_> = names.into_iter().collect();
        names.sort_by(|a, b| (b.1, &a.0).cmp(&(a.1, &b.0)));
        let oldest = names.into_iter().skip(NAMES_OF_TOKEN);
        remove.extend(oldest.map(|(name, _)| (token, name)));
    }
    let mut write = Vec::new();
    for agent in noted {
        if remove.contains(&(agent.key.token, agent.key.name.clone())) {
            continue;
        }
        let stored = known.remove(&agent.key);
        let joined = match stored.clone() {
            Some(stored) => agent.joined(stored, now),
            None => agent,
        };
        if stored.as_ref() != Some(&joined) {
            write.push(joined);
        }
    }
    let mut remove: Vec<_> = remove.into_iter().collect();
    remove.sort();
    AgentChanges { write, remove }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(name: &str, seconds: i64, applied: Option<i64>) -> Agent {
        Agent {
            key: AgentKey {
                silo: SiloId::parse("office").unwrap(),
                name: AgentName::parse(name).unwrap(),
                token: TokenId::parse("abcdefgh12").unwrap(),
            },
            kind: Some(AgentKind::Downstream),
            version: None,
            applied: applied.map(Revision::from),
            last_seen: at(seconds),
            address: [192, 0, 2, 1].into(),
        }
    }

    fn at(seconds: i64) -> Time {
        Time::from_millis(1_767_323_045_678).plus_seconds(seconds)
    }

    #[test]
    fn names_and_versions_are_what_a_structured_field_can_carry() {
        for (text, name) in [
            ("laptop-7", Some("laptop-7")),
            (" Laptop 7 (kitchen) ", Some("Laptop 7 (kitchen)")),
            ("", None),
            ("  ", None),
            ("a\"b", None),
            ("a\\b", None),
            ("a\tb", None),
            ("küche", None),
            (&*"x".repeat(65), None),
        ] {
            let parsed = AgentName::parse(text).ok();
            assert_eq!(parsed.as_ref().map(AgentName::as_str), name, "{text:?}");
        }
        assert!(AgentName::parse(&"x".repeat(64)).is_ok());
        for (text, is_valid) in [
            ("0.2.0", true),
            ("1.0.0-rc.1+debian~1", true),
            ("", false),
            ("0.2 0", false),
            (&*"1".repeat(33), false),
        ] {
            assert_eq!(AgentVersion::parse(text).is_some(), is_valid, "{text:?}");
        }
    }

    #[test]
    fn the_newer_report_counts_and_the_older_one_for_what_it_does_not_say() {
        for (noted, stored, joined) in [
            ((10, Some(5)), (0, Some(9)), (10, Some(5))),
            ((10, None), (0, Some(9)), (10, Some(9))),
            ((10, Some(5)), (20, Some(9)), (20, Some(9))),
            ((10, Some(5)), (20, None), (20, Some(5))),
            // Stored by a clock that was ahead.
            ((10, Some(5)), (312, Some(9)), (10, Some(5))),
        ] {
            let of = |(seconds, applied)| agent("a", seconds, applied);
            assert_eq!(
                of(noted).joined(of(stored), at(11)),
                of(joined),
                "{noted:?} {stored:?}"
            );
        }
    }

    #[test]
    fn an_agent_is_behind_at_any_other_revision_while_it_calls() {
        for (seconds, applied, state) in [
            (10, Some(7), AgentState::Current),
            (10, None, AgentState::Current),
            (10, Some(6), AgentState::Behind),
            // After a restored copy.
            (10, Some(8), AgentState::Behind),
            (9, Some(7), AgentState::Silent),
            (9, Some(6), AgentState::Silent),
        ] {
            let found = agent("a", seconds, applied).state(7.into(), at(10));
            assert_eq!(found, state, "{seconds} {applied:?}");
            assert_eq!(state.as_str().parse(), Ok(state));
        }
    }

    #[test]
    fn a_token_keeps_its_newest_names() {
        let name = |number: i64| format!("agent-{number:02}");
        let stored: Vec<_> = (0..16).map(|n| agent(&name(n), n, Some(n))).collect();
        let noted = vec![agent(&name(20), 100, None), agent(&name(3), 101, Some(7))];
        let changes = changes(noted.clone(), stored, at(102));
        assert_eq!(changes.write, noted);
        let token = TokenId::parse("abcdefgh12").unwrap();
        let oldest = AgentName::parse("agent-00").unwrap();
        assert_eq!(changes.remove, [(token, oldest)]);
    }

    #[test]
    fn names_from_a_clock_ahead_go_first_and_nothing_new_is_not_written() {
        let name = |number: i64| format!("agent-{number:02}");
        let mut stored: Vec<_> = (0..16).map(|n| agent(&name(n), n, None)).collect();
        stored[5].last_seen = at(86_400);
        let unchanged = changes(vec![agent(&name(4), 4, None)], stored.clone(), at(50));
        assert_eq!(unchanged, AgentChanges::default());
        let full = changes(vec![agent(&name(20), 40, None)], stored, at(50));
        let names: Vec<_> = full.remove.iter().map(|(_, name)| name.as_str()).collect();
        assert_eq!(names, ["agent-05"]);
    }

    #[test]
    fn lists_are_joined_in_order() {
        let stored = vec![agent("a", 0, Some(1)), agent("c", 0, Some(1))];
        let noted = vec![
            agent("b", 5, None),
            agent("c", 5, None),
            agent("d", 5, None),
        ];
        let both = first_of_both(stored, noted, 3, at(6));
        let shown: Vec<_> = both
            .iter()
            .map(|agent| (agent.key.name.as_str(), agent.last_seen, agent.applied))
            .collect();
        let wanted = [
            ("a", at(0), Some(1.into())),
            ("b", at(5), None),
            ("c", at(5), Some(1.into())),
        ];
        assert_eq!(shown, wanted);
    }
}
