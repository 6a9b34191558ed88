//! How a run tells whether another program has written the hosts file since our last write: by inode, size, mtime,
//! ctime and contents, never by the time of day.

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::{Duration, SystemTime};

use crate::fake_hub::FakeHub;
use crate::sandbox::{Ran, Sandbox, agent, block, run};

const DB: &[(&str, &str)] = &[("db", "10.0.0.5")];
const NAS: &[(&str, &str)] = &[("db", "10.0.0.5"), ("nas", "10.0.0.7")];
const HOSTS: &str = "127.0.0.1 localhost\n";

/// A run that has something to write, with the log that says whether it waited.
fn run_with_log(sandbox: &Sandbox, hub: &FakeHub) -> (Ran, bool) {
    let ran = run(agent()
        .args(sandbox.flags(hub))
        .env("RUST_LOG", "silo=info"));
    let has_waited = ran.stderr.contains("waiting until it is done");
    (ran, has_waited)
}

fn modified(sandbox: &Sandbox) -> SystemTime {
    fs::metadata(sandbox.hosts()).unwrap().modified().unwrap()
}

fn set_modified(sandbox: &Sandbox, time: SystemTime) {
    let file = OpenOptions::new().write(true).open(sandbox.hosts());
    file.unwrap().set_modified(time).unwrap();
}

/// What is done to the file between two runs.
type Touch = fn(&Sandbox);

#[test]
fn any_trace_of_another_program_is_waited_for_and_none_is_not() {
    let cases: [(&str, Touch, bool); 7] = [
        ("nothing", |_| {}, false),
        (
            "read",
            |sandbox| {
                sandbox.read();
            },
            false,
        ),
        (
            "ctime alone: the mode is set to what it was",
            |sandbox| {
                let before = fs::metadata(sandbox.hosts()).unwrap();
                let mode = Permissions::from_mode(before.mode() & 0o7777);
                // Times move with the system's tick.
                while fs::metadata(sandbox.hosts()).unwrap().ctime_nsec() == before.ctime_nsec() {
                    fs::set_permissions(sandbox.hosts(), mode.clone()).unwrap();
                }
            },
            true,
        ),
        (
            "mtime",
            |sandbox| set_modified(sandbox, modified(sandbox) + Duration::from_nanos(1)),
            true,
        ),
        (
            "inode: a copy with the same mtime renamed over it",
            |sandbox| {
                let time = modified(sandbox);
                fs::copy(sandbox.hosts(), sandbox.path("etc/copy")).unwrap();
                fs::rename(sandbox.path("etc/copy"), sandbox.hosts()).unwrap();
                set_modified(sandbox, time);
            },
            true,
        ),
        (
            "contents: another letter, the same size and mtime",
            |sandbox| {
                let time = modified(sandbox);
                fs::write(
                    sandbox.hosts(),
                    sandbox.text().replace("localhost", "LOCALHOST"),
                )
                .unwrap();
                set_modified(sandbox, time);
            },
            true,
        ),
        (
            "size: a line was appended, the same mtime",
            |sandbox| {
                let time = modified(sandbox);
                let file = OpenOptions::new().append(true).open(sandbox.hosts());
                file.unwrap().write_all(b"10.1.1.1 theirs\n").unwrap();
                set_modified(sandbox, time);
            },
            true,
        ),
    ];
    silo_e2e::for_each_on(cases.len(), &cases, |(what, touch, waits)| {
        let hub = FakeHub::office(42, DB);
        let sandbox = Sandbox::new(HOSTS);
        sandbox.must_run(&hub, &[]);
        touch(&sandbox);
        hub.now_office(43, NAS);
        let (ran, has_waited) = run_with_log(&sandbox, &hub);
        assert_eq!((ran.code, has_waited), (0, *waits), "{what}: {ran:?}");
        assert!(sandbox.text().contains("10.0.0.7 nas\n"), "{what}");
    });
}

#[test]
fn an_mtime_far_from_now_makes_no_run_wait_longer_or_less() {
    const DAY: Duration = Duration::from_secs(86_400);
    type Time = fn(SystemTime) -> SystemTime;
    let times: [(&str, Time); 4] = [
        ("1970", |_| SystemTime::UNIX_EPOCH),
        ("ten years ago", |now| now - 3_650 * DAY),
        ("tomorrow", |now| now + DAY),
        ("2250", |_| SystemTime::UNIX_EPOCH + 280 * 365 * DAY),
    ];
    let cases: Vec<_> = times
        .into_iter()
        .flat_map(|(what, time)| [false, true].map(|is_theirs| (what, time, is_theirs)))
        .collect();
    silo_e2e::for_each_on(cases.len(), &cases, |(what, time, is_theirs)| {
        let hub = FakeHub::office(42, DB);
        let sandbox = Sandbox::new(HOSTS);
        // It was written just now.
        set_modified(&sandbox, time(modified(&sandbox)));
        if !is_theirs {
            // As if our last write had left it so.
            sandbox.note_left(&sandbox.hosts());
        }
        let (ran, has_waited) = run_with_log(&sandbox, &hub);
        assert_eq!((ran.code, has_waited), (0, *is_theirs), "{what}: {ran:?}");
        assert_eq!(
            sandbox.text(),
            HOSTS.to_owned() + &block("office", "10.0.0.5 db\n"),
            "{what}"
        );
    });
}
