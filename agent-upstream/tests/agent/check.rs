//! `check` says of each thing whether it is all right, and changes nothing.

use crate::hub::{Answer, Hub};
use crate::run::Agent;

fn hub(record: Answer) -> Hub {
    Hub::start(move |request| match request.line.as_str() {
        "GET /ip" => Answer::ip("10.0.0.6"),
        _ => record.clone(),
    })
}

#[test]
fn what_a_run_would_do_is_said_and_not_done() {
    for (record, words) in [
        (
            Answer::record("db", &["10.0.0.5"], "2026-01-02T03:04:05Z"),
            "office: db is 10.0.0.5 at the hub; a run would set 10.0.0.6\n",
        ),
        (
            Answer::record("db", &["10.0.0.6"], "2026-01-02T03:04:05Z"),
            "office: db is 10.0.0.6 at the hub; a run would report it again\n",
        ),
        (
            Answer::problem(404, "no such record"),
            "office: db is not at the hub, or the token may not read it there; a run would set 10.0.0.6\n",
        ),
    ] {
        let hub = hub(record);
        let ran = Agent::new(&hub.url(), "").args(["check"]).run();
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
        let url = hub.url();
        let expected = format!(
            "hub: {url} answers and sees this machine at 10.0.0.6\naddresses from hub: 10.0.0.6\n{words}"
        );
        assert!(ran.stdout.starts_with("configuration: "), "{ran:?}");
        assert!(ran.stdout.ends_with(&expected), "{ran:?}");
        assert!(hub.lines().iter().all(|line| line.starts_with("GET ")));
    }
}

#[test]
fn what_is_wrong_is_said_and_the_rest_checked_all_the_same() {
    let hub = hub(Answer::problem(401, "unknown token"));
    let ran = Agent::new(&hub.url(), "within: [192.0.2.0/24]\n")
        .args(["check"])
        .run();
    assert_eq!(ran.code, Some(1));
    assert!(ran.stdout.contains("answers and sees"), "{ran:?}");
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{ran:?}");
    assert!(lines[0].contains("10.0.0.6 is outside `within`"), "{ran:?}");
    assert!(lines[1].contains("401: unknown token"), "{ran:?}");
}
