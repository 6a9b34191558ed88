//! Where settings come from, and what is refused.

use std::fs;

use super::DB;
use crate::fake_hub::{FakeHub, Reply};
use crate::sandbox::{Sandbox, agent, block, run};

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

#[cfg(unix)]
#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
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

#[cfg(unix)]
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
