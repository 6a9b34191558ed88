//! Both agents against a real hub.
//!
//! `SILO_TEST_ON` says on which database: `sqlite` unless it is set, or `postgres` or `mariadb`, by
//! `scripts/test --on postgres agents::`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::json;
use silo_e2e::relay::Relay;
use silo_e2e::{Caller, Hub, binary, logs, stanza, write_private};

/// A machine: a folder with a token file, and a hosts file of its own.
struct Machine {
    folder: PathBuf,
    hub: String,
}

impl Machine {
    fn new(folder: &Path, name: &str, hub: &Hub, credential: &str) -> Self {
        let folder = folder.join(name);
        std::fs::create_dir(&folder).unwrap();
        write_private(&folder.join("token"), credential);
        std::fs::write(folder.join("hosts"), "127.0.0.1 localhost\n").unwrap();
        Self {
            folder,
            hub: hub.url().to_owned(),
        }
    }

    fn agent(&self, program: &str, arguments: &[&str]) -> Output {
        let path = |name| self.folder.join(name).into_os_string();
        let mut command = Command::new(binary(program));
        command
            .args(arguments)
            .args(["--hub", &self.hub, "--silo", "office"]);
        command.arg("--token-file").arg(path("token"));
        if program == "silo-downstream" {
            command
                .arg("--hosts-file")
                .arg(path("hosts"))
                .arg("--state-dir")
                .arg(path("state"));
        }
        logs::run(&mut command)
    }

    fn hosts(&self) -> String {
        std::fs::read_to_string(self.folder.join("hosts")).unwrap()
    }
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// Options of an upstream that reports what `echo` prints.
fn reporting(folder: &Path, ip: &str) -> Vec<String> {
    let config = folder.join("upstream.yaml");
    write_private(
        &config,
        &format!("addresses: {{ command: [echo, {ip}] }}\n"),
    );
    vec!["--config".to_owned(), config.to_str().unwrap().to_owned()]
}

fn report(machine: &Machine, hostname: &str, ip: &str) -> Output {
    let options = reporting(&machine.folder, ip);
    let mut arguments: Vec<&str> = options.iter().map(String::as_str).collect();
    arguments.extend(["--hostnames", hostname]);
    machine.agent("silo-upstream", &arguments)
}

#[tokio::test]
async fn an_address_travels_from_one_machine_to_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start_on_chosen(folder.path());
    let write = [
        "--name",
        "nas",
        "--role",
        "write",
        "--silo",
        "office",
        "--hostname",
        "nas",
    ];
    let nas = Machine::new(folder.path(), "nas", &hub, &hub.token(&write));
    let read = ["--name", "laptop", "--role", "read", "--silo", "office"];
    let laptop = Machine::new(folder.path(), "laptop", &hub, &hub.token(&read));

    assert!(said(&report(&nas, "nas", "10.0.0.7")).contains("10.0.0.7"));
    assert!(said(&report(&nas, "nas", "10.0.0.7")).contains("unchanged"));
    said(&laptop.agent("silo-downstream", &["once"]));
    assert!(
        laptop.hosts().contains("\n10.0.0.7 nas\n"),
        "{}",
        laptop.hosts()
    );

    assert!(said(&report(&nas, "nas", "10.0.0.8")).contains("10.0.0.7 → 10.0.0.8"));
    let diff = said(&laptop.agent("silo-downstream", &["diff"]));
    assert!(
        diff.contains("-10.0.0.7 nas") && diff.contains("+10.0.0.8 nas"),
        "{diff}"
    );
    assert!(
        laptop.hosts().contains("\n10.0.0.7 nas\n"),
        "diff changes nothing"
    );
    assert!(said(&laptop.agent("silo-downstream", &["once"])).contains("10.0.0.8"));
    assert!(laptop.hosts().contains("\n10.0.0.8 nas\n"));
    assert_eq!(
        said(&laptop.agent("silo-downstream", &["once", "--quiet"])),
        ""
    );

    // What is not this token's to write stays, and the agent says why.
    let refused = report(&nas, "db", "10.0.0.9");
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("403"));

    said(&laptop.agent("silo-downstream", &["clean"]));
    assert_eq!(laptop.hosts(), "127.0.0.1 localhost\n");
}

#[tokio::test]
async fn both_agents_check_against_a_real_hub() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start_on_chosen(folder.path());
    let admin = Caller::new(&hub, &hub.admin_token());
    admin.put_ip("office", "db", "10.0.0.5").await.unwrap();
    let write = ["--name", "nas", "--role", "write", "--silo", "office"];
    let machine = Machine::new(folder.path(), "nas", &hub, &hub.token(&write));
    let options = reporting(&machine.folder, "10.0.0.7");
    let mut arguments = vec!["check", "--hostnames", "nas"];
    arguments.extend(options.iter().map(String::as_str));
    said(&machine.agent("silo-upstream", &arguments));
    said(&machine.agent("silo-downstream", &["check"]));
    assert_eq!(
        admin.get("/silos/office/records/nas").await.0,
        404,
        "check changes nothing"
    );
    assert_eq!(machine.hosts(), "127.0.0.1 localhost\n");
}

#[tokio::test]
async fn a_stopped_hub_changes_nothing_on_either_machine() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start_on_chosen(folder.path());
    let admin = Caller::new(&hub, &hub.admin_token());
    admin.put_ip("office", "db", "10.0.0.5").await.unwrap();
    let machine = Machine::new(folder.path(), "laptop", &hub, &hub.admin_token());
    said(&machine.agent("silo-downstream", &["once"]));
    let before = machine.hosts();
    assert!(before.contains("10.0.0.5 db"));
    assert_eq!(hub.stop(), Some(0));
    for (program, arguments) in [
        ("silo-downstream", vec!["once"]),
        ("silo-upstream", vec!["once"]),
    ] {
        let output = machine.agent(program, &arguments);
        assert_eq!(output.status.code(), Some(1), "{program}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("cannot reach the hub"));
    }
    assert_eq!(machine.hosts(), before);
}

#[tokio::test]
async fn the_configuration_of_a_pyddns_client_is_taken_as_it_is() {
    const PAGE: &str = include_str!("../../../docs/pyddns.md");
    let folder = tempfile::tempdir().unwrap();
    let trust = "trusted_proxies: [127.0.0.0/8]\n";
    std::fs::write(folder.path().join("hub.yaml"), trust).unwrap();
    let hub = Hub::start_on_chosen(folder.path());
    let relay = Relay::start(hub.url(), "198.51.100.7");
    let admin = Caller::new(&hub, &hub.admin_token());
    let credential = hub.token(&["--name", "old", "--role", "write", "--silo", "web"]);
    let config = folder.path().join("config.yml");
    let text = stanza(PAGE, "config").replace("silo_…", &credential);
    let with_endpoint = |endpoint: &str| text.replace("10.0.0.1:8053", endpoint);
    write_private(&config, &with_endpoint(&relay.address()));
    let upstream = || {
        Command::new(binary("silo-upstream"))
            .args(["once", "--config", config.to_str().unwrap()])
            .env("STATE_DIRECTORY", folder.path())
            .output()
            .unwrap()
    };
    // Where pyDDNS's own upstream fails: there is no silo yet.
    said(&upstream());
    for hostname in ["webserver", "dbserver"] {
        let (_, record) = admin.get(&format!("/silos/web/records/{hostname}")).await;
        assert_eq!(record["ips"], json!(["198.51.100.7"]), "{hostname}");
    }
    let hosts = folder.path().join("hosts");
    // As pyDDNS's own downstream left it.
    let left = "127.0.0.1\tlocalhost\n198.51.100.9\twebserver\n198.51.100.9\tdbserver";
    std::fs::write(&hosts, left).unwrap();
    let downstream = |arguments: &[&str]| {
        Command::new(binary("silo-downstream"))
            .args(arguments)
            .args(["--config", config.to_str().unwrap()])
            .args(["--hosts-file", hosts.to_str().unwrap(), "--state-dir"])
            .arg(folder.path().join("state"))
            .output()
            .unwrap()
    };
    assert_eq!(downstream(&["once"]).status.code(), Some(1));
    let adopting = stanza(PAGE, "adopt");
    for verb in ["diff", "once"] {
        assert!(adopting.contains(&format!(
            "silo-downstream {verb} --adopt --config client/config.yml"
        )));
        said(&downstream(&[verb, "--adopt"]));
    }
    said(&downstream(&["once"]));
    let hosts = std::fs::read_to_string(&hosts).unwrap();
    for line in ["198.51.100.7 webserver", "198.51.100.7 dbserver"] {
        assert!(hosts.contains(line), "{hosts}");
    }
    assert!(!hosts.contains("198.51.100.9"), "{hosts}");
    // Towards a hub on this machine the way leads over loopback, which is never reported.
    let socket = with_endpoint(&relay.address()).replace("ServerApi", "Socket");
    assert_ne!(socket, with_endpoint(&relay.address()));
    write_private(&config, &socket);
    assert_eq!(upstream().status.code(), Some(1));
    let (_, record) = admin.get("/silos/web/records/dbserver").await;
    assert_eq!(
        record["ips"],
        json!(["198.51.100.7"]),
        "an unusable address changes nothing"
    );
}
