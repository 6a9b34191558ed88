//! Families that are removed by whatever source finds them missing, and records that others change meanwhile.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{Record, SETUP};
use crate::hub::{Answer, Hub};
use crate::namespace::{in_namespace, shell};
use crate::relay::name_the_hub;
use crate::run::Agent;

/// Runs until the hub has been asked for this many `DELETE`s, and answers what was said.
fn run_until_deletes(agent: &mut Agent, hub: &Hub, deletes: usize) -> String {
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut said = String::new();
    loop {
        let ran = agent.run_again();
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
        said += &ran.stdout;
        let lines = hub.lines().into_iter();
        if lines.filter(|line| line.starts_with("DELETE")).count() == deletes {
            return said;
        }
        assert!(Instant::now() < deadline, "not removed: {said}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A record that another program changes or removes just before the agent's `DELETE`.
#[test]
fn a_record_that_changed_before_the_removal_is_looked_at_again_at_the_next_run() {
    for (status, held, then) in [
        (
            412,
            &["10.0.0.5", "fd00::5"][..],
            "office: db: fd00::5 removed, no IPv6 address was found for 1 s",
        ),
        (412, &["10.0.0.5", "fd00::7"], ""),
        (404, &[], "office: db set to 10.0.0.5, revision 42"),
    ] {
        let record = Record::default();
        let changed = AtomicBool::new(false);
        let hub = Hub::start({
            let record = record.clone();
            move |request| {
                if request.line.starts_with("DELETE") && !changed.swap(true, Ordering::SeqCst) {
                    record.set(held);
                    return Answer::problem(status, "another revision");
                }
                record.answer(request)
            }
        });
        let mut agent = Agent::new(
            &hub.url(),
            "addresses: {command: [cat, addresses]}\nforget_family_after: 1s\nquiet: true\n",
        );
        agent.write("addresses", "10.0.0.5\nfd00::5\n", 0o600);
        agent
            .run_again()
            .says("office: db set to 10.0.0.5 fd00::5, revision 42\n");
        agent.write("addresses", "10.0.0.5\n", 0o600);
        let said = run_until_deletes(&mut agent, &hub, 1);
        assert!(!said.contains("removed, "), "{status} {held:?}: {said}");
        assert_eq!(record.ips(), held, "{status}");
        let ran = agent.run_again();
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
        let expected: Vec<&str> = then.split_terminator('\n').collect();
        let lines: Vec<&str> = ran.stdout.lines().collect();
        assert_eq!(lines, expected, "{status} {held:?}");
        let left = match held {
            [_, "fd00::7"] => held,
            _ => &["10.0.0.5"],
        };
        assert_eq!(record.ips(), left, "{status}");
    }
}

#[test]
fn a_family_that_hub_or_route_no_longer_finds_is_removed_when_asked_for() {
    let name =
        "remembered::removed::a_family_that_hub_or_route_no_longer_finds_is_removed_when_asked_for";
    in_namespace(name, SETUP, || {
        name_the_hub(&["192.0.2.5", "fd00::5"]);
        for (source, gone, other) in [
            ("hub", "fd00::5", "192.0.2.5"),
            ("hub", "192.0.2.5", "fd00::5"),
            ("route", "fd00::5", "192.0.2.5"),
            ("route", "192.0.2.5", "fd00::5"),
        ] {
            shell("ip addr replace 192.0.2.5/24 dev d0; ip addr replace fd00::5/64 dev d0 nodad");
            let record = Record::default();
            let hub = Hub::start_at("[::]:0", {
                let record = record.clone();
                move |request| match request.line.as_str() {
                    "GET /ip" => Answer::ip(&request.peer.to_string()),
                    _ => record.answer(request),
                }
            });
            let more = format!(
                "auth: bearer\nquiet: true\naddresses: {source}\nforget_family_after: 1s\n"
            );
            let mut agent = Agent::new(&format!("http://hub.test:{}", hub.port()), &more);
            agent
                .run_again()
                .says("office: db set to 192.0.2.5 fd00::5, revision 42\n");
            let prefix = if gone.contains(':') { 64 } else { 24 };
            shell(&format!("ip addr del {gone}/{prefix} dev d0"));
            let said = run_until_deletes(&mut agent, &hub, 1);
            let family = if gone.contains(':') { "IPv6" } else { "IPv4" };
            let line =
                format!("office: db: {gone} removed, no {family} address was found for 1 s\n");
            assert!(said.ends_with(&line), "{source}: {said}");
            assert_eq!(record.ips(), [other], "{source}");
        }
    });
}

#[test]
fn without_a_setting_the_state_is_in_var_lib() {
    let name = "remembered::removed::without_a_setting_the_state_is_in_var_lib";
    in_namespace(name, "mount -t tmpfs none /var/lib", || {
        let hub = Record::default().hub();
        let folder = Path::new("/var/lib/silo-upstream");
        let agent = || {
            Agent::new(&hub.url(), "addresses: {command: [echo, 10.0.0.5]}\n")
                .env("SILO_UPSTREAM_STATE_DIR", "")
        };
        agent()
            .run()
            .says("office: db set to 10.0.0.5, revision 42\n");
        assert!(folder.read_dir().unwrap().next().is_some());
        let checked = agent().args(["check"]).run();
        assert!(
            checked
                .stdout
                .contains("ok      state: /var/lib/silo-upstream; "),
            "{checked:?}"
        );
        // systemd's goes before.
        let other = tempfile::tempdir().unwrap();
        let checked = agent()
            .env("STATE_DIRECTORY", other.path().to_str().unwrap())
            .args(["check"])
            .run();
        let line = format!("ok      state: {}; ", other.path().display());
        assert!(checked.stdout.contains(&line), "{checked:?}");
    });
}
