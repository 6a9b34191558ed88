//! A worker's lifetime, and several workers at once.

use rustix::process::Signal;
use silo_hub::internals::deliver::plesk::job::JobId;
use silo_hub::internals::deliver::plesk::zone_name::ZoneName;
use silo_hub::internals::deliver::sink::{Outcome, ReceiverState};

use crate::bench::{Bench, wait_until};

const NAME: &str = "db.example.com";

#[test]
fn a_worker_processes_new_jobs_until_a_signal() {
    for signal in [Signal::TERM, Signal::INT] {
        let bench = Bench::new();
        let worker = bench.start(&[]);
        for wanted in ["10.0.0.6", "10.0.0.7"] {
            wait_until("the change is done", || {
                bench.publish(NAME, wanted, ReceiverState::Nothing) == Outcome::Done
            });
            assert_eq!(bench.at_plesk(NAME), [format!("A {wanted}")]);
        }
        wait_until("the results are gone", || bench.names("results").is_empty());
        worker.signal(signal);
        let ran = worker.end();
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        assert!(
            ran.stderr
                .contains("db.example.com: set to 10.0.0.7, was 10.0.0.6")
        );
        bench.calls();
    }
}

#[test]
fn a_worker_with_a_timeout_does_its_work_and_ends_by_itself() {
    let bench = Bench::new();
    bench.publish(NAME, "10.0.0.6", ReceiverState::Nothing);
    let ran = bench.work(&["--timeout", "1"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(
        bench.publish(NAME, "10.0.0.6", ReceiverState::Nothing),
        Outcome::Done
    );
    bench.calls();
}

#[test]
fn a_signal_waits_for_the_command_that_runs() {
    let bench = Bench::new();
    bench.publish(NAME, "10.0.0.6", ReceiverState::Nothing);
    bench.switch("block--add", true);
    let worker = bench.start(&["--deadline", "2"]);
    wait_until("plesk is asked to add", || bench.blocked().is_some());
    worker.signal(Signal::TERM);
    let ran = worker.end();
    assert_eq!(ran.code, Some(0));
    assert!(
        ran.stderr
            .contains("plesk --add did not end within 2 s and was killed"),
        "{}",
        ran.stderr
    );
    for pid in bench.blocked().unwrap() {
        wait_until("plesk is gone, with all that it started", || {
            rustix::process::test_kill_process(pid).is_err()
        });
    }
    bench.switch("block--add", false);
    bench.once();
    assert_eq!(bench.at_plesk(NAME), ["A 10.0.0.6"]);
    bench.calls();
}

#[test]
fn one_worker_at_a_time() {
    let bench = Bench::new();
    bench.publish(NAME, "10.0.0.6", ReceiverState::Nothing);
    bench.switch("block--info", true);
    let first = bench.start(&[]);
    wait_until("the first is at work", || bench.blocked().is_some());
    let once = bench.work(&["--once"]);
    assert_eq!(once.code, Some(1));
    assert!(
        once.stderr.contains("state: another worker is running"),
        "{}",
        once.stderr
    );
    let timed = bench.work(&["--timeout", "1"]);
    assert_eq!(
        timed.code,
        Some(0),
        "what is to be done is done by the other"
    );
    assert_eq!(bench.calls(), ["--info example.com"]);
    let second = bench.start(&[]);
    bench.switch("block--info", false);
    drop(first);
    wait_until("the second takes over", || {
        bench.publish(NAME, "10.0.0.6", ReceiverState::Nothing) == Outcome::Done
    });
    second.signal(Signal::TERM);
    assert_eq!(second.end().code, Some(0));
    bench.calls();
}

#[test]
fn a_job_that_is_replaced_while_others_are_done_is_not_done_in_its_old_form() {
    let bench = Bench::new();
    bench.set_zone(&["a.example.com. A 10.0.0.5", "b.example.com. A 10.0.0.5"]);
    let id = |label| JobId::of(&ZoneName::parse("example.com", label).unwrap());
    // Jobs are done in the order of their ids.
    let (first, second) = if id("a") < id("b") {
        ("a.example.com", "b.example.com")
    } else {
        ("b.example.com", "a.example.com")
    };
    bench.publish(first, "10.0.0.6", ReceiverState::Nothing);
    bench.publish(second, "10.0.0.6", ReceiverState::Nothing);
    bench.switch("block--add", true);
    let worker = bench.start(&[]);
    wait_until("the first is at work", || bench.blocked().is_some());
    bench.publish(second, "10.0.0.7", ReceiverState::Nothing);
    bench.switch("block--add", false);
    wait_until("both are done", || {
        bench.at_plesk(first) == ["A 10.0.0.6"] && bench.at_plesk(second) == ["A 10.0.0.7"]
    });
    drop(worker);
    let stale = format!("-a {} -ip 10.0.0.6", &second[..1]);
    assert!(!bench.changes().iter().any(|call| call.ends_with(&stale)));
}
