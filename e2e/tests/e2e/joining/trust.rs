//! Whom a machine that joins believes.

use std::fs;
use std::path::Path;
use std::process::Command;

use silo_e2e::{Hub, binary, logs};

use crate::clocks::WallClock;

use super::{JOINED, Machine, Site, complaint, invite, said};

/// The last digit, or letter, of an answer's content becomes another one.
fn changed(answer: &[u8]) -> Vec<u8> {
    let mut changed = answer.to_vec();
    let at = changed.iter().rposition(u8::is_ascii_alphanumeric).unwrap();
    changed[at] = if changed[at] == b'1' { b'2' } else { b'1' };
    changed
}

#[tokio::test]
async fn an_answer_that_is_changed_on_the_way_is_refused_and_the_join_can_be_finished() {
    for (step, left) in [
        ("GET /invitations/", &[][..]),
        ("/redeem", &[]),
        ("/confirm", &["silo.join.pending"]),
    ] {
        let site = Site::new();
        let line = site.invite_nas();
        let nas = site.machine("nas", "silo-upstream");
        site.front.forge(move |exchange| {
            if exchange.line().contains(step) {
                changed(&exchange.answer)
            } else {
                exchange.answer.clone()
            }
        });
        let refused = complaint(&nas.join(&line, &[]), 1);
        assert!(
            refused.contains("the answer is not from the hub"),
            "{step}: {refused}"
        );
        assert_eq!(nas.files(), left, "{step}");
        site.front.forge(|exchange| exchange.answer.clone());
        // A join that was interrupted needs no line.
        let next = if left.is_empty() {
            nas.join(&line, &[])
        } else {
            nas.run(&["join", "--no-schedule"])
        };
        said(&next);
        assert_eq!(nas.files(), JOINED, "{step}");
        assert_eq!(site.tokens().await.len(), 1, "{step}");
    }
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_named_before_the_invitation_is_shown() {
    let site = Site::new();
    let line = site.invite_nas();
    let nas = site.machine("nas", "silo-upstream");
    site.front.forge(|exchange| {
        let answer = String::from_utf8_lossy(&exchange.answer).into_owned();
        let lines = answer.split("\r\n").map(|line| {
            if line.to_ascii_lowercase().starts_with("date:") {
                "Date: Thu, 01 Jan 2026 00:00:00 GMT"
            } else {
                line
            }
        });
        lines.collect::<Vec<_>>().join("\r\n").into_bytes()
    });
    let refused = complaint(&nas.join(&line, &[]), 1);
    assert!(refused.contains("set the clock"), "{refused}");
    let asked: Vec<String> = site.front.take().iter().map(|one| one.line()).collect();
    assert_eq!(asked, ["GET /ping"]);
}

#[tokio::test]
async fn an_invitation_that_has_expired_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let clock = WallClock::off_by(folder.path(), 0);
    let hub = Hub::start_under(&clock.wrapper(), folder.path());
    let line = invite(&hub, &["--read", "--expires", "5m"], &[hub.url()]);
    clock.set(301);
    let laptop = Machine::new(&folder.path().join("laptop"), "silo-downstream");
    let wrapper = clock.wrapper();
    let mut command = Command::new(wrapper[0]);
    command
        .args(&wrapper[1..])
        .arg(binary(laptop.program))
        .args(["join", "-", "--no-schedule"]);
    laptop.flags(&mut command);
    let output = logs::run(command.stdin(laptop.line(&line)));
    let refused = complaint(&output, 1);
    assert!(
        refused.contains("410") && refused.contains("expired"),
        "{refused}"
    );
    assert_eq!(laptop.files(), [""; 0]);
}

/// A hub that serves TLS by a key of its own.
fn tls_hub(folder: &Path) -> Hub {
    fs::create_dir_all(folder).unwrap();
    let made = Command::new(binary("silo-hub"))
        .args([
            "tls",
            "self-signed",
            "--name",
            "localhost",
            "--name",
            "127.0.0.1",
            "--out",
        ])
        .arg(folder)
        .output()
        .unwrap();
    said(&made);
    let at = folder.display();
    let config = format!("tls: {{ cert: {at}/cert.pem, key: {at}/key.pem }}\n");
    fs::write(folder.join("hub.yaml"), config).unwrap();
    Hub::start(folder)
}

#[tokio::test]
async fn over_tls_the_pin_of_the_line_counts_and_goes_into_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let (hub, stranger) = (
        tls_hub(&folder.path().join("hub")),
        tls_hub(&folder.path().join("stranger")),
    );
    assert!(hub.url().starts_with("https://"), "{}", hub.url());
    let admin = hub.token(&["--name", "w", "--role", "write", "--silo", "home"]);
    let put = Command::new("curl")
        .args(["-sSfk", "-X", "PUT", "-d", r#"{"ip":"10.0.0.5"}"#, "-H"])
        .arg(format!("Authorization: Bearer {admin}"))
        .arg(format!("{}/silos/home/records/db", hub.url()))
        .output()
        .unwrap();
    said(&put);
    let laptop = Machine::new(&folder.path().join("laptop"), "silo-downstream");
    // Another server, where the line leads to.
    let misled = invite(&hub, &["--read"], &[stranger.url()]);
    let refused = complaint(&laptop.join(&misled, &[]), 1);
    assert!(refused.contains("cannot trust the hub"), "{refused}");
    assert_eq!(laptop.files(), [""; 0]);
    // No server answers at the first URL; both go into the configuration.
    let gone = "https://127.0.0.1:1";
    let line = invite(&hub, &["--read"], &[gone, hub.url()]);
    said(&laptop.join(&line, &[]));
    assert_eq!(laptop.files(), JOINED);
    let configuration = laptop.text("etc/silo.yaml");
    for words in [
        format!("hub: [\"{gone}\", \"{}\"]", hub.url()),
        "pin_sha256: \"sha256//".to_owned(),
    ] {
        assert!(configuration.contains(&words), "{words}: {configuration}");
    }
    assert!(laptop.text("hosts").contains("10.0.0.5 db"));
    said(&logs::run(&mut laptop.command(&["leave"])));
    assert_eq!(laptop.files(), [""; 0]);
}
