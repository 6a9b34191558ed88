//! `remove` and `status`.

use crate::hub::{Answer, Hub, Request};
use crate::run::{Agent, TOKEN};

/// A hub with a record `db`, and without one called `web`.
fn answer(request: &Request) -> Answer {
    match request.line.as_str() {
        "GET /ip" => Answer::ip("10.0.0.5"),
        "GET /silos/office/records/db" => {
            Answer::record("db", &["10.0.0.5"], &crate::once::now()).header("ETag: \"41-db\"")
        }
        "DELETE /silos/office/records/db" if request.if_match.as_deref() == Some("\"41-db\"") => {
            Answer::status(204, "application/json", "")
        }
        "GET /silos/office/records/broken" => Answer::problem(503, "it is broken"),
        line if line.starts_with("PUT") => {
            Answer::record(line.rsplit('/').next().unwrap_or(""), &["10.0.0.5"], "x")
        }
        _ => Answer::problem(404, "no such record"),
    }
}

fn changes(hub: &Hub) -> Vec<String> {
    let all = hub.lines();
    let is_change = |line: &String| !line.starts_with("GET");
    all.into_iter().filter(is_change).collect()
}

fn files(agent: &Agent) -> usize {
    std::fs::read_dir(agent.path("state")).map_or(0, Iterator::count)
}

#[test]
fn only_the_configured_records_are_removed_and_forgotten() {
    let hub = Hub::start(answer);
    let mut agent = Agent::new(&hub.url(), "hostnames: [db, web]\n");
    agent.run_again();
    assert_eq!(files(&agent), 2);
    let before = changes(&hub).len();
    let mut agent = agent.args(["remove", "--dry-run"]);
    agent
        .run_again()
        .says("office: db would be removed (10.0.0.5)\noffice: web is not at the hub\n");
    assert_eq!((changes(&hub).len(), files(&agent)), (before, 2));

    let agent = Agent::new(&hub.url(), "hostnames: [db, web]\n").args(["remove"]);
    agent
        .run()
        .says("office: db removed (10.0.0.5)\noffice: web is not at the hub\n");
    let changes = changes(&hub).split_off(before);
    assert_eq!(changes, ["DELETE /silos/office/records/db"]);
}

#[test]
fn a_removed_record_is_forgotten_and_one_that_stays_is_not() {
    let hub = Hub::start(answer);
    let mut agent = Agent::new(&hub.url(), "hostnames: [db, broken]\n");
    agent.run_again();
    assert_eq!(files(&agent), 2);
    let mut agent = agent.args(["remove"]);
    let ran = agent.run_again();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_eq!(ran.stdout, "office: db removed (10.0.0.5)\n");
    assert!(
        ran.stderr.starts_with("silo-upstream: office: broken: "),
        "{ran:?}"
    );
    assert_eq!(files(&agent), 1);
}

#[test]
fn a_record_that_others_change_meanwhile_is_looked_at_again() {
    let tags = std::sync::atomic::AtomicU32::new(0);
    let hub = Hub::start(move |request| {
        use std::sync::atomic::Ordering::SeqCst;
        let tag = format!("\"{}\"", tags.load(SeqCst));
        if request.line.starts_with("GET") {
            let answer = Answer::record("db", &["10.0.0.5"], "x").header(&format!("ETag: {tag}"));
            // It changes after the first look.
            tags.fetch_max(1, SeqCst);
            answer
        } else if request.if_match == Some(tag) {
            Answer::status(204, "application/json", "")
        } else {
            Answer::problem(412, "another revision")
        }
    });
    Agent::new(&hub.url(), "")
        .args(["remove"])
        .run()
        .says("office: db removed (10.0.0.5)\n");
    assert_eq!(changes(&hub).len(), 2);
}

#[test]
fn the_status_says_what_was_reported_and_what_failed() {
    let hub = Hub::start(answer);
    let mut agent = Agent::new(&hub.url(), "hostnames: [db, broken]\n");
    let status = |mut agent: Agent, more: &[&str]| {
        let asked = hub.lines().len();
        for word in more {
            agent = agent.args([*word]);
        }
        let ran = agent.run_again();
        assert_eq!(hub.lines().len(), asked, "the hub is not asked");
        (ran, agent)
    };
    let (ran, _) = status(
        Agent::new(&hub.url(), "hostnames: [db, broken]\n"),
        &["status"],
    );
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (
            Some(1),
            "office: db was never reported\noffice: broken was never reported\n"
        )
    );
    agent.run_again();
    let (ran, agent) = status(agent, &["status", "--max-age", "1h"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert!(
        lines[0].starts_with("office: db 10.0.0.5, last success 20")
            && lines[0].ends_with("s ago)"),
        "{ran:?}"
    );
    assert!(
        lines[1].starts_with("office: broken was never reported; failing since 20")
            && lines[1].contains("it is broken"),
        "{ran:?}"
    );
    let (ran, _) = status(agent, &["--json"]);
    let objects: Vec<serde_json::Value> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(objects.len(), 2);
    let member = |at: usize, name: &str| objects[at][name].clone();
    assert_eq!(member(0, "event"), "status");
    assert_eq!(member(0, "silo"), "office");
    assert_eq!(member(0, "hostname"), "db");
    assert_eq!(member(0, "addresses"), serde_json::json!(["10.0.0.5"]));
    assert_eq!(member(0, "ok"), true);
    assert!(member(0, "age_seconds").is_u64() && member(0, "last_success").is_string());
    assert!(member(0, "failure").is_null() && member(0, "failing_since").is_null());
    assert_eq!(member(1, "ok"), false);
    assert!(member(1, "last_success").is_null() && member(1, "age_seconds").is_null());
    assert!(member(1, "failure").is_string() && member(1, "failing_since").is_string());
}

#[test]
fn an_old_success_is_not_good_enough() {
    let hub = Hub::start(answer);
    let mut agent = Agent::new(&hub.url(), "");
    agent.run_again();
    let state = std::fs::read_dir(agent.path("state"))
        .expect("a folder")
        .next();
    let state = state.expect("a file").expect("readable").path();
    let text = std::fs::read_to_string(&state).expect("UTF-8");
    let mut memory: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    memory["last_success"] = "2026-01-02T03:04:05Z".into();
    std::fs::write(&state, memory.to_string()).expect("writable");
    let mut agent = agent.args(["status"]);
    assert_eq!(agent.run_again().code, Some(0));
    let ran = agent.args(["--max-age", "1d"]).run();
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.stdout.contains("last success 2026-01-02T03:04:05Z"),
        "{ran:?}"
    );
    assert!(ran.stdout.contains("longer than 1 d"), "{ran:?}");
}

#[test]
fn removing_needs_no_state_folder() {
    let hub = Hub::start(answer);
    let file = format!(
        "hub: {}\ntoken: {TOKEN}\nsilo: office\nhostnames: [db]\n",
        hub.url()
    );
    let agent = Agent::with_file(&file).args(["remove"]);
    let state = agent.path("state");
    agent.run().says("office: db removed (10.0.0.5)\n");
    assert!(!state.exists());
}
