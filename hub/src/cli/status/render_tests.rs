use super::*;
use crate::http::status::{
    Agents, Connections, DatabaseFacts, Expiring, Finding, Stored, Watchers,
};

const NOW: i64 = 1_767_323_045_678;

fn time(ago_seconds: i64) -> Time {
    Time::from_millis(NOW - ago_seconds * 1000)
}

fn well() -> Status {
    Status {
        version: "0.2.0".to_owned(),
        pid: 4711,
        started_at: time(3 * 86_400),
        now: time(0),
        listen: vec!["https://10.0.0.2:8053".to_owned()],
        is_well: true,
        database: DatabaseFacts {
            address: "sqlite:silo-data/hub.db".to_owned(),
            is_up: true,
            is_writable: true,
            bytes: Some(5_500_000),
            ..DatabaseFacts::default()
        },
        revision: 1_767_323_045_678_123,
        stored: Some(Stored {
            counted_at: time(3),
            silos: 12,
            records: 340,
            tokens: 8,
        }),
        connections: Connections {
            open: 14,
            limit: 8192,
        },
        watchers: Watchers {
            read: 3,
            silo_events: 1,
            all_events: 1,
        },
        agents: Agents {
            current: 10,
            ..Agents::default()
        },
        sinks: vec![SinkFacts {
            name: "dns".to_owned(),
            kind: "rfc2136".to_owned(),
            ..SinkFacts::default()
        }],
        expires: vec![Expiring {
            what: "certificate".to_owned(),
            name: None,
            id: None,
            at: time(-400 * 86_400),
        }],
        ..Status::default()
    }
}

fn ill() -> Status {
    let agent = |name: &str, seen| AgentFacts {
        silo: "office".to_owned(),
        name: name.to_owned(),
        last_seen: time(seen),
        silo_changed_at: time(4000),
    };
    let why = "550 mailbox unavailable: no user of this name here";
    let finding = |what: &str, why: String| Finding {
        what: what.to_owned(),
        why,
    };
    let mut status = well();
    status.is_well = false;
    status.agents.behind = 1;
    status.agents.silent = 12;
    status.agents.some_behind = vec![agent("nas", 20)];
    status.agents.some_silent = vec![agent("old-laptop", 9000)];
    status.sinks.push(SinkFacts {
        name: "mail".to_owned(),
        kind: "email".to_owned(),
        state: SinkState::Failed,
        pending: 3,
        failed: 1,
        oldest_pending_at: Some(time(600)),
        failing_since: Some(time(7300)),
        why: Some(why.to_owned()),
        next_try: None,
    });
    status.database.is_writable = false;
    status.findings = vec![
        finding(
            "database",
            "it takes no writes: the log names the reason, such as a full disk".to_owned(),
        ),
        finding("sink mail", format!("1 delivery failed, 3 pending: {why}")),
    ];
    status
}

fn plain(status: &Status, width: Option<usize>) -> String {
    anstream::adapter::strip_str(&render(status, width)).to_string()
}

#[test]
fn a_hub_that_is_well_takes_a_dozen_lines() {
    assert_eq!(
        plain(&well(), Some(80)),
        "silo-hub 0.2.0: well\n\
         \n\
         Up           for 3 days, since 2025-12-30 03:04 UTC; process 4711\n\
         Listens at   https://10.0.0.2:8053\n\
         Database     answers  sqlite:silo-data/hub.db, 5.2 MiB\n\
         Revision     1767323045678123\n\
         Stored       12 silos, 340 records, 8 tokens\n\
         Clients      14 of 8192 connections; 5 wait for changes (3 reads, 2 streams)\n\
         Agents       10 of 10 current  0 behind, 0 silent\n\
         Sinks        ok        dns  rfc2136, 0 pending, 0 failed\n\
         Expires      in 400 days  certificate, 2027-02-06 03:04 UTC\n"
    );
}

#[test]
fn what_needs_a_hand_is_at_the_top_and_at_the_end() {
    let text = plain(&ill(), Some(60));
    assert!(
        text.starts_with("silo-hub 0.2.0: 2 things need a hand\n"),
        "{text}"
    );
    assert!(
        text.ends_with(
            "\n\n! database: it takes no writes: the log names the reason,\n\
             \x20 such as a full disk\n\
             ! sink mail: 1 delivery failed, 3 pending: 550 mailbox\n\
             \x20 unavailable: no user of this name here\n"
        ),
        "{text}"
    );
    assert!(
        text.contains(
            "\n             behind  nas of office, seen 20 s ago\n\
             \x20            silent  old-laptop of office, seen 2 h ago\n\
             \x20            silent  and 11 more\n"
        ),
        "{text}"
    );
    for width in [40, 60, 80, 120] {
        for line in plain(&ill(), Some(width)).lines() {
            assert!(line.chars().count() <= width, "{width}: {line}");
        }
    }
}

#[test]
fn a_pipe_gets_each_fact_on_one_line() {
    let text = plain(&ill(), None);
    let why = "! sink mail: 1 delivery failed, 3 pending: 550 mailbox unavailable: no user of this name here\n";
    assert!(text.ends_with(why), "{text}");
}

#[test]
fn durations_and_sizes_are_short() {
    for (millis, words) in [
        (-5, "0 s"),
        (119_999, "119 s"),
        (120_000, "2 min"),
        (7_200_000, "2 h"),
        (200_000_000, "2 days"),
    ] {
        assert_eq!(duration(millis), words);
    }
    for (bytes, words) in [
        (4096, "4 KiB"),
        (1_572_864, "1.5 MiB"),
        (104_857_600, "100 MiB"),
        (21_474_836_480, "20 GiB"),
    ] {
        assert_eq!(size(bytes), words);
    }
}
