//! What needs a hand, judged by the facts of a status.

use super::facts::{Finding, SinkState, Status};
use crate::domain::time::Time;

/// A certificate or token that ends sooner than this needs a hand.
const ENDS_SOON_MS: i64 = 14 * 86_400_000;
/// An agent that calls and has not applied a change for this long refuses it, or can't.
const BEHIND_MS: i64 = 15 * 60_000;

/// What needs a hand, the worst first.
pub(super) fn of(status: &Status) -> Vec<Finding> {
    let mut all = Vec::new();
    all.extend(database(status));
    for sink in status
        .sinks
        .iter()
        .filter(|sink| sink.state != SinkState::Ok)
    {
        let why = sink.why.as_deref().unwrap_or("the reason is not known");
        let deliveries = match (sink.failed, sink.pending) {
            (0, pending) => format!("{} pending", counted(pending, "delivery", "deliveries")),
            (failed, 0) => format!("{} failed", counted(failed, "delivery", "deliveries")),
            (failed, pending) => format!(
                "{} failed, {pending} pending",
                counted(failed, "delivery", "deliveries")
            ),
        };
        all.push(finding(
            &format!("sink {}", sink.name),
            format!("{deliveries}: {why}"),
        ));
    }
    let behind = status.agents.some_behind.iter();
    let behind: Vec<_> = behind
        .filter(|agent| since(status.now, agent.silo_changed_at) > BEHIND_MS)
        .map(|agent| format!("{} of {}", agent.name, agent.silo))
        .collect();
    if !behind.is_empty() {
        all.push(finding(
            "agents",
            format!(
                "not applied for more than 15 minutes what changed: {}; `status` on these machines says why",
                behind.join(", ")
            ),
        ));
    }
    for expiring in &status.expires {
        let left = since(expiring.at, status.now);
        if left >= ENDS_SOON_MS {
            continue;
        }
        let (what, advice) = match (&expiring.name, &expiring.id) {
            (Some(name), Some(id)) => (format!("token {name} ({id})"), "create another one"),
            _ => (
                expiring.what.clone(),
                "replace the file; the hub reloads it",
            ),
        };
        let when = if left < 0 { "expired" } else { "expires" };
        all.push(finding(
            &what,
            format!("{when} at {}: {advice}", expiring.at),
        ));
    }
    all
}

fn database(status: &Status) -> Option<Finding> {
    let database = &status.database;
    let why = if database.is_file_gone {
        "its file was moved or deleted: put it back, or restore a backup".to_owned()
    } else if let Some(seconds) = database.silent_seconds {
        format!(
            "it has not answered for {seconds} s: reads come from memory and writes are refused; the log has the error"
        )
    } else if !database.is_writable {
        "it takes no writes: the log names the reason, such as a full disk".to_owned()
    } else {
        return None;
    };
    Some(finding("database", why))
}

fn finding(what: &str, why: String) -> Finding {
    let what = what.to_owned();
    Finding { what, why }
}

fn counted(number: i64, one: &str, many: &str) -> String {
    let noun = if number == 1 { one } else { many };
    format!("{number} {noun}")
}

/// Milliseconds from one time to another; negative if it is earlier.
fn since(later: Time, earlier: Time) -> i64 {
    later.as_millis().saturating_sub(earlier.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::status::facts::{
        AgentFacts, Agents, DatabaseFacts, Expiring, SinkFacts, SinkState,
    };

    const NOW: i64 = 1_767_323_045_678;
    const DAY: i64 = 86_400_000;

    fn well() -> Status {
        Status {
            now: Time::from_millis(NOW),
            database: DatabaseFacts {
                is_up: true,
                is_writable: true,
                ..DatabaseFacts::default()
            },
            ..Status::default()
        }
    }

    fn behind(minutes: i64) -> Agents {
        Agents {
            behind: 1,
            some_behind: vec![AgentFacts {
                silo: "office".to_owned(),
                name: "nas".to_owned(),
                last_seen: Time::from_millis(NOW),
                silo_changed_at: Time::from_millis(NOW - minutes * 60_000),
            }],
            ..Agents::default()
        }
    }

    fn sink(state: SinkState, pending: i64, failed: i64, why: Option<&str>) -> Vec<SinkFacts> {
        vec![SinkFacts {
            name: "dns".to_owned(),
            state,
            pending,
            failed,
            why: why.map(str::to_owned),
            ..SinkFacts::default()
        }]
    }

    fn ends(in_ms: i64, token: bool) -> Vec<Expiring> {
        vec![Expiring {
            what: if token { "token" } else { "certificate" }.to_owned(),
            name: token.then(|| "router".to_owned()),
            id: token.then(|| "abcdefgh12".to_owned()),
            at: Time::from_millis(NOW + in_ms),
        }]
    }

    #[test]
    fn only_what_needs_a_hand_is_found() {
        let database = |change: fn(&mut DatabaseFacts)| {
            let mut status = well();
            change(&mut status.database);
            status
        };
        let with = |change: &dyn Fn(&mut Status)| {
            let mut status = well();
            change(&mut status);
            status
        };
        for (status, what, word) in [
            (well(), "", ""),
            (with(&|status| status.agents = behind(14)), "", ""),
            (with(&|status| status.agents.silent = 9), "", ""),
            (
                with(&|status| status.sinks = sink(SinkState::Ok, 3, 0, None)),
                "",
                "",
            ),
            (
                with(&|status| status.expires = ends(20 * DAY, false)),
                "",
                "",
            ),
            (
                database(|database| database.is_writable = false),
                "database",
                "takes no writes",
            ),
            (
                database(|database| database.silent_seconds = Some(40)),
                "database",
                "for 40 s",
            ),
            (
                database(|database| database.is_file_gone = true),
                "database",
                "moved or deleted",
            ),
            (
                with(&|status| status.agents = behind(16)),
                "agents",
                "nas of office",
            ),
            (
                with(&|status| status.sinks = sink(SinkState::Retrying, 1, 0, Some("refused"))),
                "sink dns",
                "1 delivery pending: refused",
            ),
            (
                with(&|status| status.sinks = sink(SinkState::Failed, 4, 2, None)),
                "sink dns",
                "2 deliveries failed, 4 pending: the reason",
            ),
            (
                with(&|status| status.expires = ends(13 * DAY, false)),
                "certificate",
                "expires at",
            ),
            (
                with(&|status| status.expires = ends(-1, false)),
                "certificate",
                "expired at",
            ),
            (
                with(&|status| status.expires = ends(DAY, true)),
                "token router (abcdefgh12)",
                "expires at",
            ),
        ] {
            let found = of(&status);
            if what.is_empty() {
                assert_eq!(found, [], "{status:?}");
                continue;
            }
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!(found[0].what, what);
            assert!(found[0].why.contains(word), "{found:?}");
        }
    }
}
