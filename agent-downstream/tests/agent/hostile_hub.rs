//! What a hub says, and what of it gets into the file: nothing that the policy does not accept.

mod outages;

use std::fs;

use crate::fake_hub::{FakeHub, Reply, TEN, document};
use crate::sandbox::{Sandbox, agent, block, run};

const DB: &[(&str, &str)] = &[("db", "10.0.0.5")];

#[test]
fn only_what_the_policy_accepts_gets_into_the_file() {
    let own = gethostname::gethostname().to_string_lossy().to_lowercase();
    let records: Vec<(String, String)> = [
        ("localhost", "10.0.0.1"),
        ("wpad", "10.0.0.1"),
        (own.as_str(), "10.0.0.1"),
        ("github.com", "10.0.0.1"),
        ("loop", "127.0.0.1"),
        ("evil\n10.0.0.1 github.com", "10.0.0.1"),
        ("evil", "10.0.0.1\n10.0.0.1 github.com"),
        ("printer", "10.0.0.1"),
        ("db", "10.0.0.5"),
    ]
    .map(|(hostname, ip)| (hostname.to_owned(), ip.to_owned()))
    .into();
    let hub = FakeHub::start(move |request| {
        let records: Vec<(&str, &str)> = records
            .iter()
            .map(|(a, b)| (a.as_str(), b.as_str()))
            .collect();
        Reply::silo(request, "office", 42, &records)
    });
    let hosts = "127.0.0.1 localhost\n10.0.0.9 printer\n";
    let sandbox = Sandbox::new(hosts);
    let ran = sandbox.run(&hub, &[]);
    assert_eq!(ran.code, 1, "printer is left at a wrong address: {ran:?}");
    assert_eq!(
        sandbox.text(),
        format!("{hosts}{}", block("office", "10.0.0.5 db\n"))
    );
    let wrong = ran.stderr.strip_prefix("silo-downstream: ").unwrap();
    let lines: Vec<&str> = ran.stdout.lines().chain(wrong.lines()).collect();
    assert_eq!(lines.len(), 9, "{ran:?}");
    assert_eq!(lines[0], "office: new block with 1 name, revision 42");
    for (line, what, reason) in [
        (lines[1], "\"localhost\"", "reserved"),
        (lines[2], "wpad", "never taken from a hub"),
        (lines[3], own.as_str(), "this machine's own name"),
        (lines[4], "github.com", "not a private name"),
        (lines[5], "loop 127.0.0.1", "a loopback address"),
        (
            lines[6],
            "\"evil\\n10.0.0.1 github.com\"",
            "a hostname's labels",
        ),
        (
            lines[7],
            "evil \"10.0.0.1\\n10.0.0.1 github.com\"",
            "not an IPv4 or IPv6 address",
        ),
        (lines[8], "printer", "line 2 of the hosts file defines it"),
    ] {
        assert!(
            line.starts_with(&format!("office: skipped {what}: ")),
            "{line}"
        );
        assert!(line.contains(reason), "{line}");
    }
}

#[test]
fn another_silos_id_is_refused() {
    let hub = FakeHub::start(|_| Reply::new(200, document("home", 42, DB)));
    let sandbox = Sandbox::new("127.0.0.1 localhost\n");
    let ran = sandbox.run(&hub, &[]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(
        ran.stderr.contains("office: ") && ran.stderr.contains("\"home\""),
        "{ran:?}"
    );
    assert_eq!(sandbox.text(), "127.0.0.1 localhost\n");
}

#[test]
fn a_pull_with_far_fewer_names_needs_force() {
    let hub = FakeHub::office(42, TEN);
    let sandbox = Sandbox::new("");
    sandbox.must_run(&hub, &[]);
    let full = sandbox.text();
    hub.now_office(43, DB);
    // Refused again and again: the answer must not be remembered as taken.
    for _ in 0..2 {
        let ran = sandbox.run(&hub, &[]);
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(
            ran.stderr.contains("dropped 10 of 10 names") && ran.stderr.contains("--force"),
            "{ran:?}"
        );
        assert_eq!(sandbox.text(), full);
    }
    // Quiet runs fail as well, and have said it.
    let quiet = sandbox.run(&hub, &["--quiet"]);
    assert_eq!((quiet.code, quiet.stderr.as_str()), (1, ""), "{quiet:?}");
    let ran = sandbox.must_run(&hub, &["--force"]);
    let over = ran.stdout.strip_prefix(
        "office: 1 added, 10 removed, revision 43\nover: office: the hub dropped 10 of 10 names",
    );
    assert!(
        over.is_some_and(|rest| rest.lines().count() == 1),
        "{ran:?}"
    );
    assert_eq!(sandbox.text(), block("office", "10.0.0.5 db\n"));
}

#[test]
fn answers_beyond_the_limits_are_refused() {
    let sandbox = Sandbox::new("");
    let hub = FakeHub::start(|_| Reply::new(200, " ".repeat(4 * 1024 * 1024 + 1)));
    let ran = sandbox.run(&hub, &[]);
    assert!(
        ran.code == 1 && ran.stderr.contains("larger than"),
        "{ran:?}"
    );
    hub.now(|request| {
        let names: Vec<String> = (0..10_001).map(|n| format!("h{n}")).collect();
        let records: Vec<(&str, &str)> = names
            .iter()
            .map(|name| (name.as_str(), "10.0.0.1"))
            .collect();
        Reply::silo(request, "office", 42, &records)
    });
    let ran = sandbox.run(&hub, &[]);
    assert!(
        ran.code == 1 && ran.stderr.contains("10001 records"),
        "{ran:?}"
    );
    hub.now(|_| {
        // No length given, no end: the limit counts what arrives.
        let mut body = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        body.resize(6 << 20, b' ');
        Reply::Raw(body)
    });
    let ran = sandbox.run(&hub, &[]);
    assert!(
        ran.code == 1 && ran.stderr.contains("larger than"),
        "{ran:?}"
    );
    assert_eq!(sandbox.text(), "");
}

#[test]
fn drift_is_repaired_also_when_the_hub_has_nothing_new() {
    let hub = FakeHub::office(42, DB);
    let sandbox = Sandbox::new("127.0.0.1 localhost\n");
    sandbox.must_run(&hub, &[]);
    let whole = sandbox.text();
    for (drifted, said) in [
        (
            whole.replace("10.0.0.5 db", "10.0.0.5\tdb"),
            "office: block repaired, revision 42\n",
        ),
        (
            whole.replace("10.0.0.5", "10.6.6.6"),
            "office: db 10.6.6.6 → 10.0.0.5, revision 42\n",
        ),
        (
            whole.replace("10.0.0.5 db\n", ""),
            "office: db 10.0.0.5 added, revision 42\n",
        ),
        (
            "127.0.0.1 localhost\n".to_owned(),
            "office: new block with 1 name, revision 42\n",
        ),
    ] {
        fs::write(sandbox.hosts(), drifted).unwrap();
        assert_eq!(sandbox.must_run(&hub, &["--quiet"]).stdout, said);
        assert_eq!(sandbox.text(), whole);
    }
    let mut tags = hub.tags();
    assert_eq!(tags.remove(0), None);
    assert_eq!(
        tags,
        [const { Some("\"42\"") }; 4].map(|tag| tag.map(str::to_owned))
    );
    // A policy that changed counts too, though the hub's answer is the old one.
    fs::write(
        sandbox.path("downstream.yaml"),
        "policy: {networks: [192.168.0.0/16]}\n",
    )
    .unwrap();
    let ran = sandbox.must_run(&hub, &[]);
    assert!(
        ran.stdout.starts_with("office: db removed, revision 42\n"),
        "{ran:?}"
    );
    assert_eq!(hub.tags().last().unwrap().as_deref(), Some("\"42\""));
}

#[test]
fn an_etag_is_sent_only_to_the_hub_that_issued_it() {
    let (first, second) = (
        FakeHub::office(42, DB),
        FakeHub::office(42, &[("db", "10.0.0.6")]),
    );
    let sandbox = Sandbox::new("");
    sandbox.must_run(&first, &[]);
    let ran = sandbox.must_run(&second, &[]);
    assert_eq!(ran.stdout, "office: db 10.0.0.5 → 10.0.0.6, revision 42\n");
    sandbox.must_run(&first, &[]);
    assert_eq!(first.tags(), [None, Some("\"42\"".to_owned())]);
    assert_eq!(second.tags(), [None]);
    assert_eq!(sandbox.text(), block("office", "10.0.0.5 db\n"));
}

#[test]
fn an_unsolicited_304_is_rejected() {
    let hub = FakeHub::start(|_| Reply::new(304, ""));
    let sandbox = Sandbox::new("a\n");
    let ran = sandbox.run(&hub, &[]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("not come from a Silo hub"), "{ran:?}");
    assert_eq!(sandbox.text(), "a\n");
}

#[test]
fn a_quiet_run_names_a_skipped_record_once() {
    const TWO: &[(&str, &str)] = &[("db", "10.0.0.5"), ("wpad", "10.0.0.1")];
    const THREE: &[(&str, &str)] = &[
        ("db", "10.0.0.5"),
        ("isatap", "10.0.0.1"),
        ("wpad", "10.0.0.1"),
    ];
    let hub = FakeHub::office(42, TWO);
    let sandbox = Sandbox::new("");
    let quiet = || sandbox.must_run(&hub, &["--quiet"]).stdout;
    let wpad = "office: skipped wpad: a name that is never taken from a hub\n";
    assert_eq!(
        quiet(),
        format!("office: new block with 1 name, revision 42\n{wpad}")
    );
    assert_eq!(quiet(), "");
    hub.now_office(43, THREE);
    assert_eq!(quiet(), wpad.replace("wpad", "isatap"));
    assert_eq!(quiet(), "");
    // Without --quiet each run names them.
    let loud = sandbox.must_run(&hub, &[]).stdout;
    assert_eq!(loud.lines().count(), 3, "{loud}");
    // Gone and come again: both are said.
    hub.now_office(44, DB);
    let gone = |name: &str| {
        format!("office: no longer skipped: {name}: a name that is never taken from a hub\n")
    };
    assert_eq!(quiet(), gone("isatap") + &gone("wpad"));
    assert_eq!(quiet(), "");
    hub.now_office(45, TWO);
    assert_eq!(quiet(), wpad);
}

#[test]
fn many_skipped_records_do_not_flood_the_output() {
    let hub = FakeHub::start(|request| {
        let names: Vec<String> = (0..5_000).map(|n| format!("h{n}.example.com")).collect();
        let records: Vec<(&str, &str)> = names
            .iter()
            .map(|name| (name.as_str(), "10.0.0.1"))
            .collect();
        Reply::silo(request, "office", 42, &records)
    });
    let ran = Sandbox::new("").must_run(&hub, &[]);
    assert_eq!(ran.stdout.lines().count(), 22, "{ran:?}");
    assert!(
        ran.stdout.ends_with("office: skipped 4980 more\n"),
        "{ran:?}"
    );
}

#[test]
fn a_token_in_the_open_is_warned_of_but_not_at_every_quiet_run() {
    let hub = FakeHub::office(42, DB);
    let sandbox = Sandbox::new("");
    // Reaches this machine, but does not look like a loopback address.
    let url = format!("http://0.0.0.0:{}", hub.port);
    let ran = run(agent()
        .args(sandbox.flags_for(&url))
        .args(["--auth", "bearer"]));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.stderr.contains("the token travels unencrypted"),
        "{ran:?}"
    );
    assert!(!ran.stderr.contains("xxxx"), "{ran:?}");
    assert_eq!(
        run(agent()
            .args(sandbox.flags_for(&url))
            .args(["--auth", "bearer", "--quiet"]))
        .stderr,
        ""
    );
    assert_eq!(sandbox.must_run(&hub, &[]).stderr, "");
    let sent = &hub.requests()[0].headers["authorization"];
    assert_eq!(*sent, format!("Bearer silo_abcdefgh12_{}", "x".repeat(43)));
}

#[test]
fn no_proxy_of_the_environment_gets_the_token() {
    let hub = FakeHub::office(42, DB);
    // A proxy that would answer for the hub.
    let proxy = FakeHub::office(43, &[("db", "10.6.6.6")]);
    for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        let sandbox = Sandbox::new("");
        let ran = run(agent()
            .args(sandbox.flags(&hub))
            .env_remove("no_proxy")
            .env_remove("NO_PROXY")
            .env(name, proxy.url()));
        assert_eq!(ran.code, 0, "{name}: {ran:?}");
        assert_eq!(sandbox.text(), block("office", "10.0.0.5 db\n"), "{name}");
    }
    assert_eq!(proxy.requests().len(), 0);
    assert_eq!(hub.requests().len(), 4);
}
