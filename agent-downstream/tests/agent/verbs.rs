//! The verbs beside `once`.

mod output;
mod settings;

use std::fs;

use crate::fake_hub::{FakeHub, Reply};
use crate::sandbox::{Sandbox, agent, block, run};

const DB: &[(&str, &str)] = &[("db", "10.0.0.5")];

#[test]
fn diff_shows_the_change_and_makes_none() {
    let hub = FakeHub::office(42, &[("db", "10.0.0.5"), ("wpad", "10.0.0.1")]);
    let sandbox = Sandbox::new(b"127.0.0.1 localhost\n\xff");
    let ran = run(agent().args(sandbox.flags(&hub)).arg("check"));
    assert_eq!(ran.code, 0, "{ran:?}");
    let output = agent()
        .args(sandbox.flags(&hub))
        .arg("diff")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    let path = sandbox.hosts().display().to_string();
    let begin = "# BEGIN silo office (silo-downstream keeps this block; edits are overwritten)";
    let expected = [
        format!("--- {path}\n+++ {path} (after `once`)\n@@ -1,2 +1,5 @@\n 127.0.0.1 localhost\n-")
            .as_bytes(),
        b"\xff\n\\ No newline at end of file\n+\xff\n",
        format!("+{begin}\n+10.0.0.5 db\n+# END silo office\n").as_bytes(),
    ]
    .concat();
    assert_eq!(
        output.stdout.escape_ascii().to_string(),
        expected.escape_ascii().to_string()
    );
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        stderr,
        "silo-downstream: office: skipped wpad: a name that is never taken from a hub\n"
    );
    assert_eq!(sandbox.read(), b"127.0.0.1 localhost\n\xff");
    assert!(!sandbox.path("state").exists(), "diff keeps no state");
    sandbox.must_run(&hub, &[]);
    assert_eq!(sandbox_diff(&sandbox, &hub), "");
    assert_eq!(
        hub.tags(),
        [None, None, None, None],
        "diff asks afresh and leaves no tag"
    );
}

fn sandbox_diff(sandbox: &Sandbox, hub: &FakeHub) -> String {
    let output = agent()
        .args(sandbox.flags(hub))
        .arg("diff")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    output.stdout.escape_ascii().to_string()
}

#[test]
fn clean_removes_the_configured_blocks_and_all_of_them_on_request() {
    let foreign = "127.0.0.1 localhost\n# mine\n";
    let sandbox = Sandbox::new(format!(
        "{}{foreign}{}",
        block("home", "10.0.0.7 nas\n"),
        block("office", "10.0.0.5 db\n")
    ));
    let clean = |arguments: &[&str]| {
        run(agent()
            .args(sandbox.file_flags())
            .arg("clean")
            .args(arguments))
    };
    // Neither hub nor token is needed.
    let ran = clean(&["--silo", "office,cellar"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.stdout
            .starts_with("office: block removed\ncellar: no block, and "),
        "{ran:?}"
    );
    assert_eq!(sandbox.text(), block("home", "10.0.0.7 nas\n") + foreign);
    let ran = clean(&["--silo", "office", "--quiet"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{ran:?}");
    assert_eq!(clean(&[]).code, 2, "which silos?");
    let ran = clean(&["--all"]);
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (0, "home: block removed\n"),
        "{ran:?}"
    );
    assert_eq!(sandbox.text(), foreign);
    assert!(clean(&["--all"]).stdout.ends_with("no block of any silo\n"));
    assert!(sandbox.beside().is_empty());
}

#[test]
fn clean_gives_back_the_file_to_the_byte() {
    for original in [
        b"127.0.0.1 localhost\n".as_slice(),
        b"127.0.0.1 localhost",
        b"127.0.0.1 localhost\r\n::1 localhost",
        b"\xef\xbb\xbf\xff",
        b"\n\n",
        b"",
    ] {
        let hub = FakeHub::office(42, DB);
        let sandbox = Sandbox::new(original);
        sandbox.must_run(&hub, &[]);
        assert_ne!(sandbox.read(), original);
        let ran = run(agent().args(sandbox.flags(&hub)).arg("clean"));
        assert_eq!(ran.code, 0, "{ran:?}");
        assert_eq!(
            sandbox.read().escape_ascii().to_string(),
            original.escape_ascii().to_string()
        );
    }
}

#[test]
fn once_after_clean_brings_the_block_back() {
    let hub = FakeHub::office(42, DB);
    let sandbox = Sandbox::new("a\n");
    sandbox.must_run(&hub, &[]);
    let whole = sandbox.text();
    sandbox.must_run(&hub, &["clean"]);
    assert_eq!(sandbox.text(), "a\n");
    sandbox.must_run(&hub, &[]);
    assert_eq!(sandbox.text(), whole);
}

#[test]
fn restore_puts_back_the_last_file_that_was_not_written_here() {
    let hub = FakeHub::office(42, DB);
    let original = b"127.0.0.1 localhost\r\n\xff no newline";
    let sandbox = Sandbox::new(original);
    let restore = || run(agent().args(sandbox.file_flags()).arg("restore"));
    let ran = restore();
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("no backup"), "{ran:?}");
    sandbox.must_run(&hub, &[]);
    hub.now_office(43, &[("db", "10.0.0.6")]);
    sandbox.must_run(&hub, &[]);
    sandbox.set_mode("etc/hosts", 0o604);
    let ran = restore();
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(sandbox.read(), original);
    #[cfg(unix)]
    {
        let found = fs::metadata(sandbox.hosts()).unwrap().permissions();
        let mode = std::os::unix::fs::PermissionsExt::mode(&found);
        assert_eq!(mode & 0o7777, 0o604);
    }
    assert!(restore().stdout.ends_with("already equal to the backup\n"));
    // What the restore replaces and this program did not write becomes a backup: restoring twice is undoing it.
    sandbox.must_run(&hub, &[]);
    fs::write(sandbox.hosts(), "edited\n").unwrap();
    let forced = || {
        run(agent()
            .args(sandbox.file_flags())
            .args(["restore", "--force"]))
    };
    assert_eq!(forced().code, 0);
    assert_eq!(sandbox.read(), original);
    assert_eq!(forced().code, 0);
    assert_eq!(sandbox.read(), b"edited\n");
    // A deleted file comes back.
    fs::remove_file(sandbox.hosts()).unwrap();
    assert_eq!(restore().code, 0);
    assert_eq!(sandbox.read(), b"edited\n");
    assert!(sandbox.beside().is_empty());
}

#[test]
fn check_reports_each_item_and_changes_nothing() {
    let hub = FakeHub::office(42, DB);
    let sandbox = Sandbox::new("127.0.0.1 localhost\n");
    let listing = || {
        let mut names: Vec<_> = fs::read_dir(sandbox.path(""))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        names
    };
    let before = listing();
    let ran = sandbox.run(&hub, &["check"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    for what in [
        "configuration: ",
        "hub: ",
        "token: accepted",
        "silo office: 1 record, revision 42",
        "state folder: ",
        "hosts file: ",
    ] {
        assert!(
            ran.stdout.contains(&format!("ok      {what}")),
            "{what}: {ran:?}"
        );
    }
    assert_eq!(sandbox.run(&hub, &["check", "--quiet"]).stdout, "");
    assert_eq!(
        (sandbox.text().as_str(), listing()),
        ("127.0.0.1 localhost\n", before)
    );

    let fails = |part: &str| {
        let ran = sandbox.run(&hub, &["check", "--quiet"]);
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(
            ran.stdout
                .lines()
                .any(|line| line.starts_with("FAILED") && line.contains(part)),
            "{part}: {ran:?}"
        );
    };
    fs::write(sandbox.hosts(), "# END silo office\n").unwrap();
    fails("line 1: END of silo office");
    fs::remove_file(sandbox.hosts()).unwrap();
    fails("no such file");
    fs::write(sandbox.hosts(), "").unwrap();
    fs::write(sandbox.path("state"), "").unwrap();
    fails("the state folder is not a folder");
    fs::remove_file(sandbox.path("state")).unwrap();
    fs::create_dir(sandbox.path("state")).unwrap();
    #[cfg(unix)]
    {
        sandbox.set_mode("state", 0o777);
        fails("has mode 0777");
        sandbox.set_mode("state", 0o700);
    }
    hub.now(|_| Reply::problem(401, "no"));
    fails("token: unknown to the hub");
    hub.now(|_| Reply::problem(404, "no such silo"));
    fails("silo office: ");
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let ran = run(agent()
        .args(sandbox.flags_for(&format!("http://127.0.0.1:{port}")))
        .arg("check"));
    assert!(
        ran.code == 1 && ran.stdout.contains("FAILED  hub: cannot reach"),
        "{ran:?}"
    );
    assert!(
        !ran.stdout.contains("token"),
        "nothing is known of the token: {ran:?}"
    );
}
