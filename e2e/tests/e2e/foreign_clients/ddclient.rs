//! ddclient, of which Debian 12 has 3.10 and Debian 13 has 3.11; their logs differ in some words.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use silo_e2e::write_private;

use super::home::{Home, UPDATE, WRONG, said};

/// ddclient with a configuration, and its cache from run to run.
struct Ddclient {
    folder: PathBuf,
    path: String,
}

impl Ddclient {
    fn new(home: &Home, name: &str, config: &str) -> Self {
        let folder = home.path(name);
        std::fs::create_dir(&folder).unwrap();
        write_private(&folder.join("ddclient.conf"), config);
        Self {
            folder,
            path: std::env::var("PATH").unwrap(),
        }
    }

    fn run(&self, more: &[&str]) -> String {
        let output = Command::new("/usr/bin/ddclient")
            .args(["-daemon=0", "-noquiet", "-verbose", "-file"])
            .arg(self.folder.join("ddclient.conf"))
            .arg("-cache")
            .arg(self.folder.join("ddclient.cache"))
            .args(more)
            .env("PATH", &self.path)
            .stdin(Stdio::null())
            .output()
            .expect("ddclient is installed");
        said(&output)
    }
}

/// Whether the log says this about a host. 3.11 names all hosts of a request in each of its lines.
fn says(log: &str, host: &str, words: &str) -> bool {
    log.lines()
        .filter_map(|line| line.split_once("updating ")?.1.split_once(": "))
        .any(|(hosts, said)| hosts.split(',').any(|name| name == host) && said.starts_with(words))
}

#[tokio::test]
async fn ddclient_sets_several_hosts_and_sends_nothing_twice() {
    let home = Home::start("198.51.100.7");
    let client = Ddclient::new(&home, "v4", &home.filled("ddclient"));
    let log = client.run(&[]);
    for host in ["nas", "cam"] {
        assert!(says(&log, host, "good: IP"), "{log}");
        assert!(log.contains(" address set to 198.51.100.7"), "{log}");
        assert_eq!(home.ips(host).await, json!(["198.51.100.7"]));
    }
    let sent = home.relay().requests(UPDATE);
    assert_eq!(sent.len(), 1, "{sent:?}");
    let hosts = ["nas,cam", "cam,nas"].map(|hosts| format!("hostname={hosts}&myip=198.51.100.7"));
    assert!(
        hosts.iter().any(|query| sent[0].contains(query)),
        "{sent:?}"
    );

    client.run(&[]);
    assert_eq!(home.updates(), 1, "unchanged: nothing is sent");
    let log = client.run(&["-force"]);
    assert!(says(&log, "nas", "nochg"), "{log}");
    assert!(says(&log, "cam", "nochg"), "{log}");

    home.relay().move_clients("198.51.100.8");
    let log = client.run(&["-force"]);
    assert!(log.contains(" address set to 198.51.100.8"), "{log}");
    assert_eq!(home.ips("nas").await, json!(["198.51.100.8"]));
    assert_eq!(home.ips("cam").await, json!(["198.51.100.8"]));

    let mut second = Ddclient::new(&home, "v6", &home.filled("ddclient-ipv6"));
    second.path = home.path_with_ip("2001:db8::7");
    let log = second.run(&[]);
    assert!(says(&log, "nas", "good: IP"), "{log}");
    assert!(log.contains(" address set to 2001:db8::7"), "{log}");
    assert_eq!(
        home.ips("nas").await,
        json!(["198.51.100.8", "2001:db8::7"])
    );
    assert_eq!(home.ips("cam").await, json!(["198.51.100.8"]));
    home.check_log();
}

#[tokio::test]
async fn ddclient_logs_the_error() {
    let mut home = Home::start("198.51.100.7");
    let good = home.filled("ddclient");
    let wrong = Ddclient::new(&home, "wrong", &good.replace(&home.token, WRONG));
    let log = wrong.run(&[]);
    let refused =
        ["authorization", "authentication"].map(|word| format!("{word} failed (HTTP/1.1 401"));
    assert!(refused.iter().any(|words| log.contains(words)), "{log}");
    assert_eq!(home.ips("nas").await, Value::Null);

    // One host that the token may not write does not keep the other back.
    let other = Ddclient::new(&home, "other", &good.replace("nas,cam", "db,nas"));
    let log = other.run(&[]);
    assert!(says(&log, "db", "nohost"), "{log}");
    assert!(says(&log, "nas", "good"), "{log}");
    assert_eq!(home.ips("nas").await, json!(["198.51.100.7"]));
    assert_eq!(home.ips("db").await, Value::Null);

    // Too many failures: a wrong password is not even looked at, the right one is.
    home.relay().move_clients("198.51.100.9");
    home.use_up_failures("198.51.100.9").await;
    let log = wrong.run(&["-force"]);
    assert!(log.contains("503 Service Unavailable"), "{log}");
    assert!(!log.contains("SUCCESS"), "{log}");
    let right = Ddclient::new(&home, "right", &good);
    let log = right.run(&[]);
    assert!(says(&log, "cam", "good"), "{log}");

    home.relay = None;
    let log = right.run(&["-force"]);
    assert!(log.contains("cannot connect to "), "{log}");
    assert_eq!(home.ips("cam").await, json!(["198.51.100.9"]));
    home.check_log();
}
