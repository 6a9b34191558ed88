//! Runs the program with a configuration file in a folder of its own.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

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
