//! A systemd of the test's own, which runs the packaged units as a machine does: in namespaces of its own,
//! so that it sees no unit, process, network or file of the machine's that matters. `/etc` is a layer over
//! the machine's, `/var` is empty, the programs lie in `/usr/bin`, and the network is one address.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use crate::{PATIENCE, binary};

/// The only address in there.
pub const ADDRESS: &str = "10.9.0.7";

const PROGRAMS: [&str; 3] = ["silo-hub", "silo-upstream", "silo-downstream"];

/// How many this process has started.
static STARTED: AtomicU32 = AtomicU32::new(0);

/// What units lean on at a machine's start.
const TARGETS: [&str; 5] = ["sysinit", "basic", "shutdown", "network-online", "timers"];

/// Sets up what the namespaces hold, and becomes their first process.
const BOOT: &str = r#"set -eu
layers=$1
mount -t proc proc /proc
mount -t tmpfs none "$layers"
mkdir "$layers/etc" "$layers/etc.work" "$layers/bin" "$layers/bin.work"
for program in silo-hub silo-upstream silo-downstream; do : >"$layers/bin/$program"; done
mount -t overlay -o "lowerdir=/etc,upperdir=$layers/etc,workdir=$layers/etc.work" overlay /etc
mount -t overlay -o "lowerdir=/usr/bin,upperdir=$layers/bin,workdir=$layers/bin.work" overlay /usr/bin
for program in silo-hub silo-upstream silo-downstream; do mount --bind "$2/$program" "/usr/bin/$program"; done
# A hosts file that is a mount can't be replaced: this one is a file.
umount /etc/hosts 2>/dev/null || true
mount -t tmpfs -o mode=755 none /run
mount -t tmpfs -o mode=755 none /var
mkdir -p /run/units /var/lib /var/spool /var/tmp
umount -R /sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 none /sys/fs/cgroup
ip link set lo up
ip addr add 10.9.0.7/24 dev lo
ip addr del 127.0.0.1/8 dev lo
cp -r "$3/." /run/units/
export SYSTEMD_UNIT_PATH=/run/units container=silo-test
exec /lib/systemd/systemd --system --unit=sysinit.target --log-target=console --show-status=no
"#;

/// A running systemd; everything in it ends with it.
#[derive(Debug)]
pub struct Systemd {
    child: Child,
    cgroup: PathBuf,
    folder: tempfile::TempDir,
}

impl Systemd {
    /// Starts it with the units of a folder.
    pub fn start(units: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let own = folder.path().join("units");
        let layers = folder.path().join("layers");
        std::fs::create_dir_all(own.join("service.d")).expect("a folder can be made");
        std::fs::create_dir(&layers).expect("a folder can be made");
        for entry in std::fs::read_dir(units).expect("the units are there") {
            let from = entry.expect("an entry can be read").path();
            let name = from.file_name().expect("a file has a name");
            std::fs::copy(&from, own.join(name)).expect("a unit can be copied");
        }
        for target in TARGETS {
            let text = "[Unit]\nDefaultDependencies=no\n";
            std::fs::write(own.join(format!("{target}.target")), text).expect("it can be written");
        }
        // There is no journal in there.
        let logs =
            "[Service]\nStandardOutput=append:/run/%n.log\nStandardError=append:/run/%n.log\n";
        std::fs::write(own.join("service.d/log.conf"), logs).expect("it can be written");
        let cgroup = Self::own_cgroup();
        let programs = PROGRAMS.map(binary);
        let log = folder.path().join("log");
        let log = std::fs::File::create(log).expect("the log can be made");
        let child = Command::new("sh")
            .args([
                "-c",
                r#"echo $$ >"$1/cgroup.procs"; shift; exec "$@""#,
                "sh",
            ])
            .arg(&cgroup)
            // A test that is killed leaves nothing behind.
            .args(["setpriv", "--pdeathsig", "KILL"])
            .args([
                "unshare", "--mount", "--pid", "--cgroup", "--uts", "--ipc", "--net",
            ])
            .args(["--fork", "--kill-child", "--propagation", "private"])
            .args(["sh", "-c", BOOT, "sh"])
            .arg(&layers)
            .arg(programs[0].parent().expect("programs lie in a folder"))
            .arg(&own)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be shared"))
            .stderr(log)
            .spawn()
            .expect("unshare is installed");
        let mut systemd = Self {
            child,
            cgroup,
            folder,
        };
        systemd.wait_until_it_answers();
        systemd
    }

    /// A control group of its own: else it would take the machine's for its own.
    fn own_cgroup() -> PathBuf {
        let mounts = std::fs::read_to_string("/proc/mounts").expect("this is Linux");
        let mut mounts = mounts
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>());
        let root = mounts
            .find_map(|mount| (mount.get(2) == Some(&"cgroup2")).then(|| mount[1].to_owned()));
        let root = root.expect("this test needs control groups of version 2, mounted");
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let name = format!("silo-test-{}-{number}", std::process::id());
        let cgroup = Path::new(&root).join(name);
        std::fs::create_dir(&cgroup)
            .unwrap_or_else(|error| panic!("{}: {error}: run this test as root", cgroup.display()));
        cgroup
    }

    fn wait_until_it_answers(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be asked") {
                panic!("systemd ended with {status}: {}", self.log());
            }
            if self.pid().is_some()
                && self
                    .run("systemctl is-active --quiet sysinit.target")
                    .status
                    .success()
            {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "systemd does not answer: {}",
                self.log()
            );
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// The process id of systemd, as this side sees it.
    fn pid(&self) -> Option<u32> {
        let children = format!("/proc/{0}/task/{0}/children", self.child.id());
        let text = std::fs::read_to_string(children).ok()?;
        text.split_whitespace().next()?.parse().ok()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Runs a shell script in there, as root and unconfined.
    pub fn run(&self, script: &str) -> Output {
        let pid = self.pid().expect("systemd runs").to_string();
        Command::new("nsenter")
            .args([
                "--target", &pid, "--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup",
            ])
            .args(["sh", "-euc", script])
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .output()
            .expect("nsenter is installed")
    }

    /// Runs a script that must succeed; answers what it prints.
    pub fn must(&self, script: &str) -> String {
        let output = self.run(script);
        let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            let logs = self.run("tail -n 40 /run/*.log");
            let _ = write!(
                said,
                "{}{}\n{}",
                String::from_utf8_lossy(&output.stderr),
                String::from_utf8_lossy(&logs.stdout),
                self.log()
            );
            panic!("{script}: {}\n{said}", output.status);
        }
        said.trim().to_owned()
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        // Ends its first process, and with it all others of its namespace.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let deadline = Instant::now() + PATIENCE;
        while remove_cgroups(&self.cgroup).is_err() && Instant::now() < deadline {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

/// Removes control groups, the innermost first; fails while a process is in one.
fn remove_cgroups(cgroup: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(cgroup)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_cgroups(&entry.path())?;
        }
    }
    std::fs::remove_dir(cgroup)
}
