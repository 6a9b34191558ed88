//! `join` and `leave` on machines of the test's own: with systemd and its schedule, and with cron.

use std::time::Duration;

use silo_e2e::systemd::{ADDRESS, Machine};

/// What a unit needs at most until it has done its work.
const PATIENCE: Duration = Duration::from_secs(120);

/// Starts a hub in there, and names its address where the upstream looks for it.
fn start_hub(machine: &Machine) {
    machine.must(&format!(
        "setsid silo-hub serve --listen {ADDRESS}:8053 --data-dir /var/hub </dev/null >/run/hub.log 2>&1 &
         tries=0; until curl -sSf http://{ADDRESS}:8053/ping 2>/dev/null; do tries=$((tries + 1)); [ $tries -lt 300 ]; sleep 0.1; done"
    ));
}

/// Joins by the command that the hub prints.
fn paste(machine: &Machine, invite: &str, flags: &str) -> String {
    machine.must(&format!(
        "silo-hub invite --data-dir /var/hub --silo home {invite} --url http://{ADDRESS}:8053 2>/dev/null >/run/lines
         head -n 1 /run/lines | sed 's/sudo //; s| join -| join - {flags}|' >/run/pasted
         sh -eu /run/pasted"
    ))
}

fn wait_until(machine: &Machine, what: &str, script: &str) {
    crate::install::wait_until(machine, what, PATIENCE, script);
}

/// What `join` may leave anywhere, but for the state of the agents.
fn left(machine: &Machine) -> String {
    machine.must(
        "for path in /etc/silo /var/lib/silo-install /etc/cron.d/silo-* /etc/systemd/system/silo-*; do
           [ ! -e $path ] || echo $path
         done
         grep -n silo /etc/hosts || true
         silo-hub token list --data-dir /var/hub | grep -v admin || true",
    )
}

#[test]
fn a_pasted_line_makes_a_service_and_leave_ends_it() {
    let machine = Machine::with_package(&[], &[]);
    start_hub(&machine);
    let said = paste(&machine, "--hostname nas", "--addresses interface:lo");
    for words in [
        "report nas in home",
        "wrote /etc/silo/upstream.token",
        "wrote /etc/silo/upstream.yaml",
        "started silo-upstream-watch.service: runs as a service that stays",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let said = paste(&machine, "--read", "");
    assert!(
        said.contains("started silo-downstream-watch.service"),
        "{said}"
    );
    wait_until(
        &machine,
        "the name is in the hosts file",
        &format!("grep -qx '{ADDRESS} nas' /etc/hosts"),
    );
    let units = machine.must("systemctl is-active silo-upstream-watch silo-downstream-watch");
    assert_eq!(units, "active\nactive");
    assert_eq!(
        machine.must("stat -c '%a %U' /etc/silo/upstream.token"),
        "600 root"
    );
    let left_behind =
        machine.must("silo-upstream leave --addresses interface:lo; silo-downstream leave");
    assert_eq!(
        left_behind.matches("revoked token").count(),
        2,
        "{left_behind}"
    );
    assert_eq!(left(&machine), "");
}

#[test]
fn where_cron_runs_a_pasted_line_makes_a_crontab() {
    let machine = Machine::with_cron();
    start_hub(&machine);
    machine.must(&format!(
        "printf '%s\\n' '{{\"ip\":\"10.0.0.5\"}}' | curl -sSf -X PUT -H \"Authorization: Bearer $(cat /var/hub/admin.token)\" http://{ADDRESS}:8053/silos/home/records/db -d @-"
    ));
    let said = paste(&machine, "--read", "--every 10m");
    assert!(said.contains("wrote /etc/cron.d/silo-downstream"), "{said}");
    // The first run was at once.
    machine.must("grep -qx '10.0.0.5 db' /etc/hosts");
    let line = machine.must("tail -n 1 /etc/cron.d/silo-downstream");
    assert!(line.starts_with("*/10 * * * * root "), "{line}");
    machine.must("silo-downstream leave");
    assert_eq!(left(&machine), "");
}

#[test]
fn an_image_is_written_and_nothing_is_started() {
    let machine = Machine::with_cron();
    start_hub(&machine);
    machine.must("mkdir -p /run/image/etc/cron.d /run/image/usr/bin && cp /usr/bin/silo-downstream /run/image/usr/bin/");
    let said = paste(&machine, "--read", "--root /run/image");
    assert!(
        said.contains("wrote /run/image/etc/silo/downstream.token"),
        "{said}"
    );
    let image = machine.must("cd /run/image && find etc -type f | sort");
    assert_eq!(
        image,
        "etc/cron.d/silo-downstream\netc/silo/downstream.joined\netc/silo/downstream.token\netc/silo/downstream.yaml"
    );
    assert_eq!(machine.must("grep -c silo /etc/hosts || true"), "0");
}

#[test]
fn an_ordinary_user_is_told_before_anything_is_redeemed() {
    let machine = Machine::with_cron();
    start_hub(&machine);
    machine.must(&format!(
        "silo-hub invite --data-dir /var/hub --silo home --read --url http://{ADDRESS}:8053 2>/dev/null >/run/lines
         grep -o \"silo-invite:[^']*\" /run/lines | head -n 1 >/run/line; chmod 644 /run/line"
    ));
    let refused = machine.run(
        "setpriv --reuid 65534 --regid 65534 --clear-groups silo-downstream join - </run/line",
    );
    let complaint = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{complaint}");
    assert!(
        complaint.contains("run `silo-downstream join` as root"),
        "{complaint}"
    );
    let state = machine.must("silo-hub invite list --data-dir /var/hub");
    assert!(state.contains("  open "), "{state}");
}
