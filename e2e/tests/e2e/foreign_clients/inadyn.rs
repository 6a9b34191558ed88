//! inadyn 2.10.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};
use silo_e2e::relay::Relay;
use silo_e2e::{Hub, PATIENCE, PAUSE, write_private};

use super::home::{Home, UPDATE, WRONG, said};

/// inadyn with a configuration, and its cache from run to run.
struct Inadyn {
    folder: PathBuf,
    path: String,
}

impl Inadyn {
    fn new(home: &Home, name: &str, config: &str) -> Self {
        let folder = home.path(name);
        std::fs::create_dir_all(folder.join("cache")).unwrap();
        write_private(&folder.join("inadyn.conf"), config);
        Self {
            folder,
            path: std::env::var("PATH").unwrap(),
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new("/usr/sbin/inadyn");
        command
            .args([
                "--foreground",
                "--no-pidfile",
                "--loglevel=debug",
                "--config",
            ])
            .arg(self.folder.join("inadyn.conf"))
            .arg("--cache-dir")
            .arg(self.folder.join("cache"))
            .env("PATH", &self.path)
            .stdin(Stdio::null());
        command
    }

    fn once(&self, more: &[&str]) -> (bool, String) {
        let output = self.command().arg("--once").args(more).output();
        let output = output.expect("inadyn is installed");
        (output.status.success(), said(&output))
    }

    /// Lets it run unattended.
    fn stay(&self) -> Staying {
        let log = self.folder.join("log");
        let file = std::fs::File::create(&log).unwrap();
        let child = self
            .command()
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .expect("inadyn is installed");
        Staying {
            child,
            log,
            read: 0,
        }
    }
}

/// A client that runs on.
struct Staying {
    child: Child,
    log: PathBuf,
    read: usize,
}

impl Staying {
    /// Waits until it has said this since the last wait.
    fn wait_for(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // Before the log is read, so that it contains the last lines.
            let ended = self.child.try_wait().unwrap();
            let log = std::fs::read(&self.log).unwrap();
            let log = String::from_utf8_lossy(&log[self.read..]).into_owned();
            if let Some(at) = log.find(text) {
                self.read += at + text.len();
                return;
            }
            if let Some(status) = ended {
                panic!("inadyn ended with {status} before it said {text:?}:\n{log}");
            }
            assert!(Instant::now() < deadline, "no {text:?} in:\n{log}");
            std::thread::sleep(PAUSE);
        }
    }

    /// Makes it send an update now.
    fn poke(&self) {
        let pid = self.child.id().to_string();
        let done = Command::new("kill").args(["-s", "USR1", &pid]).status();
        assert!(done.unwrap().success());
    }
}

impl Drop for Staying {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn inadyn_sets_several_hosts_and_sends_nothing_twice() {
    let home = Home::start("198.51.100.7");
    let client = Inadyn::new(&home, "v4", &home.filled("inadyn"));
    let (done, log) = client.once(&[]);
    assert!(done, "{log}");
    for host in ["nas", "cam"] {
        assert!(
            log.contains(&format!("update for {host} => new IP# 198.51.100.7")),
            "{log}"
        );
        assert_eq!(home.ips(host).await, json!(["198.51.100.7"]));
    }
    let sent = home.relay().requests(UPDATE);
    assert_eq!(sent.len(), 2, "one request a host: {sent:?}");
    for head in &sent {
        assert!(head.contains(" HTTP/1.0\r\n"), "{head}");
        assert!(
            head.contains("\r\nHost: 127.0.0.1\r\n"),
            "without its port: {head}"
        );
    }

    let (done, log) = client.once(&[]);
    assert!(done, "{log}");
    assert_eq!(home.updates(), 2, "unchanged: nothing is sent");
    let (done, log) = client.once(&["--force"]);
    assert!(done, "{log}");
    assert!(log.contains("nochg 198.51.100.7"), "{log}");
    assert_eq!(home.updates(), 4);

    home.relay().move_clients("198.51.100.8");
    let (done, log) = client.once(&[]);
    assert!(done, "{log}");
    assert_eq!(home.ips("nas").await, json!(["198.51.100.8"]));
    assert_eq!(home.ips("cam").await, json!(["198.51.100.8"]));

    let mut second = Inadyn::new(&home, "v6", &home.filled("inadyn-ipv6"));
    second.path = home.path_with_ip("2001:db8::7");
    let (done, log) = second.once(&[]);
    assert!(done, "{log}");
    assert_eq!(
        home.ips("nas").await,
        json!(["198.51.100.8", "2001:db8::7"])
    );
    home.check_log();
}

#[tokio::test]
async fn inadyn_ends_when_it_is_refused() {
    let home = Home::start("198.51.100.7");
    let good = home.filled("inadyn");
    for (name, config, sees) in [
        ("wrong", good.replace(&home.token, WRONG), "badauth"),
        ("host", good.replace("nas, cam", "db"), "nohost"),
    ] {
        let mut child = Inadyn::new(&home, name, &config).stay();
        child.wait_for(sees);
        child.wait_for("exiting!");
        let status = child.child.wait().unwrap();
        assert!(!status.success(), "{name}: {status}");
    }
    assert_eq!(home.ips("db").await, Value::Null);
    home.check_log();
}

#[tokio::test]
async fn inadyn_runs_on_through_passing_trouble() {
    const LATER: &str = "Will retry again in";
    let mut home = Home::start("198.51.100.7");
    let good = home.filled("inadyn");
    home.use_up_failures("198.51.100.7").await;
    let wrong = Inadyn::new(&home, "wrong", &good.replace(&home.token, WRONG));
    let mut wrong = wrong.stay();
    wrong.wait_for("911");
    wrong.wait_for(LATER);

    // Another program holds the database: no write gets through.
    let mut holder = Command::new("sqlite3")
        .arg(home.hub().data_dir().join("hub.db"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("sqlite3 is installed");
    let mut orders = holder.stdin.take().unwrap();
    orders
        .write_all(b".timeout 20000\nBEGIN IMMEDIATE;\nSELECT 'held';\n")
        .unwrap();
    let mut answer = [0; 5];
    holder
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut answer)
        .unwrap();
    assert_eq!(&answer, b"held\n");
    let mut client = Inadyn::new(&home, "good", &good).stay();
    client.wait_for("911");
    client.wait_for(LATER);
    assert_eq!(home.ips("nas").await, Value::Null);
    orders.write_all(b"ROLLBACK;\n.quit\n").unwrap();
    drop(orders);
    holder.wait().unwrap();
    client.poke();
    client.wait_for("update for cam => new IP# 198.51.100.7");
    assert_eq!(home.ips("nas").await, json!(["198.51.100.7"]));

    // The hub goes away and comes back.
    home.check_log();
    let address = home.relay().address();
    home.relay = None;
    home.hub.take().unwrap().kill();
    client.poke();
    client.wait_for("Sending IP# update");
    client.wait_for("Connection refused");
    let hub = Hub::start(home.folder.path());
    home.relay = Some(Relay::start_at(&address, hub.url(), "198.51.100.8"));
    home.admin = home.admin.at(hub.url());
    home.hub = Some(hub);
    client.poke();
    client.wait_for("update for cam => new IP# 198.51.100.8");
    assert_eq!(home.ips("nas").await, json!(["198.51.100.8"]));
    assert!(
        wrong.child.try_wait().unwrap().is_none(),
        "it has not ended"
    );
}
