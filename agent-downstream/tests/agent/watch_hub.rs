//! A `watch` in the background, and what it does when the hub, its configuration or its life changes.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

#[cfg(unix)]
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::fake_hub::{FakeHub, Reply};
use crate::sandbox::{Sandbox, agent, block};

/// How long a condition may take; far more than any does.
const LIMIT: Duration = Duration::from_secs(60);

/// A running `watch`; killed when dropped.
pub(crate) struct Watcher {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Watcher {
    pub(crate) fn start(sandbox: &Sandbox, hub: &FakeHub, arguments: &[&str]) -> Self {
        Self::start_as(sandbox, hub, "watch", arguments)
    }

    /// The same for one of several in a sandbox.
    pub(crate) fn start_as(
        sandbox: &Sandbox,
        hub: &FakeHub,
        name: &str,
        arguments: &[&str],
    ) -> Self {
        Self::start_with(sandbox, hub, name, arguments, &[])
    }

    /// The same with further environment variables.
    fn start_with(
        sandbox: &Sandbox,
        hub: &FakeHub,
        name: &str,
        arguments: &[&str],
        variables: &[(&str, &Path)],
    ) -> Self {
        let (stdout, stderr) = (
            sandbox.path(&format!("{name}.stdout")),
            sandbox.path(&format!("{name}.stderr")),
        );
        let child = agent()
            .args(sandbox.flags(hub))
            .arg("watch")
            .args(arguments)
            .envs(variables.iter().copied())
            .stdout(File::create(&stdout).unwrap())
            .stderr(File::create(&stderr).unwrap())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            child,
            stdout,
            stderr,
        }
    }

    pub(crate) fn stdout(&self) -> String {
        fs::read_to_string(&self.stdout).unwrap()
    }

    pub(crate) fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap()
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    #[cfg(unix)]
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for a condition; fails if the agent ends.
    pub(crate) fn until(&mut self, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        let started = Instant::now();
        while !condition(self) {
            let ended = self.child.try_wait().unwrap();
            assert!(
                ended.is_none() && started.elapsed() < LIMIT,
                "{what}: {ended:?}\n{}{}",
                self.stdout(),
                self.stderr()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until the hosts file is `expected`.
    pub(crate) fn until_hosts(&mut self, sandbox: &Sandbox, expected: &str) {
        self.until(expected, |_| {
            fs::read_to_string(sandbox.hosts()).is_ok_and(|found| found == expected)
        });
    }

    /// Waits until it has ended by itself, and returns its exit code.
    #[cfg(target_os = "linux")]
    fn ended(&mut self) -> i32 {
        let started = Instant::now();
        loop {
            if let Some(ended) = self.child.try_wait().unwrap() {
                return ended.code().unwrap_or(-1);
            }
            assert!(started.elapsed() < LIMIT, "{}", self.stderr());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends it by SIGTERM, and returns its exit code.
    #[cfg(unix)]
    pub(crate) fn end(mut self) -> i32 {
        self.signal(Signal::TERM);
        self.child.wait().unwrap().code().unwrap_or(-1)
    }

    /// Ends it. Windows has no signal that one process sends to another.
    #[cfg(not(unix))]
    pub(crate) fn end(self) -> i32 {
        self.kill();
        0
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const LOCALHOST: &str = "127.0.0.1 localhost\n";

/// The hosts file with one record.
pub(crate) fn with(lines: &str) -> String {
    format!("{LOCALHOST}{}", block("office", lines))
}

pub(crate) fn started() -> (Sandbox, FakeHub, Watcher) {
    let sandbox = Sandbox::new(LOCALHOST);
    let hub = FakeHub::office(1, &[("db", "10.0.0.5")]);
    let mut watcher = Watcher::start(&sandbox, &hub, &[]);
    watcher.until_hosts(&sandbox, &with("10.0.0.5 db\n"));
    // Printed when the write has ended, after which what others write is a change.
    watcher.until("its line", |watcher| !watcher.stdout().is_empty());
    (sandbox, hub, watcher)
}

#[test]
fn a_change_at_the_hub_is_written_and_told_in_one_line() {
    let (sandbox, hub, mut watcher) = started();
    hub.now_office(2, &[("db", "10.0.0.6")]);
    watcher.until_hosts(&sandbox, &with("10.0.0.6 db\n"));
    let expected =
        "office: new block with 1 name, revision 1\noffice: db 10.0.0.5 → 10.0.0.6, revision 2\n";
    watcher.until("both lines", |watcher| watcher.stdout() == expected);
    // Says what it has applied with the request that waits next.
    watcher.until("Silo-Applied", |_| {
        let last = hub.requests().pop().unwrap();
        last.headers
            .get("silo-applied")
            .is_some_and(|tag| tag == "\"2\"")
            && last.headers.contains_key("prefer")
    });
    assert_eq!(watcher.stderr(), "");
    assert_eq!(watcher.end(), 0);
}

/// The next write does not wait for the last check of the one before.
#[test]
fn changes_in_quick_succession_are_each_written_and_told_to_the_hub() {
    let (sandbox, hub, mut watcher) = started();
    for revision in 2..=40 {
        let ip = format!("10.1.0.{revision}");
        let answered = ip.clone();
        hub.now(move |request| Reply::silo(request, "office", revision, &[("db", &answered)]));
        watcher.until_hosts(&sandbox, &with(&format!("{ip} db\n")));
    }
    watcher.until("Silo-Applied", |_| {
        let last = hub.requests().pop().unwrap();
        last.headers
            .get("silo-applied")
            .is_some_and(|tag| tag == "\"40\"")
    });
    let lines = 40;
    watcher.until("a line for each change", |watcher| {
        watcher.stdout().lines().count() == lines
    });
    assert_eq!(watcher.stderr(), "");
    assert_eq!(watcher.end(), 0);
}

#[test]
fn facts_are_objects_with_json() {
    let sandbox = Sandbox::new(LOCALHOST);
    let hub = FakeHub::office(1, &[("db", "10.0.0.5")]);
    let mut watcher = Watcher::start(&sandbox, &hub, &["--json"]);
    watcher.until_hosts(&sandbox, &with("10.0.0.5 db\n"));
    watcher.until("the change", |watcher| !watcher.stdout().is_empty());
    hub.now(|_| Reply::problem(404, "there is no silo office"));
    watcher.until("the error", |watcher| watcher.stdout().lines().count() == 2);
    let stdout = watcher.stdout();
    let facts: Vec<Value> = stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(facts[0]["event"], "changed");
    assert_eq!(facts[0]["silo"], "office");
    assert_eq!(facts[0]["revision"], 1);
    assert_eq!(facts[0]["changes"][0]["hostname"], "db");
    assert_eq!(facts[0]["changes"][0]["after"][0], "10.0.0.5");
    assert_eq!(facts[1]["event"], "error");
    assert!(facts[1].to_string().contains("there is no silo office"));
    for fact in &facts {
        let at = fact["at"].as_str().unwrap();
        assert!(at.ends_with('Z') && at.contains('T'), "{at}");
    }
    assert_eq!(watcher.stderr(), "");
    assert_eq!(watcher.end(), 0);
}

#[test]
fn an_outage_and_its_end_are_told_once() {
    let (sandbox, hub, mut watcher) = started();
    hub.now(|_| Reply::problem(503, "the database is away"));
    watcher.until("several requests", |_| hub.requests().len() >= 6);
    hub.now_office(2, &[("db", "10.0.0.6")]);
    watcher.until_hosts(&sandbox, &with("10.0.0.6 db\n"));
    let told = watcher.stderr();
    assert_eq!(told.matches("the database is away").count(), 1, "{told}");
    let is_over = |watcher: &Watcher| watcher.stdout().matches("the hub answers again").count();
    watcher.until("its end", |watcher| is_over(watcher) == 1);
    assert_eq!(watcher.end(), 0);
}

#[test]
fn a_token_that_is_rotated_in_the_file_is_read_again() {
    let (sandbox, hub, mut watcher) = started();
    let token = format!("silo_abcdefgh12_{}", "y".repeat(43));
    fs::write(sandbox.path("token"), format!("{token}\n")).unwrap();
    hub.now(move |request| {
        if request.headers.get("authorization") == Some(&format!("Bearer {token}")) {
            Reply::silo(request, "office", 2, &[("db", "10.0.0.6")])
        } else {
            Reply::problem(401, "unknown token")
        }
    });
    watcher.until_hosts(&sandbox, &with("10.0.0.6 db\n"));
    assert_eq!(watcher.end(), 0);
}

#[cfg(unix)]
/// The first silo that is refused reads the file; the others then neither read it nor pause.
#[test]
fn all_silos_are_asked_for_at_once_with_a_token_that_was_rotated() {
    const SILOS: u8 = 12;
    // Less than the sum of what pauses of 10 to 60 s take, of which one is the longest of eleven.
    const PATIENCE: Duration = Duration::from_secs(25);
    let sandbox = Sandbox::new(LOCALHOST);
    let yaml: Vec<String> = (0..SILOS).map(|at| format!("s{at}")).collect();
    let silos = yaml.join(",");
    let answer = |request: &crate::fake_hub::Request, revision: i64| {
        let id = request
            .path
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .to_owned();
        let ip = format!("10.0.0.{revision}");
        Reply::silo(request, &id, revision, &[(&id.replace('s', "h"), &ip)])
    };
    let hub = FakeHub::start(move |request| answer(request, 1));
    let mut watcher = Watcher::start(&sandbox, &hub, &["--silo", &silos]);
    let has_all = |ip: &str| sandbox.text().matches(ip).count() == usize::from(SILOS);
    watcher.until("all silos", |_| has_all("10.0.0.1 h"));
    let token = format!("silo_abcdefgh12_{}", "y".repeat(43));
    fs::write(sandbox.path("token"), format!("{token}\n")).unwrap();
    hub.now(move |request| {
        if request.headers.get("authorization") == Some(&format!("Bearer {token}")) {
            answer(request, 2)
        } else {
            Reply::problem(401, "unknown token")
        }
    });
    let started = Instant::now();
    watcher.until("the new state of all", |_| {
        assert!(started.elapsed() < PATIENCE, "{}", sandbox.text());
        has_all("10.0.0.2 h")
    });
    assert_eq!(watcher.end(), 0);
}

#[cfg(target_os = "linux")]
/// systemd passes a copy of the token, made when the service starts (`LoadCredential=`).
#[test]
fn an_agent_whose_passed_token_is_refused_ends_so_that_it_is_started_with_the_new_one() {
    let sandbox = Sandbox::new(LOCALHOST);
    let hub = FakeHub::office(1, &[("db", "10.0.0.5")]);
    let folder = sandbox.path("");
    let variable = ("CREDENTIALS_DIRECTORY", folder.as_path());
    let mut watcher = Watcher::start_with(&sandbox, &hub, "watch", &[], &[variable]);
    watcher.until_hosts(&sandbox, &with("10.0.0.5 db\n"));
    hub.now(|_| Reply::problem(401, "unknown token"));
    assert_eq!(watcher.ended(), 1);
    assert!(watcher.stderr().contains("LoadCredential"));
}

#[cfg(unix)]
#[test]
fn sighup_reads_the_configuration_and_keeps_the_old_one_if_it_is_broken() {
    let (sandbox, hub, mut watcher) = started();
    hub.now_office(2, &[("db", "10.0.0.5"), ("tv", "10.0.0.9")]);
    watcher.until_hosts(&sandbox, &with("10.0.0.5 db\n10.0.0.9 tv\n"));
    for broken in ["hostnames: {", "no_such_key: 1\n"] {
        fs::write(sandbox.path("downstream.yaml"), broken).unwrap();
        let before = watcher.stderr().lines().count();
        watcher.signal(Signal::HUP);
        watcher.until("the error", |watcher| {
            watcher.stderr().lines().count() > before
        });
        assert!(watcher.stderr().contains("the previous one stays in use"));
    }
    fs::write(sandbox.path("downstream.yaml"), "hostnames: [tv]\n").unwrap();
    watcher.signal(Signal::HUP);
    watcher.until_hosts(&sandbox, &with("10.0.0.9 tv\n"));
    assert_eq!(watcher.end(), 0);
}

#[test]
fn a_refused_pull_is_told_once_and_not_tried_in_a_loop() {
    let sandbox = Sandbox::new(LOCALHOST);
    let hub = FakeHub::office(1, crate::fake_hub::TEN);
    let mut watcher = Watcher::start(&sandbox, &hub, &[]);
    watcher.until("ten names", |_| sandbox.text().contains("h9"));
    hub.now_office(2, &[("h0", "10.0.0.1")]);
    watcher.until("the refusal", |watcher| watcher.stderr().contains("office"));
    // The next request waits with the tag of the refused state.
    watcher.until("a waiting request", |_| {
        hub.tags().last() == Some(&Some("\"2\"".to_owned()))
    });
    let count = hub.requests().len();
    // Neither the refusal nor its reason is forgotten when the hub answers that nothing changed.
    let refused = sandbox.run(&hub, &["status"]);
    assert_eq!(refused.code, 1);
    let reason = "office: revision 1, 10 names written";
    assert!(refused.stdout.contains(reason), "{refused:?}");
    assert!(refused.stdout.contains("max_removed"), "{refused:?}");
    hub.now_office(3, crate::fake_hub::TEN);
    watcher.until("the next request", |_| hub.requests().len() > count);
    assert_eq!(hub.requests().len(), count + 1);
    assert_eq!(watcher.stderr().lines().count(), 1, "{}", watcher.stderr());
    assert!(sandbox.text().contains("h9"));
    assert_eq!(watcher.end(), 0);
}

#[test]
fn status_tells_the_last_success_and_what_fails() {
    let sandbox = Sandbox::new(LOCALHOST);
    let hub = FakeHub::office(7, &[("db", "10.0.0.5"), ("laptop.example.com", "10.0.0.9")]);
    let never = sandbox.run(&hub, &["status"]);
    assert_eq!(never.code, 1);
    assert!(
        never.stdout.contains("no run has succeeded yet"),
        "{never:?}"
    );
    sandbox.must_run(&hub, &[]);
    let ok = sandbox.must_run(&hub, &["status", "--max-age", "1h"]);
    assert!(ok.stdout.contains("last success"), "{ok:?}");
    assert!(
        ok.stdout.contains("office: revision 7, 1 name written"),
        "{ok:?}"
    );
    assert!(
        ok.stdout.contains("office: skipped laptop.example.com"),
        "{ok:?}"
    );
    assert_eq!(sandbox.run(&hub, &["status", "--max-age", "0s"]).code, 1);
    hub.now(|_| Reply::problem(404, "there is no silo office"));
    assert_eq!(sandbox.run(&hub, &[]).code, 1);
    let failing = sandbox.run(&hub, &["status", "--json"]);
    assert_eq!(failing.code, 1);
    let facts: Vec<Value> = failing
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(facts[0]["ok"], false);
    assert!(facts[0]["failing_since"].is_string() && facts[0]["succeeded_at"].is_string());
    assert_eq!(facts[1]["silo"], "office");
    assert!(
        facts[1]["failure"]
            .as_str()
            .unwrap()
            .contains("there is no silo office")
    );
    assert_eq!(facts[1]["skipped"].as_array().unwrap().len(), 1);
}

#[test]
fn diff_exits_as_diff_does_with_exit_code() {
    let sandbox = Sandbox::new(LOCALHOST);
    let hub = FakeHub::office(1, &[("db", "10.0.0.5")]);
    let code = |arguments: &[&str]| sandbox.run(&hub, arguments).code;
    assert_eq!(code(&["diff", "--exit-code"]), 1);
    assert_eq!(code(&["diff"]), 0);
    assert_eq!(code(&["once"]), 0);
    assert_eq!(code(&["diff", "--exit-code"]), 0);
    hub.now(|_| Reply::problem(404, "there is no silo office"));
    assert_eq!(code(&["diff", "--exit-code"]), 2);
    assert_eq!(code(&["diff"]), 1);
}
