//! What belongs to the hosts file on Linux besides its bytes, and other programs that write it.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::process::Command;

use crate::fake_hub::FakeHub;
use crate::sandbox::{Sandbox, block, names_beside, need_root, run};
use crate::trace;

const DB: &[(&str, &str)] = &[("db", "10.0.0.5")];

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
