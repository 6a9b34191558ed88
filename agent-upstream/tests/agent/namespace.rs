//! What needs interfaces, routes and names of its own: run as root in fresh network and mount
//! namespaces (unshare(1), ip(8)). Without root these tests fail. The interfaces are veth pairs, which
//! smaller kernels have too, unlike dummy ones.

use std::process::Command;

use crate::hub::{Answer, Hub};
use crate::run::Agent;

/// Says to the test that runs again that it is inside.
const INSIDE: &str = "IN_A_NAMESPACE";

/// Runs the test called `name` once more in new namespaces, and there `body`.
#[track_caller]
pub(crate) fn in_namespace(name: &str, setup: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        shell("ip link set lo up");
        shell(setup);
        return body();
    }
    let output = Command::new("unshare")
        .args(["--net", "--mount", "--"])
        .arg(std::env::current_exe().expect("this test itself"))
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .expect("this test needs unshare (util-linux)");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "failed in the namespaces (this test needs root, unshare and iproute2): {text}"
    );
}

#[track_caller]
pub(crate) fn shell(script: &str) {
    let status = Command::new("sh")
        .args(["-ec", script])
        .status()
        .expect("a shell");
    assert!(status.success(), "{script}");
}

/// The addresses that `check` finds, or what it says is wrong.
fn found(addresses: &str) -> String {
    found_with(&format!("addresses: {addresses}\n"))
}

fn found_with(more: &str) -> String {
    // Nothing listens there; only what is said of the addresses counts.
    let ran = Agent::new("http://127.0.0.1:1", more).args(["check"]).run();
    let all = ran.stdout + &ran.stderr;
    let line = all.lines().find_map(|line| {
        let (_, rest) = line.split_once("addresses from ")?;
        Some(rest.split_once(": ")?.1.to_owned())
    });
    line.unwrap_or(all)
}

#[test]
fn the_best_addresses_of_an_interface_are_taken() {
    let setup = "
        ip link add d0 type veth peer name p0
        ip link set d0 addrgenmode none
        ip link set d0 up
        ip link set p0 up
        ip addr add 192.0.2.5/24 dev d0
        ip addr add 192.0.2.4/24 dev d0
        ip addr add 198.51.100.5/24 dev d0 label d0:1
        ip addr add fe80::5/64 dev d0 nodad
        ip addr add fd00::5/64 dev d0 nodad
        ip addr add 2001:db8::1/64 dev d0 nodad preferred_lft 0
        ip addr add 2001:db8::9/64 dev d0 nodad
        ip addr add 2001:db8::8/64 dev d0 nodad";
    in_namespace(
        "namespace::the_best_addresses_of_an_interface_are_taken",
        setup,
        || {
            assert_eq!(found("interface:d0"), "192.0.2.5 2001:db8::8");
            assert_eq!(found("interface:d0:1"), "198.51.100.5");
            assert_eq!(found("{interface: {name: d0, family: 4}}"), "192.0.2.5");
            assert_eq!(found("{interface: {name: d0, family: 6}}"), "2001:db8::8");
            let within = |networks: &str| {
                found_with(&format!("addresses: interface:d0\nwithin: {networks}\n"))
            };
            assert_eq!(
                within("[198.51.100.0/24, fd00::/8]"),
                "198.51.100.5 fd00::5"
            );
            assert_eq!(within("[fd00::/8]"), "fd00::5");
            assert!(within("[10.0.0.0/8]").contains("192.0.2.5 is outside `within`"));
            shell("ip addr flush dev d0 scope global");
            assert!(found("interface:d0").contains("fe80::5 is a link-local address"));
            assert_eq!(
                found("{interface: {name: d0, link_local: true}}"),
                "fe80::5"
            );
        },
    );
}

#[test]
fn temporary_and_deprecated_addresses_are_skipped_unless_configured() {
    let name = "namespace::temporary_and_deprecated_addresses_are_skipped_unless_configured";
    // The kernel makes the temporary address itself, beside one that allows it (ip-address(8)).
    let setup = "
        ip link add d0 type veth peer name p0
        ip link set d0 addrgenmode none
        echo 0 > /proc/sys/net/ipv6/conf/d0/accept_dad
        ip link set d0 up
        ip link set p0 up
        echo 2 > /proc/sys/net/ipv6/conf/d0/use_tempaddr
        ip addr add 2001:db8::5/64 dev d0 nodad mngtmpaddr valid_lft 86400 preferred_lft 86400
        ip addr add fd00::5/64 dev d0 nodad preferred_lft 0";
    in_namespace(name, setup, || {
        let listed = Command::new("ip")
            .args(["-6", "addr", "show", "dev", "d0", "temporary"])
            .output()
            .unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        let temporary = listed
            .split_whitespace()
            .find_map(|word| word.strip_suffix("/64"))
            .expect("the kernel makes a temporary address");
        let only = |network: &str, more: &str| {
            found_with(&format!(
                "addresses: {{interface: {{name: d0{more}}}}}\nwithin: ['{network}']\n"
            ))
        };
        assert_eq!(found("interface:d0"), "2001:db8::5");

        let refused = only(temporary, "");
        assert!(
            refused.contains(&format!("{temporary} is temporary")),
            "{refused}"
        );
        assert_eq!(only(temporary, ", temporary: true"), temporary);

        let refused = only("fd00::/8", "");
        assert!(refused.contains("fd00::5 is deprecated"), "{refused}");
        assert_eq!(only("fd00::/8", ", deprecated: true"), "fd00::5");
    });
}

#[test]
fn an_interface_that_is_not_there_is_named_with_those_that_are() {
    let name = "namespace::an_interface_that_is_not_there_is_named_with_those_that_are";
    in_namespace(name, "ip link add d0 type veth peer name p0", || {
        for wanted in ["eth7", "d0"] {
            Agent::new(
                "http://127.0.0.1:1",
                &format!("addresses: interface:{wanted}\n"),
            )
            .run()
            .complains(
                1,
                &[&format!("no interface {wanted} with an address"), "lo"],
            );
        }
        assert!(found("interface:lo").contains("127.0.0.1 is a loopback address"));
    });
}

#[test]
fn the_route_gives_the_address_that_the_system_would_use() {
    let setup = "
        ip link add d0 type veth peer name p0
        ip link add d1 type veth peer name p1
        for link in d0 p0 d1 p1; do ip link set $link up; done
        ip addr add 192.0.2.5/24 dev d0
        ip addr add 198.51.100.5/24 dev d1
        ip addr add fd00::5/64 dev d1 nodad
        ip route add default via 192.0.2.1";
    in_namespace(
        "namespace::the_route_gives_the_address_that_the_system_would_use",
        setup,
        || {
            assert_eq!(found("route:192.0.2.1"), "192.0.2.5");
            assert_eq!(found("route:203.0.113.1"), "192.0.2.5");
            assert_eq!(found("route:198.51.100.9"), "198.51.100.5");
            assert_eq!(found("route:fd00::1"), "fd00::5");
            assert!(found("route:2001:db8::1").contains("no route to 2001:db8::1"));
            // `within` ends these runs before the hub is called.
            let bound = |interface: &str| {
                let more = format!(
                    "addresses: route:198.51.100.9\nbind_interface: {interface}\nwithin: [203.0.113.0/24]\n"
                );
                Agent::new("http://127.0.0.1:1", &more).run()
            };
            bound("d0").complains(1, &["192.0.2.5 is outside `within`"]);
            bound("d1").complains(1, &["198.51.100.5 is outside `within`"]);
            bound("d7").complains(1, &["bind_interface d7"]);
        },
    );
}

#[test]
fn the_hub_is_called_through_the_interface_that_is_bound() {
    let setup = "
        ip link add d0 type veth peer name p0
        for link in d0 p0; do ip link set $link up; done
        ip addr add 192.0.2.5/24 dev d0";
    let name = "namespace::the_hub_is_called_through_the_interface_that_is_bound";
    in_namespace(name, setup, || {
        let hub = Hub::start_at("0.0.0.0:0", |request| match request.line.as_str() {
            "GET /ip" => Answer::ip("192.0.2.5"),
            line if line.starts_with("PUT") => Answer::record("db", &["192.0.2.5"], "x"),
            _ => Answer::problem(404, "no such record"),
        });
        let run = |interface: &str| {
            Agent::new(&hub.url(), "")
                .args(["--bind-interface", interface])
                .run()
        };
        run("lo").says("office: db set to 192.0.2.5, revision 42\n");
        run("d7").complains(1, &["office: db: ", &hub.url(), "No such device"]);
        assert_eq!(hub.lines().len(), 3);
    });
}

#[test]
fn each_family_is_requested_separately_if_the_hubs_name_has_both() {
    let setup = "
        hosts=$(mktemp)
        printf '127.0.0.1 hub.test\\n::1 hub.test\\n' > $hosts
        mount --bind $hosts /etc/hosts
        rm $hosts";
    let name = "namespace::each_family_is_requested_separately_if_the_hubs_name_has_both";
    in_namespace(name, setup, || {
        let answer = |request: &crate::hub::Request| match request.line.as_str() {
            "GET /ip" if request.peer.is_ipv4() => Answer::ip("192.0.2.5"),
            "GET /ip" => Answer::ip("2001:db8::5"),
            line if line.starts_with("PUT") && request.body.contains("2001:db8::5") => {
                Answer::record("db", &["192.0.2.5", "2001:db8::5"], "x")
            }
            line if line.starts_with("PUT") => Answer::record("db", &["192.0.2.5"], "x"),
            _ => Answer::problem(404, "no such record"),
        };
        let run = |hub: &Hub| {
            // A name of another machine, as it seems; this hub signs nothing.
            let more = "quiet: true\nauth: bearer\n";
            Agent::new(&format!("http://hub.test:{}", hub.port()), more).run()
        };
        // Port 0 on `::` listens for both families.
        run(&Hub::start_at("[::]:0", answer))
            .says("office: db set to 192.0.2.5 2001:db8::5, revision 42\n");
        // Over IPv6 nothing listens.
        run(&Hub::start(answer)).says("office: db set to 192.0.2.5, revision 42\n");
    });
}
