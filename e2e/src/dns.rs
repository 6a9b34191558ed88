//! A DNS server of the test's own, BIND or Knot, in a temporary folder, which it may stop and start.
//!
//! Both serve the same: [`ZONE`] and the reverse zones of 192.0.2.0/24 and 2001:db8::/32, updated by
//! the keys of [`KEYS`]. docs/dns-server.md shows the same stanzas.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::postgres::free_port;
use crate::{PATIENCE, write_private};

/// The forward zone.
pub const ZONE: &str = "office.home.arpa";
/// The reverse zones.
pub const REVERSE: [&str; 2] = ["2.0.192.in-addr.arpa", "8.b.d.0.1.0.0.2.ip6.arpa"];
/// A zone that only BIND serves, updated by its session key (`update-policy local`).
pub const LOCAL_ZONE: &str = "local.home.arpa";
/// A zone that only BIND serves, in which the first key may change the addresses of `db` alone.
pub const POLICY_ZONE: &str = "policy.home.arpa";
/// The keys that may update: name, algorithm, secret.
pub const KEYS: [(&str, &str, &str); 3] = [
    (
        "silo.",
        "hmac-sha256",
        "c2lsby1rZXktb25lLWZvci10aGUtdGVzdHMtb25seSE=",
    ),
    (
        "silo-384.",
        "hmac-sha384",
        "c2lsby1rZXktdHdvLWZvci10aGUtdGVzdHMtb25seSE=",
    ),
    (
        "silo-512.",
        "hmac-sha512",
        "c2lsby1rZXktMTIzLWZvci10aGUtdGVzdHMtb25seSE=",
    ),
];
/// A key that the server knows and that may update nothing.
pub const OTHER_KEY: (&str, &str, &str) = (
    "other.",
    "hmac-sha256",
    "b3RoZXIta2V5LTEyMy1mb3ItdGhlLXRlc3RzLW9ubHk=",
);
/// The initial content of the forward zone.
const RECORDS: &str = "\
    ns A 127.0.0.1\n\
    alias CNAME ns\n\
    taken A 192.0.2.99\n\
    *.wild A 192.0.2.77\n";

/// A server's program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// BIND 9, Debian's package `bind9`.
    Bind,
    /// Knot DNS, Debian's package `knot`.
    Knot,
}

/// A running (or stopped) server on loopback.
#[derive(Debug)]
pub struct DnsServer {
    program: Program,
    folder: tempfile::TempDir,
    port: u16,
    child: Option<Child>,
}

impl DnsServer {
    /// Makes its zones and keys, starts it and waits until it answers.
    pub fn start(program: Program) -> Self {
        let mut server = Self::make(program);
        server.start_again();
        server
    }

    /// Makes its zones and keys, and does not start it yet.
    pub fn make(program: Program) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let port = loop {
            let port = free_port();
            if UdpSocket::bind(("127.0.0.1", port)).is_ok() {
                break port;
            }
        };
        let server = Self {
            program,
            folder,
            port,
            child: None,
        };
        server.write_zones();
        for (name, algorithm, secret) in KEYS.into_iter().chain([OTHER_KEY]) {
            write_private(&server.path(&format!("{name}secret")), secret);
            let key =
                format!("key \"{name}\" {{ algorithm {algorithm}; secret \"{secret}\"; }};\n");
            write_private(&server.path(&format!("{name}key")), &key);
        }
        std::fs::create_dir(server.path("run")).expect("a folder can be made");
        let config = match program {
            Program::Bind => server.bind_config(),
            Program::Knot => server.knot_config(),
        };
        write_private(&server.config(), &config);
        server
    }

    fn bind_config(&self) -> String {
        let (at, port) = (self.folder.path().display(), self.port);
        let mut text = String::new();
        for (name, ..) in KEYS.into_iter().chain([OTHER_KEY]) {
            let _ = writeln!(text, "include \"{at}/{name}key\";");
        }
        let _ = writeln!(
            text,
            "options {{ directory \"{at}\"; pid-file \"{at}/run/named.pid\"; session-keyfile \"{at}/session.key\"; \
             listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; recursion no; dnssec-validation no; }};\n\
             controls {{ }};"
        );
        let keys: String = KEYS
            .iter()
            .map(|(name, ..)| format!("key \"{name}\"; "))
            .collect();
        for zone in [ZONE, REVERSE[0], REVERSE[1]] {
            let _ = writeln!(
                text,
                "zone \"{zone}\" {{ type primary; file \"{zone}.zone\"; allow-update {{ {keys}}}; }};"
            );
        }
        let _ = writeln!(
            text,
            "zone \"{LOCAL_ZONE}\" {{ type primary; file \"{LOCAL_ZONE}.zone\"; update-policy local; }};\n\
             zone \"{POLICY_ZONE}\" {{ type primary; file \"{POLICY_ZONE}.zone\"; \
             update-policy {{ grant {} name db.{POLICY_ZONE} A AAAA; }}; }};",
            KEYS[0].0
        );
        text
    }

    fn knot_config(&self) -> String {
        let (at, port) = (self.folder.path().display(), self.port);
        let mut text = format!(
            "server:\n  rundir: {at}/run\n  listen: 127.0.0.1@{port}\n  \
             udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n\
             log:\n  - target: stderr\n    any: debug\n\
             database:\n  storage: {at}/run\nkey:\n"
        );
        for (name, algorithm, secret) in KEYS.into_iter().chain([OTHER_KEY]) {
            let _ = writeln!(
                text,
                "  - id: {name}\n    algorithm: {algorithm}\n    secret: {secret}"
            );
        }
        let keys = KEYS.map(|(name, ..)| name).join(", ");
        let _ = writeln!(
            text,
            "acl:\n  - id: silo\n    key: [{keys}]\n    action: update"
        );
        let _ = writeln!(text, "zone:");
        for zone in [ZONE, REVERSE[0], REVERSE[1]] {
            let _ = writeln!(
                text,
                "  - domain: {zone}\n    storage: {at}\n    file: {zone}.zone\n    acl: silo"
            );
        }
        text
    }

    /// Starts a stopped server and waits until it answers.
    pub fn start_again(&mut self) {
        let (program, arguments) = match self.program {
            Program::Bind => ("named", &["-f", "-4", "-n", "1", "-c"] as &[&str]),
            Program::Knot => ("knotd", &["-c"] as &[&str]),
        };
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path());
        let log = log.expect("the log can be made");
        let copy = log.try_clone().expect("a file can be opened twice");
        let path = Path::new("/usr/sbin").join(program);
        let child = Command::new(&path)
            .args(arguments)
            .arg(self.config())
            .stdin(Stdio::null())
            .stdout(copy)
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        self.child = Some(child);
        let deadline = Instant::now() + PATIENCE;
        while self.lookup(ZONE, "SOA").is_empty() {
            let child = self.child.as_mut().expect("it was just started");
            if let Some(status) = child.try_wait().expect("a child can be asked") {
                panic!("{program} ended with {status}:\n{}", self.log());
            }
            assert!(Instant::now() < deadline, "{program}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Stops the server as its service would, and waits until it is gone.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let pid = child.id().to_string();
            let asked = Command::new("kill").arg(pid).status();
            assert!(asked.is_ok_and(|status| status.success()), "cannot stop it");
            child.wait().expect("a child can be waited for");
        }
    }

    /// Stops the server, and starts it with its zones as they were when it was made: as after a restore
    /// of old copies.
    pub fn restore(&mut self) {
        self.stop();
        let journals = std::fs::read_dir(self.folder.path()).expect("the folder is there");
        for entry in journals {
            let path = entry.expect("the folder can be read").path();
            if path.extension().is_some_and(|ending| ending == "jnl") {
                std::fs::remove_file(path).expect("a file there can be removed");
            }
        }
        self.write_zones();
        if self.program == Program::Knot {
            // Its journal of all zones.
            let _ = std::fs::remove_dir_all(self.path("run/journal"));
        }
        self.start_again();
    }

    fn write_zones(&self) {
        for (zone, records) in [(ZONE, RECORDS), (REVERSE[0], ""), (REVERSE[1], "")]
            .into_iter()
            .chain([LOCAL_ZONE, POLICY_ZONE].map(|zone| (zone, "ns A 127.0.0.1\n")))
        {
            let text = format!(
                "$TTL 300\n@ SOA ns.{ZONE}. hostmaster.{ZONE}. 1 3600 600 86400 60\n@ NS ns.{ZONE}.\n{records}"
            );
            std::fs::write(self.path(&format!("{zone}.zone")), text)
                .expect("a file in a temporary folder can be written");
        }
    }

    /// Its port, for UDP and TCP alike.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder with `silo.key` and its like in BIND's form, and `silo.secret` with the secret alone.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The file in which BIND leaves its session key at each start.
    pub fn session_key(&self) -> PathBuf {
        self.path("session.key")
    }

    /// The settings of a sink that updates [`ZONE`] by the first key.
    pub fn sink(&self) -> String {
        let (name, algorithm, _) = KEYS[0];
        format!(
            "server: 127.0.0.1:{}\nzone: {ZONE}\nttl: 30\n\
             key: {{ name: {name}, algorithm: {algorithm}, secret_file: {name}secret }}\n",
            self.port
        )
    }

    /// What the server answers, as `dig +short` shows it, sorted; nothing when it does not answer.
    pub fn lookup(&self, name: &str, kind: &str) -> Vec<String> {
        let text = self.dig(&["+short", name, kind]);
        let lines = text.lines().filter(|line| !line.starts_with(';'));
        let mut lines: Vec<String> = lines.map(str::to_owned).collect();
        lines.sort();
        lines
    }

    /// The TTL of the first record that the server answers.
    pub fn ttl(&self, name: &str, kind: &str) -> Option<u32> {
        let text = self.dig(&["+noall", "+answer", name, kind]);
        text.split_whitespace().nth(1)?.parse().ok()
    }

    fn dig(&self, arguments: &[&str]) -> String {
        let output = Command::new("dig")
            .args(["@127.0.0.1", "-p", &self.port.to_string()])
            .args(["+norecurse", "+time=1", "+tries=1"])
            .args(arguments)
            .output()
            .expect("dig is installed");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Changes a zone with `nsupdate`, as another program would: lines such as `update add …`.
    pub fn change(&self, lines: &[&str]) {
        let mut child = Command::new("nsupdate")
            // By TCP, which waits for a server that is busy; by UDP it gives up after three seconds.
            .args(["-v", "-t", "30", "-k"])
            .arg(self.path(&format!("{}key", KEYS[0].0)))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("nsupdate is installed");
        let text = format!(
            "server 127.0.0.1 {}\n{}\nsend\n",
            self.port,
            lines.join("\n")
        );
        let mut input = child.stdin.take().expect("it is piped");
        input
            .write_all(text.as_bytes())
            .expect("nsupdate reads its input");
        drop(input);
        let output = child.wait_with_output().expect("a child can be waited for");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "nsupdate: {said}\n{text}");
    }

    /// Everything that the server has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.path("log")
    }

    fn config(&self) -> PathBuf {
        self.path("server.conf")
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail when it has ended by itself, which is as well.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
