//! A systemd or cron of the test's own, which runs the packaged units, or what `install` wrote, as a machine does: in
//! namespaces of its own, so that it sees no unit, process, network or file of the machine's that matters. `/etc` is a
//! layer over the machine's, `/var` is empty, the programs lie in `/usr/bin`, and the network is one address.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use crate::{PATIENCE, binary};

/// The only address in there.
pub const ADDRESS: &str = "10.9.0.7";

const PROGRAMS: [&str; 3] = ["silo-hub", "silo-upstream", "silo-downstream"];

const SYSTEMD_ANSWERS: &str = "systemctl is-active --quiet sysinit.target";

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
ln -s /run /var/run
umount -R /sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 none /sys/fs/cgroup
ip link set lo up
ip addr add 10.9.0.7/24 dev lo
ip addr del 127.0.0.1/8 dev lo
cp -r "$3/." /run/units/
mount -t tmpfs -o mode=755 none /etc/systemd/system
find /etc/cron.d -type f -delete 2>/dev/null || true
# As systemd has it, which passes credentials to units by it: but only in here.
mount --make-rshared /
"#;

/// Runs systemd with the units in `/run/units` alone.
const BOOT_SYSTEMD: &str = r#"
export SYSTEMD_UNIT_PATH=/run/units container=silo-test
exec /lib/systemd/systemd --system --unit=sysinit.target --log-target=console --show-status=no
"#;

/// Runs systemd with folders of units as a machine has them, empty but for those in `$4`, and with those in `/run/units`.
const BOOT_INSTALLED: &str = r#"
mount -t tmpfs -o mode=755 none /usr/lib/systemd/system
cp -r "$4/." /usr/lib/systemd/system/
export SYSTEMD_UNIT_PATH=/etc/systemd/system:/run/units:/usr/lib/systemd/system container=silo-test
exec /lib/systemd/systemd --system --unit=sysinit.target --log-target=console --show-status=no
"#;

/// Runs cron with nothing to do, and no systemd.
const BOOT_CRON: &str = r#"
mkdir -p /var/spool/cron/crontabs
: >/etc/crontab
exec cron -f
"#;

/// A machine with a systemd.
pub type Systemd = Machine;

/// A running systemd or cron; everything in it ends with it.
#[derive(Debug)]
pub struct Machine {
    child: Child,
    cgroup: PathBuf,
    folder: tempfile::TempDir,
}

impl Machine {
    /// Starts systemd with the units of a folder.
    pub fn start(units: &Path) -> Self {
        let files = files_in(units);
        Self::boot(&files, &[], BOOT_SYSTEMD, SYSTEMD_ANSWERS)
    }

    /// Starts systemd with folders of units as a machine has them. `package` is what packages brought, `others` are
    /// units beside it, which no `install` looks for.
    pub fn with_package(package: &[PathBuf], others: &[PathBuf]) -> Self {
        Self::boot(others, package, BOOT_INSTALLED, SYSTEMD_ANSWERS)
    }

    /// Starts cron, without systemd.
    pub fn with_cron() -> Self {
        Self::boot(&[], &[], BOOT_CRON, "test -e /run/crond.pid")
    }

    fn boot(units: &[PathBuf], package: &[PathBuf], init: &str, answers: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let own = folder.path().join("units");
        let layers = folder.path().join("layers");
        std::fs::create_dir_all(own.join("service.d")).expect("a folder can be made");
        std::fs::create_dir(&layers).expect("a folder can be made");
        let packaged = folder.path().join("packaged");
        std::fs::create_dir(&packaged).expect("a folder can be made");
        for (files, into) in [(units, &own), (package, &packaged)] {
            for from in files {
                let name = from.file_name().expect("a file has a name");
                std::fs::copy(from, into.join(name)).expect("a unit can be copied");
            }
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
            .args(["sh", "-c", &format!("{BOOT}{init}"), "sh"])
            .arg(&layers)
            .arg(programs[0].parent().expect("programs lie in a folder"))
            .args([&own, &packaged])
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
        systemd.wait_until_it_answers(answers);
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

    fn wait_until_it_answers(&mut self, answers: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be asked") {
                panic!("it ended with {status}: {}", self.log());
            }
            if self.pid().is_some() && self.run(answers).status.success() {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "it does not answer: {}",
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
        let pid = self.pid().expect("its first process runs").to_string();
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

impl Drop for Machine {
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

/// The files of a folder.
fn files_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the units are there");
    entries
        .map(|entry| entry.expect("an entry can be read").path())
        .collect()
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
