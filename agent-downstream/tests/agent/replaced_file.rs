//! The file that was in the hosts file's place: what other programs write into it in the moment of the replacement
//! and shortly after is merged.

use std::fs::{self, File, OpenOptions};
use std::io::Write;

use rustix::process::{Signal, kill_process};

use crate::fake_hub::FakeHub;
use crate::faults::NO_EXCHANGE;
use crate::other_writers::outside;
use crate::sandbox::{Sandbox, block, need_root};
use crate::trace::{self, Traced};

const DB: &[(&str, &str)] = &[("db", "10.0.0.5")];
const HOSTS: &str = "127.0.0.1 localhost\n";

/// A system call in which a run is stopped, and its line in the trace among those of the same call.
struct Stop {
    call: &'static str,
    part: &'static str,
    /// A call that comes before it.
    after: &'static str,
}

/// After the last look at the hosts file, before it is replaced.
const BEFORE_EXCHANGE: Stop = Stop {
    call: "rename",
    part: ".part\"",
    after: "",
};
/// After the first look at the file that was replaced, before the second.
const BEFORE_SECOND_LOOK: Stop = Stop {
    call: "clock_nanosleep",
    part: "tv_nsec=250000000",
    after: " renameat2(",
};
/// After the second look, when that file has just lost its name.
const BEFORE_LAST_LOOK: Stop = Stop {
    call: "unlink",
    part: "/etc/.hosts.silo-",
    after: " renameat2(",
};

/// Starts a run with these further faults of strace, and stops it.
fn stopped(sandbox: &Sandbox, hub: &FakeHub, stop: &Stop, faults: &[String]) -> Traced {
    need_root();
    let mut options = vec![
        "-e".to_owned(),
        format!("inject={}:signal=SIGSTOP", stop.call),
    ];
    for fault in faults {
        options.extend(["-e".to_owned(), format!("inject={fault}")]);
    }
    let mut traced = trace::start(&sandbox.path("trace"), &options, &sandbox.flags(hub));
    let call = format!(" {}(", stop.call);
    for count in 1.. {
        traced.wait_for("--- stopped by SIGSTOP ---", count);
        let log = traced.log();
        let last = log.lines().rfind(|line| line.contains(&call)).unwrap();
        if last.contains(stop.part) && log.contains(stop.after) {
            return traced;
        }
        kill_process(traced.process(), Signal::CONT).unwrap();
    }
    unreachable!("the loop ends by returning or panicking")
}

/// What another program does, through a descriptor that it has opened before the replacement.
type Edit = fn(&Sandbox, File);

/// Writes through the descriptor, and the lines that are then to be found outside the block.
const THROUGH_DESCRIPTOR: [(&str, Edit, &str); 3] = [
    (
        "a line is appended",
        |_, mut held| held.write_all(b"10.9.9.9 theirs\n").unwrap(),
        "127.0.0.1 localhost\n10.9.9.9 theirs\n",
    ),
    (
        "it is truncated and written",
        |_, mut held| {
            held.set_len(0).unwrap();
            held.write_all(b"127.0.0.1 LOCALHOST\n10.9.9.9 theirs\n")
                .unwrap();
        },
        "127.0.0.1 LOCALHOST\n10.9.9.9 theirs\n",
    ),
    ("nothing is written", |_, _| {}, HOSTS),
];

/// Stops a run, lets another program write, and checks that nothing of either is lost.
fn check_merged(what: &str, stop: &Stop, faults: &[String], edit: Edit, expected: &str) -> String {
    let hub = FakeHub::office(42, DB);
    let sandbox = Sandbox::new(HOSTS);
    sandbox.note_left(&sandbox.hosts());
    let held = OpenOptions::new()
        .append(true)
        .open(sandbox.hosts())
        .unwrap();
    let traced = stopped(&sandbox, &hub, stop, faults);
    edit(&sandbox, held);
    let ran = trace::run_to_end(traced);
    assert_eq!(ran.code, 0, "{what}: {ran:?}");
    let text = sandbox.text();
    let expected: Vec<&str> = expected.lines().collect();
    assert_eq!(outside(&text), expected, "{what}: {text}");
    assert!(
        text.contains(&block("office", "10.0.0.5 db\n")),
        "{what}: {text}"
    );
    assert!(sandbox.beside().is_empty(), "{what}");
    fs::read_to_string(sandbox.path("trace")).unwrap()
}

#[test]
fn a_write_during_the_replacement_is_merged() {
    let others: [(&str, Edit, &str); 3] = [
        (
            "another file is renamed over it",
            |sandbox, _| {
                fs::write(sandbox.path("etc/theirs"), "127.0.0.1 LOCALHOST\n").unwrap();
                fs::rename(sandbox.path("etc/theirs"), sandbox.hosts()).unwrap();
            },
            "127.0.0.1 LOCALHOST\n",
        ),
        (
            "an editor opens and writes it",
            |sandbox, _| {
                fs::write(sandbox.hosts(), "127.0.0.1 LOCALHOST\n10.9.9.9 theirs\n").unwrap()
            },
            "127.0.0.1 LOCALHOST\n10.9.9.9 theirs\n",
        ),
        (
            "a line without its end is appended",
            |_, mut held| held.write_all(b"10.9.9.9 theirs").unwrap(),
            "127.0.0.1 localhost\n10.9.9.9 theirs\n",
        ),
    ];
    for (what, edit, expected) in THROUGH_DESCRIPTOR.into_iter().chain(others) {
        check_merged(what, &BEFORE_EXCHANGE, &[], edit, expected);
    }
}

#[test]
fn a_write_between_checks_of_the_replaced_file_is_merged() {
    for (when, stop) in [("second", BEFORE_SECOND_LOOK), ("last", BEFORE_LAST_LOOK)] {
        for (what, edit, expected) in THROUGH_DESCRIPTOR {
            let what = format!("before the {when} look {what}");
            check_merged(&what, &stop, &[], edit, expected);
        }
    }
}

#[test]
fn without_an_exchange_the_file_is_renamed_over_and_what_came_out_is_merged() {
    for error in NO_EXCHANGE {
        for (what, write, expected) in THROUGH_DESCRIPTOR {
            let what = format!("{error}, {what}");
            let fault = [format!("renameat2:error={error}")];
            let trace = check_merged(&what, &BEFORE_SECOND_LOOK, &fault, write, expected);
            // It is opened before it loses its name.
            let (before, after) = trace.split_once("(INJECTED)").unwrap();
            assert!(!before.contains("/etc/hosts\") = 0"), "{what}:\n{trace}");
            let (hold, _) = after.split_once("/etc/hosts\") = 0").unwrap();
            let is_held = |line: &str| line.contains("/etc/hosts\", O_RDONLY");
            assert!(hold.lines().any(is_held), "{what}:\n{trace}");
        }
    }
}

#[test]
fn a_file_truncated_in_the_very_moment_of_the_replacement_is_waited_for() {
    let hub = FakeHub::office(42, DB);
    let sandbox = Sandbox::new(HOSTS);
    sandbox.note_left(&sandbox.hosts());
    let mut traced = stopped(&sandbox, &hub, &BEFORE_EXCHANGE, &[]);
    let mut theirs = File::create(sandbox.hosts()).unwrap();
    kill_process(traced.process(), Signal::CONT).unwrap();
    traced.wait_for("renameat2(", 1);
    // It pauses before it looks at the file that it replaced, and again because that is empty.
    let pauses = traced.log().matches("clock_nanosleep(").count();
    traced.wait_for("clock_nanosleep(", pauses + 2);
    theirs
        .write_all(b"127.0.0.1 localhost\n10.9.9.9 theirs\n")
        .unwrap();
    let ran = trace::run_to_end(traced);
    assert_eq!(ran.code, 0, "{ran:?}");
    let expected = format!(
        "127.0.0.1 localhost\n10.9.9.9 theirs\n{}",
        block("office", "10.0.0.5 db\n")
    );
    assert_eq!(sandbox.text(), expected);
    assert!(sandbox.beside().is_empty());
}
