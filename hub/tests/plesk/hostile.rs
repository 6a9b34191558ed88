//! A jobs' folder whose owner means harm.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use silo_hub::internals::deliver::plesk::job::{Job, JobId, Nonce, Task};
use silo_hub::internals::deliver::plesk::zone_name::ZoneName;
use silo_hub::internals::deliver::sink::{Outcome, ReceiverState};

use crate::bench::{Bench, NOBODY, addresses};

/// A job that is as it should be, and its file's name.
fn job(label: &str) -> (String, Vec<u8>) {
    let zone_name = ZoneName::parse("example.com", label).unwrap();
    let name = JobId::of(&zone_name).job_file();
    let task = Task {
        zone_name,
        wanted: addresses("10.6.6.6"),
        published: Vec::new(),
    };
    let nonce = Nonce::new().unwrap();
    (name, Job { task, nonce }.to_bytes())
}

/// Writes a file owned by the user `nobody`.
fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    give(path);
}

fn give(path: &Path) {
    std::os::unix::fs::lchown(path, Some(NOBODY), Some(NOBODY)).unwrap();
}

/// Lays something into the jobs' folder, runs the worker, and sees it refused with nothing done.
fn refused(lay: impl FnOnce(&Bench, &Path) -> PathBuf, why: &str) {
    let bench = Bench::new();
    // Each of these jobs would find its name.
    bench.set_zone(&[
        "db.example.com. A 10.0.0.5",
        "honest.example.com. A 10.0.0.5",
    ]);
    let laid = lay(&bench, &bench.path("spool/jobs"));
    let before = fs::symlink_metadata(&laid).unwrap();
    let honest = bench.round("honest.example.com", "10.0.0.6", ReceiverState::Nothing);
    assert_eq!(honest, Outcome::Done, "{why}: an honest job beside it");
    let ran = bench.once();
    let name = laid.file_name().unwrap().as_bytes().escape_ascii();
    let words = format!("spool/jobs/{name}: refused: {why}");
    let line = ran.stderr.lines().find(|line| line.contains(&words));
    assert!(
        line.is_some_and(|line| line.contains("WARN")),
        "{words}: {}",
        ran.stderr
    );
    assert_eq!(bench.at_plesk("db.example.com"), ["A 10.0.0.5"], "{why}");
    for call in bench.calls() {
        assert!(
            !call.contains("10.6.6.6") && !call.contains(" db "),
            "{why}: {call}"
        );
    }
    let after = fs::symlink_metadata(&laid).unwrap();
    assert_eq!(
        (
            before.len(),
            before.permissions(),
            before.modified().unwrap()
        ),
        (after.len(), after.permissions(), after.modified().unwrap()),
        "{why}"
    );
    assert!(bench.names("results").is_empty(), "{why}");
}

#[test]
fn links_are_not_followed() {
    refused(
        |bench, jobs| {
            let (name, bytes) = job("db");
            write(&bench.path("elsewhere"), &bytes);
            symlink(bench.path("elsewhere"), jobs.join(&name)).unwrap();
            give(&jobs.join(&name));
            jobs.join(name)
        },
        "a symbolic link",
    );
    refused(
        |_, jobs| {
            let (name, _) = job("db");
            symlink("/etc/shadow", jobs.join(&name)).unwrap();
            jobs.join(name)
        },
        "a symbolic link",
    );
    refused(
        |bench, jobs| {
            let (name, bytes) = job("db");
            write(&bench.path("elsewhere"), &bytes);
            fs::hard_link(bench.path("elsewhere"), jobs.join(&name)).unwrap();
            jobs.join(name)
        },
        "has other names too (hard links)",
    );
}

#[test]
fn files_of_others_are_not_taken() {
    for other in [0, 1] {
        refused(
            |_, jobs| {
                let (name, bytes) = job("db");
                write(&jobs.join(&name), &bytes);
                chown(jobs.join(&name), Some(other), Some(other)).unwrap();
                jobs.join(name)
            },
            &format!("owned by the user {other}"),
        );
    }
    refused(
        |_, jobs| {
            let (name, bytes) = job("db");
            write(&jobs.join(&name), &bytes);
            fs::set_permissions(jobs.join(&name), Permissions::from_mode(0o666)).unwrap();
            jobs.join(name)
        },
        "group or others may write it (mode 0666)",
    );
}

#[test]
fn only_regular_files_are_read() {
    refused(
        |_, jobs| {
            let (name, _) = job("db");
            fs::create_dir(jobs.join(&name)).unwrap();
            give(&jobs.join(&name));
            jobs.join(name)
        },
        "not a regular file",
    );
    refused(
        |_, jobs| {
            let (name, _) = job("db");
            let made = Command::new("mkfifo").arg(jobs.join(&name)).status();
            assert!(made.unwrap().success());
            give(&jobs.join(&name));
            jobs.join(name)
        },
        "not a regular file",
    );
    refused(
        |_, jobs| {
            let (name, _) = job("db");
            drop(UnixListener::bind(jobs.join(&name)).unwrap());
            give(&jobs.join(&name));
            jobs.join(name)
        },
        "not a regular file",
    );
}

#[test]
fn names_that_are_not_those_of_jobs_are_not_opened() {
    let evil: [&[u8]; 6] = [
        b"$(touch pwned).job",
        b"a;reboot;.job",
        b"new\nline.job",
        b"\xff\xfe.job",
        b"-rf",
        b"db.example.com.job",
    ];
    for name in evil {
        refused(
            |_, jobs| {
                let path = jobs.join(OsStr::from_bytes(name));
                write(&path, &job("db").1);
                path
            },
            "not the name of a job",
        );
    }
}

#[test]
fn invalid_job_contents_are_refused() {
    let whole = String::from_utf8(job("db").1).unwrap();
    let huge = " ".repeat(5000);
    let contents = [
        (String::new(), "not a valid job file: EOF"),
        (
            whole[..whole.len() / 2].to_owned(),
            "not a valid job file: EOF",
        ),
        (format!("{whole}{huge}"), "larger than 4096 bytes"),
        (
            whole.replace("\"db\"", "\"db;reboot\""),
            "label: a hostname's labels",
        ),
        (
            whole.replace("\"db\"", "\"$(reboot)\""),
            "label: a hostname's labels",
        ),
        (
            whole.replace("\"db\"", "\"-ip\""),
            "label: a hostname's labels",
        ),
        (
            whole.replace("\"example.com\"", "\"--info\""),
            "zone: a hostname's labels",
        ),
        (
            whole.replace("\"example.com\"", "\"../x\""),
            "zone: a hostname",
        ),
        (
            whole.replace("10.6.6.6", "10.6.6.6;id"),
            "wanted: not an IPv4 or IPv6",
        ),
        (
            whole.replace("\"db\"", "\"web\""),
            "the file's name is not that of a job for web.example.com",
        ),
        (
            whole.replace("\"version\":1", "\"version\":2"),
            "unknown version 2",
        ),
        (
            whole.replace("{", "{\"command\":\"id\","),
            "not a valid job file: unknown field",
        ),
    ];
    for (content, why) in contents {
        refused(
            |_, jobs| {
                let path = jobs.join(job("db").0);
                write(&path, content.as_bytes());
                path
            },
            why,
        );
    }
}

#[test]
fn a_file_without_end_is_not_read_to_the_end() {
    refused(
        |_, jobs| {
            let path = jobs.join(job("db").0);
            write(&path, b"");
            // A hole of a terabyte: read whole, it would fill the memory.
            fs::File::options()
                .write(true)
                .open(&path)
                .unwrap()
                .set_len(1 << 40)
                .unwrap();
            path
        },
        "larger than 4096 bytes",
    );
}

#[test]
fn thousands_of_bad_files_are_logged_in_few_lines_and_stop_no_job() {
    let bench = Bench::new();
    for n in 0..3000 {
        write(&bench.path(&format!("spool/jobs/bad{n}")), b"x");
    }
    bench.publish("db.example.com", "10.0.0.6", ReceiverState::Nothing);
    let ran = bench.once();
    assert!(
        ran.stderr.contains("2980 more files were refused"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.lines().count() < 30, "{}", ran.stderr);
    let done = bench.publish("db.example.com", "10.0.0.6", ReceiverState::Nothing);
    assert_eq!(done, Outcome::Done);
    bench.calls();
}

#[test]
fn results_that_are_in_the_way_are_replaced_not_followed() {
    let bench = Bench::new();
    let (name, _) = job("db");
    let result = name.replace(".job", ".result");
    let victim = bench.path("victim");
    fs::write(&victim, "precious").unwrap();
    symlink(&victim, bench.path("spool/results").join(&result)).unwrap();
    let done = bench.round("db.example.com", "10.0.0.6", ReceiverState::Nothing);
    assert_eq!(done, Outcome::Done);
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    bench.calls();
}
