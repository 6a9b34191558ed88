//! Agents that stay, behind a router that translates addresses: changes of addresses, and every way in which the hub
//! can be lost. `SILO_LIVE_CUT_SECONDS` sets for how long it is lost.

use std::thread::sleep;
use std::time::{Duration, Instant};

use silo_e2e::net_lab::{Agent, DOWNSTREAMS, NetLab, Options, UPSTREAMS, isolate_test};

use crate::clocks::WallClock;

/// How often addresses change where agents follow them.
const CHANGES: usize = 6;
/// How long the hub is lost.
const CUT: Duration = Duration::from_secs(6);
/// How many packets that open a connection the agents may send for each time that the hub is lost: each of the four has
/// two loops with a backoff of its own, and each attempt is up to three packets.
const MOST_OPENED: usize = 4 * 2 * 3 * 6;
/// How many requests they may send for each time, until all is as it should be.
const MOST_REQUESTS: usize = 4 * 2 * 6;

fn cut_time() -> Duration {
    let seconds = std::env::var("SILO_LIVE_CUT_SECONDS").ok();
    seconds.map_or(CUT, |text| Duration::from_secs(text.parse().unwrap()))
}

/// A bound for the time that the hub is lost: and one more a second for each of the four agents, since a link that flaps
/// lets requests pass in between.
fn bound(most: usize) -> usize {
    most + 4 * usize::try_from(cut_time().as_secs()).unwrap()
}

fn logging() -> Options {
    Options {
        logs_requests: true,
        ..Options::default()
    }
}

#[test]
fn changes_of_addresses_reach_other_machines_by_events_alone() {
    let name = "live::changes_of_addresses_reach_other_machines_by_events_alone";
    isolate_test(name, || {
        let mut lab = NetLab::start(&logging());
        let reported = |lab: &NetLab| -> usize {
            let logs = lab.upstreams.iter().map(|agent| {
                let log = agent.stderr();
                // Nothing failed, nothing was found by the look behind the events, and nothing was sent from an address
                // that was gone.
                let is_other =
                    |line: &&str| !line.contains("DEBUG") || line.contains("a look reports");
                assert_eq!(log.lines().find(is_other), None);
                log.matches("the system reports other addresses").count()
            });
            logs.sum()
        };
        // The hub logs 304 too if the client of a request that waits hangs up.
        let (before, ended) = (reported(&lab), lab.answers(304));
        for at in 0..CHANGES {
            lab.change(at % 2);
            lab.converge();
        }
        // No request that waited ended without a change: none by time, and none was given up.
        assert_eq!(lab.answers(304), ended, "{}", lab.hub.log());
        assert_eq!(reported(&lab), before + CHANGES);
    });
}

#[test]
fn link_local_addresses_disturb_no_request_that_waits() {
    let name = "live::link_local_addresses_disturb_no_request_that_waits";
    isolate_test(name, || {
        let mut lab = NetLab::start(&logging());
        let seen = |lab: &NetLab| -> Vec<usize> {
            let logs = lab.upstreams.iter().map(Agent::stderr);
            logs.map(|log| log.matches("found nothing that matters").count())
                .collect()
        };
        let ended = lab.answers(304);
        // As a container or a cable brings them; the system tells of each twice, once it is known to be unique.
        for host in 1..=2 {
            let before = seen(&lab);
            for name in UPSTREAMS.iter().chain(&DOWNSTREAMS) {
                lab.network.add_link_local(name, host);
            }
            lab.wait_until("all upstreams have looked", |lab| {
                seen(lab)
                    .iter()
                    .zip(&before)
                    .all(|(now, before)| now > before)
            });
        }
        assert_eq!(lab.answers(304), ended, "{}", lab.hub.log());
        lab.change(0);
        lab.converge();
    });
}

#[test]
fn a_downstream_whose_address_changes_asks_again_at_once() {
    let name = "live::a_downstream_whose_address_changes_asks_again_at_once";
    isolate_test(name, || {
        let mut lab = NetLab::start(&logging());
        for host in 201..=203 {
            let requests = lab.requests();
            let noticed = |lab: &NetLab| {
                let log = lab.downstreams[0].stderr();
                log.matches("addresses have changed: asking the hub again")
                    .count()
            };
            let before = noticed(&lab);
            lab.network.readdress(DOWNSTREAMS[0], host);
            lab.wait_until("it notices", |lab| noticed(lab) > before);
            lab.wait_until("it asks again", |lab| lab.requests() > requests);
            lab.change(0);
            lab.converge();
        }
        lab.assert_running();
    });
}

/// Loses the hub by `lose`, changes an address meanwhile, and finds the hub again by `find`: all files must follow, then
/// and later.
fn survives(options: &Options, lose: impl FnOnce(&mut NetLab), find: impl FnOnce(&mut NetLab)) {
    let mut lab = NetLab::start(options);
    let (opened, requests) = (lab.network.opened(), lab.requests());
    lose(&mut lab);
    lab.change(0);
    find(&mut lab);
    let healed = lab.converge();
    let opened = lab.network.opened() - opened;
    let requests = lab.requests() - requests;
    println!("healed after {healed:?}: {opened} packets opened connections, {requests} requests");
    assert!(opened <= bound(MOST_OPENED), "{opened}");
    assert!(
        requests <= bound(MOST_REQUESTS),
        "{requests}\n{}",
        lab.hub.log()
    );
    lab.change(1);
    lab.converge();
    lab.assert_running();
}

#[test]
fn a_hub_that_cannot_be_reached_is_found_again() {
    let name = "live::a_hub_that_cannot_be_reached_is_found_again";
    isolate_test(name, || {
        survives(
            &logging(),
            |lab| {
                lab.network.cut_link();
            },
            |lab| {
                sleep(cut_time());
                lab.network.connect_link();
            },
        );
    });
}

#[test]
fn a_hub_whose_packets_are_dropped_is_found_again() {
    let name = "live::a_hub_whose_packets_are_dropped_is_found_again";
    isolate_test(name, || {
        survives(
            &logging(),
            |lab| {
                lab.network.drop_all();
            },
            |lab| {
                sleep(cut_time());
                lab.network.pass_all();
            },
        );
    });
}

#[test]
fn a_hub_that_refuses_connections_is_found_again() {
    let name = "live::a_hub_that_refuses_connections_is_found_again";
    isolate_test(name, || {
        survives(
            &logging(),
            |lab| {
                lab.network.refuse_all();
            },
            |lab| {
                sleep(cut_time());
                lab.network.pass_all();
            },
        );
    });
}

#[test]
fn connections_that_the_router_forgets_are_given_up() {
    let name = "live::connections_that_the_router_forgets_are_given_up";
    isolate_test(name, || {
        survives(&logging(), |lab| lab.network.forget_connections(), |_| {});
    });
}

#[test]
fn links_that_flap_do_no_harm() {
    let name = "live::links_that_flap_do_no_harm";
    isolate_test(name, || {
        let flap = |lab: &mut NetLab| {
            let until = Instant::now() + cut_time();
            while Instant::now() < until {
                for is_up in [false, true] {
                    lab.network.flap(is_up);
                    sleep(Duration::from_millis(50));
                }
            }
        };
        survives(&logging(), flap, |_| {});
    });
}

#[test]
fn a_hub_that_moves_behind_its_name_is_found_again() {
    let name = "live::a_hub_that_moves_behind_its_name_is_found_again";
    isolate_test(name, || {
        survives(&logging(), |lab| lab.move_hub(9), |_| {});
    });
}

#[test]
fn a_wall_clock_that_jumps_does_no_harm() {
    const HOURS: i64 = 3600;
    let name = "live::a_wall_clock_that_jumps_does_no_harm";
    isolate_test(name, || {
        let folder = tempfile::tempdir().unwrap();
        let clock = WallClock::off_by(folder.path(), 0);
        let wrapper = clock.wrapper().into_iter().map(str::to_owned).collect();
        let mut lab = NetLab::start(&Options {
            wrapper,
            ..logging()
        });
        // The downstreams say that they noticed.
        let noticed = |lab: &NetLab| {
            let logs = lab.downstreams.iter().map(Agent::stderr);
            let counts = logs.map(|log| log.matches("the clock moved by").count());
            counts.min().unwrap()
        };
        for (at, step) in [8 * HOURS, 0, -8 * HOURS, 0].into_iter().enumerate() {
            let requests = lab.requests();
            clock.set(step);
            lab.change(0);
            lab.converge();
            lab.wait_until("the clock is compared", |lab| noticed(lab) > at);
            lab.change(1);
            let healed = lab.converge();
            let requests = lab.requests() - requests;
            println!("{step} s: healed after {healed:?}: {requests} requests");
            assert!(requests <= MOST_REQUESTS, "{requests}\n{}", lab.hub.log());
        }
        lab.assert_running();
    });
}
