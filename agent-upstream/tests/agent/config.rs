//! Configuration file, flags and environment; what is wrong with them ends with exit code 2.

mod files;

use crate::hub::{Answer, Hub};
use crate::run::{Agent, TOKEN};

fn hub() -> Hub {
    Hub::start(|request| match request.line.as_str() {
        "GET /ip" => Answer::ip("10.0.0.5"),
        line if line.starts_with("PUT") => {
            Answer::record(line.rsplit('/').next().unwrap_or(""), &["10.0.0.5"], "x")
        }
        _ => Answer::problem(404, "no such record"),
    })
}

#[test]
fn flags_alone_are_enough() {
    let hub = hub();
    let agent = Agent::bare();
    agent.write("token", &format!("{TOKEN}\n"), 0o600);
    agent
        .args(["--hub", &hub.url(), "--token-file", "token"])
        .args(["--silo", "Office", "--hostnames", "db,web"])
        .run()
        .says(
            "office: db set to 10.0.0.5, revision 42\noffice: web set to 10.0.0.5, revision 42\n",
        );
}

#[test]
fn variables_alone_are_enough() {
    let hub = hub();
    let agent = Agent::bare();
    agent.write("token", TOKEN, 0o600);
    agent
        .env("SILO_UPSTREAM_HUB", &hub.url())
        .env("SILO_UPSTREAM_TOKEN_FILE", "token")
        .env("SILO_UPSTREAM_SILO", "office")
        .env("SILO_UPSTREAM_HOSTNAMES", "db,web")
        .env("SILO_UPSTREAM_WITHIN", "10.0.0.0/8,fd00::/8")
        .env("SILO_UPSTREAM_QUIET", "1")
        .run()
        .says(
            "office: db set to 10.0.0.5, revision 42\noffice: web set to 10.0.0.5, revision 42\n",
        );
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    let hub = hub();
    let mut agent = Agent::new(&hub.url(), "");
    for name in [
        "CONFIG",
        "HUB",
        "TOKEN_FILE",
        "TOKEN_FILE_MODE",
        "SILO",
        "HOSTNAMES",
        "ADDRESSES",
        "WITHIN",
        "IPV6_SUFFIX",
        "IPV6_PREFIX_LEN",
        "BIND_INTERFACE",
        "CA_FILE",
        "QUIET",
        "LOG_FORMAT",
    ] {
        agent = agent.env(&format!("SILO_UPSTREAM_{name}"), "");
    }
    agent
        .run()
        .says("office: db set to 10.0.0.5, revision 42\n");
}

#[test]
fn flags_beat_the_environment_which_beats_the_file() {
    let hub = hub();
    let silo = |agent: Agent| {
        agent.run();
        let last = hub.lines().pop().unwrap();
        last.split('/').nth(2).unwrap().to_owned()
    };
    let agent = || Agent::new(&hub.url(), "");
    assert_eq!(silo(agent()), "office");
    assert_eq!(silo(agent().env("SILO_UPSTREAM_SILO", "home")), "home");
    let both = agent().env("SILO_UPSTREAM_SILO", "home");
    assert_eq!(silo(both.args(["--silo", "lab"])), "lab");
}

#[test]
fn a_wrong_configuration_is_named_with_file_line_and_key() {
    let hub = hub();
    for (more, words) in [
        (
            "hostnames: [db]\nhub_url: x\n",
            &["upstream.yaml", "line 5", "hub_url"][..],
        ),
        (
            "hostnames: [10.0.0.1]\n",
            &["upstream.yaml", "line 4", "hostnames[0]"],
        ),
        (
            "addresses: {interface: {}}\n",
            &["upstream.yaml", "line 5", "name"],
        ),
        (
            "within: 10.0.0.0/8\n",
            &["upstream.yaml", "line 5", "within"],
        ),
        ("silo: home\n", &["upstream.yaml", "silo"]),
        ("[\n", &["upstream.yaml", "line"]),
        ("ipv6_prefix_len: 60\n", &["ipv6_suffix"]),
    ] {
        let ran = Agent::new(&hub.url(), more).run();
        ran.complains(2, words);
        assert!(!ran.stderr.contains(TOKEN), "{ran:?}");
    }
    assert_eq!(hub.lines(), [""; 0]);
}

#[test]
fn a_missing_setting_says_how_to_give_it() {
    let agent = || Agent::with_file("");
    agent().run().complains(2, &["--hub"]);
    let with_hub = || agent().args(["--hub", "http://127.0.0.1:1"]);
    with_hub().run().complains(2, &["--token-file"]);
    let with_token = with_hub();
    with_token.write("token", TOKEN, 0o600);
    with_token
        .args(["--token-file", "token"])
        .run()
        .complains(2, &["--silo"]);
}

#[test]
fn a_wrong_flag_is_usage() {
    for args in [
        ["--silo", "a/b"],
        ["--addresses", "nowhere"],
        ["--within", "10.0.0.0/33"],
        ["--ipv6-suffix", "5"],
        ["--colour", "red"],
    ] {
        let ran = Agent::bare().args(args).run();
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{ran:?}");
        assert!(ran.stderr.contains(args[0]), "{ran:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn no_thread_for_the_lookup_of_the_hubs_name_is_an_error_like_others() {
    use std::os::unix::fs::chown;
    let hub = hub();
    let url = hub.url().replace("127.0.0.1", "localhost");
    let agent = Agent::with_file(&format!(
        "hub: {url}\ntoken_file: token\nsilo: office\nhostnames: [db]\n"
    ));
    agent.write("token", TOKEN, 0o600);
    // A user of its own, with no process but this one.
    for name in ["", "token", "upstream.yaml"] {
        chown(agent.path(name), Some(54_322), None)
            .expect("this test changes users: run it as root");
    }
    let ran = agent
        .within(&[
            "setpriv",
            "--reuid=54322",
            "--regid=54322",
            "--clear-groups",
            "prlimit",
            "--nproc=1:1",
        ])
        .run();
    ran.complains(1, &["cannot start a thread"]);
}

#[test]
fn a_pyddns_file_is_taken_as_it_is() {
    let hub = hub();
    let text = format!(
        "endpoint: {}\nusername: carol\npassword: {TOKEN}\nsilo_id: office\n\nhostnames:\n- db\n- web\n\n\
         # this can only be Socket or ServerApi\ngetIpFrom: ServerApi",
        hub.url()
    );
    Agent::with_file(&text).run().says(
        "office: db set to 10.0.0.5, revision 42\noffice: web set to 10.0.0.5, revision 42\n",
    );
    // "carol:silo_abcdefgh12_x…" in base64.
    let authorization = hub.requests()[1].authorization.clone().unwrap();
    assert!(
        authorization.starts_with("Basic Y2Fyb2w6c2lsb19hYmNkZWZnaDEyX3h4"),
        "{authorization}"
    );
    // The hub is on this same machine, so `Socket` finds 127.0.0.1.
    Agent::with_file(&text.replace("getIpFrom: ServerApi", "getIpFrom: Socket"))
        .run()
        .complains(
            1,
            &["addresses from route: 127.0.0.1 is a loopback address"],
        );
    Agent::with_file(&text.replace("getIpFrom", "getIpFrm"))
        .run()
        .complains(2, &["upstream.yaml", "line 11", "getIpFrm"]);
}

/// 192.0.2.1 (RFC 5737) is not asked: the address comes from a command that fails.
#[cfg(unix)]
#[test]
fn a_token_over_plain_http_to_another_machine_is_warned_of() {
    let run = |hub: &str, more: &str| {
        Agent::new(hub, &format!("addresses: {{command: [\"false\"]}}\n{more}"))
            .run()
            .stderr
    };
    let warned = run("http://192.0.2.1:8053", "auth: bearer\n");
    assert!(
        warned.contains("WARN") && warned.contains("the token travels unencrypted"),
        "{warned}"
    );
    for quiet in [
        run("https://192.0.2.1", ""),
        run("http://localhost:8053", ""),
        run("http://192.0.2.1:8053", "auth: bearer\nquiet: true\n"),
        // Signed, it does not travel.
        run("http://192.0.2.1:8053", ""),
    ] {
        assert!(!quiet.contains("WARN"), "{quiet}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_write_error_on_stdout_is_a_failure_but_a_closed_pipe_is_not() {
    let hub = Hub::start(|request| match request.line.as_str() {
        "GET /ip" => Answer::ip("10.0.0.5"),
        _ if request.if_match.is_some() => Answer::problem(412, "another revision"),
        _ => Answer::record("db", &["10.0.0.5"], "2026-01-02T03:04:05Z"),
    });
    for verb in ["config-example", "completions", "check", "once"] {
        let agent = || {
            let agent = Agent::new(&hub.url(), "").args([verb]);
            if verb == "completions" {
                agent.args(["bash"])
            } else {
                agent
            }
        };
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
        agent().stdout(full.unwrap()).run().complains(
            1,
            &["cannot write to stdout: No space left on device (os error 28)"],
        );
        agent().stdout(std::io::pipe().unwrap().1).run().says("");
    }
}

#[test]
fn the_example_and_the_completions_are_printed() {
    let example = Agent::bare().args(["config-example"]).run();
    assert_eq!((example.code, example.stderr.as_str()), (Some(0), ""));
    assert_eq!(
        example.stdout.trim_end(),
        include_str!("../../../config/upstream.yaml").trim_end()
    );
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = Agent::bare().args(["completions", shell]).run();
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{shell}");
        assert!(ran.stdout.contains("config-example"), "{shell}");
    }
}
