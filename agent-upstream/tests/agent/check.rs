//! `check` checks each thing, and changes nothing.

use crate::hub::{Answer, Hub, Request};
use crate::run::Agent;

/// A hub that answers a read of the record so, and lets the caller write or not.
fn hub(record: Answer, may_write: bool) -> Hub {
    Hub::start(move |request| match request.line.as_str() {
        "GET /ip" => Answer::ip("10.0.0.6"),
        line if line.starts_with("PUT ") && !request.body.contains("\"ips\":[\"10.") => {
            Answer::problem(422, "\"ip\" or \"ips\" is missing")
        }
        line if line.starts_with("PUT ") && may_write => Answer::problem(412, "another revision"),
        line if line.starts_with("PUT ") => Answer::problem(403, "this token may not write"),
        _ => record.clone(),
    })
}

fn db_at(ip: &str) -> Answer {
    Answer::record("db", &[ip], "2026-01-02T03:04:05Z")
}

/// Whether a request can't change anything: a write has a condition that is never met.
fn is_harmless(request: &Request) -> bool {
    request.line.starts_with("GET ") || request.if_match.as_deref() == Some("\"none\"")
}

#[test]
fn check_prints_what_a_run_would_do_and_changes_nothing() {
    for (record, words) in [
        (
            db_at("10.0.0.5"),
            "10.0.0.5 at the hub; a run would set 10.0.0.6",
        ),
        (
            db_at("10.0.0.6"),
            "10.0.0.6 at the hub; a run would report it again",
        ),
        (
            Answer::problem(404, "no such record"),
            "not at the hub; a run would set 10.0.0.6",
        ),
    ] {
        let hub = hub(record, true);
        let ran = Agent::new(&hub.url(), "").args(["check"]).run();
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
        let url = hub.url();
        let expected = format!(
            "ok      hub: {url} answers and sees this machine at 10.0.0.6\n\
             ok      addresses from hub: 10.0.0.6\n\
             ok      path to the hub: the hub sees this machine behind NAT or a relay as 10.0.0.6\n\
             ok      token: accepted\n\
             ok      db in silo office: {words}\n"
        );
        assert!(ran.stdout.starts_with("ok      configuration: "), "{ran:?}");
        assert!(ran.stdout.ends_with(&expected), "{ran:?}");
        let requests = hub.requests();
        assert!(requests.iter().all(is_harmless));
        // What the hub holds already is sent, where it holds something.
        let body = &requests.last().unwrap().body;
        let held = words.split(' ').next().unwrap().replace("not", "10.0.0.6");
        assert_eq!(*body, format!(r#"{{"ips":["{held}"]}}"#));
    }
}

#[test]
fn without_an_address_a_new_name_is_not_requested() {
    let hub = hub(Answer::problem(404, "no such record"), true);
    let ran = Agent::new(&hub.url(), "within: [192.0.2.0/24]\n")
        .args(["check"])
        .run();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.stdout
            .ends_with("ok      db in silo office: not at the hub\n"),
        "{ran:?}"
    );
    assert!(!hub.lines().iter().any(|line| line.starts_with("PUT ")));
}

#[test]
fn check_reports_a_token_without_write_permission() {
    let hub = hub(db_at("10.0.0.5"), false);
    let ran = Agent::new(&hub.url(), "").args(["check", "--quiet"]).run();
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""), "{ran:?}");
    assert_eq!(
        ran.stdout,
        "FAILED  db in silo office: the token lacks the right to write db in silo office: it needs role `write`, and its silo and hostname lists must include them\n"
    );
    assert!(hub.requests().iter().all(is_harmless));
}

#[test]
fn check_reports_a_hub_that_ignores_the_condition() {
    let hub = Hub::start(|request| match request.line.as_str() {
        "GET /ip" => Answer::ip("10.0.0.6"),
        _ => db_at("10.0.0.6"),
    });
    let ran = Agent::new(&hub.url(), "").args(["check"]).run();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.stdout
            .contains("the answer does not come from a Silo hub: 200 OK"),
        "{ran:?}"
    );
}

#[test]
fn check_reports_each_failure_and_continues() {
    let hub = hub(Answer::problem(401, "unknown token"), true);
    let ran = Agent::new(&hub.url(), "within: [192.0.2.0/24]\n")
        .args(["check", "--quiet"])
        .run();
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""), "{ran:?}");
    let url = hub.url();
    assert_eq!(
        ran.stdout,
        format!(
            "FAILED  addresses from hub: 10.0.0.6 is outside `within`\n\
             FAILED  token: unknown to the hub: revoked, expired or mistyped; create a new one with `silo-hub token create`\n\
             FAILED  db in silo office: the hub at {url} answered 401: unknown token (the token is unknown, mistyped, expired or revoked)\n"
        )
    );
    let down = Agent::new("http://127.0.0.1:1", "").args(["check"]).run();
    assert_eq!(down.code, Some(1), "{down:?}");
    assert!(
        down.stdout.contains("FAILED  hub: cannot reach the hub"),
        "{down:?}"
    );
    assert!(
        !down.stdout.contains("token: "),
        "nothing is known of the token: {down:?}"
    );
}
