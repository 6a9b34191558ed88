//! The page of agents: which machine has applied which state of its silo, and by how much it is behind.

use std::net::IpAddr;

use askama::Template;

use crate::dashboard::agent_list::Totals;
use crate::dashboard::href::{Href, href};
use crate::dashboard::layout::Chrome;
use crate::dashboard::when::When;
use crate::domain::agents::{AgentKind, AgentState};
use crate::domain::revision::Revision;
use crate::domain::time::Time;
use crate::store::{AgentOfSilo, Missed};

/// A page of the list.
#[derive(Debug, Template)]
#[template(path = "dashboard/agents.html")]
pub(in crate::dashboard) struct AgentsPage {
    pub(in crate::dashboard) chrome: Chrome,
    /// What was typed into the filter.
    pub(in crate::dashboard) silo: String,
    pub(in crate::dashboard) silo_error: Option<String>,
    pub(in crate::dashboard) name: String,
    pub(in crate::dashboard) state: Option<AgentState>,
    pub(in crate::dashboard) totals: Totals,
    pub(in crate::dashboard) rows: Vec<Row>,
    /// Whether addresses and tokens are shown.
    pub(in crate::dashboard) is_admin: bool,
    pub(in crate::dashboard) is_first: bool,
    /// Where the next page begins.
    pub(in crate::dashboard) next: Option<String>,
}

/// An agent.
#[derive(Debug)]
pub(in crate::dashboard) struct Row {
    pub(in crate::dashboard) name: String,
    pub(in crate::dashboard) silo: String,
    pub(in crate::dashboard) kind: &'static str,
    pub(in crate::dashboard) version: Option<String>,
    pub(in crate::dashboard) address: IpAddr,
    pub(in crate::dashboard) token: String,
    pub(in crate::dashboard) last_seen: When,
    pub(in crate::dashboard) applied: Option<Revision>,
    pub(in crate::dashboard) revision: Revision,
    pub(in crate::dashboard) standing: Standing,
}

/// What an agent has applied, in words.
#[derive(Debug)]
pub(in crate::dashboard) struct Standing {
    /// The class of the tag.
    pub(in crate::dashboard) class: &'static str,
    /// The short form.
    pub(in crate::dashboard) words: String,
    /// The rest of the sentence.
    pub(in crate::dashboard) detail: &'static str,
    /// The time that ends the sentence.
    pub(in crate::dashboard) since: Option<When>,
}

/// One of the links that limit the list to a state.
#[derive(Debug)]
pub(in crate::dashboard) struct Tab {
    pub(in crate::dashboard) href: Href,
    pub(in crate::dashboard) words: &'static str,
    pub(in crate::dashboard) number: usize,
    pub(in crate::dashboard) is_current: bool,
}

impl AgentsPage {
    /// Whether the list is limited.
    fn is_filtered(&self) -> bool {
        !self.silo.is_empty() || !self.name.is_empty() || self.state.is_some()
    }

    /// The list with the same filter, but for the state.
    fn of_state(&self, state: Option<AgentState>, after: Option<&str>) -> Href {
        href("/dashboard/agents")
            .with("silo", &self.silo)
            .with("name", &self.name)
            .with("state", state.map_or("", AgentState::as_str))
            .with("after", after.unwrap_or(""))
    }

    fn tabs(&self) -> Vec<Tab> {
        let tab = |state: Option<AgentState>, words, number| Tab {
            href: self.of_state(state, None),
            words,
            number,
            is_current: self.state == state,
        };
        let of = |state, words| tab(Some(state), words, self.totals.of(state));
        vec![
            tab(None, "All", self.totals.all()),
            of(AgentState::Behind, "Behind"),
            of(AgentState::Silent, "Silent"),
            of(AgentState::Current, "Current"),
        ]
    }

    fn next_page(&self) -> Option<Href> {
        let next = self.next.as_deref()?;
        Some(self.of_state(self.state, Some(next)))
    }

    fn first_page(&self) -> Option<Href> {
        (!self.is_first).then(|| self.of_state(self.state, None))
    }
}

impl Row {
    /// The row of an agent. `missed`: the changes since what it has applied, if that is another revision.
    pub(in crate::dashboard) fn of(
        state: AgentState,
        of: AgentOfSilo,
        missed: Option<Missed>,
        now: Time,
    ) -> Self {
        let standing = Standing::of(state, &of, missed, now);
        let agent = of.agent;
        Self {
            name: agent.key.name.as_str().to_owned(),
            silo: agent.key.silo.to_string(),
            kind: match agent.kind {
                Some(AgentKind::Upstream) => "reports addresses",
                Some(AgentKind::Downstream) => "keeps a hosts file",
                None => "not said",
            },
            version: agent.version.map(|version| version.as_str().to_owned()),
            address: agent.address,
            token: agent.key.token.to_string(),
            last_seen: When::new(agent.last_seen, now),
            applied: agent.applied,
            revision: of.revision,
            standing,
        }
    }
}

impl Standing {
    fn of(state: AgentState, of: &AgentOfSilo, missed: Option<Missed>, now: Time) -> Self {
        let class = match state {
            AgentState::Current if of.agent.applied.is_some() => "ok",
            AgentState::Current => "quiet",
            AgentState::Behind => "warn",
            AgentState::Silent => "bad",
        };
        let (lag, detail, since) = lag(of, missed);
        let since = since.map(|since| When::new(since, now));
        match state {
            AgentState::Silent => Self {
                class,
                words: "silent".to_owned(),
                detail: silent_detail(of, missed),
                since: None,
            },
            AgentState::Current | AgentState::Behind => Self {
                class,
                words: lag,
                detail,
                since,
            },
        }
    }
}

/// By how much an agent is behind: in a few words, what explains them, and since when.
fn lag(of: &AgentOfSilo, missed: Option<Missed>) -> (String, &'static str, Option<Time>) {
    let Some(applied) = of.agent.applied else {
        return match of.agent.kind {
            Some(AgentKind::Upstream) => ("reports only".to_owned(), "", None),
            _ => ("has not said".to_owned(), "what it has applied", None),
        };
    };
    if applied == of.revision {
        return ("newest revision".to_owned(), "", None);
    }
    if applied > of.revision {
        let detail = "it has applied a revision that this hub does not have; it takes the present one with its next run";
        return ("other state".to_owned(), detail, None);
    }
    match missed {
        Some(Missed {
            changes,
            has_more,
            since,
        }) if changes > 0 => {
            let more = if has_more { "at least " } else { "" };
            let noun = if changes == 1 { "change" } else { "changes" };
            (format!("{more}{changes} {noun} behind"), "since", since)
        }
        // Comments and expiry take a revision and are not in the history.
        _ => {
            let detail = "no address differs: what changed was a comment, an expiry or the like";
            ("other revision".to_owned(), detail, Some(of.changed_at))
        }
    }
}

/// What a silent agent had when it was last seen.
fn silent_detail(of: &AgentOfSilo, missed: Option<Missed>) -> &'static str {
    match of.agent.applied {
        None => "no request for more than two hours",
        Some(applied) if applied == of.revision => {
            "no request for more than two hours; nothing has changed since it was last seen"
        }
        Some(_) if missed.is_some_and(|missed| missed.changes > 0) => {
            "no request for more than two hours; what changed since then is not applied there"
        }
        Some(_) => "no request for more than two hours; no address has changed since then",
    }
}

#[cfg(test)]
#[path = "agents_tests.rs"]
mod tests;
