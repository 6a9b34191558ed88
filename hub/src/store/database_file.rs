//! The file of an embedded database, as it was first opened. SQLite keeps using a file that was renamed or removed, and
//! a new connection would open, or create, another file at its path.

use std::io;
use std::path::PathBuf;
use std::sync::OnceLock;

/// Device and inode number (stat(2)).
type Identity = (u64, u64);

/// The file that all connections must lead to.
#[derive(Debug)]
pub(super) struct DatabaseFile {
    path: PathBuf,
    opened: OnceLock<Option<Identity>>,
}

impl DatabaseFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            opened: OnceLock::new(),
        }
    }

    /// Notes which file is at the path: the first connection was created.
    pub(super) fn note_opened(&self) {
        let _ = self.opened.set(identity(&self.path));
    }

    /// Whether the file that was opened is still at the path. True as long as none was opened, and where the system
    /// does not tell files apart.
    pub(super) fn is_in_place(&self) -> bool {
        match self.opened.get() {
            None | Some(None) => true,
            Some(Some(opened)) => identity(&self.path) == Some(*opened),
        }
    }

    /// Refuses a connection to another file.
    pub(super) fn check(&self) -> Result<(), sqlx::Error> {
        if self.is_in_place() {
            return Ok(());
        }
        let words = format!(
            "{}: the database's file was moved, replaced or removed",
            self.path.display()
        );
        Err(sqlx::Error::Io(io::Error::new(
            io::ErrorKind::NotFound,
            words,
        )))
    }
}

#[cfg(unix)]
fn identity(file: &std::path::Path) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(file).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// Windows does not let an open file be moved.
#[cfg(not(unix))]
fn identity(_file: &std::path::Path) -> Option<Identity> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_moved_or_replaced_file_is_refused_until_it_is_back() {
        let folder = tempfile::tempdir().unwrap();
        let (path, aside) = (folder.path().join("hub.db"), folder.path().join("aside"));
        let file = DatabaseFile::new(path.clone());
        assert!(file.is_in_place(), "none was opened");
        std::fs::write(&path, "a").unwrap();
        file.note_opened();
        assert!(file.check().is_ok());
        std::fs::rename(&path, &aside).unwrap();
        assert!(file.check().is_err(), "moved");
        std::fs::write(&path, "a").unwrap();
        assert!(file.check().is_err(), "replaced");
        std::fs::rename(&aside, &path).unwrap();
        assert!(file.check().is_ok(), "back");
    }
}
