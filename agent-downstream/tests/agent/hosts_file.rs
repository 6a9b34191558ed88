//! What belongs to the hosts file besides its bytes, and other programs that write it.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::fake_hub::FakeHub;
use crate::sandbox::{Sandbox, agent, block, names_beside, need_root, ran, run};
use crate::trace;

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
fn a_symlink_stays_and_its_target_is_replaced_in_the_targets_folder() {
    let hub = FakeHub::office(42, DB);
    let sandbox = Sandbox::new("");
    fs::create_dir(sandbox.path("real")).unwrap();
    fs::write(sandbox.path("real/hosts.real"), "127.0.0.1 localhost\n").unwrap();
    fs::remove_file(sandbox.hosts()).unwrap();
    symlink("../real/hosts.real", sandbox.hosts()).unwrap();
    sandbox.must_run(&hub, &[]);
    assert_eq!(
        fs::read_link(sandbox.hosts()).unwrap().to_str(),
        Some("../real/hosts.real")
    );
    let expected = format!("127.0.0.1 localhost\n{}", block("office", "10.0.0.5 db\n"));
    assert_eq!(
        fs::read_to_string(sandbox.path("real/hosts.real")).unwrap(),
        expected
    );
    assert!(sandbox.beside().is_empty());
    assert!(names_beside(&sandbox.path("real/hosts.real")).is_empty());
}

#[test]
fn mode_owner_and_extended_attributes_are_kept() {
    need_root();
    let hub = FakeHub::office(42, DB);
    let sandbox = Sandbox::new("127.0.0.1 localhost\n");
    sandbox.set_mode("etc/hosts", 0o640);
    chown(sandbox.hosts(), Some(12345), Some(54321)).unwrap();
    let label = b"system_u:object_r:net_conf_t:s0\0";
    // user::rw- group::r-- mask::r-- other::--- and user 1000 r--, as posix_acl_xattr(7) lays it out.
    let acl: Vec<u8> = [2u32.to_le_bytes().to_vec()]
        .into_iter()
        .chain(
            [
                (1u16, 6u16, u32::MAX),
                (2, 4, 1000),
                (4, 4, u32::MAX),
                (16, 4, u32::MAX),
                (32, 0, u32::MAX),
            ]
            .map(|(tag, bits, id)| {
                [
                    &tag.to_le_bytes()[..],
                    &bits.to_le_bytes(),
                    &id.to_le_bytes(),
                ]
                .concat()
            }),
        )
        .flatten()
        .collect();
    let attributes: [(&str, &[u8]); 3] = [
        ("user.note", b"mine"),
        ("security.selinux", label),
        ("system.posix_acl_access", &acl),
    ];
    for (name, value) in attributes {
        xattr::set(sandbox.hosts(), name, value).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let before = fs::metadata(sandbox.hosts()).unwrap();
    sandbox.must_run(&hub, &[]);
    let after = fs::metadata(sandbox.hosts()).unwrap();
    assert_ne!(before.ino(), after.ino(), "replaced, not written in place");
    assert_eq!(
        (after.mode() & 0o7777, after.uid(), after.gid()),
        (0o640, 12345, 54321)
    );
    for (name, value) in attributes {
        assert_eq!(
            xattr::get(sandbox.hosts(), name).unwrap().as_deref(),
            Some(value),
            "{name}"
        );
    }
    assert!(sandbox.text().contains("10.0.0.5 db\n"));
}

#[test]
fn attributes_that_only_the_folder_gives_do_not_open_the_file() {
    need_root();
    let hub = FakeHub::office(42, DB);
    let sandbox = Sandbox::new("127.0.0.1 localhost\n");
    // A default ACL that lets user 1000 write whatever is made in the folder.
    let acl: Vec<u8> = [2u32.to_le_bytes().to_vec()]
        .into_iter()
        .chain(
            [
                (1u16, 6u16, u32::MAX),
                (2, 6, 1000),
                (4, 4, u32::MAX),
                (16, 6, u32::MAX),
                (32, 4, u32::MAX),
            ]
            .map(|(tag, bits, id)| {
                [
                    &tag.to_le_bytes()[..],
                    &bits.to_le_bytes(),
                    &id.to_le_bytes(),
                ]
                .concat()
            }),
        )
        .flatten()
        .collect();
    xattr::set(sandbox.path("etc"), "system.posix_acl_default", &acl).unwrap();
    sandbox.must_run(&hub, &[]);
    assert!(sandbox.text().contains("10.0.0.5 db\n"));
    assert_eq!(
        xattr::get(sandbox.hosts(), "system.posix_acl_access").unwrap(),
        None
    );
    assert_eq!(
        fs::metadata(sandbox.hosts()).unwrap().mode() & 0o7777,
        0o644
    );
}

#[test]
fn a_run_without_a_change_writes_nothing_at_all() {
    let hub = FakeHub::office(42, DB);
    let sandbox = Sandbox::new("127.0.0.1 localhost\n");
    sandbox.must_run(&hub, &[]);
    let stamps = || {
        let mut stamps: Vec<_> = ["etc", "etc/hosts", "state"]
            .map(|name| sandbox.path(name))
            .into();
        stamps.extend(
            fs::read_dir(sandbox.path("state"))
                .unwrap()
                .map(|entry| entry.unwrap().path()),
        );
        stamps.sort();
        stamps
            .into_iter()
            .map(|path| {
                let found = fs::metadata(&path).unwrap();
                (
                    path,
                    found.ino(),
                    found.mtime(),
                    found.mtime_nsec(),
                    found.ctime(),
                    found.ctime_nsec(),
                )
            })
            .collect::<Vec<_>>()
    };
    let before = stamps();
    let ran = sandbox.must_run(&hub, &[]);
    assert_eq!(ran.stdout, "office: unchanged, revision 42\n");
    assert_eq!(sandbox.must_run(&hub, &["--quiet"]).stdout, "");
    assert_eq!(stamps(), before);
}

/// Stops the agent at each `fchmod`, which it does between reading and renaming, and nowhere else.
fn stop_before_rename() -> Vec<String> {
    vec!["-e".to_owned(), "inject=fchmod:signal=SIGSTOP".to_owned()]
}

#[test]
fn what_another_program_appends_between_read_and_rename_survives() {
    let hub = FakeHub::office(42, DB);
    let sandbox = Sandbox::new("127.0.0.1 localhost\n");
    let mut traced = trace::start(
        &sandbox.path("trace"),
        &stop_before_rename(),
        &sandbox.flags(&hub),
    );
    traced.wait_for("--- stopped by SIGSTOP ---", 1);
    let mut hosts = OpenOptions::new()
        .append(true)
        .open(sandbox.hosts())
        .unwrap();
    hosts.write_all(b"10.0.0.9 theirs\n").unwrap();
    let process = traced.process();
    rustix::process::kill_process(process, rustix::process::Signal::CONT).unwrap();
    traced.wait_for("--- stopped by SIGSTOP ---", 2);
    rustix::process::kill_process(process, rustix::process::Signal::CONT).unwrap();
    let (ran, _) = traced.finish();
    assert_eq!(ran.code, 0, "{ran:?}");
    let expected = format!(
        "127.0.0.1 localhost\n10.0.0.9 theirs\n{}",
        block("office", "10.0.0.5 db\n")
    );
    assert_eq!(sandbox.text(), expected);
    assert!(sandbox.beside().is_empty());
}

#[test]
fn a_file_replaced_by_another_program_between_read_and_rename_survives() {
    let hub = FakeHub::office(42, DB);
    let sandbox = Sandbox::new("127.0.0.1 localhost\n");
    let mut traced = trace::start(
        &sandbox.path("trace"),
        &stop_before_rename(),
        &sandbox.flags(&hub),
    );
    traced.wait_for("--- stopped by SIGSTOP ---", 1);
    fs::write(sandbox.path("etc/theirs"), "127.0.0.1 LOCALHOST\n").unwrap();
    fs::rename(sandbox.path("etc/theirs"), sandbox.hosts()).unwrap();
    let process = traced.process();
    rustix::process::kill_process(process, rustix::process::Signal::CONT).unwrap();
    traced.wait_for("--- stopped by SIGSTOP ---", 2);
    rustix::process::kill_process(process, rustix::process::Signal::CONT).unwrap();
    let (ran, _) = traced.finish();
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(
        sandbox.text(),
        format!("127.0.0.1 LOCALHOST\n{}", block("office", "10.0.0.5 db\n"))
    );
}

#[test]
fn a_file_that_always_changes_is_given_up_after_five_attempts() {
    let hub = FakeHub::office(42, DB);
    let sandbox = Sandbox::new("127.0.0.1 localhost\n");
    let mut traced = trace::start(
        &sandbox.path("trace"),
        &stop_before_rename(),
        &sandbox.flags(&hub),
    );
    let mut expected = sandbox.text();
    for attempt in 1..=5 {
        traced.wait_for("--- stopped by SIGSTOP ---", attempt);
        let line = format!("10.0.0.9 theirs{attempt}\n");
        expected += &line;
        let mut hosts = OpenOptions::new()
            .append(true)
            .open(sandbox.hosts())
            .unwrap();
        hosts.write_all(line.as_bytes()).unwrap();
        rustix::process::kill_process(traced.process(), rustix::process::Signal::CONT).unwrap();
    }
    let (ran, _) = traced.finish();
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(
        ran.stderr.contains("another program changed it 5 times"),
        "{ran:?}"
    );
    assert_eq!(sandbox.text(), expected);
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
fn anything_but_a_hosts_file_is_refused() {
    let hub = FakeHub::office(42, DB);
    let sandbox = Sandbox::new("");
    fs::remove_file(sandbox.hosts()).unwrap();
    let refused = |part: &str| {
        let ran = sandbox.run(&hub, &[]);
        assert_eq!(ran.code, 1, "{ran:?}");
        let path = sandbox.hosts().display().to_string();
        assert!(
            ran.stderr.contains(part) && ran.stderr.contains(&path),
            "{ran:?}"
        );
        assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    };
    refused("no such file");
    symlink("nowhere", sandbox.hosts()).unwrap();
    refused("no such file");
    fs::remove_file(sandbox.hosts()).unwrap();
    fs::create_dir(sandbox.hosts()).unwrap();
    refused("not a regular file");
    fs::remove_dir(sandbox.hosts()).unwrap();
    assert_eq!(run(Command::new("mkfifo").arg(sandbox.hosts())).code, 0);
    refused("not a regular file");
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
fn every_bit_of_the_mode_is_kept() {
    let hub = FakeHub::office(42, DB);
    for mode in [0o600, 0o604, 0o664, 0o755, 0o1644, 0o2645, 0o4744, 0o7777] {
        let sandbox = Sandbox::new("127.0.0.1 localhost\n");
        sandbox.set_mode("etc/hosts", mode);
        let before = fs::metadata(sandbox.hosts()).unwrap();
        assert_eq!(before.mode() & 0o7777, mode);
        sandbox.note_left(&sandbox.hosts());
        sandbox.must_run(&hub, &[]);
        let after = fs::metadata(sandbox.hosts()).unwrap();
        assert_ne!(before.ino(), after.ino(), "replaced, not written in place");
        assert_eq!(
            after.mode() & 0o7777,
            mode,
            "{:04o}, not {mode:04o}",
            after.mode() & 0o7777
        );
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
                .find(|path| path.to_string_lossy().contains("/silo-office-"))
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
        lock.unlock().unwrap();
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
