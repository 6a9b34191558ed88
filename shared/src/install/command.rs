//! Calls programs of the system: `systemctl`, `schtasks`, `powershell`.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::InstallError;
use crate::folders;
use crate::output::one_line;

/// Runs programs; tests put another one in its place.
pub(super) trait Commands {
    /// Runs a program and returns what it prints on stdout.
    fn run(&self, words: &[&str]) -> Result<String, InstallError>;
}

/// The programs of this system.
#[derive(Clone, Copy, Debug)]
pub(super) struct RealCommands;

/// Where a program is. On Windows its name alone would also be looked for beside this program, in a folder that may
/// belong to someone else.
fn program(name: &str) -> PathBuf {
    if !cfg!(windows) {
        return PathBuf::from(name);
    }
    let system = folders::windows_folder("SystemRoot", r"C:\Windows").join("System32");
    match name {
        "powershell" => system.join(r"WindowsPowerShell\v1.0\powershell.exe"),
        _ => system.join(name).with_extension("exe"),
    }
}

impl Commands for RealCommands {
    fn run(&self, words: &[&str]) -> Result<String, InstallError> {
        let failed = |cause: String| InstallError::Command {
            command: words.join(" "),
            cause,
        };
        let mut command = Command::new(program(words[0]));
        command.args(&words[1..]).stdin(Stdio::null());
        // No other program needs our settings, one of which may be a token.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("SILO_") {
                command.env_remove(name);
            }
        }
        let output = command
            .output()
            .map_err(|error| failed(error.to_string()))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let said = one_line(said.trim());
        Err(failed(if said.is_empty() {
            output.status.to_string()
        } else {
            said
        }))
    }
}
