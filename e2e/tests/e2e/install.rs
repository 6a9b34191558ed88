//! `install` and `uninstall` of both agents, on machines of the test's own: with systemd, with and without the package's
//! units, with cron, and for images.

mod image;

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use silo_e2e::systemd::{ADDRESS, Machine};

/// cron runs something once a minute.
const MINUTES: Duration = Duration::from_secs(180);

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging")
}

fn unit(name: &str) -> PathBuf {
    packaging().join("systemd").join(name)
}

/// The units of the package with both agents.
fn package() -> Vec<PathBuf> {
    let names = ["silo-upstream", "silo-downstream"];
    let kinds = [".service", ".timer", "-watch.service"];
    let of = |name: &'static str| kinds.map(|kind| unit(&format!("{name}{kind}")));
    names.into_iter().flat_map(of).collect()
}

/// Starts a hub in there, and makes a token that may write `nas`, and configurations of both agents that use it.
fn prepare(machine: &Machine) {
    machine.must(&format!(
        "install -d -m 755 /etc/silo
         setsid silo-hub serve --listen {ADDRESS}:8053 --data-dir /var/hub </dev/null >/run/hub.log 2>&1 &
         tries=0; until curl -sSf http://{ADDRESS}:8053/ping 2>/dev/null; do tries=$((tries + 1)); [ $tries -lt 300 ]; sleep 0.1; done
         umask 077
         silo-hub token create --data-dir /var/hub --name nas --role write --silo home --hostname nas 2>/dev/null >/etc/silo/token
         printf '%s\\n' 'hub: http://{ADDRESS}:8053' 'token_file: token' 'silo: home' 'hostnames: [nas]' 'addresses: interface:lo' >/etc/silo/upstream.yaml
         printf '%s\\n' 'hub: http://{ADDRESS}:8053' 'token_file: token' 'silos: [home]' >/etc/silo/downstream.yaml
         chmod 644 /etc/silo/*.yaml"
    ));
}

/// What is in the folders that `install` writes to, with the contents of files.
fn written(machine: &Machine) -> String {
    machine.must(
        "for folder in /etc/systemd/system /etc/cron.d /var/lib/silo-install; do
           [ ! -d $folder ] || find $folder -mindepth 1 | sort | while read -r path; do
             if [ -L \"$path\" ]; then echo \"$path -> $(readlink \"$path\")\";
             elif [ -d \"$path\" ]; then echo \"$path/\";
             else echo \"$path $(sha256sum <\"$path\")\"; fi
           done
         done",
    )
}

/// Timers fire at once, not up to a minute later.
fn hurry(machine: &Machine) {
    machine.must(
        "for agent in upstream downstream; do
           mkdir -p /run/units/silo-$agent.timer.d
           printf '%s\\n' '[Timer]' 'OnActiveSec=0' 'RandomizedDelaySec=0' 'AccuracySec=1ms' >/run/units/silo-$agent.timer.d/z.conf
         done",
    );
}

pub(crate) fn wait_until(machine: &Machine, what: &str, patience: Duration, script: &str) {
    let deadline = Instant::now() + patience;
    loop {
        let output = machine.run(script);
        if output.status.success() {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "in vain: {what}: {}",
            machine.must(
                "cat /etc/hosts; tail -n 40 /run/*.log; systemctl status 'silo-*' 2>&1 || true"
            )
        );
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The exit code, stdout and stderr of a command in there.
fn ended(machine: &Machine, script: &str) -> (i32, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = machine.run(script);
    (status.code().unwrap(), text(&stdout), text(&stderr))
}

/// From nothing to a name in the hosts file by timers, and back to nothing.
fn timers_do_their_work(machine: &Machine) {
    prepare(machine);
    hurry(machine);
    let before = written(machine);
    let hub = format!(
        "curl -sSf -H \"Authorization: Bearer $(cat /etc/silo/token)\" http://{ADDRESS}:8053/silos/home"
    );
    for (agent, done) in [
        ("silo-upstream", format!("{hub} | grep -q {ADDRESS}")),
        (
            "silo-downstream",
            format!("grep -qx '{ADDRESS} nas' /etc/hosts"),
        ),
    ] {
        let said = machine.must(&format!("{agent} install"));
        assert!(
            said.contains(&format!("started {agent}.timer: runs every 5m")),
            "{said}"
        );
        let enabled = machine.must(&format!("systemctl is-enabled {agent}.timer"));
        assert_eq!(enabled, "enabled");
        wait_until(machine, "the timer runs the agent", MINUTES, &done);
        let verified = machine.run(&format!(
            "SYSTEMD_UNIT_PATH=/etc/systemd/system:/run/units:/usr/lib/systemd/system systemd-analyze --man=no verify {agent}.timer {agent}.service"
        ));
        let complaints = text(&verified.stderr);
        assert!(
            verified.status.success() && !complaints.contains("silo-"),
            "{complaints}"
        );
    }
    let state = machine.must("stat -c '%a' /var/lib/silo-upstream/. /var/lib/silo");
    assert_eq!(state, "700\n700");

    let first = written(machine);
    for agent in ["silo-upstream", "silo-downstream"] {
        let said = machine.must(&format!("{agent} install"));
        let is_unchanged = |line: &str| line.starts_with("unchanged: ");
        assert!(!said.is_empty() && said.lines().all(is_unchanged), "{said}");
    }
    assert_eq!(written(machine), first);

    for agent in ["silo-upstream", "silo-downstream"] {
        let said = machine.must(&format!("{agent} uninstall"));
        assert!(said.contains("removed /etc/systemd/system/"), "{said}");
        let (code, ..) = ended(machine, &format!("systemctl is-active {agent}.timer"));
        assert_ne!(code, 0);
        let said = machine.must(&format!("{agent} uninstall"));
        assert!(said.starts_with("nothing to remove"), "{said}");
    }
    assert_eq!(written(machine), before);
}

#[test]
fn timers_of_a_machine_without_the_package_do_their_work() {
    timers_do_their_work(&Machine::with_package(&[], &[]));
}

#[test]
fn timers_of_the_package_do_their_work() {
    let machine = Machine::with_package(&package(), &[]);
    let files = packaging();
    machine.must(&format!(
        "systemd-sysusers {}/sysusers.d/silo.conf",
        files.display()
    ));
    timers_do_their_work(&machine);
}

#[test]
fn a_path_full_of_special_characters_reaches_the_program_in_the_unit() {
    let machine = Machine::with_package(&[], &[]);
    prepare(&machine);
    // A quote, a variable, a specifier, an escape.
    machine.must(
        r#"mv /etc/silo/downstream.yaml '/etc/silo/a "b" ${HOME} %n \n it'"'"'s.yaml'
           printf '%s\n' '{"ip":"10.0.0.5"}' | curl -sSf -X PUT -H "Authorization: Bearer $(cat /var/hub/admin.token)" http://10.9.0.7:8053/silos/home/records/db -d @-
           silo-downstream install --config '/etc/silo/a "b" ${HOME} %n \n it'"'"'s.yaml'
           systemctl start silo-downstream.service
           grep -qx '10.0.0.5 db' /etc/hosts"#,
    );
}

/// In place of `watch`, so that what enables and starts it is tested alone.
fn stand_in_for_watch(machine: &Machine) {
    machine.must(
        "mkdir -p /run/units/silo-downstream-watch.service.d
         printf '%s\\n' '[Service]' 'Type=exec' 'WatchdogSec=0' 'ExecStart=' 'ExecStart=/bin/sleep infinity' >/run/units/silo-downstream-watch.service.d/z.conf",
    );
}

#[test]
fn of_timer_and_watch_one_is_enabled() {
    for packaged in [Vec::new(), package()] {
        let machine = Machine::with_package(&packaged, &[]);
        prepare(&machine);
        stand_in_for_watch(&machine);
        let (timer, watch) = ("silo-downstream.timer", "silo-downstream-watch.service");
        for (flags, started, other) in [
            ("--every 10m", timer, watch),
            ("--watch", watch, timer),
            ("--watch --quiet=false", watch, timer),
            ("", timer, watch),
        ] {
            machine.must(&format!("silo-downstream install {flags}"));
            let state = |unit: &str| {
                let ask = |verb: &str| {
                    let (_, said, _) = ended(&machine, &format!("systemctl {verb} {unit}"));
                    said.trim().to_owned()
                };
                (ask("is-enabled"), ask("is-active"))
            };
            assert_eq!(
                state(started),
                ("enabled".to_owned(), "active".to_owned()),
                "{flags}"
            );
            let (enabled, active) = state(other);
            assert_ne!(enabled, "enabled", "{flags}");
            assert_ne!(active, "active", "{flags}");
        }
        machine.must("silo-downstream uninstall");
        assert_eq!(written(&machine), "");
    }
}

#[test]
fn the_interval_of_the_timer_is_the_one_that_was_asked_for() {
    for packaged in [Vec::new(), package()] {
        let machine = Machine::with_package(&packaged, &[]);
        prepare(&machine);
        for (every, seconds) in [("90m", "1h 30min"), ("1m", "1min"), ("5m", "5min")] {
            machine.must(&format!("silo-downstream install --every {every}"));
            let times = machine.must("systemctl show -p TimersMonotonic silo-downstream.timer");
            let wanted = format!("OnUnitInactiveUSec={seconds} ;");
            assert!(times.contains(&wanted), "{times}");
            assert_eq!(times.matches("OnUnitInactiveUSec").count(), 1, "{times}");
            assert_eq!(times.matches("OnBootUSec").count(), 1, "{times}");
        }
    }
}

#[test]
fn an_edited_unit_is_refused_with_the_difference_until_force() {
    let machine = Machine::with_package(&[], &[]);
    prepare(&machine);
    machine
        .must("silo-downstream install && echo Nice=5 >>/etc/systemd/system/silo-downstream.timer");
    let edited = written(&machine);
    for command in ["install", "install --watch", "uninstall"] {
        let (code, said, complaint) = ended(&machine, &format!("silo-downstream {command}"));
        assert_eq!(code, 1, "{said}{complaint}");
        assert!(said.contains("Nice=5") && said.contains("@@"), "{said}");
        assert!(
            complaint.contains("silo-downstream.timer is not as `install` wrote it"),
            "{complaint}"
        );
        assert_eq!(written(&machine), edited, "{command}");
    }
    assert_eq!(
        machine.must("systemctl is-active silo-downstream.timer"),
        "active"
    );
    machine.must("silo-downstream install --force");
    machine.must("silo-downstream uninstall");
    assert_eq!(written(&machine), "");
}

#[test]
fn cron_runs_what_was_installed() {
    let machine = Machine::with_cron();
    prepare(&machine);
    let said = machine.must("silo-upstream install --every 1m; silo-downstream install --every 1m");
    assert_eq!(
        said,
        "wrote /etc/cron.d/silo-upstream\nwrote /etc/cron.d/silo-downstream"
    );
    let mode = machine.must("stat -c '%U %G %a' /etc/cron.d/silo-downstream");
    assert_eq!(mode, "root root 644");
    let first = written(&machine);
    let again = machine.must("silo-downstream install --every 1m");
    assert_eq!(again, "unchanged: /etc/cron.d/silo-downstream");
    assert_eq!(written(&machine), first);
    let (code, _, complaint) = ended(&machine, "silo-downstream install --watch");
    assert_eq!(code, 2, "{complaint}");
    assert!(complaint.contains("use --every 1m"), "{complaint}");
    wait_until(
        &machine,
        "cron runs both agents",
        2 * MINUTES,
        &format!("grep -qx '{ADDRESS} nas' /etc/hosts"),
    );
    machine.must("silo-upstream uninstall; silo-downstream uninstall");
    assert_eq!(written(&machine), "");
}

/// crontab(5) has rules of its own for `%` and quotes.
#[test]
fn a_path_full_of_special_characters_reaches_the_program_by_cron() {
    let machine = Machine::with_cron();
    prepare(&machine);
    machine.must(
        r#"mv /etc/silo/downstream.yaml '/etc/silo/a "b" ${HOME} %n it'"'"'s.yaml'
           silo-upstream once
           silo-downstream install --every 1m --config '/etc/silo/a "b" ${HOME} %n it'"'"'s.yaml'"#,
    );
    wait_until(
        &machine,
        "cron runs the downstream",
        2 * MINUTES,
        &format!("grep -qx '{ADDRESS} nas' /etc/hosts"),
    );
}

#[test]
fn variables_are_named_and_not_carried() {
    let machine = Machine::with_cron();
    prepare(&machine);
    let secret = "silo_aaaaaaaaaa_secret";
    let script = format!(
        "export SILO_DOWNSTREAM_QUIET=true SILO_DOWNSTREAM_OTHER={secret}; silo-downstream install"
    );
    let (code, said, complaint) = ended(&machine, &script);
    assert_eq!(code, 0, "{complaint}");
    for name in [
        "SILO_DOWNSTREAM_QUIET is set here",
        "SILO_DOWNSTREAM_OTHER is set here",
    ] {
        assert!(complaint.contains(name), "{complaint}");
    }
    let line = machine.must("cat /etc/cron.d/silo-downstream /var/lib/silo-install/*");
    assert!(!format!("{said}{complaint}{line}").contains(secret));
    // What only a variable says is missing in the schedule.
    let script = "sed -i /silos/d /etc/silo/downstream.yaml; SILO_DOWNSTREAM_SILO=home silo-downstream install";
    let (code, _, complaint) = ended(&machine, script);
    assert_eq!(code, 2, "{complaint}");
    assert!(
        complaint.contains("no silo given") && complaint.contains("SILO_DOWNSTREAM_SILO"),
        "{complaint}"
    );
}

#[test]
fn root_schedules_nothing_that_others_can_change() {
    let machine = Machine::with_cron();
    prepare(&machine);
    for (spoil, repair, words) in [
        (
            "chown 1234 /etc/silo/token",
            "chown root /etc/silo/token",
            "the token of an agent",
        ),
        (
            "chmod 666 /etc/silo/downstream.yaml",
            "chmod 644 /etc/silo/downstream.yaml",
            "the configuration of an agent",
        ),
        (
            "chmod 777 /etc/silo",
            "chmod 755 /etc/silo",
            "the configuration of an agent",
        ),
        (
            "chown 1234 /etc",
            "chown root /etc",
            "/etc belongs to user 1234",
        ),
        // A program that root runs later, of the user who calls sudo, or below a directory of that user.
        (
            "cp -p /etc/silo/downstream.yaml /etc/silo/kept
             install -D -o 1234 -m 755 /bin/true /opt/hook/run
             echo 'on_change: [/opt/hook/run]' >>/etc/silo/downstream.yaml",
            "mv /etc/silo/kept /etc/silo/downstream.yaml",
            "on_change: /opt/hook/run",
        ),
        (
            "cp -p /etc/silo/downstream.yaml /etc/silo/kept
             install -D -m 755 /bin/true /opt/caller/bin/run; chown 1234 /opt/caller
             echo 'on_change: [/opt/caller/bin/run]' >>/etc/silo/downstream.yaml",
            "mv /etc/silo/kept /etc/silo/downstream.yaml",
            "/opt/caller belongs to user 1234",
        ),
    ] {
        machine.must(spoil);
        // What the caller of sudo owns is no exception: cron runs without sudo.
        let (code, _, complaint) = ended(&machine, "SUDO_UID=1234 silo-downstream install");
        assert_eq!(code, 2, "{spoil}: {complaint}");
        assert!(complaint.contains(words), "{spoil}: {complaint}");
        machine.must(repair);
    }
    machine.must(
        "mkdir -p /var/open/in; cp /usr/bin/silo-downstream /var/open/in/; chmod 777 /var/open",
    );
    let (code, _, complaint) = ended(&machine, "/var/open/in/silo-downstream install");
    assert_eq!(code, 2, "{complaint}");
    let words = "/var/open/in/silo-downstream: the program of an agent that runs as root, and /var/open is writable";
    assert!(complaint.contains(words), "{complaint}");
    assert_eq!(written(&machine), "");
    machine.must("chmod 755 /var/open; /var/open/in/silo-downstream install");
}

#[test]
fn an_ordinary_user_gets_user_units_or_a_reason() {
    let machine = Machine::with_package(&package(), &[]);
    prepare(&machine);
    hurry(&machine);
    machine.must(
        "echo 'ann:x:4242:4242::/var/ann:/bin/sh' >>/etc/passwd
         install -d -o 4242 -g 4242 /var/ann /run/user /run/user/4242
         install -o 4242 -g 4242 -m 600 /etc/silo/token /var/ann/token
         printf '%s\\n' '[Service]' 'Type=notify' 'User=ann' 'Delegate=yes' 'Environment=HOME=/var/ann XDG_RUNTIME_DIR=/run/user/4242' 'ExecStart=/lib/systemd/systemd --user --unit=timers.target' >/run/units/ann.service",
    );
    let as_ann = |script: &str| {
        format!(
            "cd /var/ann; setpriv --reuid 4242 --regid 4242 --clear-groups env HOME=/var/ann XDG_RUNTIME_DIR=/run/user/4242 {script}"
        )
    };
    let install = as_ann("silo-upstream install --token-file token");
    let (code, _, complaint) = ended(&machine, &install);
    assert_eq!(code, 2, "{complaint}");
    assert!(
        complaint.contains("sudo silo-upstream install"),
        "{complaint}"
    );
    assert!(
        complaint.contains("*/5 * * * * /usr/bin/silo-upstream once --quiet"),
        "{complaint}"
    );

    machine.must("systemctl daemon-reload; systemctl start ann.service");
    let said = machine.must(&install);
    assert!(
        said.contains("wrote /var/ann/.config/systemd/user/silo-upstream.service"),
        "{said}"
    );
    let record = format!(
        "curl -sSf -H \"Authorization: Bearer $(cat /etc/silo/token)\" http://{ADDRESS}:8053/silos/home | grep -q {ADDRESS}"
    );
    let run = as_ann("systemctl --user start silo-upstream.service");
    machine.must(&run);
    machine.must(&record);
    let again = machine.must(&install);
    assert!(
        again.lines().all(|line| line.starts_with("unchanged: ")),
        "{again}"
    );

    // The system's hosts file is root's.
    let (code, _, complaint) = ended(
        &machine,
        &as_ann("silo-downstream install --token-file token"),
    );
    assert_eq!(code, 2, "{complaint}");
    assert!(
        complaint.contains("/etc/hosts: only root can write"),
        "{complaint}"
    );
    let own = "silo-downstream install --token-file token --hosts-file hosts --state-dir state";
    machine.must(&as_ann("sh -c ': >hosts; mkdir -m 700 state'"));
    machine.must(&as_ann(own));
    machine.must(&as_ann("systemctl --user start silo-downstream.service"));
    machine.must(&format!("grep -qx '{ADDRESS} nas' /var/ann/hosts"));
    machine.must(&as_ann(
        "sh -c 'silo-upstream uninstall; silo-downstream uninstall'",
    ));
    let left = machine.must("find /var/ann/.config /var/ann/.local -name '*silo-*' -not -path '*/.config/silo-upstream'");
    assert_eq!(left, "");
}
