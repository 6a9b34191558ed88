//! A `watch` whose hosts file others move to a full disk.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::fake_hub::FakeHub;
use crate::sandbox::{Sandbox, need_root};
use crate::watch::cost;
use crate::watch_hub::{Watcher, started, with};

/// Tells the test that it runs in its own namespace.
const INSIDE: &str = "SILO_TEST_FULL_DISK";
/// What the agent may use in 10 s, in ticks of 10 ms: a loop without pauses takes about 1000.
const MOST_TICKS: u64 = 200;

/// Fills a disk to the last byte.
fn fill(disk: &Path) {
    let mut ballast = File::create(disk.join("ballast")).unwrap();
    for size in [4096, 1] {
        let error = std::iter::repeat_with(|| ballast.write_all(&vec![0; size]))
            .find_map(Result::err)
            .unwrap();
        assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
    }
}

#[test]
fn a_file_that_is_moved_to_a_full_disk_is_told_once_and_repaired_when_there_is_room() {
    let name = "watch_full_disk::a_file_that_is_moved_to_a_full_disk_is_told_once_and_repaired_when_there_is_room";
    need_root();
    if std::env::var_os(INSIDE).is_none() {
        let again = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "--"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(INSIDE, "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&again.stdout) + String::from_utf8_lossy(&again.stderr);
        assert!(
            again.status.success() && text.contains("1 passed"),
            "{text}"
        );
        print!("{text}");
        return;
    }
    let (sandbox, hub, mut watcher) = started();
    let disk = sandbox.path("disk");
    fs::create_dir(&disk).unwrap();
    let mount = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=64k", "none"])
        .arg(&disk)
        .status();
    assert!(mount.unwrap().success());
    // Without the block, as an installer leaves it.
    fs::write(disk.join("hosts"), "127.0.0.1 localhost\n").unwrap();
    fill(&disk);
    symlink(disk.join("hosts"), sandbox.path("etc/next")).unwrap();
    fs::rename(sandbox.path("etc/next"), sandbox.hosts()).unwrap();
    watcher.until("the failure", |watcher| !watcher.stderr().is_empty());
    assert_paused(&sandbox, &hub, &mut watcher);

    fs::remove_file(disk.join("ballast")).unwrap();
    watcher.until_hosts(&sandbox, &with("10.0.0.6 db\n"));
    watcher.until("its end", |watcher| {
        watcher.stdout().contains("is up to date again")
    });
    assert!(fs::symlink_metadata(sandbox.hosts()).unwrap().is_symlink());
    let left: Vec<_> = fs::read_dir(&disk).unwrap().flatten().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(watcher.stderr().lines().count(), 1, "{}", watcher.stderr());
    assert_eq!(watcher.end(), 0);
}

/// The file stays whole, a change at the hub is tried, and the agent pauses between its tries.
fn assert_paused(sandbox: &Sandbox, hub: &FakeHub, watcher: &mut Watcher) {
    let said = watcher.stderr();
    assert!(said.contains("No space left"), "{said}");
    let count = hub.requests().len();
    hub.now_office(2, &[("db", "10.0.0.6")]);
    watcher.until("the next request", |_| hub.requests().len() > count);
    let before = cost(watcher);
    std::thread::sleep(Duration::from_secs(10));
    let ticks = cost(watcher).0 - before.0;
    println!("10 s with a full disk: {ticks} ticks of processor time");
    assert!(ticks <= MOST_TICKS, "{ticks}");
    assert_eq!(sandbox.text(), "127.0.0.1 localhost\n");
    assert_eq!(watcher.stderr(), said, "said once");
}
