//! A join that is killed at any system call by which it changes something or talks to the hub, is finished by the next
//! run, with one token.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};

use silo_e2e::{Hub, binary, logs};

use super::{JOINED, Machine, Site, id_of, said};

/// The calls by which a join connects, and by which it changes files.
const CALLS: [&str; 6] = ["connect", "openat", "fsync", "rename", "unlink", "mkdir"];

/// Runs a command of an agent under strace, which kills it at the call of this name with this number, before the call does
/// anything.
fn killed_at(
    machine: &Machine,
    arguments: &[&str],
    line: &str,
    call: &str,
    number: usize,
) -> Output {
    let mut command = Command::new("strace");
    command
        .arg("-o")
        .arg(machine.path("trace"))
        .args(["-e", &format!("trace={call}")])
        .args(["-e", &format!("inject={call}:signal=KILL:when={number}")])
        .arg(binary(machine.program))
        .args(arguments);
    machine.flags(&mut command);
    logs::run(command.stdin(machine.line(line)))
}

fn join_killed_at(machine: &Machine, line: &str, call: &str, number: usize) -> Output {
    killed_at(machine, &["join", "-", "--no-schedule"], line, call, number)
}

fn was_killed(output: &Output) -> bool {
    // strace ends as what it traces does.
    output.status.signal() == Some(9)
}

/// The next run, with the same line, finishes it.
async fn assert_finished(site: &Site, machine: &Machine, line: &str, why: &str) {
    let next = machine.join(line, &[]);
    assert!(next.status.success(), "{why}: {next:?}");
    assert_eq!(machine.files(), JOINED, "{why}");
    assert_eq!(site.record("nas").await.0, 200, "{why}");
    let id = machine.credential()[5..15].to_owned();
    let tokens = site.tokens().await;
    let ids: Vec<&str> = tokens
        .iter()
        .map(|token| token["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, [id.as_str()], "{why}");
    assert!(
        machine.text("etc/silo.joined").contains(&id_of(line)),
        "{why}"
    );
}

#[tokio::test]
async fn a_join_that_is_killed_at_any_call_is_finished_by_the_next_run() {
    let site = Site::new();
    let mut kills = 0;
    for call in CALLS {
        // Files of the system are opened before anything of a join happens.
        for number in (1..).step_by(if call == "openat" { 5 } else { 1 }) {
            let why = format!("killed at {call} {number}");
            let line = site.invite_nas();
            let machine = site.machine(&format!("{call}-{number}"), "silo-upstream");
            let killed = join_killed_at(&machine, &line, call, number);
            if !was_killed(&killed) {
                assert!(killed.status.success(), "{why}: {killed:?}");
                assert!(number > 1, "no {call} at all: {killed:?}");
                assert_eq!(machine.files(), JOINED, "{why}");
                said(&machine.run(&["leave"]));
                break;
            }
            kills += 1;
            assert_finished(&site, &machine, &line, &why).await;
            said(&machine.run(&["leave"]));
        }
    }
    assert!(kills > 15, "{kills}");
    println!("{kills} kills, one token after each");
}

#[tokio::test]
async fn a_leave_that_is_killed_at_any_call_is_finished_by_the_next_run() {
    let site = Site::new();
    let mut kills = 0;
    for call in ["connect", "unlink", "rmdir"] {
        for number in 1.. {
            let why = format!("killed at {call} {number}");
            let line = site.invite_nas();
            let machine = site.machine(&format!("{call}-{number}"), "silo-upstream");
            said(&machine.join(&line, &[]));
            let killed = killed_at(&machine, &["leave"], &line, call, number);
            if was_killed(&killed) {
                kills += 1;
                let next = machine.run(&["leave"]);
                assert!(next.status.success(), "{why}: {next:?}");
            } else {
                assert!(killed.status.success() && number > 1, "{why}: {killed:?}");
            }
            assert_eq!(machine.files(), [""; 0], "{why}");
            assert_eq!(site.record("nas").await.0, 404, "{why}");
            assert_eq!(site.tokens().await.len(), 0, "{why}");
            if !was_killed(&killed) {
                break;
            }
        }
    }
    assert!(kills > 4, "{kills}");
}

#[tokio::test]
async fn a_hub_that_restarts_between_redemption_and_confirmation_makes_the_token() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start(folder.path());
    let listen = hub.url().trim_start_matches("http://").to_owned();
    let line = super::invite(&hub, &["--read"], &[hub.url()]);
    let laptop = Machine::new(&folder.path().join("laptop"), "silo-downstream");
    // Killed as soon as `join.pending` has its name, when the folder is to be synced.
    let killed = join_killed_at(&laptop, &line, "fsync", 2);
    assert!(was_killed(&killed), "{killed:?}");
    assert!(
        laptop
            .files()
            .iter()
            .any(|name| name == "silo.join.pending"),
        "{:?}",
        laptop.files()
    );
    let pending = fs::read_to_string(laptop.path("etc/silo.join.pending")).unwrap();
    assert_eq!(laptop.mode("etc/silo.join.pending"), 0o600);
    hub.kill();
    let hub = Hub::start_under_at(&[], folder.path(), &listen);
    let silo = silo_e2e::Caller::new(&hub, &hub.admin_token());
    silo.put_ip("home", "db", "10.0.0.5").await.unwrap();
    said(&laptop.run(&["join", "--no-schedule"]));
    assert_eq!(laptop.files(), JOINED);
    assert!(laptop.text("hosts").contains("10.0.0.5 db"));
    assert!(pending.contains(&laptop.credential()));
}
