//! Several hubs in `hub`: which one is asked, and what a hub of another database or an older state does.

use std::net::TcpListener;

use crate::fake_hub::{FakeHub, Reply, Request, document};
use crate::sandbox::{Ran, Sandbox, agent, block, run};

const HEAD: &str = "127.0.0.1 localhost\n";

/// The silo at this revision, with an address that tells the revision, from a database.
fn answer(request: &Request, database: &'static str, revision: u8) -> Reply {
    let tag = format!("\"{revision}\"");
    let (status, body) = if request.headers.get("if-none-match") == Some(&tag) {
        (304, String::new())
    } else if request.path == "/ip" {
        (200, r#"{"ip":"127.0.0.1"}"#.to_owned())
    } else {
        let ip = format!("10.0.0.{revision}");
        let body = document("office", i64::from(revision), &[("db", &ip)]);
        (200, body)
    };
    Reply::Whole {
        status,
        headers: vec![("ETag", tag), ("Silo-Database", database.to_owned())],
        body,
    }
}

fn hub(database: &'static str, revision: u8) -> FakeHub {
    FakeHub::start(move |request| answer(request, database, revision))
}

/// A hub that is down.
fn closed_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// Runs a verb with a list of hubs.
fn run_with(sandbox: &Sandbox, verb: &str, hubs: [&str; 2]) -> Ran {
    let mut command = agent();
    run(command.arg(verb).args(sandbox.flags_for(&hubs.join(","))))
}

fn has(sandbox: &Sandbox, revision: u8) -> bool {
    sandbox.text() == HEAD.to_owned() + &block("office", &format!("10.0.0.{revision} db\n"))
}

#[test]
fn the_next_hub_is_asked_if_one_is_down_and_an_older_state_of_it_is_not_applied() {
    let sandbox = Sandbox::new(HEAD);
    let (first, second) = (hub("a", 5), hub("a", 5));
    let ran = run_with(&sandbox, "once", [&closed_port(), &second.url()]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(has(&sandbox, 5));

    // The first hub has revision 7; then only the second answers, which does not have it yet.
    let key = first.url();
    first.now(|request| answer(request, "a", 7));
    let ran = run_with(&sandbox, "once", [&key, &second.url()]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(has(&sandbox, 7));
    first.now(|_| Reply::problem(503, "the database is away"));
    for verb in ["once", "check"] {
        let ran = run_with(&sandbox, verb, [&key, &second.url()]);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(has(&sandbox, 7), "{}", sandbox.text());
    }
    second.now(|request| answer(request, "a", 8));
    assert_eq!(run_with(&sandbox, "once", [&key, &second.url()]).code, 0);
    assert!(has(&sandbox, 8));
}

#[test]
fn a_hub_of_another_database_changes_nothing_and_a_restored_one_is_followed() {
    let sandbox = Sandbox::new(HEAD);
    let (first, second) = (hub("a", 7), hub("b", 9));
    let urls = [first.url(), second.url()];
    let hubs = [&*urls[0], &*urls[1]];
    assert_eq!(run_with(&sandbox, "once", hubs).code, 0);
    assert!(has(&sandbox, 7));

    first.now(|_| Reply::problem(503, "the database is away"));
    for verb in ["once", "check", "diff"] {
        let ran = run_with(&sandbox, verb, hubs);
        assert_eq!(ran.code, 1, "{verb}: {ran:?}");
        let said = format!("{}{}", ran.stdout, ran.stderr);
        for part in [&*urls[0], &*urls[1], "database a", "database b"] {
            assert!(said.contains(part), "{verb}: {said}");
        }
        assert!(has(&sandbox, 7), "{}", sandbox.text());
    }

    // Both serve a restored copy, in which the silo has a lower revision.
    for hub in [&first, &second] {
        hub.now(|request| answer(request, "c", 6));
    }
    let ran = run_with(&sandbox, "once", hubs);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(has(&sandbox, 6), "{}", sandbox.text());
}
