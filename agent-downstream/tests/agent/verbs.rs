//! The verbs beside `once`, and where settings come from.

use std::fs;
use std::process::Stdio;

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
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &fs::metadata(sandbox.hosts()).unwrap().permissions(),
    );
    assert_eq!(mode & 0o7777, 0o604);
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
    sandbox.set_mode("state", 0o777);
    fails("has mode 0777");
    sandbox.set_mode("state", 0o700);
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
fn flags_beat_the_environment_which_beats_the_file() {
    let hub = FakeHub::start(|request| {
        let id = request.path.rsplit('/').next().unwrap().to_owned();
        Reply::silo(request, &id, 42, &[("db", "10.0.0.5"), ("nas", "10.0.0.7")])
    });
    let sandbox = Sandbox::new("");
    let yaml = format!(
        "hub: {}\ntoken_file: {}\nsilos: [file]\nhostnames: [nothing]\nhosts_file: /nowhere\nstate_dir: {}\n",
        hub.url(),
        sandbox.path("token").display(),
        sandbox.path("state").display()
    );
    fs::write(sandbox.path("downstream.yaml"), yaml).unwrap();
    let with = |environment: &[(&str, &str)], flags: &[&str]| {
        fs::write(sandbox.hosts(), "").unwrap();
        let ran = run(agent()
            .env("SILO_DOWNSTREAM_CONFIG", sandbox.path("downstream.yaml"))
            .env("SILO_DOWNSTREAM_HOSTS_FILE", sandbox.hosts())
            .envs(environment.iter().copied())
            .args(flags));
        assert_eq!(ran.code, 0, "{ran:?}");
        sandbox.text()
    };
    assert_eq!(with(&[], &[]), block("file", ""));
    let environment = [
        ("SILO_DOWNSTREAM_SILO", "a,b"),
        ("SILO_DOWNSTREAM_HOSTNAMES", "d*"),
    ];
    assert_eq!(
        with(&environment, &[]),
        block("a", "10.0.0.5 db\n") + &block("b", "")
    );
    assert_eq!(
        with(&environment, &["--silo", "c", "--hostnames", "nas"]),
        block("c", "10.0.0.7 nas\n")
    );
    let quiet = run(agent()
        .args(sandbox.flags(&hub))
        .arg("clean")
        .env("SILO_DOWNSTREAM_QUIET", "1"));
    assert_eq!((quiet.code, quiet.stdout.as_str()), (0, ""));
}

#[test]
fn wrong_settings_end_with_2_and_name_what_is_wrong() {
    let hub = FakeHub::office(42, DB);
    let sandbox = Sandbox::new("a\n");
    let config = sandbox.path("downstream.yaml").display().to_string();
    let token = sandbox.path("token").display().to_string();
    let misused = |yaml: &str, arguments: &[&str], parts: &[&str]| {
        fs::write(sandbox.path("downstream.yaml"), yaml).unwrap();
        let ran = run(agent().args(sandbox.file_flags()).args(arguments));
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{ran:?}");
        for part in parts {
            assert!(ran.stderr.contains(part), "{part}: {ran:?}");
        }
        assert_eq!(sandbox.text(), "a\n");
    };
    let url = hub.url();
    let usual = [
        "--hub",
        url.as_str(),
        "--token-file",
        token.as_str(),
        "--silo",
        "office",
    ];
    misused("", &[], &["no silo given"]);
    misused("silo: office\n", &[], &["no hub given"]);
    misused("silo: office\nhub: http://h\n", &[], &["no token given"]);
    misused(
        "silo: office\nhubb: http://h\n",
        &usual,
        &[&config, "hubb", "line 2"],
    );
    misused("silo: office\nhub: ftp://h\n", &usual[2..], &["hub: "]);
    misused("hub: [\n", &usual, &[&config]);
    misused("", &["--silo", "a b"], &["--silo"]);
    misused("", &["--speed"], &["--speed"]);
    misused(
        "",
        &[
            "--ca-file",
            "/nowhere.pem",
            "--hub",
            "https://127.0.0.1:1",
            "--token-file",
            &token,
            "--silo",
            "office",
        ],
        &["/nowhere.pem"],
    );
    // The system's error, not the one of a command line that cannot be read.
    misused(
        "",
        &[
            "--hub",
            &url,
            "--silo",
            "office",
            "--token-file=/nowhere/token",
        ],
        &["token_file: /nowhere/token: there is no such file"],
    );
    for mode in [0o640, 0o604, 0o644, 0o666] {
        sandbox.set_mode("token", mode);
        misused("", &usual, &[&token, &format!("{mode:04o}"), "chmod 600"]);
    }
    fs::write(sandbox.path("downstream.yaml"), "token_file_mode: any\n").unwrap();
    assert_eq!(run(agent().args(sandbox.file_flags()).args(usual)).code, 0);
    // A token in the configuration makes that file a secret.
    sandbox.set_mode("downstream.yaml", 0o644);
    fs::write(sandbox.hosts(), "a\n").unwrap();
    let inline = format!("token: {}", fs::read_to_string(&token).unwrap());
    misused(
        &inline,
        &["--hub", &url, "--silo", "office"],
        &[&config, "0644"],
    );
    sandbox.set_mode("downstream.yaml", 0o600);
    assert_eq!(
        run(agent()
            .args(sandbox.file_flags())
            .args(["--hub", &url, "--silo", "office"]))
        .code,
        0
    );
    // A state folder that others can write is a way into the hosts file.
    fs::write(sandbox.hosts(), "a\n").unwrap();
    sandbox.set_mode("state", 0o777);
    misused(
        "token_file_mode: any\n",
        &usual,
        &["has mode 0777", "chmod 700"],
    );
    fs::remove_dir_all(sandbox.path("state")).unwrap();
    fs::write(sandbox.path("state"), "").unwrap();
    misused(
        "token_file_mode: any\n",
        &usual,
        &["the state folder is not a folder", "--state-dir"],
    );
}

#[test]
fn a_filter_that_no_name_can_match_is_refused_and_the_block_stays() {
    let hub = FakeHub::office(42, DB);
    let sandbox = Sandbox::new("");
    sandbox.must_run(&hub, &[]);
    let before = sandbox.text();
    for filter in ["", "[", "db,", "d?", "10.0.0.5"] {
        let ran = sandbox.run(&hub, &["--hostnames", filter]);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{ran:?}");
        assert!(ran.stderr.contains("--hostnames"), "{ran:?}");
    }
    let ran = run(agent()
        .args(sandbox.flags(&hub))
        .env("SILO_DOWNSTREAM_HOSTNAMES", "["));
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{ran:?}");
    assert!(ran.stderr.contains("--hostnames"), "{ran:?}");
    assert_eq!(sandbox.text(), before);
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    let hub = FakeHub::office(42, DB);
    let sandbox = Sandbox::new("");
    let variables = [
        "CONFIG",
        "HUB",
        "TOKEN_FILE",
        "TOKEN_FILE_MODE",
        "SILO",
        "HOSTNAMES",
        "HOSTS_FILE",
        "STATE_DIR",
        "IN_PLACE",
        "FORCE",
        "QUIET",
        "CA_FILE",
        "LOG_FORMAT",
    ];
    let empty = variables.map(|name| (format!("SILO_DOWNSTREAM_{name}"), ""));
    let yaml = format!(
        "hub: {}\ntoken_file: {}\nsilos: [office]\nhostnames: [db]\nhosts_file: {}\nstate_dir: {}\n",
        hub.url(),
        sandbox.path("token").display(),
        sandbox.hosts().display(),
        sandbox.path("state").display()
    );
    fs::write(sandbox.path("downstream.yaml"), yaml).unwrap();
    let ran = run(agent()
        .envs(empty)
        .env("SILO_DOWNSTREAM_CONFIG", sandbox.path("downstream.yaml")));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    assert_eq!(sandbox.text(), block("office", "10.0.0.5 db\n"));
}

#[test]
fn a_missing_config_file_given_by_flag_is_an_error() {
    let sandbox = Sandbox::new("");
    let ran = run(agent()
        .args(["--config", "/nowhere/x.yaml", "--hosts-file"])
        .arg(sandbox.hosts()));
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("/nowhere/x.yaml"), "{ran:?}");
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

#[test]
fn the_file_of_a_pyddns_client_is_used_as_it_is() {
    let hub = FakeHub::office(42, &[("db", "10.0.0.5"), ("nas", "10.0.0.7")]);
    let sandbox = Sandbox::new("");
    let yaml = format!(
        "endpoint: {}\nusername: carol\npassword: hush\nsilo_id: office\nhostnames:\n- nas\n",
        hub.url()
    );
    fs::write(sandbox.path("downstream.yaml"), yaml).unwrap();
    let ran = run(agent().args(sandbox.file_flags()));
    assert_eq!(
        ran.code, 2,
        "the file holds a password and others can read it: {ran:?}"
    );
    let ran = run(agent()
        .args(sandbox.file_flags())
        .arg("--token-file-mode=any"));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(sandbox.text(), block("office", "10.0.0.7 nas\n"));
    // carol:hush
    assert_eq!(
        hub.requests()[0].headers["authorization"],
        "Basic Y2Fyb2w6aHVzaA=="
    );
}
