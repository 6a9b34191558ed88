use silo_shared::credential::TokenId;
use silo_shared::silo::SiloId;

use super::*;
use crate::domain::agents::{Agent, AgentKey, AgentName};

const NOW: Time = Time::from_millis(1_767_323_045_678);

fn agent(kind: Option<AgentKind>, applied: Option<i64>) -> AgentOfSilo {
    AgentOfSilo {
        agent: Agent {
            key: AgentKey {
                silo: SiloId::parse("office").unwrap(),
                name: AgentName::parse("<b>laptop</b>").unwrap(),
                token: TokenId::parse("abcdefgh12").unwrap(),
            },
            kind,
            version: None,
            applied: applied.map(Revision::from),
            last_seen: NOW.plus_seconds(-30),
            address: [192, 0, 2, 1].into(),
        },
        revision: Revision::from(7),
        changed_at: NOW.plus_seconds(-600),
    }
}

fn missed(changes: i64, has_more: bool) -> Option<Missed> {
    Some(Missed {
        changes,
        has_more,
        since: Some(NOW.plus_seconds(-1200)),
    })
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn what_an_agent_has_applied_is_said_in_words() {
    let downstream = Some(AgentKind::Downstream);
    for (state, kind, applied, missed, class, words, detail, since) in [
        (
            AgentState::Current,
            downstream,
            Some(7),
            None,
            "ok",
            "newest revision",
            "",
            None,
        ),
        (
            AgentState::Current,
            Some(AgentKind::Upstream),
            None,
            None,
            "quiet",
            "reports only",
            "",
            None,
        ),
        (
            AgentState::Current,
            downstream,
            None,
            None,
            "quiet",
            "has not said",
            "applied",
            None,
        ),
        (
            AgentState::Behind,
            downstream,
            Some(6),
            missed(1, false),
            "warn",
            "1 change behind",
            "since",
            Some(1200),
        ),
        (
            AgentState::Behind,
            downstream,
            Some(2),
            missed(5, false),
            "warn",
            "5 changes behind",
            "since",
            Some(1200),
        ),
        (
            AgentState::Behind,
            downstream,
            Some(2),
            missed(9, true),
            "warn",
            "at least 9 changes behind",
            "since",
            Some(1200),
        ),
        (
            AgentState::Behind,
            downstream,
            Some(6),
            missed(0, false),
            "warn",
            "other revision",
            "no address differs",
            Some(600),
        ),
        (
            AgentState::Behind,
            downstream,
            Some(9),
            None,
            "warn",
            "other state",
            "does not have",
            None,
        ),
        (
            AgentState::Silent,
            downstream,
            Some(7),
            None,
            "bad",
            "silent",
            "nothing has changed",
            None,
        ),
        (
            AgentState::Silent,
            downstream,
            Some(6),
            missed(1, false),
            "bad",
            "silent",
            "is not applied",
            None,
        ),
        (
            AgentState::Silent,
            downstream,
            Some(6),
            missed(0, false),
            "bad",
            "silent",
            "no address has changed",
            None,
        ),
        (
            AgentState::Silent,
            None,
            None,
            None,
            "bad",
            "silent",
            "two hours",
            None,
        ),
    ] {
        let found = Standing::of(state, &agent(kind, applied), missed, NOW);
        assert_eq!((found.class, &*found.words), (class, words));
        assert!(found.detail.contains(detail), "{found:?}");
        let since = since.map(|seconds: i64| When::new(NOW.plus_seconds(-seconds), NOW));
        assert_eq!(found.since, since, "{words}");
    }
}
