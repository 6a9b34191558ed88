//! A spool folder, a fake Plesk, the hub's half, and the worker.

use std::fs::{self, Permissions};
use std::io::Read;
use std::net::IpAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Gid, Pid, Signal, Uid};
use silo_hub::internals::deliver::kinds::OpenSink;
use silo_hub::internals::deliver::sink::{Outcome, Publication, ReceiverState, Sink};
use silo_hub::internals::sinks::SinkSettings;
use silo_shared::silo::{Addresses, Hostname, SiloId};

/// The number of `nobody`, as whom the hub's half runs.
pub(crate) const NOBODY: u32 = 65534;
/// The hub's program.
pub(crate) const HUB: &str = env!("CARGO_BIN_EXE_silo-hub");
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Bench {
    folder: tempfile::TempDir,
}

/// How a worker ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stderr: String,
}

impl Bench {
    /// Plesk has the zone `example.com` with some records.
    pub(crate) fn new() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "this test runs the worker as root and the hub's half as nobody: run it as root"
        );
        let bench = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        bench.open_for_all("");
        for folder in ["zones", "spool", "spool/jobs", "spool/results", "state"] {
            fs::create_dir(bench.path(folder)).unwrap();
            bench.open_for_all(folder);
        }
        chown(bench.path("spool/jobs"), Some(NOBODY), Some(NOBODY)).unwrap();
        let script = include_str!("fake_plesk.sh");
        let here = bench.path("").display().to_string();
        let here = here.trim_end_matches('/');
        fs::write(bench.path("plesk"), script.replace("@HERE@", here)).unwrap();
        bench.open_for_all("plesk");
        bench.set_zone(&[
            "example.com. NS ns.example.com.",
            "example.com. A  10.0.0.1",
            "db.example.com. A 10.0.0.5",
            "www.example.com. CNAME example.com.",
        ]);
        bench
    }

    fn open_for_all(&self, name: &str) {
        fs::set_permissions(self.path(name), Permissions::from_mode(0o755)).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn set_zone(&self, lines: &[&str]) {
        fs::write(self.path("zones/example.com"), lines.join("\n") + "\n").unwrap();
    }

    /// The lines of one name in Plesk's zone.
    pub(crate) fn at_plesk(&self, name: &str) -> Vec<String> {
        let zone = fs::read_to_string(self.path("zones/example.com")).unwrap();
        let lines = zone.lines().filter_map(|line| {
            let (host, rest) = line.split_once(' ')?;
            (host == format!("{name}.")).then(|| rest.trim_start().to_owned())
        });
        lines.collect()
    }

    /// Whether a file of the fake is there: `fail--add`, `block--add`, `hide-once`.
    pub(crate) fn switch(&self, name: &str, on: bool) {
        if on {
            fs::write(self.path(name), "").unwrap();
        } else {
            fs::remove_file(self.path(name)).unwrap();
        }
    }

    /// The fake that hangs, or hung last: its process, and the one that it waits for.
    pub(crate) fn blocked(&self) -> Option<[Pid; 2]> {
        let ids = fs::read_to_string(self.path("blocked")).ok()?;
        let pids: Vec<Pid> = ids
            .split_whitespace()
            .map(|id| Pid::from_raw(id.parse().unwrap()).unwrap())
            .collect();
        Some(pids.try_into().unwrap())
    }

    /// The commands that Plesk was given, without `bin dns`, since last asked. None was out of order.
    pub(crate) fn calls(&self) -> Vec<String> {
        assert_eq!(
            fs::read_to_string(self.path("wrong")).unwrap_or_default(),
            ""
        );
        let calls = fs::read_to_string(self.path("calls")).unwrap_or_default();
        let _ = fs::remove_file(self.path("calls"));
        let each = calls
            .lines()
            .map(|line| line.strip_prefix("bin dns ").unwrap());
        each.map(str::to_owned).collect()
    }

    /// The commands among them that change something.
    pub(crate) fn changes(&self) -> Vec<String> {
        let mut calls = self.calls();
        calls.retain(|call| !call.starts_with("--info"));
        calls
    }

    /// Publishes as the hub does, from a thread that is `nobody`.
    pub(crate) fn publish(&self, name: &str, wanted: &str, standing: ReceiverState) -> Outcome {
        self.publish_in("example.com", name, wanted, standing)
    }

    pub(crate) fn publish_in(
        &self,
        zone: &str,
        name: &str,
        wanted: &str,
        standing: ReceiverState,
    ) -> Outcome {
        let spool = self.path("spool");
        let text = format!(
            "- {{ name: plesk, kind: plesk, spool: {}, zone: {zone} }}",
            spool.display()
        );
        let publication = Publication {
            login: None,
            silo: SiloId::parse("office").unwrap(),
            hostname: Hostname::parse(name).unwrap(),
            name: name.to_owned(),
            wanted: addresses(wanted),
            standing,
        };
        let as_nobody = thread::spawn(move || {
            // Of this thread alone, and of those that it starts.
            let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
            rustix::thread::set_thread_groups(&[]).unwrap();
            rustix::thread::set_thread_res_gid(group, group, group).unwrap();
            rustix::thread::set_thread_res_uid(user, user, user).unwrap();
            let list = serde_yaml::from_str(&text).unwrap();
            let settings = SinkSettings::read_list(list, Path::new("/")).unwrap();
            let Sink::State(sink) = OpenSink::open(&settings[0]).unwrap().sink else {
                panic!("plesk is a state sink");
            };
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(sink.publish(&publication))
        });
        as_nobody.join().unwrap()
    }

    /// Hands over, lets a worker run once, and takes the answer.
    pub(crate) fn round(&self, name: &str, wanted: &str, standing: ReceiverState) -> Outcome {
        assert_eq!(self.publish(name, wanted, standing), Outcome::Waiting);
        self.once();
        self.publish(name, wanted, standing)
    }

    /// Runs a worker once, which must end well.
    pub(crate) fn once(&self) -> Ran {
        let ran = self.work(&["--once"]);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        ran
    }

    pub(crate) fn work(&self, arguments: &[&str]) -> Ran {
        self.start(arguments).end()
    }

    /// Starts a worker with arguments beside those that name its folders.
    pub(crate) fn start(&self, arguments: &[&str]) -> Worker {
        let mut all = vec![
            "--spool", "@spool", "--owner", "nobody", "--state", "@state",
        ];
        all.extend(["--domains", "example.org,example.com"]);
        if !arguments.contains(&"--plesk") {
            all.extend(["--plesk", "@plesk"]);
        }
        all.extend(arguments);
        self.start_with(&all)
    }

    /// Starts a worker with these arguments alone; one that begins with `@` is a name in our folder.
    pub(crate) fn start_with(&self, arguments: &[&str]) -> Worker {
        self.start_by(Command::new(HUB), arguments)
    }

    /// Starts a worker through another program, or as another user.
    pub(crate) fn start_by(&self, mut command: Command, arguments: &[&str]) -> Worker {
        command.arg("plesk-worker").env("SILO_LEAK", "x");
        for argument in arguments {
            match argument.strip_prefix('@') {
                Some(name) => command.arg(self.path(name)),
                None => command.arg(argument),
            };
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Worker(Some(child))
    }

    /// The names in one of the spool's folders.
    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path("spool").join(folder)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        names.collect()
    }
}

/// A running worker, killed when it is dropped.
pub(crate) struct Worker(Option<Child>);

impl Worker {
    /// Waits for its end.
    pub(crate) fn end(mut self) -> Ran {
        let mut child = self.0.take().unwrap();
        let mut output = child.stderr.take().unwrap();
        let reading = thread::spawn(move || {
            let mut text = String::new();
            output.read_to_string(&mut text).unwrap();
            text
        });
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if begun.elapsed() > PATIENCE {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("the worker did not end: {}", reading.join().unwrap());
            }
            thread::sleep(Duration::from_millis(10));
        };
        Ran {
            code: status.code(),
            stderr: reading.join().unwrap(),
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = self.0.as_ref().unwrap().id();
        let pid = Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Waits until something holds.
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "never: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

pub(crate) fn addresses(ips: &str) -> Addresses {
    let ips = ips
        .split_whitespace()
        .map(|ip| ip.parse::<IpAddr>().unwrap());
    ips.collect()
}
