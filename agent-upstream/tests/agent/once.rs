//! `once`: discover, compare, report.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::hub::{Answer, Hub, Request};
use crate::run::{Agent, TOKEN};

const RECORD: &str = "/silos/office/records/db";

/// The present, from a clock that tests may read: a file just made.
pub(crate) fn now() -> String {
    let file = tempfile::tempfile().expect("a temporary file");
    let metadata = file.metadata().expect("a file of our own");
    let modified = metadata.modified().expect("a time");
    jiff::Timestamp::try_from(modified)
        .expect("a time of this age")
        .to_string()
}

/// A hub that sees the caller at `ip` and answers about records by `answer`.
fn hub(ip: &'static str, answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Hub {
    Hub::start(move |request| match request.line.as_str() {
        "GET /ip" => Answer::ip(ip),
        _ => answer(request),
    })
}

fn is_put(request: &Request) -> bool {
    request.line.starts_with("PUT ")
}

#[test]
fn a_new_record_is_made() {
    let hub = hub("10.0.0.6", |request| {
        if is_put(request) {
            Answer::record("db", &["10.0.0.6"], &now())
        } else {
            Answer::problem(404, "no such record")
        }
    });
    Agent::new(&hub.url(), "")
        .run()
        .says("office: db set to 10.0.0.6, revision 42\n");
    let bearer = format!("Bearer {TOKEN}");
    let requests = hub.requests();
    let [ip, get, put] = requests.as_slice() else {
        panic!("three requests: {requests:?}");
    };
    assert_eq!(ip.line, "GET /ip");
    assert_eq!(ip.authorization, None);
    assert_eq!(get.line, format!("GET {RECORD}"));
    assert_eq!(get.authorization.as_deref(), Some(&*bearer));
    assert_eq!(put.line, format!("PUT {RECORD}"));
    assert_eq!(put.authorization.as_deref(), Some(&*bearer));
    assert_eq!(put.body, r#"{"ips":["10.0.0.6"]}"#);
}

#[test]
fn a_changed_address_is_reported() {
    let hub = hub("10.0.0.6", |request| {
        let ip = if is_put(request) {
            "10.0.0.6"
        } else {
            "10.0.0.5"
        };
        Answer::record("db", &[ip], &now())
    });
    Agent::new(&hub.url(), "")
        .args(["--quiet"])
        .run()
        .says("office: db 10.0.0.5 → 10.0.0.6, revision 42\n");
}

#[test]
fn a_family_that_was_not_found_is_kept() {
    let hub = hub("10.0.0.6", |request| {
        let ip = if is_put(request) {
            "10.0.0.6"
        } else {
            "10.0.0.5"
        };
        Answer::record("db", &[ip, "fd00::5"], &now())
    });
    Agent::new(&hub.url(), "")
        .run()
        .says("office: db 10.0.0.5 fd00::5 → 10.0.0.6 fd00::5, revision 42\n");
    assert_eq!(hub.requests()[2].body, r#"{"ips":["10.0.0.6"]}"#);
}

#[test]
fn an_unchanged_address_is_not_reported() {
    let hub = hub("10.0.0.5", |_| {
        Answer::record("db", &["10.0.0.5", "fd00::5"], &now())
    });
    let run = |flags: &str| Agent::new(&hub.url(), flags).run();
    run("").says("office: db unchanged (10.0.0.5 fd00::5)\n");
    run("quiet: true\n").says("");
    assert!(!hub.lines().iter().any(|line| line.starts_with("PUT")));
}

#[test]
fn a_record_not_seen_for_ten_minutes_is_reported_again() {
    let hub = hub("10.0.0.5", |request| {
        let seen = if is_put(request) {
            now()
        } else {
            "2026-01-02T03:04:05Z".to_owned()
        };
        Answer::record("db", &["10.0.0.5"], &seen)
    });
    Agent::new(&hub.url(), "")
        .run()
        .says("office: db unchanged (10.0.0.5)\n");
    assert_eq!(hub.lines()[2], format!("PUT {RECORD}"));
}

#[test]
fn one_hostname_that_fails_does_not_stop_the_others() {
    let hub = hub("10.0.0.5", |request| {
        if request.line.ends_with("/web") {
            return Answer::problem(403, "this token may not write web");
        }
        let name = request.line.rsplit('/').next().unwrap();
        Answer::record(name, &["10.0.0.5"], &now())
    });
    let ran = Agent::new(&hub.url(), "hostnames: [db, web, nas]\n").run();
    assert_eq!(ran.code, Some(1));
    assert_eq!(
        ran.stdout,
        "office: db unchanged (10.0.0.5)\noffice: nas unchanged (10.0.0.5)\n"
    );
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    assert!(ran.stderr.contains("office: web: "), "{ran:?}");
}

#[test]
fn an_error_of_the_hub_is_named_with_what_to_do() {
    let large = "x".repeat(5 * 1024 * 1024);
    let cases: [(Answer, &[&str]); 9] = [
        (
            Answer::problem(401, "unknown token"),
            &["401: unknown token", "revoked"],
        ),
        (
            Answer::problem(403, "not this one"),
            &["403: not this one", "right to write db", "silo office"],
        ),
        (Answer::problem(500, "it is broken"), &["500: it is broken"]),
        (Answer::status(404, "text/html", "<h1>"), &["404", "`hub`"]),
        (Answer::status(502, "text/html", "<h1>"), &["502"]),
        (
            Answer::status(301, "text/html", "").header("Location: /elsewhere"),
            &["301", "redirect"],
        ),
        (Answer::json("<html>\n"), &["not come from a Silo hub"]),
        (
            Answer::json(r#"{"hostname":"db"}"#),
            &["not come from a Silo hub"],
        ),
        (Answer::json(large), &["larger than"]),
    ];
    for (answer, words) in cases {
        let asked = answer.clone();
        let hub = hub("10.0.0.5", move |request| {
            // A record that is not there is written; then the error comes.
            if is_put(request) {
                asked.clone()
            } else {
                Answer::problem(404, "no such record")
            }
        });
        let ran = Agent::new(&hub.url(), "").run();
        ran.complains(1, words);
        ran.complains(1, &["office: db: ", &hub.url()]);
        assert!(!ran.stderr.contains(TOKEN), "{ran:?}");
    }
}

#[test]
fn an_error_to_the_first_question_sends_nothing_more() {
    for (answer, word) in [
        (Answer::problem(500, "it is broken"), "500"),
        (Answer::json("{}"), "not come from a Silo hub"),
        (Answer::ip("hub"), "not come from a Silo hub"),
        (Answer::ip("127.0.0.1"), "route:ADDRESS"),
        (Answer::ip("169.254.1.1"), "link-local"),
        (Answer::ip("0.0.0.0"), "unspecified"),
        (Answer::ip("::ffff:224.0.0.1"), "multicast"),
    ] {
        let hub = Hub::start(move |_| answer.clone());
        Agent::new(&hub.url(), "")
            .run()
            .complains(1, &["office: db: ", word]);
        assert_eq!(hub.lines(), ["GET /ip"]);
    }
}

#[test]
fn contradictory_responses_of_a_hub_are_refused() {
    let hub = hub("10.0.0.6", |_| Answer::record("db", &["10.0.0.5"], &now()));
    Agent::new(&hub.url(), "")
        .run()
        .complains(1, &["office: db: ", "10.0.0.6", "10.0.0.5"]);
}

#[test]
fn an_address_outside_within_changes_nothing() {
    let hub = hub("192.0.2.7", |_| Answer::problem(500, "not to be asked"));
    Agent::new(&hub.url(), "within: [10.0.0.0/8]\n")
        .run()
        .complains(1, &["office: db: ", "192.0.2.7 is outside `within`"]);
    assert_eq!(hub.lines(), ["GET /ip"]);
}

#[test]
fn a_suffix_is_appended_to_the_prefix_seen_by_the_hub() {
    let hub = hub("2001:db8:1:2:aaaa::9", |request| {
        if is_put(request) {
            Answer::record("db", &["2001:db8:1:2::5"], &now())
        } else {
            Answer::problem(404, "no such record")
        }
    });
    Agent::new(&hub.url(), "ipv6_suffix: ::5\n")
        .run()
        .says("office: db set to 2001:db8:1:2::5, revision 42\n");
    assert_eq!(hub.requests()[2].body, r#"{"ips":["2001:db8:1:2::5"]}"#);
}

#[test]
fn a_hub_that_is_down_is_one_calm_line() {
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let url = format!("http://127.0.0.1:{port}");
    Agent::new(&url, "")
        .run()
        .complains(1, &["office: db: ", &url, "refused"]);
    let ran = Agent::new(&url, "").args(["--log-format", "json"]).run();
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""));
    let line: serde_json::Value = serde_json::from_str(&ran.stderr).unwrap();
    assert_eq!(line["level"], "ERROR");
    assert!(line["message"].as_str().unwrap().contains("office: db: "));
}

/// The hub takes connections and says nothing: the longest that a run can take. Its requests alone would take a minute.
#[test]
fn a_run_ends_within_30_seconds_whatever_the_hub_does() {
    let hub = hub("10.0.0.5", |_| Answer::silence());
    let began = Instant::now();
    let ran = Agent::new(&hub.url(), "hostnames: [db, web, nas]\n").run();
    // And some time for the program to start and to end on a busy machine.
    assert!(
        began.elapsed() < Duration::from_secs(30 + 15),
        "{:?}",
        began.elapsed()
    );
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""));
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!(lines.len(), 3, "{ran:?}");
    for (line, name) in lines.iter().zip(["db", "web", "nas"]) {
        assert!(line.contains(&format!("office: {name}: ")), "{line}");
    }
}
