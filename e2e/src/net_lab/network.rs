//! The networks of a [`NetLab`](super::NetLab): a namespace for each machine, each on a link of its own to the router,
//! which is the namespace of this process.

use std::process::{Command, Stdio};

use super::{DOWNSTREAMS, UPSTREAMS};

/// Counts what agents send before it can be lost, translates their addresses, and drops what belongs to no known
/// connection, as routers commonly do. `cut` is where a test drops packets.
const RULES: &str = r#"
table ip lab {
  counter opened {}
  chain count { type filter hook prerouting priority raw; iifname != "r-hub" tcp flags & (syn | ack) == syn counter name opened; }
  chain translate { type nat hook postrouting priority srcnat; oifname "r-hub" masquerade; }
  chain unknown { type filter hook forward priority filter; ct state invalid drop; }
  chain unknown_here { type filter hook input priority filter; iifname "r-hub" ct state invalid drop; }
  chain cut { type filter hook forward priority 10; }
}"#;

/// The networks of all machines. Addresses are `10.N.0.H` on network N, where the router is `10.N.0.1`.
#[derive(Debug)]
pub struct Network {
    machines: Vec<Machine>,
}

#[derive(Debug)]
struct Machine {
    name: &'static str,
    network: usize,
    address: String,
}

impl Network {
    /// Makes namespaces, links, addresses and rules, in a process that is isolated.
    pub(super) fn make() -> Self {
        // The names of the namespaces are this process's own, too.
        shell("mount -t tmpfs none /run; ip link set lo up; echo 1 >/proc/sys/net/ipv4/ip_forward");
        // A connection in the middle is not taken for a new one.
        shell("echo 0 >/proc/sys/net/netfilter/nf_conntrack_tcp_loose");
        let names = ["hub"].into_iter().chain(UPSTREAMS).chain(DOWNSTREAMS);
        let machines = names.enumerate().map(|(at, name)| {
            let network = at + 1;
            let address = format!("10.{network}.0.2");
            shell(&format!(
                "ip netns add {name}
                ip link add r-{name} type veth peer name eth0 netns {name}
                ip addr add 10.{network}.0.1/24 dev r-{name}
                ip link set r-{name} up
                ip -n {name} link set lo up
                ip -n {name} addr add {address}/24 dev eth0
                ip -n {name} link set eth0 up
                ip -n {name} route add default via 10.{network}.0.1"
            ));
            Machine {
                name,
                network,
                address,
            }
        });
        let machines = machines.collect();
        shell(&format!("nft -f - <<'END'{RULES}\nEND"));
        Self { machines }
    }

    fn machine(&self, name: &str) -> &Machine {
        let found = self.machines.iter().find(|machine| machine.name == name);
        found.expect("each machine has a name")
    }

    /// The address of a machine.
    pub fn address(&self, name: &str) -> &str {
        &self.machine(name).address
    }

    /// The address of the hub.
    pub fn hub(&self) -> &str {
        self.address("hub")
    }

    /// Gives a machine another address instead of the present one.
    pub fn readdress(&mut self, name: &str, host: u8) {
        let Machine {
            network, address, ..
        } = self.machine(name);
        let next = format!("10.{network}.0.{host}");
        // Otherwise the second address of a network goes with the first.
        shell(&format!(
            "ip netns exec {name} sh -c 'echo 1 >/proc/sys/net/ipv4/conf/eth0/promote_secondaries'
            ip -n {name} addr add {next}/24 dev eth0
            ip -n {name} addr del {address}/24 dev eth0"
        ));
        for machine in &mut self.machines {
            if machine.name == name {
                machine.address.clone_from(&next);
            }
        }
    }

    /// Gives a machine one more link-local IPv6 address.
    pub fn add_link_local(&self, name: &str, host: u8) {
        shell(&format!("ip -n {name} addr add fe80::7:{host}/64 dev eth0"));
    }

    /// Gives the hub another address.
    pub(super) fn move_hub(&mut self, host: u8) {
        self.readdress("hub", host);
    }

    /// Cuts the link between the router and the hub: the router tells that the hub can't be reached.
    pub fn cut_link(&self) {
        shell("ip link set r-hub down");
    }

    /// Connects the link again.
    pub fn connect_link(&self) {
        shell("ip link set r-hub up");
    }

    /// Drops everything between agents and hub, and says nothing.
    pub fn drop_all(&self) {
        shell("nft add rule ip lab cut drop");
    }

    /// Refuses everything between agents and hub at once, as a machine does on which no hub runs.
    pub fn refuse_all(&self) {
        shell("nft add rule ip lab cut meta l4proto tcp reject with tcp reset");
    }

    /// Lets everything pass again.
    pub fn pass_all(&self) {
        shell("nft flush chain ip lab cut");
    }

    /// Forgets all connections, as a router that restarts: their packets are dropped from now on.
    pub fn forget_connections(&self) {
        shell("conntrack -F 2>/dev/null");
    }

    /// Cuts or connects the links of the hub, the first upstream and the first downstream at the router. The second
    /// upstream loses its own, and with it its route, as when a DHCP client starts again.
    pub fn flap(&self, is_up: bool) {
        let state = ["down", "up"][usize::from(is_up)];
        let network = self.machine(UPSTREAMS[1]).network;
        let route = if is_up {
            format!("ip -n up2 route replace default via 10.{network}.0.1")
        } else {
            String::new()
        };
        shell(&format!(
            "for name in hub up1 down1; do ip link set r-$name {state}; done
            ip -n up2 link set eth0 {state}
            {route}"
        ));
    }

    /// How many packets of agents wanted to open a connection to the hub; an attempt without an answer is repeated by
    /// the system after 1 s and after 3 s.
    pub fn opened(&self) -> usize {
        let output = Command::new("nft")
            .args(["list", "counter", "ip", "lab", "opened"])
            .stderr(Stdio::inherit())
            .output()
            .expect("this needs nft (nftables)");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut words = text
            .split_whitespace()
            .skip_while(|word| *word != "packets");
        let count = words.nth(1).and_then(|count| count.parse().ok());
        count.unwrap_or_else(|| panic!("not a counter: {text}"))
    }
}

#[track_caller]
fn shell(script: &str) {
    let status = Command::new("sh").args(["-ec", script]).status();
    assert!(status.expect("a shell").success(), "{script}");
}
