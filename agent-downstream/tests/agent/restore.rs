//! `restore`: which files it can bring back, and what it does not throw away.

use std::fs;
#[cfg(unix)]
use std::os::unix::fs::symlink;

use crate::fake_hub::FakeHub;
use crate::sandbox::{Ran, Sandbox, agent, block, run};

const DB: &[(&str, &str)] = &[("db", "10.0.0.5")];

fn restore(sandbox: &Sandbox, arguments: &[&str]) -> Ran {
    run(agent()
        .args(sandbox.file_flags())
        .arg("restore")
        .args(arguments))
}

#[test]
fn lines_that_others_added_are_not_thrown_away_without_force() {
    let hub = FakeHub::office(42, DB);
    let sandbox = Sandbox::new("127.0.0.1 localhost\n");
    sandbox.must_run(&hub, &[]);
    let with_line = sandbox.text() + "10.1.1.1 theirs\n";
    fs::write(sandbox.hosts(), &with_line).unwrap();
    let ran = restore(&sandbox, &[]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stdout.contains("-10.1.1.1 theirs\n"), "{ran:?}");
    assert!(ran.stderr.contains("--force"), "{ran:?}");
    assert_eq!(sandbox.text(), with_line);
    let ran = restore(&sandbox, &["--force"]);
    assert_eq!(
        (ran.code, sandbox.text().as_str()),
        (0, "127.0.0.1 localhost\n"),
        "{ran:?}"
    );
    // And what was replaced can be brought back.
    assert_eq!(restore(&sandbox, &["--force"]).code, 0);
    assert_eq!(sandbox.text(), with_line);
}

#[test]
fn restored_lines_outside_of_blocks_are_the_users_own() {
    let hub = FakeHub::office(42, DB);
    let own = "127.0.0.1 localhost\n10.0.0.5 db\n";
    let sandbox = Sandbox::new(own);
    let ran = sandbox.run(&hub, &["once", "--adopt"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(sandbox.text().contains("# BEGIN"), "{}", sandbox.text());
    assert_eq!(restore(&sandbox, &[]).code, 0);
    assert_eq!(sandbox.text(), own);
    let ran = sandbox.run(&hub, &["clean", "--all"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(sandbox.text(), own, "{ran:?}");
}

#[test]
fn restore_prints_its_changes_unless_quiet() {
    let path = |sandbox: &Sandbox| sandbox.hosts().display().to_string();
    for (arguments, shows) in [(&[][..], true), (&["--quiet"], false)] {
        let hub = FakeHub::office(42, DB);
        let sandbox = Sandbox::new("127.0.0.1 localhost\n");
        sandbox.must_run(&hub, &[]);
        let ran = restore(&sandbox, arguments);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
        let path = path(&sandbox);
        let removed: String = block("office", "10.0.0.5 db\n")
            .lines()
            .map(|line| format!("-{line}\n"))
            .collect();
        let diff = format!(
            "--- {path}\n+++ {path} (after `restore`)\n@@ -1,4 +1 @@\n 127.0.0.1 localhost\n{removed}"
        );
        let done = format!("{path}: restored from the backup\n");
        let expected = if shows { diff + &done } else { done };
        assert_eq!(ran.stdout, expected, "{arguments:?}");
        assert_eq!(sandbox.text(), "127.0.0.1 localhost\n");
        // Nothing to show the second time.
        let again = restore(&sandbox, arguments);
        assert_eq!(again.code, 0, "{again:?}");
        assert!(!again.stdout.contains("@@"), "{again:?}");
    }
}

#[test]
fn every_state_outside_the_blocks_is_backed_up_and_can_be_restored() {
    let hub = FakeHub::office(42, DB);
    let sandbox = Sandbox::new("127.0.0.1 localhost\n10.1.1.1 precious\n");
    sandbox.must_run(&hub, &[]);
    // A program cuts the file, another one edits our block only, a third writes its own.
    fs::write(sandbox.hosts(), "").unwrap();
    sandbox.must_run(&hub, &[]);
    for ip in ["10.6.6.6", "10.6.6.7", "10.6.6.8"] {
        fs::write(sandbox.hosts(), block("office", &format!("{ip} db\n"))).unwrap();
        sandbox.must_run(&hub, &[]);
    }
    fs::write(sandbox.hosts(), sandbox.text() + "10.1.1.2 other\n").unwrap();
    hub.now_office(43, &[("db", "10.0.0.6")]);
    sandbox.must_run(&hub, &[]);
    let ran = restore(&sandbox, &["--list"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.stdout.lines().count(), 3, "{ran:?}");
    let number = ran
        .stdout
        .lines()
        .position(|line| line.contains(" 38 bytes"))
        .map(|at| (at + 1).to_string())
        .unwrap_or_else(|| panic!("{ran:?}"));
    assert!(
        ran.stdout.lines().all(|line| line.contains("UTC")),
        "{ran:?}"
    );
    let ran = restore(&sandbox, &[&number, "--force"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(sandbox.text(), "127.0.0.1 localhost\n10.1.1.1 precious\n");
    let ran = restore(&sandbox, &["9"]);
    assert!(ran.code == 1 && ran.stderr.contains("--list"), "{ran:?}");
}

#[cfg(unix)]
#[test]
fn restore_through_a_dangling_link_creates_its_target() {
    let hub = FakeHub::office(42, DB);
    let sandbox = Sandbox::new("");
    fs::create_dir(sandbox.path("real")).unwrap();
    let real = sandbox.path("real/hosts.real");
    fs::write(&real, "127.0.0.1 localhost\n").unwrap();
    fs::remove_file(sandbox.hosts()).unwrap();
    symlink("hop", sandbox.hosts()).unwrap();
    symlink("../real/hosts.real", sandbox.path("etc/hop")).unwrap();
    sandbox.must_run(&hub, &[]);
    fs::remove_file(&real).unwrap();
    let ran = restore(&sandbox, &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(fs::read_to_string(&real).unwrap(), "127.0.0.1 localhost\n");
    assert_eq!(
        fs::read_link(sandbox.hosts()).unwrap().to_str(),
        Some("hop")
    );
}

#[test]
fn the_list_without_backups_says_that_there_are_none() {
    let sandbox = Sandbox::new("a\n");
    for arguments in [&[][..], &["--list"]] {
        let ran = restore(&sandbox, arguments);
        assert!(ran.code == 1 && ran.stderr.contains("no backup"), "{ran:?}");
    }
}

#[test]
fn control_characters_of_a_backup_do_not_reach_the_terminal() {
    let hub = FakeHub::office(42, DB);
    let sandbox = Sandbox::new("127.0.0.1 localhost\n");
    sandbox.must_run(&hub, &[]);
    fs::write(
        sandbox.hosts(),
        "127.0.0.1 localhost\n10.1.1.1 x # \x1b[2J\n",
    )
    .unwrap();
    let ran = restore(&sandbox, &[]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(
        !ran.stdout.contains('\x1b') && !ran.stderr.contains('\x1b'),
        "{ran:?}"
    );
}
