//! An agent that stays, in a namespace.

use std::fs::{File, read_to_string};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Instant;

use super::{Options, Usage};
use crate::{PATIENCE, PAUSE, binary, logs, write_private};

/// Gives the program a name service of its own, and becomes the program.
const ENTER: &str = r#"mount --bind "$1" /etc/hosts; shift; exec "$@""#;

/// Where an agent runs.
pub(super) struct Place<'a> {
    /// Its namespace.
    pub(super) name: &'a str,
    /// For its files.
    pub(super) folder: PathBuf,
    /// What it sees as `/etc/hosts`.
    pub(super) hosts: PathBuf,
}

/// An agent that stays; killed when dropped.
#[derive(Debug)]
pub struct Agent {
    name: String,
    folder: PathBuf,
    child: Child,
}

impl Agent {
    pub(super) fn start(
        program: &str,
        place: &Place<'_>,
        config: &str,
        token: &str,
        options: &Options,
    ) -> Self {
        let folder = &place.folder;
        std::fs::create_dir(folder).expect("a folder in a temporary folder can be made");
        write_private(&folder.join("token"), token);
        write_private(&folder.join("config.yaml"), config);
        std::fs::write(folder.join("hosts"), "127.0.0.1 localhost\n")
            .expect("a file in a temporary folder can be written");
        let file =
            |name| File::create(folder.join(name)).expect("a file in there can be written, too");
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", place.name, "sh", "-ec", ENTER, "sh"])
            .arg(&place.hosts)
            .args(&options.wrapper)
            .arg(binary(program))
            .args(["watch", "--config"])
            .arg(folder.join("config.yaml"))
            .stdin(Stdio::null())
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .env_remove("RUST_LOG");
        if options.logs_requests {
            command.env("RUST_LOG", "warn,silo_upstream=debug,silo_downstream=info");
        }
        Self {
            name: place.name.to_owned(),
            folder: folder.clone(),
            child: command.spawn().expect("this needs ip (iproute2)"),
        }
    }

    /// Its namespace.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its files: `config.yaml`, `token`, `state`, and `hosts` of a downstream.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What it has printed.
    pub fn stdout(&self) -> String {
        self.said("stdout")
    }

    /// What it has logged.
    pub fn stderr(&self) -> String {
        self.said("stderr")
    }

    fn said(&self, stream: &str) -> String {
        read_to_string(self.folder.join(stream)).expect("the file was made at the start")
    }

    /// Waits until an upstream has reported.
    pub(super) fn wait_for_report(&self) {
        let deadline = Instant::now() + PATIENCE;
        while self.stdout().is_empty() {
            assert!(Instant::now() < deadline, "in vain: {}", self.stderr());
            sleep(PAUSE);
        }
    }

    /// What its process uses.
    pub fn usage(&self) -> Usage {
        Usage::of(self.child.id())
    }

    pub(super) fn assert_running(&mut self) {
        let ended = self.child.try_wait().expect("a child can be asked");
        assert!(ended.is_none(), "{} ended: {}", self.name, self.stderr());
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if !std::thread::panicking() {
            logs::assert_clean(&self.name, &(self.stdout() + &self.stderr()));
        }
    }
}
