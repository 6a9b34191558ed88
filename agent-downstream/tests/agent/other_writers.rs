//! Other programs that write the hosts file at the same time: they truncate it first, append, hold it open,
//! rename over it. Nothing that they write is lost.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};

use crate::fake_hub::{FakeHub, Reply, document};
use crate::sandbox::{BINARY, Sandbox, agent, block, clean, need_root, ran, run};
use crate::trace;

const DB: &[(&str, &str)] = &[("db", "10.0.0.5")];
const NAS: &[(&str, &str)] = &[("db", "10.0.0.5"), ("nas", "10.0.0.7")];
const HOSTS: &str = "127.0.0.1 localhost\n";

/// A hub whose silo changes with each request, so that each run has something to write.
fn changing_hub() -> FakeHub {
    let mut revision = 0;
    FakeHub::start(move |request| {
        revision += 1;
        let ip = format!("10.0.1.{revision}");
        Reply::silo(request, "office", revision, &[("db", ip.as_str())])
    })
}

fn append(path: &Path, line: &str) {
    let mut file = OpenOptions::new().append(true).open(path).unwrap();
    file.write_all(line.as_bytes()).unwrap();
}

/// Every line outside the block, in order.
pub(crate) fn outside(text: &str) -> Vec<&str> {
    let mut in_block = false;
    let is_outside = |line: &&str| {
        in_block |= line.starts_with("# BEGIN");
        let outside = !in_block;
        in_block &= !line.starts_with("# END");
        outside
    };
    text.lines().filter(is_outside).collect()
}

#[test]
fn a_program_that_truncates_pauses_and_writes_loses_nothing() {
    // How long it pauses after truncating, how much it then writes at once, how long it pauses then. Without
    // a first pause the run begins when the first part is written: it ends within the block.
    let rounds = [
        (10, 1.0, 0),
        (50, 1.0, 0),
        (300, 1.0, 0),
        (1500, 1.0, 0),
        (20, 0.3, 1500),
        (0, 0.3, 1500),
        (0, 0.6, 500),
    ];
    let hub = changing_hub();
    let sandbox = Sandbox::new(HOSTS);
    sandbox.must_run(&hub, &[]);
    let mut expected = vec!["127.0.0.1 localhost".to_owned()];
    for (number, (first, part, second)) in rounds.into_iter().enumerate() {
        let line = format!("10.9.9.{number} theirs{number}");
        let text = format!("{}{line}\n", sandbox.text());
        expected.push(line);
        let mut file = File::create(sandbox.hosts()).unwrap();
        let (head, tail) = text
            .as_bytes()
            .split_at((text.len() as f64 * part) as usize);
        if first == 0 {
            file.write_all(head).unwrap();
        }
        std::thread::scope(|scope| {
            scope.spawn(move || {
                if first > 0 {
                    std::thread::sleep(Duration::from_millis(first));
                    file.write_all(head).unwrap();
                }
                std::thread::sleep(Duration::from_millis(second));
                file.write_all(tail).unwrap();
            });
            sandbox.must_run(&hub, &[]);
        });
        let text = sandbox.text();
        assert_eq!(
            outside(&text),
            expected,
            "pauses of {first} and {second} ms"
        );
        assert_eq!(text.matches(" db\n").count(), 1, "{text}");
    }
    assert!(sandbox.beside().is_empty());
}

#[test]
fn a_file_that_always_grows_is_replaced_after_twelve_seconds_and_keeps_every_line() {
    let hub = FakeHub::office(42, DB);
    let sandbox = Sandbox::new(HOSTS);
    sandbox.must_run(&hub, &[]);
    hub.now_office(43, NAS);
    let done = AtomicBool::new(false);
    let lines = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut count = 0;
            while !done.load(Ordering::Relaxed) {
                append(
                    &sandbox.hosts(),
                    &format!("10.8.{}.{} theirs{count}\n", count / 256, count % 256),
                );
                count += 1;
                std::thread::sleep(Duration::from_millis(5));
            }
            count
        });
        let ran = sandbox.run(&hub, &[]);
        done.store(true, Ordering::Relaxed);
        let lines = writer.join().unwrap();
        assert_eq!(ran.code, 0, "{ran:?}");
        lines
    });
    let text = sandbox.text();
    assert!(text.contains("10.0.0.7 nas\n"), "{text}");
    let found: Vec<&str> = text
        .lines()
        .filter(|line| line.contains(" theirs"))
        .collect();
    let missing: Vec<_> = (0..lines)
        .filter(|count| {
            !found
                .iter()
                .any(|line| line.ends_with(&format!(" theirs{count}")))
        })
        .collect();
    assert!(missing.is_empty(), "{missing:?} of {lines} are lost");
    assert_eq!(found.len(), lines);
}

#[test]
fn a_file_that_is_rewritten_all_the_time_is_left_alone() {
    let hub = FakeHub::office(42, DB);
    let sandbox = Sandbox::new(HOSTS);
    sandbox.must_run(&hub, &[]);
    hub.now_office(43, NAS);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut count = 0;
            while !done.load(Ordering::Relaxed) {
                fs::write(
                    sandbox.path("etc/theirs"),
                    format!("127.0.0.1 localhost{count}\n"),
                )
                .unwrap();
                fs::rename(sandbox.path("etc/theirs"), sandbox.hosts()).unwrap();
                count += 1;
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let started = Instant::now();
        let ran = sandbox.run(&hub, &[]);
        done.store(true, Ordering::Relaxed);
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(
            ran.stderr
                .contains("another program has been writing it for 12 s"),
            "{ran:?}"
        );
        assert!(started.elapsed() >= Duration::from_secs(12));
    });
    assert!(!sandbox.text().contains("# BEGIN"), "{}", sandbox.text());
    sandbox.must_run(&hub, &[]);
    assert!(sandbox.text().contains("10.0.0.7 nas\n"));
}

#[test]
fn a_program_that_is_busy_for_two_seconds_fails_no_run() {
    // Not much shorter than before: else the run would wait for ten seconds, in case the program is not done.
    let theirs = format!(
        "127.0.0.1 localhost\n10.9.9.9 theirs\n# {}\n",
        "x".repeat(200)
    );
    let hub = FakeHub::office(42, DB);
    let sandbox = Sandbox::new(HOSTS);
    sandbox.must_run(&hub, &[]);
    hub.now_office(43, NAS);
    std::thread::scope(|scope| {
        let (begin, begun) = std::sync::mpsc::channel();
        let (sandbox, theirs) = (&sandbox, &theirs);
        scope.spawn(move || {
            let started = Instant::now();
            while started.elapsed() < Duration::from_secs(2) {
                fs::write(sandbox.path("etc/theirs"), theirs).unwrap();
                fs::rename(sandbox.path("etc/theirs"), sandbox.hosts()).unwrap();
                // The other thread waits for the first one only.
                let _ = begin.send(());
            }
        });
        begun.recv().unwrap();
        sandbox.must_run(&hub, &[]);
    });
    let expected = theirs + &block("office", "10.0.0.5 db\n10.0.0.7 nas\n");
    assert_eq!(sandbox.text(), expected);
}

#[test]
fn a_file_as_our_last_write_left_it_is_not_waited_for() {
    let hub = changing_hub();
    let sandbox = Sandbox::new(HOSTS);
    sandbox.must_run(&hub, &[]);
    let options = ["-e".to_owned(), "trace=clock_nanosleep".to_owned()];
    let traced = trace::start(&sandbox.path("trace"), &options, &sandbox.flags(&hub));
    let (ran, calls) = traced.finish();
    assert_eq!(ran.code, 0, "{ran:?}");
    // The one sleep is before the second look at the file that was replaced.
    assert_eq!(calls.len(), 1, "{calls:?}");
    assert!(calls[0].line.contains("tv_nsec=250000000"), "{calls:?}");
}

#[test]
fn a_leftover_that_another_program_wrote_is_kept_and_named() {
    let hub = FakeHub::office(42, DB);
    let sandbox = Sandbox::new(HOSTS);
    sandbox.must_run(&hub, &[]);
    fs::write(sandbox.temp(), "127.0.0.1 localhost\n10.9.9.9 theirs\n").unwrap();
    let ran = sandbox.must_run(&hub, &[]);
    let temp = sandbox.temp().display().to_string();
    assert!(
        ran.stderr.contains(&temp) && ran.stderr.contains("kept as "),
        "{ran:?}"
    );
    let kept = ran.stderr.trim_end().rsplit("kept as ").next().unwrap();
    assert_eq!(
        fs::read_to_string(kept).unwrap(),
        "127.0.0.1 localhost\n10.9.9.9 theirs\n"
    );
    assert!(sandbox.beside().is_empty());
    // What the agent wrote itself is removed without a word.
    fs::write(sandbox.temp(), sandbox.text()).unwrap();
    assert_eq!(sandbox.must_run(&hub, &[]).stderr, "");
    assert!(sandbox.beside().is_empty());
}

#[test]
fn writing_in_place_beside_a_program_that_truncates_loses_nothing() {
    need_root();
    let hub = changing_hub();
    let sandbox = Sandbox::new(HOSTS);
    let script = r#"set -eu; etc=$1; root=$2; shift 2
        cp "$etc/hosts" "$root/outside"; mount --bind "$root/outside" "$etc/hosts"
        "$@"
        n=0
        for pause in 0.01 0.05 0.3 1.5; do
            n=$((n + 1)); cp "$etc/hosts" "$root/edited"; echo "10.9.9.$n theirs$n" >> "$root/edited"
            ( exec 3> "$etc/hosts"; sleep "$pause"; cat "$root/edited" >&3 ) &
            "$@"
            wait
        done
        "$@"
        cp "$etc/hosts" "$root/after""#;
    let mut command = clean(Command::new("unshare"));
    command.args(["-m", "--propagation", "private", "sh", "-c", script, "sh"]);
    command
        .arg(sandbox.path("etc"))
        .arg(sandbox.path(""))
        .arg(BINARY);
    let ran = run(command.args(sandbox.flags(&hub)).arg("--in-place"));
    assert_eq!(ran.code, 0, "{ran:?}");
    let text = fs::read_to_string(sandbox.path("after")).unwrap();
    let mut found = outside(&text);
    found.sort_unstable();
    let expected = [
        "10.9.9.1 theirs1",
        "10.9.9.2 theirs2",
        "10.9.9.3 theirs3",
        "10.9.9.4 theirs4",
        "127.0.0.1 localhost",
    ];
    assert_eq!(found, expected, "{text}");
    assert_eq!(text.matches(" db\n").count(), 1, "{text}");
}

#[test]
fn a_program_that_truncates_while_the_file_is_written_in_place_loses_nothing() {
    need_root();
    for call in ["write", "ftruncate"] {
        let hub = FakeHub::office(42, NAS);
        let sandbox = Sandbox::new(HOSTS);
        sandbox.note_left(&sandbox.hosts());
        let hosts = sandbox.hosts().display().to_string();
        let stop = format!("inject={call}:signal=SIGSTOP");
        let options = ["-P".to_owned(), hosts, "-e".to_owned(), stop];
        let mut flags = sandbox.flags(&hub);
        flags.push("--in-place=always".to_owned());
        let mut traced = trace::start(&sandbox.path("trace"), &options, &flags);
        traced.wait_for("--- stopped by SIGSTOP ---", 1);
        let mut theirs = File::create(sandbox.hosts()).unwrap();
        let process = traced.process();
        kill_process(process, Signal::CONT).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        theirs
            .write_all(b"127.0.0.1 localhost\n10.9.9.9 theirs\n")
            .unwrap();
        drop(theirs);
        let ran = trace::run_to_end(traced);
        assert_eq!(ran.code, 0, "{call}: {ran:?}");
        let expected = format!(
            "127.0.0.1 localhost\n10.9.9.9 theirs\n{}",
            block("office", "10.0.0.5 db\n10.0.0.7 nas\n")
        );
        assert_eq!(sandbox.text(), expected, "{call}: {ran:?}");
    }
}

#[test]
fn three_hundred_silos_are_pulled_with_few_descriptors() {
    let hub = FakeHub::start(|request| {
        let id = request.path.rsplit('/').next().unwrap().to_owned();
        let name = format!("host-{id}");
        Reply::new(200, document(&id, 1, &[(name.as_str(), "10.0.0.5")]))
    });
    let sandbox = Sandbox::new(HOSTS);
    let silos: Vec<String> = (0..300).map(|number| format!("s{number}")).collect();
    let mut command = clean(Command::new("sh"));
    command.args(["-c", r#"ulimit -n 256; exec "$@""#, "sh", BINARY]);
    command.args(sandbox.file_flags());
    command.args([
        "--hub",
        &hub.url(),
        "--silo",
        &silos.join(","),
        "--token-file",
    ]);
    let ran = run(command.arg(sandbox.path("token")));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    assert_eq!(sandbox.text().matches("10.0.0.5 host-s").count(), 300);
}

#[test]
fn no_thread_for_the_lookup_of_the_hubs_name_is_an_error_like_others() {
    need_root();
    let hub = FakeHub::office(42, DB);
    let sandbox = Sandbox::new(HOSTS);
    // A user of its own, with no process but this one.
    let user = 54_321;
    for name in ["", "token", "downstream.yaml", "etc", "etc/hosts"] {
        std::os::unix::fs::chown(sandbox.path(name), Some(user), None).unwrap();
    }
    fs::copy(BINARY, sandbox.path("agent")).unwrap();
    let mut command = clean(Command::new("setpriv"));
    command.args(["--reuid=54321", "--regid=54321", "--clear-groups"]);
    command
        .args(["prlimit", "--nproc=1:1"])
        .arg(sandbox.path("agent"));
    let url = format!("http://localhost:{}", hub.port);
    let ran = run(command.args(sandbox.flags_for(&url)));
    assert_eq!(ran.code, 1, "{ran:?}");
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    assert!(ran.stderr.contains("cannot start a thread"), "{ran:?}");
}

#[test]
fn a_file_that_is_no_text_is_refused_and_can_be_restored() {
    let utf16 = |text: &str, big: bool| -> Vec<u8> {
        let unit = |unit: u16| {
            if big {
                unit.to_be_bytes()
            } else {
                unit.to_le_bytes()
            }
        };
        text.encode_utf16().flat_map(unit).collect()
    };
    let long = "127.0.0.1 localhost\n".repeat(20);
    let utf16_with_mark = utf16(&format!("\u{feff}{HOSTS}"), false);
    let every_verb = &["once", "clean", "diff", "check"][..];
    let mut cases = vec![
        ("once", utf16(&format!("\u{feff}{HOSTS}"), true), "UTF-16"),
        ("once", utf16(HOSTS, false), "NUL"),
        ("once", b"127.0.0.1 localhost\n\0".to_vec(), "NUL"),
        ("once", [long.as_bytes(), &[0; 20]].concat(), "NUL"),
    ];
    cases.extend(
        every_verb
            .iter()
            .map(|verb| (*verb, utf16_with_mark.clone(), "UTF-16")),
    );
    // Each run waits for the program that may be in the middle of writing the file.
    silo_e2e::for_each_on(cases.len(), &cases, |(verb, bytes, words)| {
        let hub = FakeHub::office(42, DB);
        let sandbox = Sandbox::new(HOSTS);
        sandbox.must_run(&hub, &[]);
        fs::write(sandbox.hosts(), bytes).unwrap();
        hub.now_office(43, NAS);
        let ran = sandbox.run(&hub, &[verb]);
        assert_eq!(ran.code, 1, "{verb}: {ran:?}");
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert!(
            said.contains(words) && said.contains("silo-downstream restore"),
            "{verb}: {ran:?}"
        );
        assert_eq!(&sandbox.read(), bytes, "{verb}");
        sandbox.must_run(&hub, &["restore"]);
        assert_eq!(sandbox.text(), HOSTS);
    });
    // A NUL far behind, and rare, is one of the bytes that go through as they are.
    let hub = FakeHub::office(42, DB);
    let rare = [long.as_bytes(), &[0], long.as_bytes()].concat();
    let sandbox = Sandbox::new(&rare);
    sandbox.must_run(&hub, &[]);
    assert_eq!(sandbox.read()[..rare.len()], rare);
}

#[test]
fn a_run_waits_without_the_lock() {
    let hub = FakeHub::office(42, DB);
    let sandbox = Sandbox::new(HOSTS);
    sandbox.must_run(&hub, &["clean"]);
    let mut waiting = agent();
    // An empty file is given ten seconds.
    File::create(sandbox.hosts()).unwrap();
    waiting.args(sandbox.flags(&hub));
    let mut child = waiting
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let started = Instant::now();
    while hub.requests().is_empty() {
        assert!(started.elapsed() < Duration::from_secs(20), "no request");
        std::thread::sleep(Duration::from_millis(10));
    }
    let lock = OpenOptions::new()
        .write(true)
        .open(sandbox.path("state/lock"))
        .unwrap();
    // It takes the lock for a moment, and gives it back before it waits.
    while lock.try_lock().is_err() {
        assert!(
            started.elapsed() < Duration::from_secs(9),
            "the run that waits holds the lock"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(child.try_wait().unwrap().is_none(), "the run did not wait");
    lock.unlock().unwrap();
    fs::write(sandbox.hosts(), HOSTS).unwrap();
    let ran = ran(child.wait_with_output().unwrap());
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(
        sandbox.text(),
        format!("{HOSTS}{}", block("office", "10.0.0.5 db\n"))
    );
}
