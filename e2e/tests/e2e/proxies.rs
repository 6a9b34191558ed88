//! A client's address, directly and through one and two nginx, whatever headers it sends.

use std::path::Path;
use std::process::{Command, Stdio};

use silo_e2e::postgres::free_port;
use silo_e2e::{Hub, Nginx};

/// The client's address: not the proxies', which are 127.0.0.1.
const CLIENT: &str = "127.0.0.7";
const OTHER: &str = "127.0.0.8";

/// Headers with which a client may pose as another.
const SPOOFS: [&str; 6] = [
    "X-Forwarded-For: 192.0.2.99",
    "X-Forwarded-For: 192.0.2.99, 127.0.0.1",
    "X-Forwarded-For: ",
    "Forwarded: for=192.0.2.99",
    "Forwarded: for=192.0.2.99, for=127.0.0.1",
    "X-Real-IP: 192.0.2.99",
];

/// One server of nginx that passes on to another address, as `docs/several-hubs.md` has it.
fn server(listen: u16, to: &str) -> String {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/several-hubs.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, rest) = page
        .split_once("server {\n")
        .expect("the page has a server");
    let server = rest.split_once("```").unwrap().0;
    assert!(server.contains("X-Forwarded-For"), "{server}");
    let server = server
        .replace("listen 80;", &format!("listen 127.0.0.1:{listen};"))
        .replace("http://silo", to);
    format!("server {{\n{server}")
}

/// Asks from an address, with these headers: status and body.
fn ask(from: &str, url: &str, headers: &[&str]) -> (u16, String) {
    let mut command = Command::new("curl");
    command.args(["-sS", "--interface", from, "-w", "\n%{http_code}"]);
    for header in headers {
        // A header without a value ends in a semicolon (curl(1)).
        let header = header
            .strip_suffix(": ")
            .map_or((*header).to_owned(), |name| format!("{name};"));
        command.args(["-H", &header]);
    }
    let output = command.arg(url).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let answer = String::from_utf8(output.stdout).unwrap();
    let (body, status) = answer.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), body.to_owned())
}

fn wrong() -> String {
    format!("Authorization: Bearer silo_aaaaaaaaaa_{}", "x".repeat(43))
}

/// At this URL no client can pose as another, and no headers evade the limit of failures.
fn check(url: &str, passes_forwarded: bool) {
    let ip = |from, headers: &[&str]| {
        let accept = ["Accept: text/plain"];
        ask(from, &format!("{url}/ip"), &[&accept, headers].concat()).1
    };
    assert_eq!(ip(CLIENT, &[]), CLIENT);
    assert_eq!(ip(OTHER, &[]), OTHER);
    for spoof in SPOOFS {
        let seen = ip(CLIENT, &[spoof]);
        // Where two headers contradict each other neither is believed.
        if passes_forwarded && spoof.starts_with("Forwarded") {
            assert!(
                seen.contains("/problems/caller-unknown"),
                "{spoof} at {url}: {seen}"
            );
        } else {
            assert_eq!(seen, CLIENT, "{spoof} at {url}");
        }
    }
    let fail = |from, spoof: &str| ask(from, &format!("{url}/silos"), &[&wrong(), spoof]).0;
    for number in 0..10 {
        let spoof = format!("X-Forwarded-For: 192.0.2.{number}");
        assert_eq!(fail(CLIENT, &spoof), 401, "failure {number} at {url}");
    }
    for spoof in [
        "X-Forwarded-For: 192.0.2.50",
        "X-Forwarded-For: 192.0.2.51, 127.0.0.1",
    ] {
        assert_eq!(fail(CLIENT, spoof), 429, "{spoof} at {url}");
    }
    let claiming = format!("X-Forwarded-For: {CLIENT}");
    assert_eq!(fail(OTHER, &claiming), 401, "another pays for it at {url}");
}

fn start(folder: &Path, trusted: &str) -> Hub {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(
        folder.join("hub.yaml"),
        format!("trusted_proxies: [{trusted}]\n"),
    )
    .unwrap();
    Hub::start(folder)
}

#[test]
fn an_untrusted_peers_word_counts_for_nothing() {
    let folder = tempfile::tempdir().unwrap();
    check(start(&folder.path().join("none"), "").url(), false);
    // The proxy is trusted, and the client is not.
    let hub = start(&folder.path().join("proxy"), "127.0.0.1/32");
    check(hub.url(), false);
    assert!(
        hub.log().contains("ignoring X-Forwarded-For"),
        "{}",
        hub.log()
    );
}

#[test]
fn through_one_and_two_trusted_proxies_the_client_is_found() {
    let folder = tempfile::tempdir().unwrap();
    for (proxies, clears) in [(1, true), (2, true), (1, false), (2, false)] {
        let at = folder.path().join(format!("{proxies}-{clears}"));
        let hub = start(&at, "127.0.0.1/32");
        let (inner, outer) = (free_port(), free_port());
        let mut servers = server(inner, hub.url());
        if proxies == 2 {
            servers += &server(outer, &format!("http://127.0.0.1:{inner}"));
        }
        if !clears {
            // As proxies are that do not know of that header.
            let line = "proxy_set_header Forwarded \"\";";
            assert!(servers.contains(line), "{servers}");
            servers = servers.replace(line, "");
        }
        let front = if proxies == 2 { outer } else { inner };
        let _nginx = Nginx::start(&at, &servers, front);
        check(&format!("http://127.0.0.1:{front}"), !clears);
    }
}

#[test]
fn a_proxy_that_rewrites_host_under_signatures_is_named_in_the_log_once_a_minute() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start(&folder.path().join("hub"), "127.0.0.1/32");
    let port = free_port();
    let line = "proxy_set_header Host $http_host;";
    let servers = server(port, hub.url());
    assert!(servers.contains(line), "{servers}");
    let servers = servers.replace(line, "proxy_set_header Host inner.test:8053;");
    let _nginx = Nginx::start(folder.path(), &servers, port);
    let token = folder.path().join("token");
    silo_e2e::write_private(&token, &hub.admin_token());
    std::fs::write(folder.path().join("hosts"), "127.0.0.1 localhost\n").unwrap();
    for _ in 0..3 {
        let mut command = Command::new(silo_e2e::binary("silo-downstream"));
        command
            .args(["once", "--auth", "signed", "--silo", "office", "--hub"])
            .arg(format!("http://127.0.0.1:{port}"))
            .arg("--token-file")
            .arg(&token)
            .arg("--hosts-file")
            .arg(folder.path().join("hosts"))
            .arg("--state-dir")
            .arg(folder.path().join("state"));
        let output = silo_e2e::logs::run(&mut command);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
    }
    let admin = hub.admin_token();
    let id = admin.split('_').nth(1).unwrap();
    let log = hub.log();
    let mut lines = log
        .lines()
        .filter(|line| line.contains("a proxy rewrites Host"));
    let line = lines.next().unwrap_or_else(|| panic!("{log}"));
    assert!(
        line.contains("inner.test:8053") && line.contains(id),
        "{line}"
    );
    assert_eq!(lines.next(), None, "{log}");
}
