//! The default paths of the agents' files.

use std::path::PathBuf;

/// The configuration file with this name: in `/etc/silo`, or `%ProgramData%\Silo`.
pub fn config_file(name: &str) -> PathBuf {
    if cfg!(windows) {
        program_data().join(name)
    } else {
        PathBuf::from("/etc/silo").join(name)
    }
}

/// `%ProgramData%\Silo`.
pub fn program_data() -> PathBuf {
    windows_folder("ProgramData", r"C:\ProgramData").join("Silo")
}

/// The folder in a Windows environment variable, else its default.
pub fn windows_folder(variable: &str, usual: &str) -> PathBuf {
    std::env::var_os(variable).map_or_else(|| PathBuf::from(usual), PathBuf::from)
}
