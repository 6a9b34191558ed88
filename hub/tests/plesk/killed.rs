//! Workers that die between taking the old address away and putting the new one there.

use std::fs;

use rustix::process::Signal;
use silo_hub::internals::deliver::sink::{Outcome, ReceiverState};

use crate::bench::{Bench, HUB, addresses, wait_until};

const NAME: &str = "db.example.com";

/// Lets a worker take 10.0.0.5 away and die before 10.0.0.6 is there.
fn killed_in_between() -> Bench {
    let bench = Bench::new();
    assert_eq!(
        bench.publish(NAME, "10.0.0.6", ReceiverState::Nothing),
        Outcome::Waiting
    );
    bench.switch("block--add", true);
    let worker = bench.start(&[]);
    wait_until("plesk is asked to add", || bench.blocked().is_some());
    worker.signal(Signal::KILL);
    assert_eq!(worker.end().code, None, "killed");
    // Plesk's own command dies with the machine, say.
    rustix::process::kill_process(bench.blocked().unwrap()[0], Signal::KILL).unwrap();
    assert!(bench.at_plesk(NAME).is_empty(), "the gap");
    bench.switch("block--add", false);
    bench.calls();
    bench
}

#[test]
fn the_next_run_finishes_an_interrupted_update() {
    let bench = killed_in_between();
    let ran = bench.once();
    assert!(
        ran.stderr
            .contains("db.example.com: finished an interrupted update"),
        "{}",
        ran.stderr
    );
    assert_eq!(bench.at_plesk(NAME), ["A 10.0.0.6"]);
    assert_eq!(bench.changes(), ["--add example.com -a db -ip 10.0.0.6"]);
    assert_eq!(
        bench.publish(NAME, "10.0.0.6", ReceiverState::Nothing),
        Outcome::Done
    );
    bench.once();
    assert!(bench.calls().is_empty());
}

#[test]
fn it_is_finished_even_when_the_job_was_withdrawn() {
    let bench = killed_in_between();
    for name in bench.names("jobs") {
        fs::remove_file(bench.path("spool/jobs").join(name)).unwrap();
    }
    bench.once();
    assert_eq!(bench.at_plesk(NAME), ["A 10.0.0.6"]);
}

#[test]
fn a_newer_update_follows_an_interrupted_one() {
    let bench = killed_in_between();
    let standing = ReceiverState::Claimed(addresses("10.0.0.6"));
    assert_eq!(bench.round(NAME, "10.0.0.7", standing), Outcome::Done);
    assert_eq!(bench.at_plesk(NAME), ["A 10.0.0.7"]);
    bench.calls();
}

#[test]
fn a_removal_follows_an_interrupted_update() {
    let bench = killed_in_between();
    assert_eq!(bench.round(NAME, "", ReceiverState::Nothing), Outcome::Done);
    assert!(bench.at_plesk(NAME).is_empty());
    bench.once();
    assert!(bench.at_plesk(NAME).is_empty());
    bench.calls();
}

#[test]
fn an_update_of_a_domain_no_longer_allowed_is_reported_and_not_finished() {
    let bench = killed_in_between();
    let arguments = ["--spool", "@spool", "--owner", "65534", "--state", "@state"];
    let arguments = [
        &arguments[..],
        &["--domains", "example.org", "--plesk", "@plesk", "--once"],
    ];
    let ran = bench.start_with(&arguments.concat()).end();
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.stderr
            .contains("not finished yet: example.com is not in the worker's --domains"),
        "{}",
        ran.stderr
    );
    assert!(bench.calls().is_empty());
}

#[test]
fn an_add_that_fails_after_the_del_is_tried_until_it_works() {
    let bench = Bench::new();
    bench.publish(NAME, "10.0.0.6", ReceiverState::Nothing);
    bench.switch("fail--add", true);
    let worker = bench.start(&[]);
    wait_until("the hub hears of it", || {
        match bench.publish(NAME, "10.0.0.6", ReceiverState::Nothing) {
            Outcome::Waiting => false,
            Outcome::Retry(trouble) => trouble
                .why
                .starts_with("plesk --add ended with exit code 1"),
            other => panic!("{other:?}"),
        }
    });
    assert!(bench.at_plesk(NAME).is_empty());
    // Without another job, the name does not stay empty.
    bench.switch("fail--add", false);
    wait_until("the address is there", || {
        bench.at_plesk(NAME) == ["A 10.0.0.6"]
    });
    worker.signal(Signal::TERM);
    assert_eq!(worker.end().code, Some(0));
    bench.calls();
}

#[test]
fn pending_removals_are_kept_when_plesk_fails() {
    let bench = Bench::new();
    let published = ReceiverState::Published(addresses("10.0.0.5 fd00::5"));
    bench.set_zone(&["db.example.com. A 10.0.0.5", "db.example.com. AAAA fd00::5"]);
    bench.switch("fail--del", true);
    bench.publish(NAME, "10.0.0.5", published);
    assert_eq!(bench.work(&["--once"]).code, Some(1));
    bench.switch("fail--del", false);
    // Even if the hub did not know any more what it had published.
    bench.publish(NAME, "10.0.0.5", published);
    assert_eq!(
        bench.round(NAME, "10.0.0.5", ReceiverState::Nothing),
        Outcome::Done
    );
    assert_eq!(bench.at_plesk(NAME), ["A 10.0.0.5"]);
    bench.calls();
}

#[test]
fn a_broken_state_file_is_reported_and_stops_no_job() {
    let bench = killed_in_between();
    for entry in fs::read_dir(bench.path("state")).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "name")
        {
            let text = fs::read_to_string(&path).unwrap();
            assert!(
                text.contains(r#""old":["10.0.0.5"],"new":["10.0.0.6"]"#),
                "{text}"
            );
            fs::write(&path, &text[..text.len() / 2]).unwrap();
        }
    }
    let ran = bench.once();
    assert!(ran.stderr.contains(".name: skipped: EOF"), "{}", ran.stderr);
    let refused = bench.publish(NAME, "10.0.0.6", ReceiverState::Nothing);
    assert!(matches!(refused, Outcome::Failed(_)), "{refused:?}");
    bench.calls();
}

#[test]
fn old_and_new_addresses_are_stored_before_a_removal() {
    let bench = Bench::new();
    bench.publish(NAME, "10.0.0.6", ReceiverState::Nothing);
    let trace = bench.path("trace");
    let mut strace = std::process::Command::new("strace");
    strace.args([
        "-f",
        "-y",
        "-qq",
        "-s",
        "200",
        "-e",
        "trace=fsync,renameat,execve",
        "-o",
    ]);
    strace.arg(&trace).arg(HUB);
    let arguments = [
        "--spool", "@spool", "--owner", "nobody", "--state", "@state",
    ];
    let arguments = [
        &arguments[..],
        &["--domains", "example.com", "--plesk", "@plesk", "--once"],
    ];
    let ran = bench.start_by(strace, &arguments.concat()).end();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let trace = fs::read_to_string(trace).unwrap();
    let events: Vec<&str> = trace
        .lines()
        .filter_map(|line| match line {
            _ if line.contains("execve(") && line.contains("\"--del\"") => Some("del"),
            _ if line.contains("fsync(") && line.contains("/state/.") => Some("sync file"),
            _ if line.contains("renameat(") && line.contains("/state>") => Some("rename"),
            _ if line.contains("fsync(") && line.contains("/state>") => Some("sync folder"),
            _ => None,
        })
        .collect();
    assert_eq!(
        events[..4],
        ["sync file", "rename", "sync folder", "del"],
        "{trace}"
    );
}
