//! Each system call of a run fails, or is the last one: the hosts file then holds the old or the new
//! bytes, and the next run succeeds and leaves nothing behind.
//!
//! A clean run under strace tells which calls there are; each case injects one fault into one of them,
//! and has to see in its own trace that the fault happened.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::fake_hub::{FakeHub, Reply};
use crate::sandbox::{BINARY, Ran, Sandbox, clean, names_beside, need_root, new, old, run};
use crate::trace::{Call, trace};

/// Cases at a time: each waits for a second look at the file.
const THREADS: usize = 8;
const DB: &[(&str, &str)] = &[("db", "10.0.0.5"), ("nas", "10.0.0.7")];
const ERRORS: [&str; 5] = ["ENOSPC", "EIO", "EROFS", "EBUSY", "EACCES"];
/// How renameat2(2) fails where the kernel, the filesystem or a sandbox can't exchange two files.
pub(crate) const NO_EXCHANGE: [&str; 3] = ["EINVAL", "ENOSYS", "EOPNOTSUPP"];

/// How the file is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// By a rename.
    Rename,
    /// In place: another file is mounted on it.
    InPlace,
}

/// One run on a sandbox of its own.
struct Case<'a> {
    way: Way,
    hub: &'a FakeHub,
    sandbox: Sandbox,
}

impl<'a> Case<'a> {
    fn new(way: Way, hub: &'a FakeHub) -> Self {
        let sandbox = Sandbox::new(old());
        fs::write(sandbox.path("mounted"), old()).unwrap();
        let case = Self { way, hub, sandbox };
        // As if a run had left the file so: else each run waits a second for other programs.
        case.sandbox.note_left(&case.hosts());
        case
    }

    /// A program, in a namespace where the file is mounted if this way asks for it.
    fn command(&self, program: &str) -> Command {
        if self.way == Way::Rename {
            return Command::new(program);
        }
        let mut command = Command::new("unshare");
        command
            .args(["-m", "--propagation", "private", "sh", "-c"])
            .arg(r#"mount --bind "$1" "$2" && shift 2 && exec "$@""#)
            .arg("sh")
            .arg(self.sandbox.path("mounted"))
            .arg(self.sandbox.hosts())
            .arg(program);
        command
    }

    fn arguments(&self) -> Vec<String> {
        let mut arguments = self.sandbox.flags(self.hub);
        if self.way == Way::InPlace {
            arguments.push("--in-place".to_owned());
        }
        arguments
    }

    /// Runs with these options of strace.
    fn trace(&self, options: &[String]) -> (Ran, Vec<Call>) {
        let log = self.sandbox.path("trace");
        trace(self.command("strace"), &log, options, &self.arguments())
    }

    /// The file that is to change.
    fn hosts(&self) -> PathBuf {
        match self.way {
            Way::Rename => self.sandbox.hosts(),
            Way::InPlace => self.sandbox.path("mounted"),
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.hosts()).unwrap()).into_owned()
    }

    /// The next run, without a fault, must do all that was left undone.
    fn recover(&self, after: &str) {
        let ran = run(clean(self.command(BINARY)).args(self.arguments()));
        assert_eq!(
            (ran.code, ran.stderr.as_str()),
            (0, ""),
            "after {after}: {ran:?}"
        );
        assert_eq!(self.text(), new(), "after {after}");
        assert_eq!(
            names_beside(&self.sandbox.hosts()),
            [""; 0],
            "after {after}"
        );
        let journal = names_beside(&self.sandbox.path("state/lock"))
            .into_iter()
            .find(|name| name.starts_with("journal-"));
        assert_eq!(journal, None, "after {after}");
        // What was there before the agent ever wrote is still to be had.
        let backups = fs::read_dir(self.sandbox.path("state"))
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let kept = backups
            .filter(|path| {
                path.file_name()
                    .unwrap()
                    .to_string_lossy()
                    .starts_with("backup-")
            })
            .any(|path| fs::read_to_string(path).unwrap() == old());
        assert!(kept, "after {after}: the backup is gone");
    }
}

/// A run without a fault, and its calls.
fn reference(way: Way, hub: &FakeHub) -> Vec<Call> {
    let case = Case::new(way, hub);
    let (ran, calls) = case.trace(&[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(case.text(), new());
    // Paths differ from sandbox to sandbox.
    let folder = case.sandbox.path("").display().to_string();
    let calls = calls
        .into_iter()
        .map(|call| Call {
            line: call.line.replace(&folder, "/"),
            ..call
        })
        .collect();
    case.recover("no fault");
    calls
}

fn touches_hosts(call: &Call) -> bool {
    call.line.contains("/etc/hosts")
        || call.line.contains("/etc/.hosts")
        || call.line.contains("/etc>")
        || call.line.contains("\"/etc\"")
}

/// The files that a call names, and how it opens them; `folder` is the sandbox's. The agent's own names are cut off at
/// the digest of a path in them.
fn files_of(line: &str, folder: &str) -> Vec<String> {
    let (call, _) = line.rsplit_once(") = ").unwrap_or((line, ""));
    call.replace(folder, "/")
        .split(['"', '<', '>', ',', '(', ')', ' '])
        .filter(|word| word.starts_with('/') || word.starts_with("O_"))
        .map(|word| {
            let cut = word.find("silo-").filter(|_| word.contains("/.hosts."));
            word[..cut.unwrap_or(word.len())].to_owned()
        })
        .collect()
}

/// Every error in every call that touches the hosts file's folder.
fn inject_errors(way: Way) -> usize {
    need_root();
    let hub = FakeHub::office(42, DB);
    let calls = reference(way, &hub);
    let rename = calls
        .iter()
        .position(|call| call.name == "renameat2" && touches_hosts(call))
        .expect("an exchange with the hosts file is tried");
    let faults: Vec<_> = calls
        .iter()
        .enumerate()
        .filter(|(_, call)| touches_hosts(call) && call.name != "execve")
        .flat_map(|(at, call)| {
            let is_exchange = call.name == "renameat2";
            let more = NO_EXCHANGE.into_iter().filter(move |_| is_exchange);
            ERRORS
                .into_iter()
                .chain(more)
                .map(move |error| (at, call, error))
        })
        .collect();
    silo_e2e::for_each_on(THREADS, &faults, |(at, call, error)| {
        inject_error(way, &hub, call, error, *at > rename);
    });
    faults.len()
}

/// One error in one call.
fn inject_error(way: Way, hub: &FakeHub, call: &Call, error: &str, after_rename: bool) {
    let writes = match call.name.as_str() {
        "write" | "fsync" | "rename" | "renameat2" | "ftruncate" => true,
        "openat" => call.line.contains("O_CREAT"),
        _ => false,
    };
    const TRIES: usize = 20;
    let fault = format!("{}:error={error}:when={}", call.name, call.ordinal);
    let inject = ["-e".to_owned(), format!("inject={fault}")];
    let fault = format!("{fault} in {}", call.line);
    // What the network does differs between runs, and with it now and then a call's ordinal: then another call of that
    // name failed.
    let of_this_call = (0..TRIES).find_map(|_| {
        let case = Case::new(way, hub);
        let (ran, traced) = case.trace(&inject);
        let hit = traced
            .iter()
            .find(|call| call.line.contains("(INJECTED)"))?;
        let folder = case.sandbox.path("").display().to_string();
        let is_it =
            hit.name == call.name && files_of(&hit.line, &folder) == files_of(&call.line, "/");
        is_it.then_some((case, ran))
    });
    let (case, ran) = of_this_call.unwrap_or_else(|| panic!("{fault} did not happen"));
    let text = case.text();
    match (way, ran.code) {
        (_, 0) => assert_eq!(text, new(), "{fault}: {ran:?}"),
        (Way::Rename, 1) if after_rename => assert_eq!(text, new(), "{fault}: {ran:?}"),
        (_, 1) => assert_eq!(text, old(), "{fault}: {ran:?}"),
        _ => panic!("{fault}: {ran:?}"),
    }
    if ran.code == 1 {
        assert_eq!(ran.stderr.lines().count(), 1, "{fault}: {ran:?}");
        assert!(
            ran.stderr.contains("/etc"),
            "{fault}: the message names no path: {ran:?}"
        );
    }
    let has_other_way = call.name == "renameat2" && NO_EXCHANGE.contains(&error);
    if has_other_way {
        assert_eq!(ran.code, 0, "{fault}: {ran:?}");
    } else if writes && way == Way::Rename {
        assert_eq!(ran.code, 1, "{fault}: {ran:?}");
    }
    // A failed run cleans up by itself; if that is what failed, the next one does.
    if call.name != "unlink" {
        assert_eq!(names_beside(&case.sandbox.hosts()), [""; 0], "{fault}");
    }
    case.recover(&fault);
}

/// A kill at every call from the opening of the hosts file on.
fn kill_everywhere(way: Way) -> (usize, usize) {
    const TRIES: usize = 20;
    need_root();
    let hub = FakeHub::office(42, DB);
    let calls = reference(way, &hub);
    let opens = |call: &Call| call.name == "openat" && call.line.contains("/etc/hosts\", O_RDONLY");
    let first = calls
        .iter()
        .position(opens)
        .expect("the hosts file is opened");
    let torn = AtomicUsize::new(0);
    let kills: Vec<_> = calls.iter().enumerate().skip(first).collect();
    silo_e2e::for_each_on(THREADS, &kills, |(at, call)| {
        let fault = format!("{}:signal=KILL:when={}", call.name, call.ordinal);
        // What the network does differs between runs, and with it now and then a call's ordinal.
        let hit = (0..TRIES).any(|_| {
            let case = Case::new(way, &hub);
            let (ran, traced) = case.trace(&["-e".to_owned(), format!("inject={fault}")]);
            assert_ne!(ran.code, 1, "{fault}: {ran:?}");
            let text = case.text();
            if text != old() && text != new() {
                assert!(way == Way::InPlace, "{fault}: {text:?}");
                torn.fetch_add(1, Ordering::Relaxed);
            }
            case.recover(&format!("{fault} in {}", call.line));
            let opened = traced.iter().position(opens);
            let last = traced.last().unwrap();
            let killed = fs::read_to_string(case.sandbox.path("trace"))
                .unwrap()
                .contains("+++ killed by SIGKILL +++");
            killed
                && opened.is_some_and(|opened| traced.len() - 1 - opened == at - first)
                && last.name == call.name
        });
        assert!(
            hit,
            "no kill at call {} after the opening, {}",
            at - first,
            call.line
        );
    });
    (kills.len(), torn.into_inner())
}

#[test]
fn an_error_in_any_call_leaves_the_old_or_the_new_file() {
    let cases = inject_errors(Way::Rename);
    println!("{cases} errors");
    assert!(cases >= 100, "{cases}: the trace was not understood");
}

#[test]
fn an_error_in_any_call_of_a_write_in_place_leaves_the_old_or_the_new_file() {
    let cases = inject_errors(Way::InPlace);
    println!("{cases} errors");
    assert!(cases >= 150, "{cases}: the trace was not understood");
}

#[test]
fn a_kill_at_any_call_leaves_the_old_or_the_new_file() {
    let (cases, torn) = kill_everywhere(Way::Rename);
    println!("{cases} kills");
    assert!(cases >= 50, "{cases}: the trace was not understood");
    assert_eq!(torn, 0);
}

#[test]
fn a_kill_at_any_call_of_a_write_in_place_is_recovered_from() {
    let (cases, torn) = kill_everywhere(Way::InPlace);
    println!("{cases} kills, {torn} of them left the file torn");
    assert!(cases >= 80, "{cases}: the trace was not understood");
    assert!(torn >= 1, "no kill hit the write itself");
}

#[test]
fn a_torn_file_is_repaired_when_the_hub_is_down() {
    need_root();
    let hub = FakeHub::office(42, DB);
    let calls = reference(Way::InPlace, &hub);
    // The end of the file is written first, then this, its beginning.
    let write = calls
        .iter()
        .rfind(|call| call.name == "write" && call.line.contains("/etc/hosts>"))
        .expect("the hosts file is written");
    let fault = format!("inject=write:signal=KILL:when={}", write.ordinal);
    let case = Case::new(Way::InPlace, &hub);
    case.trace(&["-e".to_owned(), fault]);
    assert!(
        case.text() != old() && case.text() != new(),
        "{:?}",
        case.text()
    );
    hub.now(|_| Reply::problem(503, "down"));
    let ran = run(clean(case.command(BINARY)).args(case.arguments()));
    assert_eq!(ran.code, 1, "{ran:?}");
    assert_eq!(case.text(), new());
    hub.now_office(42, DB);
    case.recover("a kill while the hub was down");
}

/// Where in a trace a file or folder was synced; before a file got its name, it has that with an ending.
fn syncs(calls: &[Call], file: &str) -> Vec<usize> {
    let named = [format!("<{file}>"), format!("<{file}.part>")];
    calls
        .iter()
        .enumerate()
        .filter(|(_, call)| matches!(call.name.as_str(), "fsync" | "fdatasync"))
        .filter(|(_, call)| named.iter().any(|named| call.line.contains(named)))
        .filter(|(_, call)| call.line.ends_with(" = 0"))
        .map(|(at, _)| at)
        .collect()
}

/// Where in a trace a file was last written before a call; before it got its name, it has that with an ending.
fn last_write(calls: &[Call], file: &str, before: usize) -> usize {
    let named = format!("<{file}");
    calls[..before]
        .iter()
        .rposition(|call| {
            matches!(
                call.name.as_str(),
                "write" | "ftruncate" | "pwrite64" | "writev"
            ) && call.line.contains(&named)
        })
        .unwrap_or_else(|| panic!("{file} is written"))
}

/// After a power cut a file that was renamed has its bytes, and the folder knows it under its new name.
#[test]
fn the_file_is_synced_before_the_rename_and_its_folder_after() {
    need_root();
    let hub = FakeHub::office(42, DB);
    for way in [Way::Rename, Way::InPlace] {
        let calls = reference(way, &hub);
        let renames: Vec<_> = calls
            .iter()
            .enumerate()
            .filter(|(_, call)| call.name.starts_with("rename") && call.line.ends_with(" = 0"))
            .collect();
        let mut renamed = Vec::new();
        for (at, call) in renames {
            let mut names = call.line.split('"').skip(1).step_by(2);
            let (from, to) = (names.next().unwrap(), names.next().unwrap());
            if to.starts_with("/etc/.hosts.") {
                // Still in the making.
                continue;
            }
            let folder = to.rsplit_once('/').unwrap().0;
            let written = last_write(&calls, from, at);
            let case = format!("{} in:\n{calls:#?}", call.line);
            assert!(
                syncs(&calls, from)
                    .iter()
                    .any(|sync| (written..at).contains(sync)),
                "the file is not synced before {case}"
            );
            // Before the run says that all is well.
            assert!(
                syncs(&calls, folder).iter().any(|sync| *sync > at),
                "the folder is not synced after {case}"
            );
            renamed.push((at, to.to_owned()));
        }
        let count = |name: &str| renamed.iter().filter(|(_, to)| to.contains(name)).count();
        assert_eq!(
            count("/etc/hosts"),
            usize::from(way == Way::Rename),
            "{renamed:?}"
        );
        assert!(count("/state/silo-office-") == 1, "{renamed:?}");
        if way == Way::Rename {
            continue;
        }
        // The journal is on the disk before the first byte of the file is written, and goes after its last one is.
        let first = calls
            .iter()
            .position(|call| call.name == "write" && call.line.contains("</etc/hosts>"))
            .expect("the file is written");
        let (journal, _) = renamed
            .iter()
            .find(|(_, to)| to.contains("/state/journal-"))
            .expect("the journal is written");
        assert!(
            syncs(&calls, "/state")
                .iter()
                .any(|sync| (*journal..first).contains(sync)),
            "{calls:#?}"
        );
        let removed = calls
            .iter()
            .position(|call| call.name == "unlink" && call.line.contains("/state/journal-"))
            .expect("the journal is removed");
        let written = last_write(&calls, "/etc/hosts", removed);
        assert!(
            syncs(&calls, "/etc/hosts")
                .iter()
                .any(|sync| (written..removed).contains(sync)),
            "{calls:#?}"
        );
    }
}
