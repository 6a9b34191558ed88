//! Where addresses come from: the route and the command. See `namespace` for interfaces.

use crate::hub::{Answer, Hub};
use crate::run::Agent;

/// A hub that accepts every report.
fn hub() -> Hub {
    Hub::start(|request| {
        if request.line.starts_with("PUT") {
            let body: serde_json::Value = serde_json::from_str(&request.body).expect("JSON");
            let ips: Vec<&str> = body["ips"]
                .as_array()
                .expect("ips")
                .iter()
                .map(|ip| ip.as_str().expect("a text"))
                .collect();
            Answer::record("db", &ips, "x")
        } else {
            Answer::problem(404, "no such record")
        }
    })
}

#[test]
fn the_route_towards_a_hub_on_this_machine_is_refused_with_the_way_out() {
    let hub = hub();
    Agent::new(&hub.url(), "addresses: route\n")
        .run()
        .complains(1, &["127.0.0.1", "route:ADDRESS", "interface:NAME"]);
    assert_eq!(hub.lines(), [""; 0]);
}

#[cfg(unix)]
mod command {
    use super::*;

    fn agent(hub: &Hub, script: &str) -> Agent {
        let script = serde_json::Value::from(script);
        Agent::new(
            &hub.url(),
            &format!("addresses: {{command: [sh, -c, {script}]}}\n"),
        )
    }

    #[test]
    fn the_commands_output_is_reported() {
        let hub = hub();
        agent(&hub, "echo fd00::5; echo; echo 10.0.0.5; echo chatter >&2")
            .run()
            .says("office: db set to 10.0.0.5 fd00::5, revision 42\n");
        assert_eq!(hub.requests()[1].body, r#"{"ips":["10.0.0.5","fd00::5"]}"#);
    }

    #[test]
    fn a_failing_command_is_reported_and_nothing_changed() {
        let hub = hub();
        for (script, words) in [
            (
                "echo 10.0.0.5; echo no luck >&2; exit 3",
                &["exit status: 3", "no luck"][..],
            ),
            ("kill -9 $$", &["signal: 9"]),
            ("echo eth0: 10.0.0.5", &["printed `eth0: 10.0.0.5`"]),
            ("printf '\\377\\n'", &["printed `"]),
            ("echo 10.0.0.5; echo 10.0.0.6", &["two IPv4 addresses"]),
            (":", &["no address was found"]),
            ("echo 127.0.0.1", &["127.0.0.1 is a loopback address"]),
            ("yes", &["printed more than"]),
        ] {
            agent(&hub, script).run().complains(1, words);
        }
        assert_eq!(hub.lines(), [""; 0]);
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let hub = hub();
        Agent::new(&hub.url(), "addresses: {command: [/no/such/program]}\n")
            .run()
            .complains(1, &["/no/such/program", "cannot be run"]);
    }

    #[test]
    fn a_hanging_one_is_killed() {
        let hub = hub();
        agent(&hub, "exec sleep 600")
            .run()
            .complains(1, &["command sh", "10 s", "killed"]);
        assert_eq!(hub.lines(), [""; 0]);
    }
}
