//! State between runs: missing families and continuing failures.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod removed;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::hub::{Answer, Hub, Request};
use crate::namespace::{in_namespace, shell};
use crate::run::{Agent, Ran};

/// A hub that holds one record, for as long as the test looks at it.
#[derive(Clone, Default)]
struct Record(Arc<Mutex<(Vec<String>, u32)>>);

impl Record {
    fn set(&self, ips: &[&str]) {
        let mut record = self.0.lock().unwrap();
        record.0 = ips.iter().map(|ip| (*ip).to_owned()).collect();
        record.1 += 1;
    }

    fn ips(&self) -> Vec<String> {
        self.0.lock().unwrap().0.clone()
    }

    /// As the hub does: families that are not sent stay, `DELETE` only on a condition that holds.
    fn answer(&self, request: &Request) -> Answer {
        if request.line == "GET /ip" {
            return Answer::ip("10.0.0.5");
        }
        let mut record = self.0.lock().unwrap();
        if record.0 == ["broken"] {
            return Answer::problem(500, "it is broken");
        }
        let tag = format!("\"{}\"", record.1);
        let (method, path) = request.line.split_once(' ').unwrap();
        if method == "PUT" && request.if_match.is_some() {
            return Answer::problem(412, "another revision");
        }
        if method == "PUT" {
            let body: serde_json::Value = serde_json::from_str(&request.body).unwrap();
            for ip in body["ips"].as_array().unwrap() {
                let ip = ip.as_str().unwrap();
                record
                    .0
                    .retain(|held| held.contains(':') != ip.contains(':'));
                record.0.push(ip.to_owned());
            }
            record.0.sort();
            record.1 += 1;
        } else if method == "DELETE" {
            if request.if_match.as_ref() != Some(&tag) {
                return Answer::problem(412, "another revision");
            }
            let is_v6 = path.ends_with("?family=6");
            record.0.retain(|held| held.contains(':') != is_v6);
            record.1 += 1;
            return Answer::status(204, "application/json", "");
        } else if record.0.is_empty() {
            return Answer::problem(404, "no such record");
        }
        let ips: Vec<&str> = record.0.iter().map(String::as_str).collect();
        // Each run reports again, as after ten minutes.
        Answer::record("db", &ips, "2026-01-02T03:04:05Z")
            .header(&format!("ETag: \"{}\"", record.1))
    }

    fn hub(&self) -> Hub {
        let record = self.clone();
        Hub::start(move |request| record.answer(request))
    }
}

const SETUP: &str = "
    ip link add d0 type veth peer name p0
    ip link set d0 addrgenmode none
    for link in d0 p0; do ip link set $link up; done
    ip addr add 192.0.2.5/24 dev d0
    ip addr add fd00::5/64 dev d0 nodad";

const INTERFACE: &str = "addresses: interface:d0\n";
const AFTER_A_SECOND: &str = "forget_family_after: 1s\n";

/// Runs several times over more than two seconds, or until the record has one address.
fn run_for_a_while(agent: &mut Agent, record: &Record) -> Vec<Ran> {
    let began = Instant::now();
    let mut all = Vec::new();
    while all.len() < 6 || began.elapsed() < Duration::from_secs(3) {
        all.push(agent.run_again());
        if record.ips().len() < 2 {
            break;
        }
        std::thread::sleep(Duration::from_millis(300));
    }
    all
}

#[test]
fn a_family_that_is_gone_from_the_interface_is_removed() {
    let name = "remembered::a_family_that_is_gone_from_the_interface_is_removed";
    in_namespace(name, SETUP, || {
        let record = Record::default();
        let hub = record.hub();
        let more = "addresses: interface:d0\nforget_family_after: 1s\nquiet: true\n";
        let mut agent = Agent::new(&hub.url(), more);
        agent
            .run_again()
            .says("office: db set to 192.0.2.5 fd00::5, revision 42\n");
        shell("ip addr del fd00::5/64 dev d0");
        let checked = Agent::new(&hub.url(), more)
            .args(["check", "--quiet=false"])
            .run()
            .stdout;
        assert!(
            checked.contains("fd00::5 stays, although no address of its family"),
            "{checked}"
        );
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut said = String::new();
        while record.ips().len() == 2 {
            assert!(Instant::now() < deadline, "never removed: {said}");
            let ran = agent.run_again();
            assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
            said += &ran.stdout;
            std::thread::sleep(Duration::from_millis(100));
        }
        assert_eq!(record.ips(), ["192.0.2.5"]);
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(
            lines,
            [
                "office: db: no IPv6 address found; fd00::5 stays in the record (removed after 1 s)",
                "office: db: fd00::5 removed, no IPv6 address was found for 1 s",
            ]
        );
        agent.run_again().says("");
        let deleted = hub
            .lines()
            .into_iter()
            .filter(|line| line.starts_with("DELETE"));
        assert_eq!(
            deleted.collect::<Vec<_>>(),
            ["DELETE /silos/office/records/db?family=6"]
        );
    });
}

#[test]
fn an_address_is_kept_unless_it_is_ours_and_missing() {
    let name = "remembered::an_address_is_kept_unless_it_is_ours_and_missing";
    in_namespace(name, SETUP, || {
        let (interface, after) = (INTERFACE, AFTER_A_SECOND);
        let command = "addresses: {command: [sh, -c, 'ip -o addr show dev d0 scope global | sed \"s/.*inet6* //; s,/.*,,\"']}\n";
        for (what, more, between, first, removed) in [
            (
                "the default is an hour",
                interface.to_owned(),
                "",
                "",
                false,
            ),
            (
                "off",
                format!("{interface}forget_family_after: off\n"),
                "",
                "",
                false,
            ),
            ("a command", command.to_owned(), "", "", false),
            (
                "a command, when asked for",
                format!("{command}{after}"),
                "",
                "",
                true,
            ),
            (
                "down",
                format!("{interface}{after}"),
                "ip link set p0 down",
                "",
                false,
            ),
            (
                "set by others",
                format!("{interface}{after}"),
                "",
                "fd00::9",
                false,
            ),
            (
                "excluded",
                format!("{interface}{after}within: [192.0.2.0/24]\n"),
                "",
                "fd00::5",
                false,
            ),
        ] {
            shell(
                "ip link set p0 up; ip addr replace fd00::5/64 dev d0 nodad; until ip addr show dev d0 | grep -q LOWER_UP; do sleep 0.1; done",
            );
            let record = Record::default();
            let hub = record.hub();
            let mut agent = Agent::new(&hub.url(), &more);
            if !first.is_empty() {
                record.set(&["192.0.2.5", first]);
                if what == "set by others" {
                    shell("ip addr del fd00::5/64 dev d0");
                }
            }
            let ran = agent.run_again();
            assert_eq!(ran.code, Some(0), "{what}: {ran:?}");
            assert_eq!(record.ips().len(), 2, "{what}: {ran:?}");
            shell(&format!(
                "ip addr del fd00::5/64 dev d0 2>/dev/null || :; {between}"
            ));
            let all = run_for_a_while(&mut agent, &record);
            assert_eq!(record.ips().len() == 1, removed, "{what}: {all:?}");
        }
    });
}

#[test]
fn an_address_that_another_program_set_since_is_kept() {
    let name = "remembered::an_address_that_another_program_set_since_is_kept";
    in_namespace(name, SETUP, || {
        let record = Record::default();
        let hub = record.hub();
        let mut agent = Agent::new(&hub.url(), &format!("{INTERFACE}{AFTER_A_SECOND}"));
        agent.run_again();
        record.set(&["192.0.2.5", "fd00::7"]);
        shell("ip addr del fd00::5/64 dev d0");
        let all = run_for_a_while(&mut agent, &record);
        assert_eq!(record.ips(), ["192.0.2.5", "fd00::7"], "{all:?}");
    });
}

#[test]
fn one_run_that_finds_the_address_begins_its_time_again() {
    let name = "remembered::one_run_that_finds_the_address_begins_its_time_again";
    in_namespace(name, SETUP, || {
        let record = Record::default();
        let hub = record.hub();
        let more = format!("{INTERFACE}forget_family_after: 1h\n");
        let mut agent = Agent::new(&hub.url(), &more);
        agent.run_again();
        shell("ip addr del fd00::5/64 dev d0");
        assert!(agent.run_again().stdout.contains("no IPv6 address found"));
        assert!(!agent.run_again().stdout.contains("no IPv6 address found"));
        shell("ip addr add fd00::5/64 dev d0 nodad");
        assert!(
            agent
                .run_again()
                .stdout
                .contains("office: db: IPv6 is found again\n")
        );
        shell("ip addr del fd00::5/64 dev d0");
        assert!(agent.run_again().stdout.contains("no IPv6 address found"));
        // So does one that can't reach the hub.
        let held = record.ips();
        record.set(&["broken"]);
        shell("ip addr add fd00::5/64 dev d0 nodad");
        assert_eq!(agent.run_again().code, Some(1));
        let held: Vec<&str> = held.iter().map(String::as_str).collect();
        record.set(&held);
        shell("ip addr del fd00::5/64 dev d0");
        let said = agent.run_again().stdout;
        assert!(said.contains("no IPv6 address found"), "{said}");
        assert!(!agent.run_again().stdout.contains("no IPv6 address found"));
    });
}

#[test]
fn without_a_state_folder_nothing_is_removed_and_check_reports_it() {
    let record = Record::default();
    let hub = record.hub();
    let agent = |more: &str| {
        let agent = Agent::new(
            &hub.url(),
            &format!("addresses: {{command: [echo, 10.0.0.5]}}\n{more}"),
        );
        agent.write("file", "", 0o600);
        let state = agent.folder().join("file/state");
        (agent.env("SILO_UPSTREAM_STATE_DIR", ""), state)
    };
    // systemd's is the default; one that was chosen must work.
    let (without, state) = agent("");
    let checked = without
        .env("STATE_DIRECTORY", state.to_str().unwrap())
        .args(["check"])
        .run();
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(
        checked
            .stdout
            .contains("ok      state: off: no address is removed"),
        "{checked:?}"
    );
    let (without, state) = agent("");
    without
        .env("STATE_DIRECTORY", state.to_str().unwrap())
        .run()
        .says("office: db set to 10.0.0.5, revision 42\n");
    let (chosen, _) = agent("state_dir: file/state\n");
    let ran = chosen.run();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("state folder: "), "{ran:?}");
    assert!(ran.stdout.contains("unchanged"), "{ran:?}");
    let (chosen, _) = agent("state_dir: file/state\n");
    let checked = chosen.args(["check"]).run();
    assert_eq!(checked.code, Some(1), "{checked:?}");
    assert!(checked.stdout.contains("FAILED  state: "), "{checked:?}");
}

#[test]
fn with_quiet_an_outage_is_one_line_when_it_begins_and_one_when_it_ends() {
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let address = format!("127.0.0.1:{port}");
    let run = |agent: &mut Agent, expected: (&str, &str, i32)| {
        let ran = agent.run_again();
        let (stdout, stderr, code) = expected;
        assert_eq!(ran.code, Some(code), "{ran:?}");
        for (said, words) in [(&ran.stdout, stdout), (&ran.stderr, stderr)] {
            assert_eq!(
                said.lines().count(),
                usize::from(!words.is_empty()),
                "{ran:?}"
            );
            assert!(said.contains(words), "{ran:?}");
        }
    };
    for more in [
        "hostnames: [db, web]\n",
        "hostnames: [db, web]\naddresses: {command: [echo, 10.0.0.5]}\n",
    ] {
        let mut agent = Agent::new(
            &format!("http://{address}"),
            &format!("{more}quiet: true\n"),
        );
        run(&mut agent, ("", "office: db, web: cannot reach the hub", 1));
        for _ in 0..3 {
            run(&mut agent, ("", "", 1));
        }
        {
            let _hub = Hub::start_at(&address, |_| Answer::problem(401, "unknown token"));
            run(&mut agent, ("", "office: db, web: ", 1));
            run(&mut agent, ("", "", 1));
        }
        {
            let _hub = Hub::start_at(&address, |request| match request.line.as_str() {
                "GET /ip" => Answer::ip("10.0.0.5"),
                line => Answer::record(line.rsplit('/').next().unwrap(), &["10.0.0.5"], "x"),
            });
            run(&mut agent, ("office: db, web: recovered", "", 0));
            run(&mut agent, ("", "", 0));
        }
        run(&mut agent, ("", "office: db, web: cannot reach the hub", 1));
    }
}

#[test]
fn responses_of_other_servers_are_named_and_quoted() {
    let page = "<!DOCTYPE html><title>Log in</title>";
    let cases: [(Answer, &[&str]); 6] = [
        (
            Answer::status(200, "text/html", page),
            &["captive portal", "correct `hub`"],
        ),
        (Answer::json(page), &["captive portal"]),
        (
            Answer::status(302, "text/html", "").header("Location: http://login.test/"),
            &["302", "captive portal"],
        ),
        (
            Answer::status(
                400,
                "text/html",
                "The plain HTTP request was sent to HTTPS port",
            ),
            &["400", "write https://"],
        ),
        (
            Answer::problem(403, "a\u{202e}b\u{2066}c\u{200f}d\u{61c}e"),
            &["403: a b c d e"],
        ),
        (
            Answer::problem(500, "a\u{202a}\nb\u{1b}[2J"),
            &["500: a  b [2J"],
        ),
    ];
    for auth in ["bearer", "signed"] {
        // The words of a problem that is not signed are not shown.
        let shown = if auth == "signed" { 4 } else { cases.len() };
        for (answer, words) in cases.iter().take(shown).cloned() {
            let hub = Hub::start(move |_| answer.clone());
            let more = format!("auth: {auth}\n");
            let ran = Agent::new(&hub.url(), &more).run();
            ran.complains(1, &["office: db: "]);
            ran.complains(1, words);
            assert!(!ran.stderr.contains("line 1 column"), "{ran:?}");
        }
    }
}
