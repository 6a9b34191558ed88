//! Folders that another user could replace are refused before anything is done.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::bench::{Bench, HUB, NOBODY};

/// Runs the worker after a change to the folders; it must end with 2 and say why.
fn refused(change: impl FnOnce(&Bench), why: &str) {
    let bench = Bench::new();
    change(&bench);
    let ran = bench.work(&["--once"]);
    assert_eq!(ran.code, Some(2), "{why}: {}", ran.stderr);
    assert!(ran.stderr.contains(why), "{why}: {}", ran.stderr);
    assert!(bench.calls().is_empty());
}

fn set_mode(bench: &Bench, name: &str, mode: u32) {
    fs::set_permissions(bench.path(name), Permissions::from_mode(mode)).unwrap();
}

fn give(bench: &Bench, name: &str, user: u32) {
    chown(bench.path(name), Some(user), None).unwrap();
}

#[test]
fn each_folder_must_belong_to_its_owner() {
    let nobody = format!("owned by the user {NOBODY}, must be owned by root");
    refused(
        |bench| give(bench, "spool", NOBODY),
        &format!("/spool: is {nobody}"),
    );
    refused(
        |bench| give(bench, "spool/results", NOBODY),
        &format!("/spool/results: is {nobody}"),
    );
    refused(
        |bench| give(bench, "state", NOBODY),
        &format!("/state: is {nobody}"),
    );
    refused(|bench| give(bench, "", NOBODY), &nobody);
    refused(
        |bench| give(bench, "spool/jobs", 1),
        "/spool/jobs: is owned by the user 1, must be owned by the user 65534",
    );
    refused(
        |bench| give(bench, "spool/jobs", 0),
        "/spool/jobs: is owned by the user 0, must be owned by the user 65534",
    );
}

#[test]
fn no_folder_may_be_open_for_others() {
    for name in ["spool", "spool/results", "spool/jobs", "state"] {
        for mode in [0o775, 0o757, 0o1777] {
            let why = format!("/{name}: group or others may write there (mode {mode:04o})");
            refused(|bench| set_mode(bench, name, mode), &why);
        }
    }
    refused(
        |bench| set_mode(bench, "", 0o777),
        "group or others may write there (mode 0777)",
    );
}

#[test]
fn no_folder_may_be_a_link_or_missing() {
    for name in ["spool/jobs", "spool/results"] {
        refused(
            |bench| {
                fs::rename(bench.path(name), bench.path("moved")).unwrap();
                symlink(bench.path("moved"), bench.path(name)).unwrap();
            },
            &format!("/{name}: Not a directory"),
        );
    }
    for name in ["spool/jobs", "spool/results", "state"] {
        refused(
            |bench| fs::remove_dir(bench.path(name)).unwrap(),
            &format!("/{name}: No such file"),
        );
    }
}

#[test]
fn a_wrong_command_line_is_named() {
    let bench = Bench::new();
    let folders = [
        "--spool", "@spool", "--state", "@state", "--plesk", "@plesk",
    ];
    for (arguments, why) in [
        (&["--owner", "nobody", "--once"][..], "--domains"),
        (&["--domains", "example.com", "--once"], "--owner"),
        (
            &[
                "--owner",
                "no-such-user",
                "--domains",
                "example.com",
                "--once",
            ],
            "--owner: \"no-such-user\": there is no such user",
        ),
        (
            &["--owner=-u", "--domains", "example.com", "--once"],
            "--owner: \"-u\": not the name of a user",
        ),
        (
            &["--owner", "nobody", "--domains", "a b", "--once"],
            "--domains",
        ),
        (
            &[
                "--owner",
                "nobody",
                "--domains",
                "example.com",
                "--once",
                "--timeout",
                "5",
            ],
            "--timeout",
        ),
        (
            &[
                "--owner",
                "nobody",
                "--domains",
                "example.com",
                "--once",
                "--deadline",
                "0",
            ],
            "--deadline",
        ),
    ] {
        let ran = bench.start_with(&[&folders[..], arguments].concat()).end();
        assert_eq!(ran.code, Some(2), "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(why), "{arguments:?}: {}", ran.stderr);
    }
    assert!(bench.calls().is_empty());
}

#[test]
fn a_worker_without_root_must_own_its_files() {
    let bench = Bench::new();
    // Where no other user can access it.
    fs::copy(HUB, bench.path("silo-hub")).unwrap();
    let work = || {
        let mut command = Command::new(bench.path("silo-hub"));
        command.uid(NOBODY).gid(NOBODY);
        let folders = [
            "--spool", "@spool", "--state", "@state", "--owner", "nobody",
        ];
        let rest = ["--domains", "example.com", "--plesk", "@plesk", "--once"];
        bench
            .start_by(command, &[&folders[..], &rest].concat())
            .end()
    };
    let ran = work();
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    let why = "/spool/results: is owned by the user 0, must be owned by the user 65534";
    assert!(ran.stderr.contains(why), "{}", ran.stderr);
    give(&bench, "spool/results", NOBODY);
    give(&bench, "state", NOBODY);
    let ran = work();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
}
