//! Several records of one agent, lists of sources, and attributes.

#[cfg(unix)]
use std::path::Path;

use crate::hub::{Answer, Hub, Request};
use crate::run::{Agent, TOKEN};

/// A hub without records, that accepts every report.
fn hub() -> Hub {
    Hub::start(accept)
}

fn accept(request: &Request) -> Answer {
    let hostname = request.line.rsplit('/').next().unwrap_or_default();
    match request.line.as_str() {
        "GET /ip" => Answer::ip("10.0.0.9"),
        line if line.starts_with("PUT") => {
            let mut record: serde_json::Value = serde_json::from_str(&request.body).expect("JSON");
            for (name, value) in [
                ("hostname", hostname),
                ("updated_at", "x"),
                ("last_seen", "x"),
            ] {
                record[name] = value.into();
            }
            record["revision"] = 42.into();
            Answer::json(record.to_string())
        }
        _ => Answer::problem(404, "no such record"),
    }
}

fn agent(hub: &Hub, more: &str) -> Agent {
    Agent::with_file(&format!("hub: {}\ntoken: {TOKEN}\n{more}", hub.url()))
}

#[cfg(unix)]
/// The bodies of the reports, each behind its silo and hostname.
fn reports(hub: &Hub) -> Vec<String> {
    let all = hub.requests();
    let puts = all.iter().filter(|request| request.line.starts_with("PUT"));
    puts.map(|put| {
        let path: Vec<&str> = put.line.split('/').collect();
        format!("{} {} {}", path[2], path[4], put.body)
    })
    .collect()
}

#[cfg(unix)]
#[test]
fn each_record_is_reported_from_its_own_source() {
    let hub = hub();
    let more = "addresses: {command: [echo, 10.0.0.5]}
records:
  - {silo: office, hostname: db}
  - {silo: office, hostname: web, addresses: hub}
  - {silo: home, hostname: db, addresses: {command: [echo, 'fd00::9']}, ipv6_suffix: '::5'}
";
    agent(&hub, more).run().says(
        "office: db set to 10.0.0.5, revision 42
office: web set to 10.0.0.9, revision 42
home: db set to fd00::5, revision 42
",
    );
    assert_eq!(
        reports(&hub),
        [
            r#"office db {"ips":["10.0.0.5"]}"#,
            r#"office web {"ips":["10.0.0.9"]}"#,
            r#"home db {"ips":["fd00::5"]}"#,
        ]
    );
}

#[cfg(unix)]
#[test]
fn a_source_of_several_records_is_asked_once() {
    let hub = hub();
    let more = "addresses: {command: [sh, -c, 'echo x >> asked; echo 10.0.0.5']}
records:
  - {silo: office, hostname: db}
  - {silo: home, hostname: db}
  - {silo: home, hostname: web, addresses: hub}
  - {silo: home, hostname: files, addresses: hub, within: [10.0.0.0/24]}
";
    let mut agent = agent(&hub, more);
    agent.run_again();
    assert_eq!(reports(&hub).len(), 4);
    let asked = std::fs::read_to_string(agent.path("asked")).expect("the command ran");
    assert_eq!(asked, "x\n");
    let asked = hub.lines().iter().filter(|line| *line == "GET /ip").count();
    assert_eq!(asked, 1);
}

#[cfg(unix)]
#[test]
fn a_record_that_fails_does_not_stop_the_others() {
    let hub = hub();
    let more = "addresses: hub
records:
  - {silo: office, hostname: a, addresses: {command: ['false']}}
  - {silo: office, hostname: b}
  - {silo: office, hostname: c, addresses: {command: ['false']}}
  - {silo: home, hostname: d, addresses: {command: ['false']}}
  - {silo: home, hostname: e, within: [192.0.2.0/24]}
";
    let mut agent = agent(&hub, more).args(["--quiet"]);
    let ran = agent.run_again();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_eq!(
        ran.stderr,
        "silo-upstream: office: a, c: the command false: failed, exit status: 1
silo-upstream: home: d: the command false: failed, exit status: 1
silo-upstream: home: e: addresses from hub: 10.0.0.9 is outside `within`
"
    );
    assert_eq!(reports(&hub), [r#"office b {"ips":["10.0.0.9"]}"#]);
    // Each record has its own state: what was printed is not repeated.
    let again = agent.run_again();
    assert_eq!((again.code, again.stderr.as_str()), (Some(1), ""));
    assert_eq!(count(&agent.path("state")), 5);
}

#[cfg(unix)]
fn count(folder: &Path) -> usize {
    std::fs::read_dir(folder).expect("a folder").count()
}

#[test]
fn both_forms_together_are_refused() {
    let hub = hub();
    let list = "records: [{silo: office, hostname: db}]\n";
    agent(&hub, &format!("silo: home\n{list}"))
        .run()
        .complains(2, &["`records`", "`silo`"]);
    agent(&hub, &format!("hostnames: [db]\n{list}"))
        .run()
        .complains(2, &["`records`", "`hostnames`"]);
    agent(&hub, list)
        .args(["--silo", "home"])
        .run()
        .complains(2, &["`records`", "`silo`", "flag"]);
    agent(&hub, list)
        .env("SILO_UPSTREAM_HOSTNAMES", "web")
        .run()
        .complains(2, &["`records`", "`hostnames`", "variable"]);
    assert_eq!(hub.lines(), [""; 0]);
}

#[test]
fn attributes_are_sent_only_if_they_differ() {
    let more = "records: [{silo: office, hostname: db, comment: rack 3, expires_after: 1d}]\n";
    for (held, said, sent) in [
        (
            None,
            "db set to 10.0.0.9, revision 42",
            Some(r#"{"ips":["10.0.0.9"],"comment":"rack 3","expires_after":86400}"#),
        ),
        (
            Some(r#""comment":"rack 3","expires_after":86400,"#),
            "db unchanged (10.0.0.9)",
            None,
        ),
        (
            Some(r#""comment":"rack 4","expires_after":86400,"#),
            "db comment set, revision 42",
            Some(r#"{"ips":["10.0.0.9"],"comment":"rack 3"}"#),
        ),
        (
            Some(""),
            "db comment and expires_after set, revision 42",
            Some(r#"{"ips":["10.0.0.9"],"comment":"rack 3","expires_after":86400}"#),
        ),
    ] {
        let seen = crate::once::now();
        let hub = Hub::start(move |request| match held {
            Some(held) if request.line.starts_with("GET /silos") => Answer::json(format!(
                r#"{{"hostname":"db","ips":["10.0.0.9"],{held}"revision":41,"updated_at":"x","last_seen":"{seen}"}}"#
            )),
            _ => accept(request),
        });
        // A hub that keeps what was not sent answers with it.
        let ran = agent(&hub, more).run();
        let put = hub
            .requests()
            .pop()
            .filter(|last| last.line.starts_with("PUT"));
        let json = |text: &str| -> serde_json::Value { serde_json::from_str(text).expect("JSON") };
        let put = put.map(|put| json(&put.body));
        assert_eq!(put, sent.map(json), "{ran:?}");
        ran.says(&format!("office: {said}\n"));
    }
}

#[test]
fn a_hub_that_ignores_an_attribute_is_an_error() {
    let hub = Hub::start(|request| match request.line.as_str() {
        "GET /ip" => Answer::ip("10.0.0.9"),
        line if line.starts_with("PUT") => Answer::record("db", &["10.0.0.9"], "x"),
        _ => Answer::problem(404, "no such record"),
    });
    let more = "records: [{silo: office, hostname: db, comment: rack 3}]\n";
    agent(&hub, more)
        .run()
        .complains(1, &["office: db: ", "comment", "upgrade the hub"]);
}

#[cfg(unix)]
#[test]
fn the_next_source_is_asked_only_if_the_ones_before_gave_nothing() {
    let hub = hub();
    let run = |sources: &str, within: &str| {
        let more = format!(
            "silo: office\nhostnames: [db]\naddresses: [{sources}, {{command: [echo, 10.0.0.5]}}]\n{within}"
        );
        agent(&hub, &more).run()
    };
    let second = "office: db set to 10.0.0.5, revision 42\n";
    run("hub", "").says("office: db set to 10.0.0.9, revision 42\n");
    run("interface:none", "").says(second);
    run("{command: ['false']}", "").says(second);
    run("{command: ['true']}", "").says(second);
    run("{command: [echo, 127.0.0.1]}", "").says(second);
    run("hub", "within: [10.0.0.0/29]\n").says(second);
    run("interface:none, {command: ['false']}", "").says(second);
    let none = run("interface:none", "within: [192.0.2.0/24]\n");
    none.complains(
        1,
        &[
            "no interface none with an address",
            "; then addresses from command echo: 10.0.0.5 is outside `within`",
        ],
    );
    let more = "silo: office\nhostnames: [db]\naddresses: [interface:none, hub]\n";
    let checked = agent(&hub, more).args(["check"]).run();
    assert!(
        checked
            .stdout
            .contains("ok      addresses from hub: 10.0.0.9\n")
            && checked
                .stdout
                .contains("ok      earlier source: no interface none"),
        "{checked:?}"
    );
}
