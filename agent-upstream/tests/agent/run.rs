//! Runs the program with a configuration file in a folder of its own.

use std::path::PathBuf;
#[cfg(unix)]
use std::process::Stdio;
use std::process::{Command, Output};

/// A token of the right form.
pub(crate) const TOKEN: &str = "silo_abcdefgh12_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

/// What a run said and how it ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The program, a folder with its configuration and token, and the flags to come.
pub(crate) struct Agent {
    folder: tempfile::TempDir,
    command: Command,
}

impl Agent {
    /// Without a configuration file, and with none of the caller's variables.
    pub(crate) fn bare() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut command = Command::new(env!("CARGO_BIN_EXE_silo-upstream"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("SILO_") || name == "RUST_LOG" {
                command.env_remove(name);
            }
        }
        command.current_dir(folder.path());
        // Not this machine's own.
        command.env_remove("STATE_DIRECTORY");
        command.env("SILO_UPSTREAM_STATE_DIR", folder.path().join("state"));
        Self { folder, command }
    }

    /// With this configuration file (mode 0600).
    pub(crate) fn with_file(text: &str) -> Self {
        let mut agent = Self::bare();
        let file = agent.write("upstream.yaml", text, 0o600);
        agent.command.arg("--config").arg(file);
        agent
    }

    /// Reports `db` to silo `office` of this hub; `more` are further lines of the configuration.
    pub(crate) fn new(hub: &str, more: &str) -> Self {
        let hostnames = if more.contains("hostnames:") {
            ""
        } else {
            "hostnames: [db]\n"
        };
        Self::with_file(&format!(
            "hub: {hub}\ntoken: {TOKEN}\nsilo: office\n{hostnames}{more}"
        ))
    }

    pub(crate) fn args<const N: usize>(mut self, args: [&str; N]) -> Self {
        self.command.args(args);
        self
    }

    /// Without the last argument, to run another command with the same files.
    #[cfg(unix)]
    pub(crate) fn without_last_argument(mut self) -> Self {
        let mut command = Command::new(self.command.get_program());
        let arguments: Vec<_> = self.command.get_args().collect();
        command.args(&arguments[..arguments.len() - 1]);
        command.current_dir(self.folder.path());
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        self.command = command;
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Without the variable that leads to a state folder of its own.
    pub(crate) fn without_state_dir(mut self) -> Self {
        self.command.env_remove("SILO_UPSTREAM_STATE_DIR");
        self
    }

    /// With another working directory than its own folder.
    pub(crate) fn in_folder(mut self, folder: &std::path::Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Where a file of its folder is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Run by another program, a copy in its own folder since the build's may be closed to others.
    #[cfg(target_os = "linux")]
    pub(crate) fn within(mut self, program: &[&str]) -> Self {
        let copy = self.path("agent");
        std::fs::copy(self.command.get_program(), &copy).expect("a copy of the program");
        let mut command = Command::new(program[0]);
        command
            .args(&program[1..])
            .arg(copy)
            .args(self.command.get_args());
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.current_dir(self.folder.path());
        self.command = command;
        self
    }

    /// Writes a file into the folder.
    pub(crate) fn write(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).expect("a writable folder");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))
                .expect("a file of our own");
        }
        #[cfg(not(unix))]
        let _ = mode;
        path
    }

    #[cfg(unix)]
    pub(crate) fn stdout(mut self, stdout: impl Into<Stdio>) -> Self {
        self.command.stdout(stdout);
        self
    }

    #[cfg(target_os = "linux")]
    /// In a network namespace of its own (ip-netns(8)).
    pub(crate) fn in_netns(mut self, name: &str) -> Self {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", name])
            .arg(self.command.get_program());
        command
            .args(self.command.get_args())
            .current_dir(self.folder.path());
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        self.command = command;
        self
    }

    #[cfg(target_os = "linux")]
    /// The folder of its configuration and state.
    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    pub(crate) fn run(mut self) -> Ran {
        self.run_again()
    }

    /// Runs, to run again later with what was remembered.
    pub(crate) fn run_again(&mut self) -> Ran {
        let Output {
            status,
            stdout,
            stderr,
        } = self.command.output().expect("the program starts");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Ran {
            code: status.code(),
            stdout: text(stdout),
            stderr: text(stderr),
        }
    }
}

/// A program that stays, and is killed with the test.
#[cfg(unix)]
pub(crate) struct Running {
    agent: Agent,
    child: std::process::Child,
}

#[cfg(unix)]
impl Agent {
    /// Starts the program, which stays.
    pub(crate) fn start(mut self) -> Running {
        let file = |name| std::fs::File::create(self.path(name)).expect("a file for the output");
        let (stdout, stderr) = (file("stdout"), file("stderr"));
        let child = self.command.stdout(stdout).stderr(stderr).spawn();
        Running {
            child: child.expect("the program starts"),
            agent: self,
        }
    }
}

#[cfg(unix)]
impl Running {
    /// What it has printed so far.
    pub(crate) fn said(&self) -> Ran {
        let read = |name| std::fs::read_to_string(self.agent.path(name)).expect("UTF-8");
        Ran {
            code: None,
            stdout: read("stdout"),
            stderr: read("stderr"),
        }
    }

    /// Writes a file into its folder.
    pub(crate) fn write(&self, name: &str, text: &str) {
        self.agent.write(name, text, 0o600);
    }

    /// Where a file of its folder is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.agent.path(name)
    }

    /// Sends a signal, such as `HUP`.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let status = Command::new("kill")
            .args([&format!("-{name}"), &id])
            .status();
        assert!(status.expect("kill(1)").success());
    }

    /// Ends it by SIGTERM.
    pub(crate) fn end(mut self) -> Ran {
        self.signal("TERM");
        let status = self.child.wait().expect("a child of our own");
        Ran {
            code: status.code(),
            ..self.said()
        }
    }

    /// Waits until it has ended by itself.
    #[track_caller]
    pub(crate) fn ended(mut self) -> Ran {
        let mut code = None;
        until("its end", || {
            code = self.child.try_wait().expect("a child of our own");
            code.is_some()
        });
        Ran {
            code: code.and_then(|status| status.code()),
            ..self.said()
        }
    }

    /// Waits until it has said this on stdout or stderr.
    #[track_caller]
    pub(crate) fn wait_for(&self, words: &str) {
        until(&format!("{words:?}"), || {
            let said = self.said();
            said.stdout.contains(words) || said.stderr.contains(words)
        });
    }
}

#[cfg(unix)]
impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already if the test got that far.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until something is so; for less long than the pause between two looks of an agent that gets no events.
#[track_caller]
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !is_so() {
        assert!(std::time::Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

impl Ran {
    /// Done, with these lines on stdout and nothing on stderr. The hub of these tests often sees another address than
    /// this machine's, which each run that reports it says (see `relay`) and which is skipped here.
    #[track_caller]
    pub(crate) fn says(&self, stdout: &str) {
        let is_relay = |line: &&str| line.contains(": the hub sees this machine behind NAT");
        let lines = self.stdout.split_inclusive('\n');
        let said = Self {
            code: self.code,
            stdout: lines.filter(|line| !is_relay(line)).collect(),
            stderr: self.stderr.clone(),
        };
        let expected = Self {
            code: Some(0),
            stdout: stdout.to_owned(),
            stderr: String::new(),
        };
        assert_eq!(said, expected);
    }

    /// Ended with this code, nothing on stdout, and one line on stderr that has all these words.
    #[track_caller]
    pub(crate) fn complains(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
        assert_eq!(self.stderr.lines().count(), 1, "{self:?}");
        assert!(self.stderr.starts_with("silo-upstream: "), "{self:?}");
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is missing: {self:?}");
        }
    }
}
