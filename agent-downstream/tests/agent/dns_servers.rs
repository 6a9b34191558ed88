//! Real DNS servers that serve a file of our own.
//!
//! These tests need `dnsmasq-base`, `unbound` and `bind9-dnsutils`.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::fake_hub::FakeHub;
use crate::sandbox::{Ran, Sandbox, agent, run};

/// How long a server may take for anything on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// A server that ends with the test.
struct Server {
    process: Child,
    port: u16,
}

impl Server {
    /// Starts a server, which is told its port by the text of its configuration.
    fn start(program: &str, arguments: &[&str], port: u16) -> Self {
        let path = std::env::var("PATH").unwrap_or_default();
        let process = Command::new(program)
            .env("PATH", format!("{path}:/usr/sbin:/sbin"))
            .args(arguments)
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}: install it, see scripts/test"));
        Self { process, port }
    }

    /// What `dig` prints for a question with these arguments.
    fn dig(&self, question: &[&str]) -> String {
        let port = self.port.to_string();
        let output = Command::new("dig")
            .args(["@127.0.0.1", "-p", &port, "+tries=1", "+time=2"])
            .args(question)
            .output()
            .expect("dig of bind9-dnsutils");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Asks until the short answer is as expected.
    fn wait_for(&self, question: &[&str], expected: &str) {
        let question = [question, &["+short"]].concat();
        let started = Instant::now();
        loop {
            let answer = self.dig(&question);
            if answer == expected {
                return;
            }
            assert!(
                started.elapsed() < LIMIT,
                "{question:?}: {answer:?}, expected {expected:?}"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn short(&self, question: &[&str]) -> String {
        self.dig(&[question, &["+short"]].concat())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A port of 127.0.0.1 that is free for UDP and TCP.
fn free_port() -> u16 {
    loop {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = udp.local_addr().unwrap().port();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A folder for a server's files, with a run of the agent that keeps `silo.conf` in it.
struct Zone {
    sandbox: Sandbox,
    format: &'static str,
}

impl Zone {
    fn new(format: &'static str) -> Self {
        let sandbox = Sandbox::new("");
        fs::create_dir(sandbox.path("dns")).unwrap();
        // For servers that change to another user.
        sandbox.set_mode("dns", 0o755);
        sandbox.set_mode("", 0o755);
        Self { sandbox, format }
    }

    fn file(&self) -> String {
        self.sandbox.path("dns/silo.conf").display().to_string()
    }

    fn once_with(&self, hub: &FakeHub, path: &str, arguments: &[&str]) -> Ran {
        let sandbox = &self.sandbox;
        run(agent()
            .env("PATH", path)
            .arg("--config")
            .arg(sandbox.path("downstream.yaml"))
            .arg("--state-dir")
            .arg(sandbox.path("state"))
            .arg("--token-file")
            .arg(sandbox.path("token"))
            .args(["--hub", &hub.url(), "--silo", "office", "--suffix", "lan"])
            .args(["--format", self.format, "--file", &self.file()])
            .args(arguments))
    }

    fn once(&self, hub: &FakeHub) {
        // As cron sets it.
        let ran = self.once_with(hub, "/usr/bin:/bin", &[]);
        assert_eq!(ran.code, 0, "{ran:?}");
    }
}

#[test]
fn dnsmasq_serves_each_change_without_a_restart() {
    let zone = Zone::new("hosts");
    let hub = FakeHub::office(1, &[("db", "10.0.0.5"), ("db", "fd00::5")]);
    let port = free_port();
    let folder = zone.sandbox.path("dns").display().to_string();
    let server = Server::start(
        "dnsmasq",
        &[
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--no-hosts",
            "--no-resolv",
            "--user=root",
            "--listen-address=127.0.0.1",
            "--bind-interfaces",
            "--pid-file",
            "--log-facility=/dev/null",
            &format!("--port={port}"),
            &format!("--hostsdir={folder}"),
        ],
        port,
    );
    // It answers, and watches the folder, before the file exists.
    let started = Instant::now();
    while !server.dig(&["db"]).contains("status: REFUSED") {
        assert!(started.elapsed() < LIMIT, "{}", server.dig(&["db"]));
        std::thread::sleep(Duration::from_millis(100));
    }
    zone.once(&hub);
    server.wait_for(&["db"], "10.0.0.5\n");
    server.wait_for(&["db.lan", "AAAA"], "fd00::5\n");
    assert_eq!(server.short(&["-x", "10.0.0.5"]), "db.\n");
    hub.now_office(2, &[("db", "10.0.0.6"), ("nas", "10.0.0.7")]);
    zone.once(&hub);
    server.wait_for(&["db"], "10.0.0.6\n");
    server.wait_for(&["nas.lan"], "10.0.0.7\n");
    // Neither the old address nor the temporary file is served.
    assert_eq!(server.short(&["db.lan"]), "10.0.0.6\n");
}

/// An unbound with its folder: the file of our own beside its main configuration.
fn unbound(zone: &Zone, upstream: u16) -> (Server, String) {
    let port = free_port();
    let control = zone.sandbox.path("control.sock").display().to_string();
    let main = zone.sandbox.path("unbound.conf");
    let folder = zone.sandbox.path("dns").display().to_string();
    let text = format!(
        "server:\n  interface: 127.0.0.1\n  port: {port}\n  username: \"\"\n  chroot: \"\"\n  pidfile: \"\"\n  use-syslog: no\n  logfile: \"/dev/null\"\n  do-not-query-localhost: no\n  module-config: \"iterator\"\n  num-threads: 1\n\
         remote-control:\n  control-enable: yes\n  control-interface: {control}\n  control-use-cert: no\n\
         forward-zone:\n  name: \".\"\n  forward-addr: 127.0.0.1@{upstream}\n\
         include-toplevel: \"{folder}/*.conf\"\n"
    );
    fs::write(&main, text).unwrap();
    let main = main.display().to_string();
    let server = Server::start("unbound", &["-d", "-p", "-c", &main], port);
    (server, main)
}

/// What unbound forwards to: it knows two names and refuses others.
fn upstream(zone: &Zone) -> Server {
    let hosts = zone.sandbox.path("upstream");
    fs::write(
        &hosts,
        "192.0.2.1 www.example.org x.db other\nfd00::99 db\n198.18.0.9 public.in-addr\n",
    )
    .unwrap();
    let port = free_port();
    let file = hosts.display().to_string();
    Server::start(
        "dnsmasq",
        &[
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--no-hosts",
            "--no-resolv",
            "--user=root",
            "--listen-address=127.0.0.1",
            "--bind-interfaces",
            "--pid-file",
            "--log-facility=/dev/null",
            &format!("--addn-hosts={file}"),
            &format!("--port={port}"),
        ],
        port,
    )
}

fn reload(main: &str) {
    let path = std::env::var("PATH").unwrap_or_default();
    let started = Instant::now();
    // Until the server listens on its control socket.
    loop {
        let output = Command::new("unbound-control")
            .env("PATH", format!("{path}:/usr/sbin:/sbin"))
            .args(["-c", main, "reload"])
            .output()
            .expect("unbound-control of unbound");
        if output.status.success() {
            return;
        }
        assert!(started.elapsed() < LIMIT, "{output:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn unbound_answers_after_a_reload_and_resolves_other_names_as_before() {
    let zone = Zone::new("unbound");
    let hub = FakeHub::office(
        1,
        &[
            ("db", "10.0.0.5"),
            ("nas", "fd00::7"),
            ("tv.home.arpa", "10.0.0.8"),
        ],
    );
    zone.once(&hub);
    let upstream = upstream(&zone);
    let (server, main) = unbound(&zone, upstream.port);
    server.wait_for(&["db"], "10.0.0.5\n");
    for (question, expected) in [
        (&["db.lan"][..], "10.0.0.5\n"),
        (&["nas", "AAAA"], "fd00::7\n"),
        (&["tv.home.arpa"], "10.0.0.8\n"),
        (&["-x", "10.0.0.5"], "db.\n"),
        (&["-x", "fd00::7"], "nas.\n"),
        // An address of another family is not asked of the server behind it, which has one.
        (&["db", "AAAA"], ""),
        // Other names: of the same kind, below one of ours, and public ones.
        (&["other"], "192.0.2.1\n"),
        (&["x.db"], "192.0.2.1\n"),
        (&["www.example.org"], "192.0.2.1\n"),
        (&["-x", "198.18.0.9"], "public.in-addr.\n"),
    ] {
        assert_eq!(server.short(question), expected, "{question:?}");
    }
    let no_data = server.dig(&["db", "AAAA"]);
    assert!(no_data.contains("status: NOERROR"), "{no_data}");

    hub.now_office(2, &[("db", "10.0.0.6")]);
    zone.once(&hub);
    reload(&main);
    server.wait_for(&["db"], "10.0.0.6\n");
    server.wait_for(&["-x", "10.0.0.6"], "db.\n");
    assert_eq!(server.short(&["nas", "AAAA"]), "");
}

#[test]
fn a_file_that_unbound_refuses_is_not_put_in_place() {
    let zone = Zone::new("unbound");
    let hub = FakeHub::office(1, &[("db", "10.0.0.5")]);
    zone.once(&hub);
    let before = fs::read_to_string(zone.file()).unwrap();
    // The real program, which gets one more line to refuse.
    let folder = zone.sandbox.path("bin");
    fs::create_dir(&folder).unwrap();
    let wrapper = folder.join("unbound-checkconf");
    let broken = folder.join("broken.conf").display().to_string();
    let script = format!(
        "#!/bin/sh\n{{ cat \"$1\"; echo 'local-data: \"db. 60 IN A 999.1.1.1\"'; }} >{broken}\nexec /usr/sbin/unbound-checkconf {broken}\n"
    );
    fs::write(&wrapper, script).unwrap();
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", folder.display());
    hub.now_office(2, &[("db", "10.0.0.6")]);
    let ran = zone.once_with(&hub, &path, &[]);
    assert_eq!(ran.code, 1, "{ran:?}");
    for part in [
        "unbound-checkconf refuses the new file",
        "999.1.1.1",
        "was not changed",
    ] {
        assert!(ran.stderr.contains(part), "{ran:?}");
    }
    assert_eq!(fs::read_to_string(zone.file()).unwrap(), before);
    let left = |folder: &str, ending: &str| {
        let names = fs::read_dir(zone.sandbox.path(folder)).unwrap();
        let mut names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.any(|name| {
            Path::new(&name)
                .extension()
                .is_some_and(|had| had == ending)
        })
    };
    assert!(!left("state", "conf") && !left("state", "out"));
    // Nothing was remembered: the next run tries again, and says so.
    zone.once(&hub);
    assert!(
        fs::read_to_string(zone.file())
            .unwrap()
            .contains("10.0.0.6")
    );
}
