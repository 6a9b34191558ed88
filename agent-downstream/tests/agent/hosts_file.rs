//! What goes through the whole program, and runs beside each other.

use std::fs::{self, OpenOptions};
use std::time::{Duration, Instant};

use crate::fake_hub::FakeHub;
use crate::sandbox::{Sandbox, agent, block, ran};

const DB: &[(&str, &str)] = &[("db", "10.0.0.5")];

#[test]
fn bytes_that_are_no_text_go_through_the_whole_program() {
    let hub = FakeHub::office(42, DB);
    let mut hosts = b"\xef\xbb\xbf127.0.0.1 localhost\r\n\xff\xfe caf\xe9\r\n".to_vec();
    hosts.extend(vec![b'x'; 300_000]);
    let sandbox = Sandbox::new(&hosts);
    sandbox.must_run(&hub, &[]);
    let new = sandbox.read();
    assert_eq!(new[..hosts.len()], hosts);
    let added = block("office", "10.0.0.5 db\n").replace('\n', "\r\n");
    assert_eq!(new[hosts.len()..], *format!("\r\n{added}").as_bytes());
    assert!(sandbox.beside().is_empty());
}

#[test]
fn runs_beside_each_other_wait_for_each_other() {
    let hub = FakeHub::office(42, DB);
    let sandbox = Sandbox::new("127.0.0.1 localhost\n");
    let children: Vec<_> = (0..8)
        .map(|_| {
            let mut command = agent();
            command.args(sandbox.flags(&hub));
            command
                .stdout(std::process::Stdio::piped())
                .stderr(std::process::Stdio::piped());
            command.spawn().unwrap()
        })
        .collect();
    let mut said: Vec<String> = Vec::new();
    for child in children {
        let ran = ran(child.wait_with_output().unwrap());
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
        said.push(ran.stdout);
    }
    said.sort();
    let mut expected = vec!["office: new block with 1 name, revision 42\n"];
    expected.extend(["office: unchanged, revision 42\n"; 7]);
    assert_eq!(said, expected);
    assert_eq!(
        sandbox.text(),
        format!("127.0.0.1 localhost\n{}", block("office", "10.0.0.5 db\n"))
    );
    assert!(sandbox.beside().is_empty());
}

#[test]
fn a_lock_that_is_never_let_go_ends_the_run_in_time() {
    let hub = FakeHub::office(42, DB);
    let sandbox = Sandbox::new("127.0.0.1 localhost\n");
    sandbox.must_run(&hub, &["clean"]);
    let lock = OpenOptions::new()
        .write(true)
        .open(sandbox.path("state/lock"))
        .unwrap();
    lock.lock().unwrap();
    let started = Instant::now();
    let ran = sandbox.run(&hub, &[]);
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(
        ran.stderr.contains("another run has held the lock"),
        "{ran:?}"
    );
    assert_eq!(sandbox.text(), "127.0.0.1 localhost\n");
}

#[test]
fn broken_markers_are_refused_with_their_lines_and_nothing_changes() {
    let hub = FakeHub::office(42, DB);
    for (hosts, part) in [
        (
            "a\n# BEGIN silo office\n",
            "line 2: the block of silo office has no END",
        ),
        (
            "# END silo office\n# BEGIN silo office\n",
            "line 1: END of silo office without a BEGIN",
        ),
        (
            "# BEGIN silo office\n# END silo office\n\n# BEGIN silo office\n# END silo office\n",
            "lines 1 and 4: two blocks of silo office",
        ),
        (
            "# BEGIN silo home\n# BEGIN silo office\n# END silo office\n",
            "line 1: the block of silo home",
        ),
    ] {
        let sandbox = Sandbox::new(hosts);
        for verb in ["once", "clean", "diff"] {
            let ran = sandbox.run(&hub, &[verb]);
            assert_eq!(ran.code, 1, "{ran:?}");
            assert!(ran.stderr.contains(part), "{ran:?}");
            assert_eq!(sandbox.text(), hosts);
            assert!(sandbox.beside().is_empty());
        }
    }
}

#[test]
fn the_newer_of_two_responses_wins_in_either_order() {
    const OLD: &[(&str, &str)] = &[("db", "10.0.0.41")];
    const NEW: &[(&str, &str)] = &[("db", "10.0.0.42")];
    // What this run pulled, and what another run has remembered meanwhile.
    for (pulled, meanwhile) in [((41, OLD), (42, NEW)), ((42, NEW), (41, OLD))] {
        let hub = FakeHub::office(40, DB);
        let sandbox = Sandbox::new("");
        let memory = || {
            fs::read_dir(sandbox.path("state"))
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .find(|path| {
                    let name = path.file_name().unwrap_or_default();
                    name.to_string_lossy().starts_with("silo-office-")
                })
                .unwrap()
        };
        let (revision, records) = meanwhile;
        hub.now_office(revision, records);
        sandbox.must_run(&hub, &[]);
        let of_other = fs::read(memory()).unwrap();
        hub.now_office(40, DB);
        fs::remove_file(memory()).unwrap();
        sandbox.must_run(&hub, &[]);
        let lock = OpenOptions::new()
            .write(true)
            .open(sandbox.path("state/lock"))
            .unwrap();
        lock.lock().unwrap();
        let (revision, records) = pulled;
        hub.now_office(revision, records);
        let before = hub.requests().len();
        let mut command = agent();
        command.args(sandbox.flags(&hub));
        command
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        let child = command.spawn().unwrap();
        let started = Instant::now();
        while hub.requests().len() == before {
            assert!(
                started.elapsed() < Duration::from_secs(20),
                "no request came"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        fs::write(memory(), &of_other).unwrap();
        // Closes it: Wine's second unlock, which std makes on Windows, fails.
        drop(lock);
        let ran = ran(child.wait_with_output().unwrap());
        assert_eq!(ran.code, 0, "{ran:?}");
        let case = format!("pulled {pulled:?}, meanwhile {meanwhile:?}: {ran:?}");
        assert_eq!(sandbox.text(), block("office", "10.0.0.42 db\n"), "{case}");
        // The next run asks with the tag of what the file holds.
        hub.now_office(42, NEW);
        let ran = sandbox.must_run(&hub, &[]);
        assert_eq!(ran.stdout, "office: unchanged, revision 42\n", "{case}");
        assert_eq!(
            hub.tags().last().unwrap().as_deref(),
            Some("\"42\""),
            "{case}"
        );
    }
}
