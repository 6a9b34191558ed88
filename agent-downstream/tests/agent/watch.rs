//! A `watch` beside other programs that change the hosts file, its hook, and what it costs at rest.

use std::fs;
#[cfg(target_os = "linux")]
use std::process::Command;
#[cfg(target_os = "linux")]
use std::time::Duration;

#[cfg(target_os = "linux")]
use rustix::process::Signal;

use silo_shared::held;

use crate::fake_hub::{FakeHub, Reply};
use crate::sandbox::Sandbox;
#[cfg(target_os = "linux")]
use crate::sandbox::need_root;
use crate::watch_hub::{Watcher, started, with};

/// What another program does to the file, and what the file has then.
type Edit = (&'static str, fn(&Sandbox), &'static str);

/// Writes the file as another program: on Windows, the agent may have it open for a moment.
fn write(sandbox: &Sandbox, text: &str) {
    held::retry_to_replace(|| fs::write(sandbox.hosts(), text)).unwrap();
}

#[test]
fn what_other_programs_do_to_the_file_is_repaired() {
    let edits: [Edit; 6] = [
        (
            "an edit within the block",
            |sandbox| {
                let text = sandbox.text().replace("10.0.0.5 db", "10.9.9.9 db");
                write(sandbox, &text);
            },
            "127.0.0.1 localhost\n",
        ),
        ("truncated", |sandbox| write(sandbox, ""), ""),
        (
            "replaced",
            |sandbox| {
                let new = sandbox.path("etc/new");
                fs::write(&new, "127.0.0.1 other\n").unwrap();
                held::rename(&new, &sandbox.hosts()).unwrap();
            },
            "127.0.0.1 other\n",
        ),
        (
            "deleted and created",
            |sandbox| {
                // On Windows, a file that the agent has open keeps its name for a moment, and what is written to it
                // is removed with it.
                let old = sandbox.path("etc/old");
                held::rename(&sandbox.hosts(), &old).unwrap();
                held::remove(&old).unwrap();
                write(sandbox, "127.0.0.1 third\n");
            },
            "127.0.0.1 third\n",
        ),
        (
            "the block is gone",
            |sandbox| write(sandbox, "127.0.0.1 localhost\n"),
            "127.0.0.1 localhost\n",
        ),
        (
            "a line before it, in several writes",
            |sandbox| {
                let text = sandbox.text();
                for written in ["", "127.0.0.1 localhost\n10.8.8.8 mine\n"] {
                    write(sandbox, written);
                }
                let block = text
                    .split_once("# BEGIN")
                    .unwrap()
                    .1
                    .replace("10.0.0.5", "10.7.7.7");
                let rest = format!("127.0.0.1 localhost\n10.8.8.8 mine\n# BEGIN{block}");
                write(sandbox, &rest);
            },
            "127.0.0.1 localhost\n10.8.8.8 mine\n",
        ),
    ];
    for (what, edit, outside) in edits {
        let (sandbox, _hub, mut watcher) = started();
        edit(&sandbox);
        let block = with("10.0.0.5 db\n").replace("127.0.0.1 localhost\n", "");
        watcher.until(what, |_| {
            // On Windows, a file without a line gets CRLF.
            fs::read_to_string(sandbox.hosts())
                .is_ok_and(|found| found.replace("\r\n", "\n") == format!("{outside}{block}"))
        });
        watcher.until("its line", |watcher| watcher.stdout().lines().count() >= 2);
        assert_eq!(watcher.stderr(), "", "{what}");
        assert_eq!(watcher.end(), 0, "{what}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_that_can_not_be_written_is_told_once_and_repaired_when_it_can() {
    need_root();
    let (sandbox, hub, mut watcher) = started();
    let hosts = sandbox.hosts();
    let chattr = |flag: &str| {
        let done = Command::new("chattr").arg(flag).arg(&hosts).status();
        assert!(done.expect("chattr of e2fsprogs").success());
    };
    chattr("+i");
    hub.now_office(2, &[("db", "10.0.0.6")]);
    watcher.until("the failure", |watcher| !watcher.stderr().is_empty());
    // More news make it try again.
    hub.now_office(3, &[("db", "10.0.0.7")]);
    let count = hub.requests().len();
    watcher.until("more requests", |_| hub.requests().len() > count);
    chattr("-i");
    watcher.until_hosts(&sandbox, &with("10.0.0.7 db\n"));
    watcher.until("its end", |watcher| {
        watcher.stdout().contains("is up to date again")
    });
    assert_eq!(watcher.stderr().lines().count(), 1, "{}", watcher.stderr());
    assert_eq!(watcher.end(), 0);
}

#[test]
fn a_deleted_file_is_told_once_and_repaired_when_it_is_back() {
    let (sandbox, _hub, mut watcher) = started();
    fs::remove_file(sandbox.hosts()).unwrap();
    watcher.until("the failure", |watcher| {
        watcher.stderr().contains("no such file")
    });
    fs::write(sandbox.hosts(), "127.0.0.1 localhost\n").unwrap();
    watcher.until_hosts(&sandbox, &with("10.0.0.5 db\n"));
    assert_eq!(watcher.stderr().lines().count(), 1, "{}", watcher.stderr());
    assert_eq!(watcher.end(), 0);
}

#[test]
fn two_that_watch_one_file_agree() {
    let (sandbox, hub, mut first) = started();
    let mut second = Watcher::start_as(&sandbox, &hub, "second", &[]);
    second.until("its requests", |_| hub.requests().len() >= 3);
    hub.now_office(2, &[("db", "10.0.0.6")]);
    first.until_hosts(&sandbox, &with("10.0.0.6 db\n"));
    fs::write(sandbox.hosts(), "127.0.0.1 localhost\n").unwrap();
    first.until_hosts(&sandbox, &with("10.0.0.6 db\n"));
    assert_eq!(first.stderr(), "");
    assert_eq!(second.stderr(), "");
    assert_eq!((first.end(), second.end()), (0, 0));
}

/// A configuration with a hook that runs this script.
#[cfg(target_os = "linux")]
fn hook(sandbox: &Sandbox, script: &str) {
    let yaml = format!("on_change: [/bin/sh, -c, {script:?}]\n");
    fs::write(sandbox.path("downstream.yaml"), yaml).unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn a_hook_that_a_kill_prevented_runs_in_the_next_run() {
    let sandbox = Sandbox::new("127.0.0.1 localhost\n");
    let hub = FakeHub::office(1, &[("db", "10.0.0.5")]);
    let (began, said) = (sandbox.path("began"), sandbox.path("said"));
    hook(&sandbox, &format!("touch {}; sleep 600", began.display()));
    let mut watcher = Watcher::start(&sandbox, &hub, &[]);
    watcher.until("the hook", |_| began.exists());
    watcher.kill();
    let owed = sandbox.run(&hub, &["status"]);
    assert_eq!(owed.code, 1);
    assert!(
        owed.stderr.contains("on_change: owed for office"),
        "{owed:?}"
    );
    let checked = sandbox.run(&hub, &["check"]);
    assert_eq!(checked.code, 1, "{checked:?}");
    assert!(
        checked
            .stdout
            .contains("FAILED  on_change: it is owed for office"),
        "{checked:?}"
    );
    // A run that changes nothing, and one whose hook fails.
    hook(&sandbox, "exit 3");
    let failed = sandbox.run(&hub, &[]);
    assert_eq!(failed.code, 1);
    assert!(
        failed.stderr.contains("on_change: /bin/sh failed"),
        "{failed:?}"
    );
    let script = format!(
        "cat > {}; echo $SILO_HOOK_SILO $SILO_HOOK_REVISION >> {}",
        said.display(),
        said.display()
    );
    hook(&sandbox, &script);
    sandbox.must_run(&hub, &[]);
    let text = fs::read_to_string(&said).unwrap();
    assert!(text.ends_with("office 1\n"), "{text}");
    assert!(
        text.contains(r#"{"hostname":"db","before":[],"after":["10.0.0.5"]}"#),
        "{text}"
    );
    // It is owed no more.
    fs::remove_file(&said).unwrap();
    sandbox.must_run(&hub, &[]);
    assert!(!said.exists());
    sandbox.must_run(&hub, &["status"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_hook_runs_after_each_change_and_again_if_it_failed() {
    let sandbox = Sandbox::new("127.0.0.1 localhost\n");
    let hub = FakeHub::office(1, &[("db", "10.0.0.5")]);
    let (ready, runs) = (sandbox.path("ready"), sandbox.path("runs"));
    let script = format!(
        "test -e {} && echo $SILO_HOOK_REVISION >> {}",
        ready.display(),
        runs.display()
    );
    hook(&sandbox, &script);
    let mut watcher = Watcher::start(&sandbox, &hub, &[]);
    watcher.until("its failure", |watcher| {
        watcher.stderr().contains("on_change")
    });
    fs::write(&ready, "").unwrap();
    let ran = |revision: &str| {
        fs::read_to_string(&runs).is_ok_and(|runs| runs.lines().last() == Some(revision))
    };
    watcher.until("the first run", |_| ran("1"));
    hub.now_office(2, &[("db", "10.0.0.6")]);
    watcher.until("the second run", |_| ran("2"));
    assert_eq!(watcher.stderr().lines().count(), 1, "{}", watcher.stderr());
    assert_eq!(watcher.end(), 0);
}

#[cfg(target_os = "linux")]
/// Processor time in clock ticks and resident memory in KiB (proc_pid_stat(5), proc_pid_status(5)).
pub(crate) fn cost(watcher: &Watcher) -> (u64, u64) {
    let folder = format!("/proc/{}", watcher.pid().as_raw_nonzero());
    let stat = fs::read_to_string(format!("{folder}/stat")).unwrap();
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .collect();
    let ticks = |at: usize| fields[at].parse::<u64>().unwrap();
    let status = fs::read_to_string(format!("{folder}/status")).unwrap();
    let resident = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    let resident = resident.trim().split(' ').next().unwrap().parse().unwrap();
    (ticks(11) + ticks(12), resident)
}

#[cfg(target_os = "linux")]
#[test]
fn at_rest_nothing_is_printed_and_no_request_is_made() {
    let (_sandbox, hub, mut watcher) = started();
    watcher.until("a waiting request", |_| {
        hub.requests()
            .last()
            .is_some_and(|last| last.headers.contains_key("silo-applied"))
    });
    let (requests, printed, before) = (hub.requests().len(), watcher.stdout(), cost(&watcher));
    std::thread::sleep(Duration::from_secs(10));
    let after = cost(&watcher);
    println!(
        "10 s at rest: {} ticks of processor time, {} KiB resident",
        after.0 - before.0,
        after.1
    );
    assert_eq!(hub.requests().len(), requests);
    assert_eq!(
        (watcher.stdout(), watcher.stderr()),
        (printed, String::new())
    );
    watcher.signal(Signal::INT);
    assert_eq!(watcher.end(), 0);
}

#[cfg(target_os = "linux")]
#[test]
fn a_run_that_can_not_write_still_runs_the_hook_that_is_owed() {
    need_root();
    let sandbox = Sandbox::new("127.0.0.1 localhost\n");
    let hub = FakeHub::office(1, &[("db", "10.0.0.5")]);
    hook(&sandbox, "exit 3");
    assert_eq!(sandbox.run(&hub, &[]).code, 1);
    let said = sandbox.path("said");
    hook(&sandbox, &format!("cat > {}", said.display()));
    fs::write(
        sandbox.hosts(),
        format!("{}# BEGIN silo office\n", sandbox.text()),
    )
    .unwrap();
    let ran = sandbox.run(&hub, &[]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("office"), "{ran:?}");
    assert!(said.exists(), "{ran:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_run_that_is_told_to_end_kills_its_hook() {
    let sandbox = Sandbox::new("127.0.0.1 localhost\n");
    let hub = FakeHub::office(1, &[("db", "10.0.0.5")]);
    let began = sandbox.path("began");
    // The process id of the sleep itself.
    hook(
        &sandbox,
        &format!(
            "echo $$ > {}.new; mv {}.new {}; exec sleep 600",
            began.display(),
            began.display(),
            began.display()
        ),
    );
    let mut run = crate::sandbox::agent()
        .args(sandbox.flags(&hub))
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let started = std::time::Instant::now();
    while !began.exists() {
        assert!(run.try_wait().unwrap().is_none() && started.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(5));
    }
    let hook: i32 = fs::read_to_string(&began).unwrap().trim().parse().unwrap();
    let agent = rustix::process::Pid::from_child(&run);
    rustix::process::kill_process(agent, Signal::TERM).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(1));
    let hook = rustix::process::Pid::from_raw(hook).unwrap();
    assert!(rustix::process::test_kill_process(hook).is_err());
    assert_eq!(sandbox.run(&hub, &["status"]).code, 1, "it is owed");
}

#[test]
fn at_the_start_the_file_is_repaired_by_what_was_known_before_the_hub_answers() {
    let sandbox = Sandbox::new("127.0.0.1 localhost\n");
    let hub = FakeHub::office(1, &[("db", "10.0.0.5")]);
    sandbox.must_run(&hub, &[]);
    fs::write(sandbox.hosts(), "127.0.0.1 localhost\n").unwrap();
    hub.now(|_| Reply::problem(503, "the database is away"));
    let mut watcher = Watcher::start(&sandbox, &hub, &[]);
    watcher.until_hosts(&sandbox, &with("10.0.0.5 db\n"));
    // A state that was never known is asked for, and what the hub says then replaces it.
    hub.now_office(2, &[("db", "10.0.0.6")]);
    watcher.until_hosts(&sandbox, &with("10.0.0.6 db\n"));
    assert_eq!(watcher.end(), 0);
}
