//! What the hub sees is not trusted blindly: relays, NAT, links of this machine, temporary addresses. In network
//! namespaces, as `namespace` has them.

use crate::hub::{Answer, Hub, Request};
use crate::namespace::{in_namespace, shell};
use crate::run::Agent;

const SEES: &str = "the hub sees this machine behind NAT or a relay as";

/// Makes `hub.test` lead to these addresses.
pub(crate) fn name_the_hub(addresses: &[&str]) {
    let lines: String = addresses
        .iter()
        .map(|ip| format!("{ip} hub.test\n"))
        .collect();
    let hosts = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(hosts.path(), lines).expect("a file of our own");
    shell(&format!(
        "umount /etc/hosts 2>/dev/null || :; mount --bind {} /etc/hosts",
        hosts.path().display()
    ));
}

/// Accepts every report, and sees the caller's address by `sees`.
fn hub_at(address: &str, sees: impl Fn(&Request) -> String + Send + Sync + 'static) -> Hub {
    Hub::start_at(address, move |request| {
        if request.line == "GET /ip" {
            Answer::ip(&sees(request))
        } else if request.line.starts_with("PUT") {
            let body: serde_json::Value = serde_json::from_str(&request.body).expect("JSON");
            let ips = body["ips"].as_array().expect("ips").clone();
            let ips: Vec<&str> = ips.iter().filter_map(|ip| ip.as_str()).collect();
            Answer::record("db", &ips, "x")
        } else {
            Answer::problem(404, "no such record")
        }
    })
}

/// This hub by its name; it signs nothing. Quiet, without a warning of that.
fn agent(hub: &Hub, more: &str) -> Agent {
    let url = format!("http://hub.test:{}", hub.port());
    Agent::new(&url, &format!("auth: bearer\nquiet: true\n{more}"))
}

#[test]
fn reporting_an_address_of_another_machine_is_announced() {
    let setup = "
        ip link add d0 type veth peer name p0
        for link in d0 p0; do ip link set $link up; done
        ip addr add 192.0.2.5/24 dev d0";
    let name = "relay::reporting_an_address_of_another_machine_is_announced";
    in_namespace(name, setup, || {
        let run = |sees: &'static str, held: &'static str, verb: &str| {
            let hub = Hub::start(move |request| match request.line.as_str() {
                "GET /ip" => Answer::ip(sees),
                _ if request.if_match.is_some() => Answer::problem(412, "another revision"),
                line if line.starts_with("PUT") => Answer::record("db", &[sees], "x"),
                _ if held.is_empty() => Answer::problem(404, "no such record"),
                _ => Answer::record("db", &[held], "2026-01-02T03:04:05Z"),
            });
            let ran = Agent::new(&hub.url(), "")
                .args([verb, "--quiet=false"])
                .run();
            assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
            ran.stdout
        };
        for (sees, held, once, check) in [
            ("203.0.113.7", "", true, true),
            ("203.0.113.7", "203.0.113.6", true, true),
            ("203.0.113.7", "203.0.113.7", false, true),
            ("192.0.2.5", "", false, false),
            ("192.0.2.5", "203.0.113.6", false, false),
        ] {
            let line = format!("{SEES} {sees}\n");
            let said = run(sees, held, "once");
            assert_eq!(said.contains(&format!("office: {line}")), once, "{said}");
            let said = run(sees, held, "check");
            assert_eq!(
                said.contains(&format!("ok      path to the hub: {line}")),
                check,
                "{said}"
            );
        }
    });
}

#[test]
fn an_address_to_which_the_hubs_url_leads_is_not_reported_unless_within_names_it() {
    let setup = "
        ip link add d0 type veth peer name p0
        for link in d0 p0; do ip link set $link up; done
        ip addr add 192.0.2.5/24 dev d0";
    let name =
        "relay::an_address_to_which_the_hubs_url_leads_is_not_reported_unless_within_names_it";
    in_namespace(name, setup, || {
        // 203.0.113.1 can't be reached from here: the hub is asked at the other address.
        name_the_hub(&["127.0.0.1", "203.0.113.1"]);
        for (sees, within, taken) in [
            ("203.0.113.1", "", false),
            ("203.0.113.1", "within: [203.0.113.1]\n", true),
            ("203.0.113.1", "within: [203.0.113.0/24]\n", true),
            // This holds the machine's own address as well.
            ("203.0.113.1", "within: [192.0.0.0/2]\n", false),
            ("203.0.113.2", "", true),
            ("192.0.2.5", "", true),
        ] {
            let hub = hub_at("127.0.0.1:0", move |_| sees.to_owned());
            let ran = agent(&hub, within).run();
            let checked = agent(&hub, within)
                .args(["check", "--quiet=false"])
                .run()
                .stdout;
            let refused =
                format!("FAILED  addresses from hub: {sees} is an address of the hub's URL");
            assert_eq!(checked.contains(&refused), !taken, "{checked}");
            if taken {
                ran.says(&format!("office: db set to {sees}, revision 42\n"));
            } else {
                ran.complains(1, &["office: db: ", sees, "relay", "`within`"]);
                // Every time.
                agent(&hub, within).run().complains(1, &[sees]);
                assert!(!hub.lines().iter().any(|line| line.starts_with("PUT")));
            }
        }
    });
}

#[test]
fn a_bad_family_does_not_stop_a_good_one() {
    let setup = "
        ip link add d0 type veth peer name p0
        ip link set d0 addrgenmode none
        ip link set p0 addrgenmode none
        for link in d0 p0; do ip link set $link up; done
        ip addr add 192.0.2.5/24 dev d0
        ip addr add fd00::5/64 dev d0 nodad
        ip addr add fe80::5/64 dev d0 nodad";
    let name = "relay::a_bad_family_does_not_stop_a_good_one";
    in_namespace(name, setup, || {
        for (addresses, within, reported) in [
            // As mDNS gives them.
            (&["192.0.2.5", "fe80::5%d0"][..], "", "192.0.2.5"),
            (&["fe80::5%d0", "192.0.2.5"], "", "192.0.2.5"),
            (&["192.0.2.5", "::1"], "", "192.0.2.5"),
            (&["127.0.0.1", "fd00::5"], "", "fd00::5"),
            (&["192.0.2.5", "fd00::5"], "", "192.0.2.5 fd00::5"),
            (
                &["192.0.2.5", "fd00::5"],
                "within: [192.0.2.0/24]\n",
                "192.0.2.5",
            ),
            (
                &["192.0.2.5", "::1"],
                "within: [192.0.2.0/24]\n",
                "192.0.2.5",
            ),
            (
                &["127.0.0.1", "fd00::5"],
                "within: ['fd00::/8']\n",
                "fd00::5",
            ),
        ] {
            name_the_hub(addresses);
            let hub = hub_at("[::]:0", |request| request.peer.to_string());
            agent(&hub, within)
                .run()
                .says(&format!("office: db set to {reported}, revision 42\n"));
            let checked = agent(&hub, within)
                .args(["check", "--quiet=false"])
                .run()
                .stdout;
            let line = format!("ok      addresses from hub: {reported}\n");
            assert!(checked.contains(&line), "{addresses:?} {within}: {checked}");
        }
        // What someone must look at: the good one is set, and the run has failed.
        name_the_hub(&["192.0.2.5", "fd00::5"]);
        let hub = hub_at("[::]:0", |request| request.peer.to_string());
        let within = "within: [192.0.2.0/24, 'fd01::/16']\n";
        let ran = agent(&hub, within).run();
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert_eq!(ran.stdout, "office: db set to 192.0.2.5, revision 42\n");
        assert!(
            ran.stderr.contains("fd00::5 is outside `within`"),
            "{ran:?}"
        );
        let checked = agent(&hub, within).args(["check", "--quiet=false"]).run();
        assert_eq!(checked.code, Some(1), "{checked:?}");
    });
}

#[test]
fn the_stable_address_is_reported_where_the_system_prefers_a_temporary_one() {
    // The machine `m` has the kernel's own temporary address (ip-address(8)); the hub is at the other end.
    let setup = "
        mount -t tmpfs none /run
        ip netns add m
        ip link add d0 type veth peer name p0
        ip link set d0 netns m
        ip addr add 2001:db8::1/64 dev p0 nodad
        ip link set p0 up
        ip netns exec m sh -ec '
            ip link set lo up
            echo 0 > /proc/sys/net/ipv6/conf/d0/accept_dad
            echo 0 > /proc/sys/net/ipv6/conf/d0/dad_transmits
            echo 2 > /proc/sys/net/ipv6/conf/d0/use_tempaddr
            ip link set d0 up
            ip addr add 2001:db8::5/64 dev d0 nodad mngtmpaddr valid_lft 86400 preferred_lft 86400
            until ip -6 addr show dev d0 temporary | grep -q 2001; do sleep 0.1; done
            until ! ip -6 addr show dev d0 tentative | grep -q .; do sleep 0.1; done
            ! ip -6 route get 2001:db8::1 | grep -qw 2001:db8::5'";
    let name = "relay::the_stable_address_is_reported_where_the_system_prefers_a_temporary_one";
    in_namespace(name, setup, || {
        let hub = hub_at("[::]:0", |request| request.peer.to_string());
        let url = format!("http://[2001:db8::1]:{}", hub.port());
        for source in ["hub", "route", "route:2001:db8::9"] {
            let more = format!("auth: bearer\nquiet: true\naddresses: '{source}'\n");
            Agent::new(&url, &more)
                .in_netns("m")
                .run()
                .says("office: db set to 2001:db8::5, revision 42\n");
        }
        // The hub sees the request come from it.
        let asked = hub.requests();
        let asked = asked.iter().find(|request| request.line == "GET /ip");
        assert_eq!(
            asked.map(|request| request.peer.to_string()).as_deref(),
            Some("2001:db8::5")
        );
    });
}

#[test]
fn an_interface_keeps_the_address_that_the_record_holds_while_its_router_renews_it() {
    let setup = "
        ip link add d0 type veth peer name p0
        ip link set d0 addrgenmode none
        for link in d0 p0; do ip link set $link up; done";
    let name =
        "relay::an_interface_keeps_the_address_that_the_record_holds_while_its_router_renews_it";
    in_namespace(name, setup, || {
        for (a, b, held, chosen) in [
            (7200, 4000, "2001:db8:b::5", "2001:db8:b::5"),
            (7200, 3000, "2001:db8:b::5", "2001:db8:a::5"),
            (4000, 7200, "2001:db8:a::5", "2001:db8:a::5"),
            // The lower number is of the prefix that is no longer advertised.
            (1000, 7200, "2001:db8:a::5", "2001:db8:b::5"),
            (0, 7200, "2001:db8:a::5", "2001:db8:b::5"),
        ] {
            shell(&format!(
                "ip -6 addr flush dev d0
                 ip addr add 2001:db8:a::5/64 dev d0 nodad valid_lft 86400 preferred_lft {a}
                 ip addr add 2001:db8:b::5/64 dev d0 nodad valid_lft 86400 preferred_lft {b}"
            ));
            let hub = Hub::start(move |request| {
                let ip = if request.line.starts_with("PUT") {
                    chosen
                } else {
                    held
                };
                Answer::record("db", &[ip], "x")
            });
            let ran = Agent::new(&hub.url(), "addresses: interface:d0\n").run();
            assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
            let put = hub.requests().pop().map(|request| request.body);
            assert_eq!(
                put,
                Some(format!(r#"{{"ips":["{chosen}"]}}"#)),
                "{a} {b} {held}"
            );
        }
    });
}
