//! The file that was in the hosts file's place: what other programs write into it in the moment of the replacement
//! and shortly after is merged.

use std::fs::{self, File, OpenOptions};
use std::io::Write;

use rustix::process::{Signal, kill_process};

use crate::fake_hub::FakeHub;
use crate::other_writers::outside;
use crate::sandbox::{Sandbox, block, need_root};
use crate::trace::{self, Traced};

const DB: &[(&str, &str)] = &[("db", "10.0.0.5")];
const HOSTS: &str = "127.0.0.1 localhost\n";

/// Stops a run between its last look at the hosts file and the moment when it is replaced.
fn stopped_before_exchange(sandbox: &Sandbox, hub: &FakeHub) -> Traced {
    need_root();
    let options = ["-e".to_owned(), "inject=rename:signal=SIGSTOP".to_owned()];
    let mut traced = trace::start(&sandbox.path("trace"), &options, &sandbox.flags(hub));
    for stop in 1.. {
        traced.wait_for("--- stopped by SIGSTOP ---", stop);
        let log = traced.log();
        let last = log.lines().rfind(|line| line.contains(" rename(")).unwrap();
        if last.contains(".part\"") {
            return traced;
        }
        kill_process(traced.process(), Signal::CONT).unwrap();
    }
    unreachable!("the loop ends by returning or panicking")
}

#[test]
fn what_is_written_in_the_very_moment_of_the_replacement_is_merged() {
    type Write = fn(&Sandbox, File);
    let cases: [(&str, Write, &str); 4] = [
        (
            "appended through a descriptor that was open before",
            |_, mut held| held.write_all(b"10.9.9.9 theirs\n").unwrap(),
            "127.0.0.1 localhost\n10.9.9.9 theirs\n",
        ),
        (
            "another file renamed over it",
            |sandbox, _| {
                fs::write(sandbox.path("etc/theirs"), "127.0.0.1 LOCALHOST\n").unwrap();
                fs::rename(sandbox.path("etc/theirs"), sandbox.hosts()).unwrap();
            },
            "127.0.0.1 LOCALHOST\n",
        ),
        (
            "an editor that writes it anew",
            |sandbox, _| {
                fs::write(sandbox.hosts(), "127.0.0.1 LOCALHOST\n10.9.9.9 theirs\n").unwrap()
            },
            "127.0.0.1 LOCALHOST\n10.9.9.9 theirs\n",
        ),
        (
            "a last line without its end is continued",
            |_, mut held| held.write_all(b"10.9.9.9 theirs").unwrap(),
            "127.0.0.1 localhost\n10.9.9.9 theirs\n",
        ),
    ];
    for (what, write, expected) in cases {
        let hub = FakeHub::office(42, DB);
        let sandbox = Sandbox::new(HOSTS);
        sandbox.note_left(&sandbox.hosts());
        let held = OpenOptions::new()
            .append(true)
            .open(sandbox.hosts())
            .unwrap();
        let traced = stopped_before_exchange(&sandbox, &hub);
        write(&sandbox, held);
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
    }
}

#[test]
fn a_file_truncated_in_the_very_moment_of_the_replacement_is_waited_for() {
    let hub = FakeHub::office(42, DB);
    let sandbox = Sandbox::new(HOSTS);
    sandbox.note_left(&sandbox.hosts());
    let mut traced = stopped_before_exchange(&sandbox, &hub);
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
