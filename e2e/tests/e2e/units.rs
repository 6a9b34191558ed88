//! The packaged systemd units: systemd takes them, leaves them little, and with that little they do their work.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use silo_e2e::systemd::{ADDRESS, Systemd};
use silo_e2e::{PATIENCE, binary};

/// A unit, and the most that `systemd-analyze security` may find exposed of it, in tenths.
const SERVICES: [(&str, u32); 6] = [
    ("silo-hub.service", 12),
    ("silo-upstream.service", 13),
    ("silo-upstream-watch.service", 13),
    ("silo-downstream.service", 22),
    // One more for AF_NETLINK, which tells of changed addresses.
    ("silo-downstream-watch.service", 23),
    ("silo-plesk-worker.service", 35),
];

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging")
}

fn units() -> PathBuf {
    packaging().join("systemd")
}

#[test]
fn systemd_takes_the_units() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for entry in fs::read_dir(units()).unwrap() {
        let from = entry.unwrap().path();
        let mut text = fs::read_to_string(&from).unwrap();
        for program in ["silo-hub", "silo-upstream", "silo-downstream"] {
            // What is not there is complained of.
            let here = binary(program).display().to_string();
            text = text.replace(&format!("/usr/bin/{program} "), &format!("{here} "));
        }
        let file = folder.path().join(from.file_name().unwrap());
        fs::write(&file, text).unwrap();
        files.push(file);
    }
    assert_eq!(files.len(), SERVICES.len() + 2, "{files:?}");
    let verified = Command::new("systemd-analyze")
        .args(["--man=no", "verify"])
        .args(files)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&verified.stderr);
    // The machine's own units are looked at too.
    assert!(!error.contains("silo-"), "{error}");
    assert!(verified.status.success(), "{error}");
}

#[test]
fn the_units_leave_the_programs_little() {
    for (unit, most) in SERVICES {
        let judged = Command::new("systemd-analyze")
            .args(["security", "--offline=yes", "--no-pager"])
            .arg(format!("--threshold={most}"))
            .arg(units().join(unit))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&judged.stdout);
        assert!(said.contains("Overall exposure level"), "{said}");
        assert!(judged.status.success(), "{unit}: {said}");
    }
}

/// Set up as the documentation says, with a hub that has started.
fn set_up() -> Systemd {
    let systemd = Systemd::start(&units());
    let files = packaging();
    let files = files.display();
    systemd.must(&format!(
        "systemd-sysusers {files}/sysusers.d/silo.conf
         install -d -m 755 /etc/silo
         echo 'listen: {ADDRESS}:8053' >/etc/silo/hub.yaml
         chown root:silo /etc/silo/hub.yaml; chmod 640 /etc/silo/hub.yaml
         systemctl start silo-hub.service"
    ));
    systemd
}

#[test]
fn hub_and_agents_do_their_work_in_the_units() {
    let systemd = set_up();
    // Only a hub that listens is started: what comes next need not wait.
    systemd.must(&format!("curl -sSf http://{ADDRESS}:8053/ping"));
    let modes = systemd.must(
        "stat -c '%U %a' /var/lib/silo-hub /var/lib/silo-hub/hub.db /var/lib/silo-hub/hub.key /var/lib/silo-hub/admin.token",
    );
    assert_eq!(modes, "silo 700\nsilo 600\nsilo 600\nsilo 600");
    systemd.must(&format!(
        "umask 077
         make() {{ silo-hub token create --data-dir /var/lib/silo-hub --name \"$@\" 2>/dev/null; }}
         make nas --role write --silo home --hostname nas >/etc/silo/upstream.token
         make here --role read --silo home >/etc/silo/downstream.token
         chown silo-upstream /etc/silo/upstream.token
         printf '%s\\n' 'hub: http://{ADDRESS}:8053' 'token_file: /etc/silo/upstream.token' 'silo: home' 'hostnames: [nas]' 'addresses: interface:lo' >/etc/silo/upstream.yaml
         printf '%s\\n' 'hub: http://{ADDRESS}:8053' 'token_file: /etc/silo/downstream.token' 'silos: [home]' >/etc/silo/downstream.yaml
         chmod 644 /etc/silo/*.yaml"
    ));

    systemd.must("systemctl start silo-upstream.service");
    systemd.must("chown 12:34 /etc/hosts; chmod 664 /etc/hosts");
    systemd.must("systemctl start silo-downstream.service");
    let hosts = systemd.must("cat /etc/hosts");
    assert!(hosts.contains(&format!("{ADDRESS} nas")), "{hosts}");
    let kept = systemd.must("stat -c '%u %g %a' /etc/hosts; stat -c '%U %a' /var/lib/silo");
    assert_eq!(kept, "12 34 664\nroot 700");

    systemd.must("systemctl start silo-downstream.timer silo-upstream.timer");
    let next = systemd.must("systemctl list-timers --no-pager --no-legend");
    assert_eq!(next.lines().count(), 2, "{next}");
    systemd.must("systemctl stop silo-hub.service");
    let ended = systemd.must("systemctl show -p Result -p ExecMainStatus silo-hub.service");
    assert_eq!(ended, "Result=success\nExecMainStatus=0");
}

/// How often and how long a shell in there looks for something.
fn until(condition: &str) -> String {
    format!(
        "tries=0; until {condition}; do tries=$((tries + 1)); [ $tries -lt 300 ]; sleep 0.1; done"
    )
}

#[test]
fn hub_and_worker_pass_jobs_and_results_in_the_units() {
    let systemd = set_up();
    let files = packaging();
    let files = files.display();
    systemd.must(&format!(
        "systemd-tmpfiles --create {files}/tmpfiles.d/silo-plesk.conf
         echo SILO_PLESK_DOMAINS=example.org,example.com >/etc/silo/plesk-worker.env
         printf '%s\\n' '#!/bin/sh' 'echo \"$*\" >>/var/lib/plesk-called' 'echo no such domain >&2' 'exit 1' >/usr/bin/plesk
         chmod 755 /usr/bin/plesk
         printf '%s\\n' 'listen: {ADDRESS}:8053' 'sinks:' '  - {{name: plesk, kind: plesk, spool: /var/spool/silo-plesk, zone: example.com}}' >/etc/silo/hub.yaml
         systemctl start silo-plesk-worker.service; systemctl restart silo-hub.service
         curl -sSf -X PUT -H \"Authorization: Bearer $(cat /var/lib/silo-hub/admin.token)\" http://{ADDRESS}:8053/silos/home/records/db -d '{{\"ip\":\"10.0.0.5\"}}'"
    ));
    systemd.must(&until("[ -n \"$(ls /var/spool/silo-plesk/results)\" ]"));
    let called = systemd.must("cat /var/lib/plesk-called");
    assert!(called.contains("bin dns --info example.com"), "{called}");
    let deliveries = format!(
        "curl -sSf -H \"Authorization: Bearer $(cat /var/lib/silo-hub/admin.token)\" http://{ADDRESS}:8053/deliveries"
    );
    systemd.must(&until(&format!("{deliveries} | grep -q 'no such domain'")));
    systemd.must("systemctl stop silo-plesk-worker.service");
}

#[test]
fn the_units_confine_what_runs_in_them() {
    let systemd = set_up();
    // Beside the program, in the same confinement.
    let probe = "for file in /usr/probe /boot/probe /root/probe /home/probe /var/probe /var/lib/probe /etc/probe \
                 /etc/silo/probe /run/probe; do ( : >$file ) 2>/dev/null && echo wrote $file; done; \
                 unshare --user true 2>/dev/null && echo unshared; mount -t tmpfs none /mnt 2>/dev/null && echo mounted; \
                 code=0; curl -s --max-time 1 --unix-socket /run/systemd/private http://x/ || code=$?; [ $code = 7 ] || echo manager; \
                 grep -E '^(CapBnd|NoNewPrivs|Seccomp):' /proc/self/status; true";
    // Unconfined, root reaches the service manager: curl gets no HTTP, but a connection.
    systemd.must("code=0; curl -s --max-time 1 --unix-socket /run/systemd/private http://x/ || code=$?; [ $code != 7 ]");
    for (unit, may) in [
        ("silo-hub", ""),
        ("silo-upstream", ""),
        ("silo-upstream-watch", ""),
        (
            "silo-downstream",
            "wrote /etc/probe\nwrote /etc/silo/probe\n",
        ),
        (
            "silo-downstream-watch",
            "wrote /etc/probe\nwrote /etc/silo/probe\n",
        ),
    ] {
        systemd.must(&format!(
            "mkdir -p /run/units/{unit}.service.d
             printf '%s\\n' '[Service]' 'Type=oneshot' 'Restart=no' 'ExecStart=' 'ExecStart=/bin/sh /run/units/probe.sh' 'StandardOutput=truncate:/run/{unit}.probe' >/run/units/{unit}.service.d/probe.conf"
        ));
        let quoted = probe.replace('\'', r"'\''");
        systemd.must(&format!("printf '%s\\n' '{quoted}' >/run/units/probe.sh"));
        systemd.must(&format!(
            "systemctl stop {unit}.service; systemctl daemon-reload; systemctl start {unit}.service"
        ));
        let found = systemd.must(&format!("cat /run/{unit}.probe"));
        // chown(2) is 0, fowner is 3: capabilities(7).
        let capabilities = if unit.starts_with("silo-downstream") {
            9
        } else {
            0
        };
        let expected = format!("{may}NoNewPrivs: 1\nCapBnd: {capabilities:016x}\nSeccomp: 2");
        let mut found: Vec<String> = found.lines().map(|line| line.replace('\t', " ")).collect();
        let mut expected: Vec<String> = expected.lines().map(str::to_owned).collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{unit}");
    }
}

#[test]
fn systemd_restarts_a_hanging_hub_and_not_a_live_one() {
    let systemd = set_up();
    systemd.must(
        "mkdir /run/units/silo-hub.service.d
         printf '%s\\n' '[Service]' 'WatchdogSec=2s' 'TimeoutStopSec=1s' 'TimeoutAbortSec=1s' 'RestartSec=0' >/run/units/silo-hub.service.d/quick.conf
         systemctl daemon-reload; systemctl restart silo-hub.service",
    );
    let show = |what: &str| {
        systemd.must(&format!(
            "systemctl show --value -p {what} silo-hub.service"
        ))
    };
    let number = |what: &str| show(what).parse::<u64>().unwrap();
    let wait = |what: &str, is: &dyn Fn() -> bool| {
        let deadline = Instant::now() + PATIENCE;
        while !is() {
            assert!(
                Instant::now() < deadline,
                "{what}: {}",
                systemd.must("systemctl status silo-hub.service || true")
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    let started = number("WatchdogTimestampMonotonic");
    // Twice the time in which a silent one is ended.
    wait("it does not beat", &|| {
        number("WatchdogTimestampMonotonic") > started + 4_000_000
    });
    assert_eq!(show("NRestarts"), "0");
    systemd.must("kill -STOP $(systemctl show --value -p MainPID silo-hub.service)");
    wait("it is not restarted", &|| {
        show("NRestarts") == "1" && show("ActiveState") == "active"
    });
    systemd.must(&format!("curl -sSf http://{ADDRESS}:8053/ping"));
}

/// A hub that notifies a service manager's socket.
struct NotifyingHub {
    child: Child,
    socket: UnixDatagram,
}

impl NotifyingHub {
    fn start(folder: &Path, notify: &Path) -> Self {
        let socket = UnixDatagram::bind(notify).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let child = Command::new(binary("silo-hub"))
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(folder.join("data"))
            .env("NOTIFY_SOCKET", notify)
            .env("WATCHDOG_USEC", "200000")
            .env_remove("WATCHDOG_PID")
            .stdin(Stdio::null())
            .stderr(fs::File::create(folder.join("log")).unwrap())
            .spawn()
            .unwrap();
        Self { child, socket }
    }

    fn word(&self) -> String {
        let mut word = [0; 64];
        let length = self
            .socket
            .recv(&mut word)
            .expect("the hub tells something");
        String::from_utf8_lossy(&word[..length]).trim().to_owned()
    }
}

impl Drop for NotifyingHub {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_service_manager_is_notified_of_ready_alive_and_stopping() {
    let folder = tempfile::tempdir().unwrap();
    let mut hub = NotifyingHub::start(folder.path(), &folder.path().join("notify"));
    let count =
        |words: &[String], wanted: &str| words.iter().filter(|word| *word == wanted).count();
    let (mut words, deadline) = (Vec::new(), Instant::now() + PATIENCE);
    // On a busy machine some beats come while the listeners are set up.
    while count(&words, "READY=1") == 0 || count(&words, "WATCHDOG=1") < 5 {
        assert!(Instant::now() < deadline, "{words:?}");
        words.push(hub.word());
        if words.last().is_some_and(|word| word == "READY=1") {
            let log = fs::read_to_string(folder.path().join("log")).unwrap();
            assert!(log.contains("listening on"), "{log}");
        }
    }
    let beats = count(&words, "WATCHDOG=1");
    assert_eq!(
        (count(&words, "READY=1"), words.len()),
        (1, beats + 1),
        "{words:?}"
    );
    let kill = Command::new("kill")
        .arg(hub.child.id().to_string())
        .status();
    assert!(kill.unwrap().success());
    let deadline = Instant::now() + PATIENCE;
    while hub.word() != "STOPPING=1" {
        assert!(Instant::now() < deadline, "it does not say that it stops");
    }
    assert_eq!(hub.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_missing_service_manager_is_no_reason_to_fail() {
    let folder = tempfile::tempdir().unwrap();
    let notify = folder.path().join("notify");
    let hub = NotifyingHub::start(folder.path(), &notify);
    fs::remove_file(&notify).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let log = || fs::read_to_string(folder.path().join("log")).unwrap();
    // In any order: the first beat may come while the listeners are set up.
    for wanted in ["cannot notify the service manager (Alive)", "listening on"] {
        while !log().contains(wanted) {
            assert!(Instant::now() < deadline, "{}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    drop(hub);
}

/// The promises of `SECURITY.md` name tests, which must be there.
#[test]
fn the_tests_that_show_the_promises_are_there() {
    fn sources(folder: &Path, into: &mut String) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, into);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                into.push_str(&fs::read_to_string(&path).unwrap());
            }
        }
    }
    let root = packaging().join("..");
    let mut code = String::new();
    for crate_folder in ["shared", "hub", "agent-upstream", "agent-downstream", "e2e"] {
        sources(&root.join(crate_folder), &mut code);
    }
    let page = fs::read_to_string(root.join("SECURITY.md")).unwrap();
    let names: Vec<&str> = page
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| word.matches('_').count() >= 4)
        .collect();
    assert!(names.len() > 30, "{names:?}");
    for name in names {
        assert!(code.contains(&format!("fn {name}(")), "no test {name}");
    }
    for link in page.split("](").skip(1) {
        let file = link.split(')').next().unwrap();
        assert!(root.join(file).exists(), "{file}");
    }
}
