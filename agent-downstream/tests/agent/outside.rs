//! Names that other lines of the hosts file define: as the resolvers read them, and what a run says of them.

use std::fs;
use std::process::Command;

use crate::fake_hub::{FakeHub, Reply, TEN};
use crate::sandbox::{Sandbox, block, clean, need_root, run};

const DB: &[(&str, &str)] = &[("db", "10.0.0.5")];

/// A line; whether the machine's own C library finds `db` in it; whether this program must.
const LINES: &[(&[u8], bool, bool)] = &[
    (b"10.9.9.9 db", true, true),
    (b"10.9.9.9\tdb\r", true, true),
    (b"10.9.9.9 db caf\xe9", true, true),
    (b"10.9.9.9 caf\xe9 db", true, true),
    (b"10.9.9.9\x0bdb", true, true),
    (b"10.9.9.9\x0cdb", true, true),
    (b"10.9.9.9\rdb", true, true),
    (b"\x0b\x0c\r 10.9.9.9 db", true, true),
    (b"10.9.9.9 db\0 x", true, true),
    (b"10.9.9.9 db\0x", true, true),
    (b"10.9.9.9 db#x", true, true),
    (b"10.9.9.9 db \xff\xfe#\xff", true, true),
    (b"2001:db8::9 db", true, true),
    (b"::ffff:10.9.9.9 db", true, true),
    // musl reads these: it takes any address that inet_aton does, and zone ids.
    (b"10.9 db", false, true),
    (b"0x0a090909 db", false, true),
    (b"168364297 db", false, true),
    (b"012.9.9.9 db", false, true),
    (b"10.0x9.9.9 db", false, true),
    (b"fe80::1%lo db", false, true),
    (b"2001:db8::9%1 db", false, true),
    // No one reads these.
    (b"10.9.9.9\xc2\xa0db", false, false),
    (b"10.9.9.9 db\xc2\xa0x", false, false),
    (b"10.9.9.9\xe2\x80\x83db", false, false),
    (b"10.9.9.9 x\0 db", false, false),
    (b"\x0010.9.9.9 db", false, false),
    (b"10.9.9.9 x#db", false, false),
    (b"#10.9.9.9 db", false, false),
    (b"10.9.9.256 db", false, false),
    (b"10.9.9.9. db", false, false),
    (b"09.9.9.9 db", false, false),
    (b"1.2.3.4.5 db", false, false),
    (b"0x db", false, false),
    (b"10..9 db", false, false),
    (b"10.9.9.9db", false, false),
    (b"\xff10.9.9.9 db", false, false),
];

/// The program must see what the C library sees: `getent` says which names a line defines.
#[test]
fn lines_define_what_the_c_library_finds_in_them() {
    need_root();
    let sandbox = Sandbox::new("");
    let script = r#"i=0; while [ -f "$1/$i" ]; do mount --bind "$1/$i" /etc/hosts
        if getent -s files ahosts db >/dev/null || getent -s files hosts db >/dev/null; then echo "$i"; fi
        umount /etc/hosts; i=$((i+1)); done"#;
    for (index, (line, _, _)) in LINES.iter().enumerate() {
        fs::write(
            sandbox.path(&index.to_string()),
            [b"127.0.0.1 localhost\n", *line, b"\n10.1.1.1 z\n"].concat(),
        )
        .unwrap();
    }
    let mut command = clean(Command::new("unshare"));
    command.args(["-m", "--propagation", "private", "sh", "-euc", script, "sh"]);
    command.arg(sandbox.path(""));
    let ran = run(&mut command);
    assert_eq!(ran.code, 0, "may this user unshare and mount? {ran:?}");
    let found: Vec<usize> = ran
        .stdout
        .lines()
        .map(|line| line.parse().unwrap())
        .collect();
    for (index, (line, expected, must)) in LINES.iter().enumerate() {
        let line = line.escape_ascii();
        assert_eq!(found.contains(&index), *expected, "{line}");
        assert!(*must || !*expected, "{line}");
    }
}

#[test]
fn a_line_that_a_resolver_reads_defines_its_names() {
    let hub = FakeHub::office(42, DB);
    for (line, _, defines) in LINES {
        // Long enough that a NUL does not make it a file of another kind.
        let hosts = [format!("#{}\n", "x".repeat(300)).as_bytes(), *line, b"\n"].concat();
        let sandbox = Sandbox::new(&hosts);
        let check = sandbox.run(&hub, &["check"]);
        let ran = sandbox.run(&hub, &[]);
        let line = line.escape_ascii();
        let code = i32::from(*defines);
        assert_eq!(
            (ran.code, check.code),
            (code, code),
            "{line}: {ran:?} {check:?}"
        );
        let lines = if *defines { "" } else { "10.0.0.5 db\n" };
        let expected = [hosts.as_slice(), block("office", lines).as_bytes()].concat();
        assert_eq!(
            sandbox.read().escape_ascii().to_string(),
            expected.escape_ascii().to_string(),
            "{line}"
        );
        if *defines {
            assert!(
                ran.stderr
                    .contains("db: line 2 of the hosts file defines it"),
                "{line}: {ran:?}"
            );
            assert!(
                check
                    .stdout
                    .contains("db: line 2 of the hosts file defines it"),
                "{line}: {check:?}"
            );
        }
    }
}

/// A configuration with these settings beside the flags.
fn configure(sandbox: &Sandbox, yaml: &str) {
    fs::write(sandbox.path("downstream.yaml"), yaml).unwrap();
}

#[test]
fn a_name_that_stays_wrong_fails_every_run_and_quiet_runs_say_it_once() {
    let hub = FakeHub::office(42, DB);
    let sandbox = Sandbox::new("10.0.0.5 db x\n");
    let quiet = || sandbox.run(&hub, &["--quiet"]);
    // The same address is not wrong.
    let ran = quiet();
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.stdout
            .contains("office: skipped db: line 1 of the hosts file defines it\n"),
        "{ran:?}"
    );
    assert_eq!(sandbox.must_run(&hub, &["check"]).code, 0);
    hub.now_office(43, &[("db", "10.0.0.6")]);
    let check = sandbox.run(&hub, &["check", "--quiet"]);
    let wrong = "db: line 1 of the hosts file defines it as 10.0.0.5, but the silo as 10.0.0.6";
    assert!(check.code == 1 && check.stdout.contains(wrong), "{check:?}");
    let ran = quiet();
    assert!(ran.code == 1 && ran.stderr.contains(wrong), "{ran:?}");
    assert!(ran.stderr.contains("policy.conflicts: skip"), "{ran:?}");
    // Another line number is no news.
    for hosts in ["10.0.0.5 db x\n", "# new\n10.0.0.5 db x\n"] {
        fs::write(sandbox.hosts(), hosts).unwrap();
        quiet();
        let ran = quiet();
        assert_eq!(
            (ran.code, ran.stdout.as_str(), ran.stderr.as_str()),
            (1, "", ""),
            "{ran:?}"
        );
    }
    let loud = sandbox.run(&hub, &[]);
    assert!(
        loud.code == 1 && loud.stderr.contains("db: line 2 "),
        "{loud:?}"
    );
    // What the configuration asks for is not wrong; that it began and ended is said.
    configure(&sandbox, "policy: {conflicts: skip}\n");
    let ran = quiet();
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    assert!(ran.stdout.contains("office: skipped db: "), "{ran:?}");
    assert_eq!(quiet().stdout, "");
    let check = sandbox.must_run(&hub, &["check"]);
    assert!(check.stdout.contains("db: line 2 "), "{check:?}");
    configure(&sandbox, "");
    assert_eq!(quiet().code, 1);
    fs::write(sandbox.hosts(), "127.0.0.1 localhost\n").unwrap();
    let ran = quiet();
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    assert!(
        ran.stdout
            .contains("office: no longer skipped: db: line 2 "),
        "{ran:?}"
    );
    assert_eq!(quiet().stdout, "");
}

#[test]
fn names_left_out_by_the_configuration_are_reported_at_start_and_end() {
    let hub = FakeHub::office(
        42,
        &[("db", "10.0.0.5"), ("nas", "10.0.0.7"), ("tv", "127.0.0.1")],
    );
    let sandbox = Sandbox::new("");
    let quiet = |arguments: &[&str]| {
        let ran = sandbox.must_run(&hub, &[arguments, &["--quiet"]].concat());
        assert_eq!(ran.stderr, "");
        ran.stdout
    };
    let said = quiet(&["--hostnames", "db"]);
    assert!(
        said.contains("office: left out by `hostnames`: 2 names\n"),
        "{said}"
    );
    assert_eq!(quiet(&["--hostnames", "db"]), "");
    let check = sandbox.must_run(&hub, &["check", "--hostnames", "db"]);
    assert!(
        check.stdout.contains("left out by `hostnames`: 2 names"),
        "{check:?}"
    );
    let said = quiet(&[]);
    assert!(
        said.contains("office: no longer left out by `hostnames`: 2 names\n"),
        "{said}"
    );
    assert!(
        said.contains("office: skipped tv 127.0.0.1: a loopback address\n"),
        "{said}"
    );
    let check = sandbox.must_run(&hub, &["check"]);
    assert!(
        check.stdout.contains("tv 127.0.0.1: a loopback address"),
        "{check:?}"
    );
}

fn at(ip: &'static str) -> Vec<(&'static str, &'static str)> {
    TEN.iter().map(|(name, _)| (*name, ip)).collect()
}

/// How a hub empties a block of ten names; whether that needs --force.
#[test]
fn names_that_the_hub_removes_from_a_block_are_counted() {
    for ip in [
        "127.0.0.1",
        "169.254.1.1",
        "fe80::1",
        "0.0.0.0",
        "224.0.0.1",
        "::127.0.0.1",
        "nonsense",
    ] {
        let hub = FakeHub::office(42, TEN);
        let sandbox = Sandbox::new("");
        sandbox.must_run(&hub, &[]);
        let full = sandbox.text();
        hub.now(move |request| Reply::silo(request, "office", 43, &at(ip)));
        for _ in 0..2 {
            let check = sandbox.run(&hub, &["check"]);
            let ran = sandbox.run(&hub, &[]);
            assert_eq!((ran.code, check.code), (1, 1), "{ip}: {ran:?} {check:?}");
            assert!(
                ran.stderr.contains("dropped 10 of 10 names"),
                "{ip}: {ran:?}"
            );
            assert_eq!(sandbox.text(), full, "{ip}");
        }
        sandbox.must_run(&hub, &["--force"]);
        assert_eq!(sandbox.text(), block("office", ""), "{ip}");
    }
}

#[test]
fn names_that_another_silo_takes_over_are_counted() {
    let hub = FakeHub::office(42, TEN);
    let sandbox = Sandbox::new("");
    sandbox.must_run(&hub, &[]);
    let full = sandbox.text();
    hub.now(|request| {
        let id = if request.path.ends_with("office") {
            "office"
        } else {
            "home"
        };
        Reply::silo(
            request,
            id,
            43,
            &at(if id == "home" { "10.6.6.6" } else { "10.0.0.1" }),
        )
    });
    configure(&sandbox, "silos: [home, office]\n");
    let both = |arguments: &[&str]| {
        let flags: Vec<String> = sandbox
            .flags(&hub)
            .into_iter()
            .map(|flag| {
                if flag == "office" {
                    "home,office".to_owned()
                } else {
                    flag
                }
            })
            .collect();
        run(crate::sandbox::agent().args(flags).args(arguments))
    };
    let ran = both(&[]);
    assert!(
        ran.code == 1
            && ran
                .stderr
                .contains("office: the hub dropped 10 of 10 names"),
        "{ran:?}"
    );
    assert!(sandbox.text().starts_with(&full), "{}", sandbox.text());
    assert_eq!(both(&["--force"]).code, 0);
    assert!(
        sandbox.text().starts_with(&block("office", "")),
        "{}",
        sandbox.text()
    );
}

#[test]
fn names_that_the_settings_leave_out_are_not_lost_through_the_hub() {
    let hub = FakeHub::office(42, TEN);
    for (yaml, arguments) in [
        ("policy: {networks: [192.168.0.0/16]}\n", &[][..]),
        ("", &["--hostnames", "other"][..]),
    ] {
        let sandbox = Sandbox::new("");
        sandbox.must_run(&hub, &[]);
        configure(&sandbox, yaml);
        sandbox.must_run(&hub, arguments);
        assert_eq!(sandbox.text(), block("office", ""), "{yaml}");
    }
}

#[test]
fn a_foreign_block_that_costs_a_name_is_named_with_the_command_that_removes_it() {
    let hub = FakeHub::office(42, DB);
    let sandbox = Sandbox::new(block("home", "10.0.0.7 db\n"));
    for _ in 0..2 {
        let ran = sandbox.run(&hub, &[]);
        assert_eq!(ran.code, 1, "{ran:?}");
        let part = "office: skipped db: the block of silo home defines it as 10.0.0.7, but the silo as 10.0.0.5";
        assert!(ran.stderr.contains(part), "{ran:?}");
        assert!(
            ran.stderr.contains("silo-downstream clean --silo home"),
            "{ran:?}"
        );
        let check = sandbox.run(&hub, &["check"]);
        assert!(
            check.code == 1 && check.stdout.contains("clean --silo home"),
            "{check:?}"
        );
    }
}

/// A hub with `db` in every silo: 10.0.0.5 in `office`, 10.0.0.6 in any other.
fn every_silo() -> FakeHub {
    FakeHub::start(|request| {
        let id = request.path.rsplit('/').next().unwrap().to_owned();
        let ip = if id == "office" {
            "10.0.0.5"
        } else {
            "10.0.0.6"
        };
        Reply::silo(request, &id, 42, &[("db", ip)])
    })
}

fn run_silo(
    sandbox: &Sandbox,
    hub: &FakeHub,
    silo: &str,
    arguments: &[&str],
) -> crate::sandbox::Ran {
    let flags = sandbox.flags(hub).into_iter().map(|flag| {
        if flag == "office" {
            silo.to_owned()
        } else {
            flag
        }
    });
    run(crate::sandbox::agent().args(flags).args(arguments))
}

fn change_notes(sandbox: &Sandbox, change: impl FnOnce(&mut serde_json::Value)) {
    let path = fs::read_dir(sandbox.path("state"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_string_lossy().contains("/notes-"))
        .unwrap();
    let mut notes = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut notes);
    fs::write(&path, notes.to_string()).unwrap();
}

/// Has the notes say that the machine has run for so much longer since they were written.
fn runs_on(sandbox: &Sandbox, hours: i64) {
    change_notes(sandbox, |notes| {
        for clock in ["counted_at_ms", "counted_uptime_ms"] {
            let at = notes[clock].as_i64().unwrap() - hours * HOUR_MS;
            notes[clock] = at.into();
        }
    });
}

/// Has the notes say that the machine was off for so long and has been started again.
fn was_off(sandbox: &Sandbox, hours: i64) {
    change_notes(sandbox, |notes| {
        let at = notes["counted_at_ms"].as_i64().unwrap() - hours * HOUR_MS;
        notes["counted_at_ms"] = at.into();
        notes["counted_uptime_ms"] = i64::MAX.into();
    });
}

const HOUR_MS: i64 = 3_600_000;

#[test]
fn the_block_of_a_renamed_silo_gives_way_after_a_day() {
    let hub = every_silo();
    let sandbox = Sandbox::new("");
    sandbox.must_run(&hub, &[]);
    for _ in 0..2 {
        let ran = run_silo(&sandbox, &hub, "home", &[]);
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.stderr.contains("clean --silo office"), "{ran:?}");
    }
    // The machine was off over the weekend: that alone does not count as a day without a run that names the silo.
    was_off(&sandbox, 60);
    assert_eq!(run_silo(&sandbox, &hub, "home", &[]).code, 1);
    runs_on(&sandbox, 25);
    let check = run_silo(&sandbox, &hub, "home", &["check"]);
    let stale = "the block of silo office is stale: no run has configured that silo for a day";
    assert!(check.code == 0 && check.stdout.contains(stale), "{check:?}");
    let ran = run_silo(&sandbox, &hub, "home", &["--quiet"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    assert!(
        ran.stdout
            .contains(&format!("{stale}; removed 1 line from it")),
        "{ran:?}"
    );
    assert!(
        ran.stdout
            .contains("`silo-downstream clean --silo office` removes it"),
        "{ran:?}"
    );
    assert_eq!(
        sandbox.text(),
        block("office", "") + &block("home", "10.0.0.6 db\n")
    );
    assert_eq!(run_silo(&sandbox, &hub, "home", &["--quiet"]).stdout, "");
    assert!(run_silo(&sandbox, &hub, "home", &[]).stdout.contains(stale));
    assert_eq!(run_silo(&sandbox, &hub, "office", &["clean"]).code, 0);
    let ran = run_silo(&sandbox, &hub, "home", &["--quiet"]);
    assert!(
        ran.code == 0 && ran.stdout.contains(&format!("over: {stale}")),
        "{ran:?}"
    );
}

#[test]
fn two_schedules_that_share_a_file_go_on_also_after_the_machine_was_off() {
    let hub = every_silo();
    let sandbox = Sandbox::new("");
    let round = |expected: i32| {
        let codes =
            ["office", "home"].map(|silo| run_silo(&sandbox, &hub, silo, &["--quiet"]).code);
        assert_eq!(codes, [0, expected]);
        assert_eq!(
            sandbox.text(),
            block("office", "10.0.0.5 db\n") + &block("home", "")
        );
    };
    round(1);
    round(1);
    was_off(&sandbox, 72);
    // The other one is first this time.
    assert_eq!(run_silo(&sandbox, &hub, "home", &["--quiet"]).code, 1);
    round(1);
}
