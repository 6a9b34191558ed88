//! A hub that is down, slow or answers with an error.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::DB;
use crate::fake_hub::{FakeHub, Reply};
use crate::sandbox::{Ran, Sandbox, agent, block, run};

#[test]
fn an_error_status_changes_nothing_and_ends_with_1() {
    let hub = FakeHub::office(42, DB);
    let sandbox = Sandbox::new("127.0.0.1 localhost\n");
    sandbox.must_run(&hub, &[]);
    let whole = sandbox.text();
    type Make = fn() -> Reply;
    let cases: [(Make, &str); 9] = [
        (|| Reply::problem(401, "no token"), "answered 401: no token"),
        (
            || Reply::problem(403, "not yours"),
            "answered 403: not yours",
        ),
        (
            || Reply::problem(404, "no silo\noffice"),
            "answered 404: no silo office",
        ),
        (|| Reply::problem(500, "oops"), "answered 500: oops"),
        (|| Reply::new(502, "<html>nginx</html>"), "answered 502"),
        (
            || Reply::new(200, "<html>nginx</html>"),
            "not come from a Silo hub",
        ),
        (|| Reply::new(204, ""), "not come from a Silo hub"),
        (
            || Reply::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{\"id\":".to_vec()),
            "cannot reach the hub",
        ),
        (
            || Reply::Raw(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()),
            "cannot reach the hub",
        ),
    ];
    for (reply, part) in cases {
        hub.now(move |_| reply());
        // What quiet runs have said of the case before is forgotten.
        let state = std::fs::read_dir(sandbox.path("state")).unwrap();
        for entry in state.map(Result::unwrap) {
            if entry.file_name().to_string_lossy().starts_with("outage-") {
                std::fs::remove_file(entry.path()).unwrap();
            }
        }
        let ran = sandbox.run(&hub, &["--quiet"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{ran:?}");
        assert!(ran.stderr.contains(part), "{part}: {ran:?}");
        assert!(
            ran.stderr.contains("office: ") && ran.stderr.contains(&hub.url()),
            "{ran:?}"
        );
        assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
        assert_eq!(sandbox.text(), whole);
    }
    // An agent that followed the redirect would get a valid silo with another address.
    let other = FakeHub::office(43, &[("db", "10.6.6.6")]);
    let location = format!("{}/silos/office", other.url());
    for status in [301, 302, 303, 307, 308] {
        let location = location.clone();
        hub.now(move |_| Reply::Whole {
            status,
            headers: vec![("Location", location.clone())],
            body: String::new(),
        });
        let ran = sandbox.run(&hub, &[]);
        assert_eq!(ran.code, 1, "{status}: {ran:?}");
        assert!(
            ran.stderr.contains("a redirect, which is not followed"),
            "{status}: {ran:?}"
        );
        assert_eq!(sandbox.text(), whole, "{status}");
    }
    assert_eq!(other.requests().len(), 0);
}

#[test]
fn a_hub_that_is_down_ends_the_run_with_1() {
    let sandbox = Sandbox::new("127.0.0.1 localhost\n");
    // Bound and let go again: no one listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let url = format!("http://127.0.0.1:{port}");
    let ran = run(agent()
        .args(sandbox.flags_for(&url))
        .args(["--auth", "bearer"]));
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{ran:?}");
    assert!(
        ran.stderr
            .contains(&format!("office: cannot reach the hub at {url}")),
        "{ran:?}"
    );
    assert!(ran.stderr.contains("the block is kept"), "{ran:?}");
    assert_eq!(sandbox.text(), "127.0.0.1 localhost\n");
}

#[test]
fn a_hub_that_dribbles_is_given_up_in_time() {
    let hub = FakeHub::start(|_| Reply::Dribble);
    let sandbox = Sandbox::new("127.0.0.1 localhost\n");
    let started = Instant::now();
    let ran = sandbox.run(&hub, &["--silo", "home,cellar"]);
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(ran.code, 1, "{ran:?}");
    assert_eq!(
        ran.stderr.matches("no complete answer within 14 s").count(),
        3,
        "{ran:?}"
    );
    assert_eq!(sandbox.text(), "127.0.0.1 localhost\n");
}

#[test]
fn one_failing_silo_does_not_hold_up_the_others() {
    let hub = FakeHub::start(|request| match request.path.as_str() {
        "/silos/home" => Reply::silo(
            request,
            "home",
            7,
            &[("nas", "10.0.0.7"), ("db", "10.0.0.8")],
        ),
        "/silos/office" => Reply::silo(request, "office", 42, DB),
        _ => Reply::problem(404, "there is no such silo"),
    });
    let sandbox = Sandbox::new(block("cellar", "10.0.0.1 wine\n"));
    let ran = sandbox.run(&hub, &["--silo", "cellar,home"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert_eq!(
        ran.stdout,
        "office: new block with 1 name, revision 42\nhome: new block with 1 name, revision 7\nhome: skipped db: silo office has it already\n"
    );
    let url = hub.url();
    assert_eq!(
        ran.stderr,
        format!(
            "silo-downstream: cellar: the hub at {url} answered 404: there is no such silo; the block is kept\n"
        )
    );
    let expected = block("cellar", "10.0.0.1 wine\n")
        + &block("office", "10.0.0.5 db\n")
        + &block("home", "10.0.0.7 nas\n");
    assert_eq!(sandbox.text(), expected);
}

#[test]
fn with_quiet_an_outage_is_one_line_when_it_begins_and_one_when_it_ends() {
    let mode = Arc::new(AtomicUsize::new(0));
    let shown = mode.clone();
    let hub = FakeHub::start(move |request| match shown.load(Ordering::SeqCst) {
        0 => Reply::problem(503, "the database is away"),
        1 => Reply::Raw(Vec::new()),
        _ => Reply::silo(request, request.path.rsplit('/').next().unwrap(), 42, DB),
    });
    let sandbox = Sandbox::new("");
    let run = |now: usize| {
        mode.store(now, Ordering::SeqCst);
        sandbox.run(&hub, &["--quiet", "--silo", "lab"])
    };
    let lines = |ran: &Ran| {
        (
            ran.code,
            ran.stdout.lines().count(),
            ran.stderr.lines().count(),
        )
    };
    for _ in 0..2 {
        let ran = run(0);
        assert_eq!(lines(&ran), (1, 0, 1), "{ran:?}");
        assert!(ran.stderr.contains("office, lab: the hub at "), "{ran:?}");
        let ran = run(0);
        assert_eq!(lines(&ran), (1, 0, 0), "{ran:?}");
        // Another kind of trouble is named as well, and none twice.
        let ran = run(1);
        assert_eq!(lines(&ran), (1, 0, 1), "{ran:?}");
        for now in [0, 1] {
            let ran = run(now);
            assert_eq!(lines(&ran), (1, 0, 0), "{ran:?}");
        }
        let ran = run(2);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
        assert!(
            ran.stdout.contains("office, lab: the hub answers again\n"),
            "{ran:?}"
        );
        let ran = run(2);
        assert_eq!(lines(&ran), (0, 0, 0), "{ran:?}");
    }
}
