//! The default paths of the agents' files.

use std::io;
use std::path::{Path, PathBuf};

/// The configuration file with this name, such as `upstream.yaml`: in `/etc/silo`, or `%ProgramData%\Silo\upstream`.
pub fn config_file(name: &str) -> PathBuf {
    if cfg!(windows) {
        let folder = name.strip_suffix(".yaml").unwrap_or(name);
        program_data().join(folder).join(name)
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

/// The real path of a file or folder that exists, with symbolic links resolved. On Windows without `\\?\`, which people
/// do not write, where the path is valid without it.
pub fn real(path: &Path) -> io::Result<PathBuf> {
    dunce::canonicalize(path)
}

/// What a folder that Silo makes is for: decides who else gets access to it on Windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// `%ProgramData%\Silo`: LOCAL SERVICE may pass through it.
    Top,
    /// `%ProgramData%\Silo\upstream` and `…\hub`: LOCAL SERVICE, which runs both, may change what is in it.
    Service,
    /// Any other, such as `%ProgramData%\Silo\downstream`: for SYSTEM, Administrators, and a user who is not elevated.
    Private,
}

impl Purpose {
    /// That of a folder; `top` is `%ProgramData%\Silo`. Windows does not tell upper and lower case apart.
    pub fn of(folder: &Path, top: &Path) -> Self {
        let is = |other: &Path| is_same(folder, other);
        if is(top) {
            Self::Top
        } else if is(&top.join("upstream")) || is(&top.join("hub")) {
            Self::Service
        } else {
            Self::Private
        }
    }
}

/// Whether two paths are the same, whatever their case and separators.
fn is_same(one: &Path, other: &Path) -> bool {
    let (mut one, mut other) = (one.components(), other.components());
    loop {
        match (one.next(), other.next()) {
            (None, None) => return true,
            (Some(a), Some(b)) if a.as_os_str().eq_ignore_ascii_case(b.as_os_str()) => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_below_program_data_have_their_purposes() {
        let top = Path::new("/ProgramData/Silo");
        for (folder, expected) in [
            ("/ProgramData/Silo", Purpose::Top),
            ("/programdata/SILO", Purpose::Top),
            ("/ProgramData/Silo/upstream", Purpose::Service),
            ("/ProgramData/Silo/Upstream", Purpose::Service),
            ("/ProgramData/Silo/upstream/more", Purpose::Private),
            ("/ProgramData/Silo/downstream", Purpose::Private),
            ("/ProgramData/Silo/hub", Purpose::Service),
            ("/elsewhere/upstream", Purpose::Private),
        ] {
            assert_eq!(Purpose::of(Path::new(folder), top), expected, "{folder}");
        }
    }
}
