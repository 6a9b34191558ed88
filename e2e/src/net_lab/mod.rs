//! A hub, two upstream agents and two downstream agents that stay, each a program in a network namespace of its own,
//! with a router between them that translates the addresses of the agents (NAT).
//!
//! Everything is in namespaces of one process, isolated from the machine: when that process ends, for whatever
//! reason, the kernel ends the programs and removes the networks. Needs root, and `unshare` (util-linux), `ip`
//! (iproute2), `nft` (nftables) and `conntrack`.

mod agent;
mod network;
mod usage;

use std::fs::read_to_string;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::Hub;
pub use agent::Agent;
pub use network::Network;
pub use usage::Usage;

/// Says to the program that runs again that it is inside of the namespaces.
const INSIDE: &str = "SILO_NET_LAB";
/// How long the agents may take to heal: a connection that is only silent is given up after 40 s, and pauses grow.
const PATIENCE: Duration = Duration::from_secs(240);
/// The port of the hub.
const PORT: u16 = 8053;
/// By what name agents call the hub.
const HUB_NAME: &str = "hub.test";
/// The namespaces of the upstreams, which are also the hostnames that they report.
pub const UPSTREAMS: [&str; 2] = ["up1", "up2"];
/// The namespaces of the downstreams.
pub const DOWNSTREAMS: [&str; 2] = ["down1", "down2"];

/// How this program runs again in namespaces of its own: all but files and users.
fn unshared(arguments: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command
        .args(["--net", "--mount", "--pid", "--fork", "--kill-child"])
        .args(["--mount-proc", "--"])
        .arg(std::env::current_exe().expect("a running program has a path"))
        .args(arguments)
        .env(INSIDE, "1");
    command
}

/// Whether this process runs in namespaces of its own already.
fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Runs the test called `name` once more, in namespaces of its own, and there `body`.
///
/// # Panics
///
/// If the test fails in there.
#[track_caller]
pub fn isolate_test(name: &str, body: impl FnOnce()) {
    if is_inside() {
        return body();
    }
    let Output {
        status,
        stdout,
        stderr,
    } = unshared(&["--exact", name, "--nocapture"])
        .output()
        .expect("this test needs unshare (util-linux)");
    let text = String::from_utf8_lossy(&stdout) + String::from_utf8_lossy(&stderr);
    assert!(
        status.success() && text.contains("1 passed"),
        "failed in the namespaces (this test needs root, iproute2, nftables and conntrack): {text}"
    );
    print!("{text}");
}

/// Runs this program once more with the same arguments, in namespaces of its own, and there `body`. Returns how the
/// other one ended.
pub fn isolate_program(body: impl FnOnce()) -> Option<ExitStatus> {
    if is_inside() {
        body();
        return None;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ended = unshared(&arguments).status();
    Some(ended.expect("this needs unshare (util-linux)"))
}

/// How the programs are started.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What all programs run under, such as `env` with variables.
    pub wrapper: Vec<String>,
    /// Whether the hub logs each request, and upstreams what wakes them.
    pub logs_requests: bool,
}

/// The running programs and their networks.
#[derive(Debug)]
pub struct NetLab {
    /// The networks.
    pub network: Network,
    /// The hub.
    pub hub: Hub,
    /// In the order of [`UPSTREAMS`].
    pub upstreams: Vec<Agent>,
    /// In the order of [`DOWNSTREAMS`].
    pub downstreams: Vec<Agent>,
    changes: u8,
    folder: TempDir,
}

impl NetLab {
    /// Starts all programs, and waits until the hosts files have the addresses of both upstreams.
    ///
    /// # Panics
    ///
    /// If anything can't be started.
    pub fn start(options: &Options) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let network = Network::make();
        let log = if options.logs_requests {
            "silo_hub=debug,silo_hub::http=trace"
        } else {
            "info"
        };
        let mut wrapper = ["ip", "netns", "exec", "hub"].map(str::to_owned).to_vec();
        wrapper.extend(options.wrapper.iter().cloned());
        wrapper.extend(["env".to_owned(), format!("RUST_LOG={log}")]);
        let words: Vec<&str> = wrapper.iter().map(String::as_str).collect();
        let hub = Hub::start_under_at(&words, &folder.path().join("hub"), "0.0.0.0:8053");
        name_hub(folder.path(), network.hub());
        let token = hub.token(&["--name", "all", "--role", "write", "--silo", "office"]);
        let start = |kind: &str, name: &&str, settings: &str| {
            let config = format!(
                "hub: http://{HUB_NAME}:{PORT}\ntoken_file: token\nstate_dir: state\n{settings}"
            );
            let place = agent::Place {
                name,
                folder: folder.path().join(name),
                hosts: etc_hosts(folder.path()),
            };
            Agent::start(kind, &place, &config, &token, options)
        };
        let upstream = |name| {
            let settings =
                format!("silo: office\nhostnames: [{name}]\naddresses: interface:eth0\n");
            start("silo-upstream", name, &settings)
        };
        let downstream = |name| {
            start(
                "silo-downstream",
                name,
                "silos: [office]\nhosts_file: hosts\n",
            )
        };
        let upstreams: Vec<Agent> = UPSTREAMS.iter().map(upstream).collect();
        // A downstream asks for a silo that is not there only from time to time.
        for agent in &upstreams {
            agent.wait_for_report();
        }
        let mut lab = Self {
            upstreams,
            downstreams: DOWNSTREAMS.iter().map(downstream).collect(),
            network,
            hub,
            changes: 0,
            folder,
        };
        for at in 0..UPSTREAMS.len() {
            lab.change(at);
        }
        lab.converge();
        lab
    }

    /// Gives an upstream another address, which it has to report.
    pub fn change(&mut self, upstream: usize) {
        self.changes = self.changes % 200 + 1;
        let host = self.changes + 10;
        self.network.readdress(UPSTREAMS[upstream], host);
    }

    /// Waits until both hosts files have the present addresses of both upstreams. Returns how long that took.
    ///
    /// # Panics
    ///
    /// If they never do, or an agent has ended.
    pub fn converge(&mut self) -> Duration {
        let lines = UPSTREAMS.map(|name| format!("{} {name}", self.network.address(name)));
        self.wait_until(&lines.join(", "), |lab| {
            lab.downstreams.iter().all(|agent| {
                let held = read_to_string(agent.folder().join("hosts"));
                let held = held.expect("a file that is replaced is always there");
                let is_held = |line: &String| held.lines().any(|held| held == line);
                lines.iter().all(is_held)
            })
        })
    }

    /// Waits for a condition. Returns how long that took.
    ///
    /// # Panics
    ///
    /// If it does not come true, or an agent has ended.
    pub fn wait_until(&mut self, what: &str, is_true: impl Fn(&Self) -> bool) -> Duration {
        let began = Instant::now();
        while !is_true(self) {
            let is_late = began.elapsed() >= PATIENCE;
            assert!(!is_late, "in vain: {what}\n{}", self.said());
            self.assert_running();
            sleep(Duration::from_millis(1));
        }
        began.elapsed()
    }

    /// # Panics
    ///
    /// If an agent has ended: they stay, whatever happens.
    pub fn assert_running(&mut self) {
        for agent in self.upstreams.iter_mut().chain(&mut self.downstreams) {
            agent.assert_running();
        }
    }

    /// What all agents have said, for messages.
    pub fn said(&self) -> String {
        let agents = self.upstreams.iter().chain(&self.downstreams);
        agents
            .map(|agent| format!("{}:\n{}{}", agent.name(), agent.stdout(), agent.stderr()))
            .collect()
    }

    /// Moves the hub to another address, and its name with it.
    pub fn move_hub(&mut self, host: u8) {
        self.network.move_hub(host);
        name_hub(self.folder.path(), self.network.hub());
    }

    /// How many requests the hub has received; it must log them.
    pub fn requests(&self) -> usize {
        self.hub.log().matches("request begins").count()
    }

    /// How many requests the hub has answered with this status; it must log them.
    pub fn answers(&self, status: u16) -> usize {
        let mark = format!("status=\"{status}\"");
        self.hub.log().matches(&mark).count()
    }
}

/// The file that all agents see as `/etc/hosts`.
fn etc_hosts(folder: &Path) -> PathBuf {
    folder.join("etc-hosts")
}

/// Gives the hub's name this address. The file stays the same one, since it is mounted.
fn name_hub(folder: &Path, address: &str) {
    let text = format!("127.0.0.1 localhost\n{address} {HUB_NAME}\n");
    std::fs::write(etc_hosts(folder), text).expect("a file in a temporary folder can be written");
}
