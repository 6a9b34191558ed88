//! Where relative paths of the hub begin: the working directory. On Windows, services and elevated prompts start in the
//! folder of Windows itself; nothing of the hub belongs there, so that its paths begin in `%ProgramData%\Silo\hub` then.

use std::path::{Path, PathBuf};

use silo_shared::folders;

/// Where relative paths begin; empty: in the working directory.
pub(crate) fn base() -> PathBuf {
    if !cfg!(windows) {
        return PathBuf::new();
    }
    let windows = folders::windows_folder("SystemRoot", r"C:\Windows");
    match std::env::current_dir() {
        Ok(here) if is_below(&here, &windows) => folders::program_data().join("hub"),
        _ => PathBuf::new(),
    }
}

/// Whether a folder is this one or below it. Windows does not tell upper and lower case apart.
fn is_below(here: &Path, folder: &Path) -> bool {
    let mut here = here.components();
    folder.components().all(|part| {
        here.next()
            .is_some_and(|found| found.as_os_str().eq_ignore_ascii_case(part.as_os_str()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_windows_is_recognized() {
        for (here, expected) in [
            ("/c/Windows/System32", true),
            ("/C/WINDOWS/system32", true),
            ("/c/Windows", true),
            ("/c/Windows.old", false),
            ("/c", false),
            ("/srv/silo", false),
        ] {
            let found = is_below(Path::new(here), Path::new("/c/Windows"));
            assert_eq!(found, expected, "{here}");
        }
    }
}
