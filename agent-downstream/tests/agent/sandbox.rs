//! A hosts file in a folder of its own, a state folder, a token: all that a run needs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::fake_hub::FakeHub;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_silo-downstream");

pub(crate) struct Sandbox {
    folder: tempfile::TempDir,
    /// Whether the agent chooses the line ending, that of the system.
    has_no_line_end: bool,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Sandbox {
    /// A sandbox with these bytes in its hosts file.
    pub(crate) fn new(hosts: impl AsRef<[u8]>) -> Self {
        Self::within(tempfile::tempdir().unwrap(), hosts)
    }

    pub(crate) fn within(folder: tempfile::TempDir, hosts: impl AsRef<[u8]>) -> Self {
        let hosts = hosts.as_ref();
        let sandbox = Self {
            folder,
            has_no_line_end: !hosts.contains(&b'\n'),
        };
        fs::create_dir(sandbox.path("etc")).unwrap();
        fs::write(sandbox.hosts(), hosts).unwrap();
        sandbox.set_mode("etc/hosts", 0o644);
        let token = format!("silo_abcdefgh12_{}\n", "x".repeat(43));
        fs::write(sandbox.path("token"), token).unwrap();
        sandbox.set_mode("token", 0o600);
        // So that a configuration of the machine under test plays no part.
        fs::write(sandbox.path("downstream.yaml"), "").unwrap();
        // A file that is empty for a reason that is not known is waited for.
        if sandbox.read().is_empty() {
            sandbox.note_left(&sandbox.hosts());
        }
        sandbox
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        // Resolved, as the agent's messages name it.
        let folder = self.folder.path().canonicalize().unwrap();
        #[cfg(windows)]
        let folder = plain(&folder);
        // With the separators of the system.
        name.split('/').fold(folder, |path, part| path.join(part))
    }

    pub(crate) fn hosts(&self) -> PathBuf {
        self.path("etc/hosts")
    }

    pub(crate) fn read(&self) -> Vec<u8> {
        fs::read(self.hosts()).unwrap()
    }

    /// Its text; where the agent chose CRLF, with LF.
    pub(crate) fn text(&self) -> String {
        let text = String::from_utf8(self.read()).unwrap();
        if cfg!(windows) && self.has_no_line_end {
            text.replace("\r\n", "\n")
        } else {
            text
        }
    }

    /// Does nothing on Windows.
    pub(crate) fn set_mode(&self, name: &str, mode: u32) {
        #[cfg(unix)]
        fs::set_permissions(
            self.path(name),
            std::os::unix::fs::PermissionsExt::from_mode(mode),
        )
        .unwrap();
        #[cfg(not(unix))]
        let _ = (name, mode);
    }

    /// The names beside the hosts file.
    pub(crate) fn beside(&self) -> Vec<String> {
        names_beside(&self.hosts())
    }

    /// On Windows, each run after the first knows the file by the note of the run before it.
    #[cfg(not(unix))]
    pub(crate) fn note_left(&self, _file: &Path) {}

    #[cfg(unix)]
    /// Notes the file, which may be mounted on the hosts file, as what the agent's last write left.
    pub(crate) fn note_left(&self, file: &Path) {
        use std::os::unix::fs::MetadataExt;
        let state = self.path("state");
        if !state.exists() {
            fs::create_dir(&state).unwrap();
            self.set_mode("state", 0o700);
        }
        let found = fs::metadata(file).unwrap();
        let (size, digest) = (found.size(), digest(&fs::read(file).unwrap()));
        let modified = format!("{}.{}", found.mtime(), found.mtime_nsec());
        let changed = format!("{}.{}", found.ctime(), found.ctime_nsec());
        let note = format!(
            "{size} {digest} {} {size} {modified} {changed}\n",
            found.ino()
        );
        let name = digest_of_path(&self.hosts());
        fs::write(state.join(format!("left-{name}")), note).unwrap();
    }

    #[cfg(target_os = "linux")]
    /// Where the agent puts the temp file.
    pub(crate) fn temp(&self) -> PathBuf {
        let name = digest_of_path(&self.path("state"));
        self.path(&format!("etc/.hosts.silo-{name}"))
    }

    #[cfg(target_os = "linux")]
    /// How the state folder's files for the hosts file end.
    pub(crate) fn name_of_hosts(&self) -> String {
        digest_of_path(&self.hosts())
    }

    /// The flags of a usual run against a hub.
    pub(crate) fn flags(&self, hub: &FakeHub) -> Vec<String> {
        self.flags_for(&hub.url())
    }

    pub(crate) fn flags_for(&self, url: &str) -> Vec<String> {
        let mut flags = self.file_flags();
        flags.extend(["--hub", url, "--silo", "office"].map(str::to_owned));
        flags.push("--token-file".to_owned());
        flags.push(self.path("token").display().to_string());
        flags
    }

    /// The flags that say which files to use, and no more.
    pub(crate) fn file_flags(&self) -> Vec<String> {
        let config = self.path("downstream.yaml");
        let (hosts, state) = (self.hosts(), self.path("state"));
        [
            ("--config", config),
            ("--hosts-file", hosts),
            ("--state-dir", state),
        ]
        .into_iter()
        .flat_map(|(flag, path)| [flag.to_owned(), path.display().to_string()])
        .collect()
    }

    /// A usual run with further arguments.
    pub(crate) fn run(&self, hub: &FakeHub, arguments: &[&str]) -> Ran {
        run(agent().args(self.flags(hub)).args(arguments))
    }

    /// A usual run that has to succeed.
    pub(crate) fn must_run(&self, hub: &FakeHub, arguments: &[&str]) -> Ran {
        let ran = self.run(hub, arguments);
        assert_eq!(ran.code, 0, "{ran:?}");
        ran
    }
}

/// A path without the prefix for long ones, which only programs use.
#[cfg(windows)]
pub(crate) fn plain(path: &Path) -> PathBuf {
    let text = path.to_str().unwrap();
    PathBuf::from(text.strip_prefix(r"\\?\").unwrap_or(text))
}

#[cfg(unix)]
fn digest(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// How the agent names what it keeps for a path.
#[cfg(unix)]
fn digest_of_path(path: &Path) -> String {
    digest(path.as_os_str().as_encoded_bytes())[..16].to_owned()
}

/// The agent, with nothing of this process's settings in its environment.
pub(crate) fn agent() -> Command {
    clean(Command::new(BINARY))
}

/// Takes our own variables out of a command's environment.
pub(crate) fn clean(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SILO_") {
            command.env_remove(name);
        }
    }
    command.env_remove("RUST_LOG");
    command
}

pub(crate) fn run(command: &mut Command) -> Ran {
    ran(command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}")))
}

pub(crate) fn ran(output: Output) -> Ran {
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

pub(crate) fn names_beside(hosts: &Path) -> Vec<String> {
    fs::read_dir(hosts.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| *name != hosts.file_name().unwrap().to_string_lossy())
        .collect()
}

/// A silo's block as the agent writes it, LF.
pub(crate) fn block(id: &str, lines: &str) -> String {
    format!(
        "# BEGIN silo {id} (silo-downstream keeps this block; edits are overwritten)\n{lines}# END silo {id}\n"
    )
}

#[cfg(target_os = "linux")]
pub(crate) fn need_root() {
    assert!(
        rustix::process::geteuid().is_root(),
        "this test mounts, traces and changes owners: run it as root"
    );
}

/// A file before and after a run. The block grows in the midst of it, so that a write in place moves what follows.
#[cfg(target_os = "linux")]
pub(crate) fn old() -> String {
    format!(
        "127.0.0.1 localhost\n{}10.0.0.9 mine\n",
        block("office", "10.0.0.4 db\n")
    )
}

#[cfg(target_os = "linux")]
pub(crate) fn new() -> String {
    format!(
        "127.0.0.1 localhost\n{}10.0.0.9 mine\n",
        block("office", "10.0.0.5 db\n10.0.0.7 nas\n")
    )
}
