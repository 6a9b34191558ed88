//! Places that take no new file: bind mounts, full and read-only disks, immutable files.

use std::fs;
use std::process::Command;

use crate::fake_hub::FakeHub;
use crate::sandbox::{BINARY, Ran, Sandbox, block, clean, need_root, run};

const DB: &[(&str, &str)] = &[("db", "10.0.0.5")];

/// Runs a shell script in a mount namespace of its own: `agent …` is the agent with its usual flags,
/// `$etc` the hosts file's folder, `$root` the sandbox. It must end with 0.
fn in_namespace(sandbox: &Sandbox, hub: &FakeHub, script: &str) -> Ran {
    need_root();
    let prelude = "set -eu; etc=$1; root=$2; bin=$3; shift 3; flags=\"$*\"; agent() { \"$bin\" $flags \"$@\"; }\n\
                   fails() { want=$1; shift; code=0; \"$@\" || code=$?; [ $code -eq $want ] || { echo \"code $code, not $want\" >&2; exit 99; }; }\n";
    let mut command = clean(Command::new("unshare"));
    command
        .args([
            "-m",
            "--propagation",
            "private",
            "sh",
            "-c",
            &format!("{prelude}{script}"),
            "sh",
        ])
        .arg(sandbox.path("etc"))
        .arg(sandbox.path(""))
        .arg(BINARY)
        .args(sandbox.flags(hub));
    let ran = run(&mut command);
    assert_eq!(ran.code, 0, "may this user unshare and mount? {ran:?}");
    ran
}

#[test]
fn a_bind_mounted_file_is_refused_and_written_in_place_on_request() {
    let hub = FakeHub::office(42, DB);
    let sandbox = Sandbox::new("127.0.0.1 localhost\n");
    let ran = in_namespace(
        &sandbox,
        &hub,
        r#"cp "$etc/hosts" "$root/outside"; mount --bind "$root/outside" "$etc/hosts"
           fails 1 agent check
           fails 1 agent once
           cmp "$etc/hosts" "$root/outside"; cp "$root/outside" "$root/after-refusal"; ls -A "$etc" > "$root/beside"
           inode=$(stat -c %i "$etc/hosts")
           agent check --in-place --quiet
           agent once --in-place
           agent once --in-place --quiet
           [ "$inode" = "$(stat -c %i "$etc/hosts")" ]
           ls -A "$etc" >> "$root/beside""#,
    );
    assert!(
        ran.stdout.contains("FAILED  hosts file") && ran.stdout.contains("in place only"),
        "{ran:?}"
    );
    assert!(
        ran.stderr
            .contains("/hosts: cannot rename the new file over it: ")
            && ran
                .stderr
                .contains(". The file was not changed. If it can't be replaced"),
        "{ran:?}"
    );
    assert!(ran.stderr.contains("--in-place"), "{ran:?}");
    assert_eq!(
        fs::read_to_string(sandbox.path("after-refusal")).unwrap(),
        "127.0.0.1 localhost\n"
    );
    let expected = format!("127.0.0.1 localhost\n{}", block("office", "10.0.0.5 db\n"));
    assert_eq!(
        fs::read_to_string(sandbox.path("outside")).unwrap(),
        expected
    );
    assert_eq!(
        fs::read_to_string(sandbox.path("beside")).unwrap(),
        "hosts\nhosts\n"
    );
    // The file that the mount covered was never touched.
    assert_eq!(sandbox.text(), "127.0.0.1 localhost\n");
}

#[test]
fn a_writable_file_in_a_read_only_folder_is_written_in_place_on_request() {
    let hub = FakeHub::office(42, DB);
    let sandbox = Sandbox::new("127.0.0.1 localhost\n");
    let ran = in_namespace(
        &sandbox,
        &hub,
        r#"cp "$etc/hosts" "$root/outside"
           mount --bind "$etc" "$etc"; mount --bind "$root/outside" "$etc/hosts"; mount -o remount,bind,ro "$etc"
           fails 1 agent once
           agent once --in-place"#,
    );
    assert!(
        ran.stderr.contains("Read-only file system") && ran.stderr.contains("--in-place"),
        "{ran:?}"
    );
    let expected = format!("127.0.0.1 localhost\n{}", block("office", "10.0.0.5 db\n"));
    assert_eq!(
        fs::read_to_string(sandbox.path("outside")).unwrap(),
        expected
    );
}

#[test]
fn a_full_disk_leaves_the_file_whole() {
    let hub = FakeHub::office(42, DB);
    let sandbox = Sandbox::new("");
    let ran = in_namespace(
        &sandbox,
        &hub,
        r#"mount -t tmpfs -o size=64k none "$etc"; echo "127.0.0.1 localhost" > "$etc/hosts"
           dd if=/dev/zero of="$etc/filler" bs=4096 status=none 2>/dev/null || true
           if echo x > "$etc/probe"; then echo "the disk is not full" >&2; exit 98; fi; rm -f "$etc/probe"
           cp "$etc/hosts" "$root/before"
           fails 1 agent once
           fails 1 agent once --in-place
           cmp "$etc/hosts" "$root/before"; ls -A "$etc" > "$root/beside"
           rm "$etc/filler"
           agent once
           cp "$etc/hosts" "$root/after"; ls -A "$etc" >> "$root/beside""#,
    );
    assert_eq!(
        ran.stderr.matches("silo-downstream: ").count(),
        2,
        "{ran:?}"
    );
    assert!(ran.stderr.contains("No space left on device"), "{ran:?}");
    assert_eq!(
        fs::read_to_string(sandbox.path("beside")).unwrap(),
        "filler\nhosts\nhosts\n"
    );
    let expected = format!("127.0.0.1 localhost\n{}", block("office", "10.0.0.5 db\n"));
    assert_eq!(fs::read_to_string(sandbox.path("after")).unwrap(), expected);
}

#[test]
fn a_disk_that_is_full_for_a_write_in_place_leaves_the_file_whole() {
    let hub = FakeHub::office(42, DB);
    let sandbox = Sandbox::new("");
    // The file fills its page, so that the block needs another one, which there is not.
    let ran = in_namespace(
        &sandbox,
        &hub,
        r##"mkdir "$root/disk"; mount -t tmpfs -o size=64k none "$root/disk"
           { echo "127.0.0.1 localhost"; printf '#%4074s\n' x; } > "$root/disk/hosts"
           mount --bind "$root/disk/hosts" "$etc/hosts"
           dd if=/dev/zero of="$root/disk/filler" bs=4096 status=none 2>/dev/null || true
           cp "$etc/hosts" "$root/before"
           fails 1 agent once --in-place
           cmp "$etc/hosts" "$root/before"
           rm "$root/disk/filler"
           agent once --in-place
           cp "$etc/hosts" "$root/after""##,
    );
    assert!(
        ran.stderr.contains("No space left on device") && ran.stderr.contains("not changed"),
        "{ran:?}"
    );
    let before = fs::read_to_string(sandbox.path("before")).unwrap();
    assert_eq!(before.len(), 4096);
    let after = fs::read_to_string(sandbox.path("after")).unwrap();
    assert_eq!(after, before + &block("office", "10.0.0.5 db\n"));
}

#[test]
fn a_full_state_folder_leaves_the_file_whole() {
    let hub = FakeHub::office(42, DB);
    let sandbox = Sandbox::new("127.0.0.1 localhost\n");
    let ran = in_namespace(
        &sandbox,
        &hub,
        r#"mkdir -m 700 "$root/state"; mount -t tmpfs -o size=64k,mode=700 none "$root/state"
           dd if=/dev/zero of="$root/state/filler" bs=4096 status=none 2>/dev/null || true
           fails 1 agent once
           cp "$etc/hosts" "$root/before"
           rm "$root/state/filler"
           agent once"#,
    );
    assert!(
        ran.stderr.contains("in the state folder") && ran.stderr.contains("No space left"),
        "{ran:?}"
    );
    assert_eq!(
        fs::read_to_string(sandbox.path("before")).unwrap(),
        "127.0.0.1 localhost\n"
    );
    assert!(sandbox.text().contains("10.0.0.5 db\n"));
}

#[test]
fn a_read_only_disk_gives_a_clear_error() {
    let hub = FakeHub::office(42, DB);
    let sandbox = Sandbox::new("127.0.0.1 localhost\n");
    let ran = in_namespace(
        &sandbox,
        &hub,
        r#"mount --bind "$etc" "$etc"; mount -o remount,bind,ro "$etc"
           fails 1 agent check
           fails 1 agent once
           fails 1 agent once --in-place"#,
    );
    assert_eq!(
        ran.stderr.matches("Read-only file system").count(),
        2,
        "{ran:?}"
    );
    assert!(ran.stdout.contains("FAILED  hosts file"), "{ran:?}");
    assert_eq!(sandbox.text(), "127.0.0.1 localhost\n");
}

/// Makes files immutable, and takes that back so that the folder can be removed.
struct Immutable<'a>(&'a Sandbox);

impl Immutable<'_> {
    fn set(sandbox: &Sandbox) -> Option<Immutable<'_>> {
        let ran = run(Command::new("chattr").arg("+i").arg(sandbox.hosts()));
        (ran.code == 0).then_some(Immutable(sandbox))
    }
}

impl Drop for Immutable<'_> {
    fn drop(&mut self) {
        run(Command::new("chattr").arg("-i").arg(self.0.hosts()));
    }
}

#[test]
fn a_link_into_the_nix_store_is_refused_by_each_verb_with_the_option_that_helps() {
    let hub = FakeHub::office(42, DB);
    let sandbox = Sandbox::new("127.0.0.1 localhost\n");
    // A root with a Nix store and all else of this one. On NixOS /etc/hosts is a link to a link.
    let ran = in_namespace(
        &sandbox,
        &hub,
        r#"new=$root/new; mkdir "$new"; mount -t tmpfs none "$new"
           for entry in /*; do
               if [ "$entry" = /nix ]; then continue; fi
               if [ -L "$entry" ]; then cp -a "$entry" "$new$entry"; continue; fi
               if [ -d "$entry" ]; then mkdir "$new$entry"; mount --rbind "$entry" "$new$entry"; fi
           done
           store=/nix/store/0123-etc/etc; mkdir -p "$new$store"
           cp "$etc/hosts" "$new$store/hosts"
           ln -s "$store" "$etc/static"; ln -sf static/hosts "$etc/hosts"
           inside() { chroot "$new" "$bin" $flags "$@"; }
           for verb in once check diff clean restore "restore --list" "once --in-place=always"; do
               fails 1 inside $verb
           done
           echo "127.0.0.1 localhost" | cmp - "$new$store/hosts"
           rm "$etc/hosts"; cp "$new$store/hosts" "$etc/hosts"
           inside once"#,
    );
    let said = format!("{}{}", ran.stdout, ran.stderr);
    let option = "environment.etc.hosts.mode = \"0644\";";
    assert_eq!(said.matches(option).count(), 7, "{ran:?}");
    assert!(ran.stdout.contains("FAILED  hosts file: "), "{ran:?}");
    assert!(sandbox.text().contains("10.0.0.5 db\n"));
}

#[test]
fn an_immutable_file_gives_a_clear_error() {
    need_root();
    let hub = FakeHub::office(42, DB);
    // The system's temp folder may be a tmpfs, which knows no such thing in older kernels.
    let target = || {
        Sandbox::within(
            tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap(),
            "a\n",
        )
    };
    let (usual, other) = (Sandbox::new("a\n"), target());
    let (sandbox, immutable) = [&usual, &other]
        .into_iter()
        .find_map(|sandbox| Some((sandbox, Immutable::set(sandbox)?)))
        .expect("neither the temp folder nor the target folder lies on a filesystem with `chattr +i` (package e2fsprogs)");
    let check = sandbox.run(&hub, &["check"]);
    assert!(
        check.code == 1 && check.stdout.contains("immutable"),
        "{check:?}"
    );
    for arguments in [&[][..], &["--in-place"]] {
        let ran = sandbox.run(&hub, arguments);
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(
            ran.stderr.contains("Operation not permitted") && ran.stderr.contains("lsattr"),
            "{ran:?}"
        );
        assert_eq!(sandbox.text(), "a\n");
        assert!(sandbox.beside().is_empty());
    }
    drop(immutable);
    sandbox.must_run(&hub, &[]);
    assert!(sandbox.text().contains("10.0.0.5 db\n"));
}

/// Runs `chattr +a`, where some filesystem here knows it.
#[test]
fn check_names_a_file_that_can_only_be_appended_to() {
    need_root();
    let hub = FakeHub::office(42, DB);
    let sandbox = Sandbox::within(
        tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap(),
        "a\n",
    );
    let chattr = |flag: &str| run(Command::new("chattr").arg(flag).arg(sandbox.hosts()));
    assert_eq!(
        chattr("+a").code,
        0,
        "does the target folder's filesystem know `chattr +a`?"
    );
    let check = sandbox.run(&hub, &["check"]);
    let once = sandbox.run(&hub, &[]);
    assert_eq!(chattr("-a").code, 0);
    assert!(
        check.code == 1
            && check.stdout.contains("FAILED  hosts file")
            && check.stdout.contains("lsattr"),
        "{check:?}"
    );
    assert!(once.code == 1 && once.stderr.contains("lsattr"), "{once:?}");
    assert_eq!(sandbox.text(), "a\n");
    sandbox.must_run(&hub, &["check"]);
}

#[test]
fn check_names_a_disk_without_room_and_one_without_inodes() {
    let hub = FakeHub::office(42, DB);
    for (options, fill, words) in [
        (
            "size=64k",
            r#"dd if=/dev/zero of="$etc/filler" bs=4096 status=none 2>/dev/null || true"#,
            "is full",
        ),
        (
            "nr_inodes=8",
            r#"i=0; while touch "$etc/filler$i"; do i=$((i + 1)); done"#,
            "no free inode",
        ),
    ] {
        let sandbox = Sandbox::new("");
        let script = format!(
            r#"mount -t tmpfs -o {options} none "$etc"; echo "127.0.0.1 localhost" > "$etc/hosts"
               agent check --quiet
               {{ {fill}; }} 2>/dev/null || true
               fails 1 agent check
               fails 1 agent once
               rm "$etc"/filler*
               agent check --quiet"#
        );
        let ran = in_namespace(&sandbox, &hub, &script);
        assert!(
            ran.stdout.contains("FAILED  hosts file") && ran.stdout.contains(words),
            "{options}: {ran:?}"
        );
    }
}

#[test]
fn an_owner_that_the_user_namespace_does_not_know_leads_to_writing_in_place() {
    need_root();
    let hub = FakeHub::office(42, DB);
    let sandbox = Sandbox::new("127.0.0.1 localhost\n");
    // Root in the namespace is root outside; the file's owner has no number there.
    std::os::unix::fs::chown(sandbox.hosts(), Some(12345), Some(12345)).unwrap();
    sandbox.set_mode("etc/hosts", 0o666);
    let inside = |arguments: &[&str]| {
        let mut command = clean(Command::new("unshare"));
        command.args(["--user", "--map-root-user"]).arg(BINARY);
        run(command.args(sandbox.flags(&hub)).args(arguments))
    };
    let check = inside(&["check"]);
    assert!(
        check.code == 1
            && check
                .stdout
                .contains("its owner is unknown in this user namespace"),
        "{check:?}"
    );
    let once = inside(&[]);
    assert!(
        once.code == 1 && once.stderr.contains("--in-place"),
        "{once:?}"
    );
    assert_eq!(sandbox.text(), "127.0.0.1 localhost\n");
    assert_eq!(inside(&["check", "--in-place"]).code, 0);
    let once = inside(&["--in-place"]);
    assert_eq!(once.code, 0, "{once:?}");
    assert!(sandbox.text().contains("10.0.0.5 db\n"));
    use std::os::unix::fs::MetadataExt;
    assert_eq!(fs::metadata(sandbox.hosts()).unwrap().uid(), 12345);
}

#[test]
fn an_ordinary_user_gets_a_clear_error() {
    need_root();
    let hub = FakeHub::office(42, DB);
    let sandbox = Sandbox::new("127.0.0.1 localhost\n");
    let nobody = 65534;
    std::os::unix::fs::chown(sandbox.path("token"), Some(nobody), None).unwrap();
    fs::create_dir(sandbox.path("state")).unwrap();
    std::os::unix::fs::chown(sandbox.path("state"), Some(nobody), None).unwrap();
    sandbox.set_mode("", 0o755);
    // Copied, since the build's own folder may be closed to others.
    fs::copy(BINARY, sandbox.path("agent")).unwrap();
    let mut command = clean(Command::new("setpriv"));
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    command.arg(sandbox.path("agent")).args(sandbox.flags(&hub));
    let ran = run(&mut command);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(
        ran.stderr.contains("Permission denied") && ran.stderr.contains("as root"),
        "{ran:?}"
    );
    assert_eq!(sandbox.text(), "127.0.0.1 localhost\n");
}
