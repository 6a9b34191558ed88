//! What is printed, and outputs that cannot be written.

use std::fs;
#[cfg(target_os = "linux")]
use std::process::Stdio;

use super::DB;
use crate::fake_hub::FakeHub;
use crate::sandbox::{Sandbox, agent, block, run};

#[test]
fn the_example_is_printed_and_can_be_used() {
    let ran = run(agent().arg("config-example"));
    assert_eq!(ran.code, 0);
    let hub = FakeHub::office(42, DB);
    let sandbox = Sandbox::new("");
    let example = ran
        .stdout
        .replace("http://hub.lan:8053", &hub.url())
        .replace(
            "/etc/silo/downstream.token",
            &sandbox.path("token").display().to_string(),
        );
    fs::write(sandbox.path("downstream.yaml"), example).unwrap();
    let ran = run(agent().args(sandbox.file_flags()));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(sandbox.text(), block("office", "10.0.0.5 db\n"));
}

#[cfg(target_os = "linux")]
#[test]
fn a_write_error_on_stdout_is_a_failure_but_a_closed_pipe_is_not() {
    let hub = FakeHub::office(42, DB);
    let sandbox = Sandbox::new("");
    let to = |stdout: Stdio, arguments: &[&str]| {
        run(agent()
            .args(sandbox.flags(&hub))
            .args(arguments)
            .stdout(stdout))
    };
    let full = || full_device().into();
    let closed = || std::io::pipe().unwrap().1.into();
    for verb in [
        "config-example",
        "completions",
        "check",
        "diff",
        "once",
        "clean",
        "restore",
    ] {
        let arguments = match verb {
            "completions" => &[verb, "bash"][..],
            _ => &[verb],
        };
        // Each time so that there is something to say.
        let prepare = || {
            fs::write(sandbox.hosts(), "127.0.0.1 localhost\n").unwrap();
            if matches!(verb, "clean" | "restore") {
                sandbox.must_run(&hub, &[]);
            }
        };
        prepare();
        let ran = to(closed(), arguments);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{verb}");
        prepare();
        let ran = to(full(), arguments);
        assert_eq!(ran.code, 1, "{verb}: {ran:?}");
        assert_eq!(
            ran.stderr,
            "silo-downstream: cannot write to stdout: No space left on device (os error 28)\n",
            "{verb}"
        );
    }
    // The work is done nevertheless, and a run without output does not fail.
    fs::write(sandbox.hosts(), "127.0.0.1 localhost\n").unwrap();
    assert_eq!(to(full(), &["once"]).code, 1);
    assert!(sandbox.text().contains("10.0.0.5 db"));
    let quiet = to(full(), &["once", "--quiet"]);
    assert_eq!((quiet.code, quiet.stderr.as_str()), (0, ""));
}

#[cfg(target_os = "linux")]
#[test]
fn a_write_error_on_stderr_keeps_the_exit_code() {
    let sandbox = Sandbox::new("");
    for format in ["text", "json"] {
        let ran = run(agent()
            .args(sandbox.flags_for("http://127.0.0.1:1"))
            .args(["--log-format", format])
            .stderr(full_device()));
        assert_eq!(ran.code, 1, "{format}");
    }
}

#[cfg(target_os = "linux")]
fn full_device() -> fs::File {
    let mut options = fs::OpenOptions::new();
    options.write(true).open("/dev/full").unwrap()
}

#[test]
fn completions_are_printed_for_each_shell() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let ran = run(agent().args(["completions", shell]));
        assert_eq!(ran.code, 0);
        assert!(ran.stdout.contains("hosts-file"), "{shell}");
    }
    assert_eq!(run(agent().args(["completions", "csh"])).code, 2);
}

#[test]
fn errors_are_json_with_log_format_json() {
    let sandbox = Sandbox::new("");
    let ran = run(agent()
        .args(sandbox.flags_for("http://127.0.0.1:1"))
        .args(["--log-format", "json"]));
    assert_eq!(ran.code, 1, "{ran:?}");
    let line: serde_json::Value = serde_json::from_str(ran.stderr.trim()).unwrap();
    assert_eq!(line["level"], "ERROR");
    assert!(
        line["message"]
            .as_str()
            .unwrap()
            .contains("cannot reach the hub"),
        "{line}"
    );
}
