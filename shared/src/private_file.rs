//! Files that only their owner may read (mode 0600 on Unix), written atomically.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::Path;

/// Creates a file that does not exist yet, open for writing.
pub fn create_new(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Replaces the file at `path` atomically: it contains the old or the new bytes even after a crash. `temp` is in the
/// same folder; a leftover of a killed run is deleted. The caller syncs the folder.
pub fn replace(path: &Path, temp: &Path, bytes: &[u8]) -> io::Result<()> {
    let written = create_over(temp).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written
        .and_then(|()| fs::rename(temp, path))
        .inspect_err(|_| {
            // The first error is the one to report; the next write removes the file.
            let _ = fs::remove_file(temp);
        })
}

fn create_over(path: &Path) -> io::Result<File> {
    match create_new(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            create_new(path)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replace_ignores_what_a_killed_run_left_and_keeps_the_mode() {
        let folder = tempfile::tempdir().unwrap();
        let (path, temp) = (folder.path().join("file"), folder.path().join("file.tmp"));
        fs::write(&temp, "half of what a killed run").unwrap();
        for text in ["one", "two"] {
            replace(&path, &temp, text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            assert!(!temp.exists());
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::{PermissionsExt, symlink};
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            // A symbolic link at the path of the temporary file is not followed.
            let other = folder.path().join("other");
            symlink(&other, &temp).unwrap();
            replace(&path, &temp, b"three").unwrap();
            assert!(!other.exists());
        }
        assert!(create_new(&path).is_err());
    }
}
