//! A log file of limited size, for programs whose output goes nowhere: a task of Task Scheduler, a Windows service.
//!
//! Not the Windows event log: a source must be registered there with a library of its messages, which a single program
//! file does not have, and without it each entry is shown with a complaint. A file is read with any program, and also
//! from a backup.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::{held, private_file};

/// When a file has become this large, it is renamed to `NAME.1` and a new one begins. Both together have at most twice
/// as many bytes.
const LARGEST: u64 = 1 << 20;

/// The file, which clones share. Several programs may write to it; each write is one line.
#[derive(Clone, Debug)]
pub struct LogFile(Arc<Mutex<Opened>>);

#[derive(Debug)]
struct Opened {
    path: PathBuf,
    file: File,
    bytes: u64,
    largest: u64,
}

impl LogFile {
    /// Opens it, or makes it, as a file that only its owner reads (Unix). Lines are added at its end.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::open_with(path, LARGEST)
    }

    fn open_with(path: &Path, largest: u64) -> io::Result<Self> {
        let file = append(path)?;
        Ok(Self(Arc::new(Mutex::new(Opened {
            path: path.to_owned(),
            bytes: file.metadata()?.len(),
            file,
            largest,
        }))))
    }
}

fn append(path: &Path) -> io::Result<File> {
    match private_file::create_new(path) {
        // Opened again, to append: others may write to it too.
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    held::retry(|| OpenOptions::new().append(true).open(path))
}

impl Opened {
    /// Begins a new file. If the old one can't be renamed, such as while an editor has it open, it is tried again with
    /// the next line: no line is lost.
    fn rotate(&mut self) {
        let mut old = self.path.clone().into_os_string();
        old.push(".1");
        if std::fs::rename(&self.path, PathBuf::from(old)).is_ok()
            && let Ok(file) = append(&self.path)
        {
            self.file = file;
            self.bytes = 0;
        }
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut opened = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let added = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        // Another process may have written to it or renamed it.
        if let Ok(found) = std::fs::metadata(&opened.path) {
            opened.bytes = found.len();
        } else {
            opened.file = append(&opened.path)?;
            opened.bytes = 0;
        }
        if opened.bytes > 0 && opened.bytes.saturating_add(added) > opened.largest {
            opened.rotate();
        }
        opened.file.write_all(bytes)?;
        opened.bytes = opened.bytes.saturating_add(added);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_full_file_is_kept_under_another_name_and_the_one_before_it_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let old = folder.path().join("a.log.1");
        let mut log = LogFile::open_with(&path, 10).unwrap();
        let mut other = log.clone();
        log.write_all(b"first\n").unwrap();
        assert!(!old.exists());
        other.write_all(b"second\n").unwrap();
        assert_eq!(
            (read(&old), read(&path)),
            ("first\n".into(), "second\n".into())
        );
        // Longer than a file may be: whole all the same.
        log.write_all(b"third, a long one\n").unwrap();
        assert_eq!(read(&old), "second\n");
        log.write_all(b"4\n").unwrap();
        assert_eq!(read(&old), "third, a long one\n");
        assert_eq!(read(&path), "4\n");
        drop((log, other));
        let mut again = LogFile::open_with(&path, 10).unwrap();
        again.write_all(b"5\n").unwrap();
        assert_eq!(read(&path), "4\n5\n");
    }

    #[test]
    fn a_file_that_cannot_be_renamed_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        // A folder with something in it can't be replaced.
        std::fs::create_dir_all(folder.path().join("a.log.1/x")).unwrap();
        let mut log = LogFile::open_with(&path, 3).unwrap();
        log.write_all(b"first\n").unwrap();
        log.write_all(b"second\n").unwrap();
        assert_eq!(read(&path), "first\nsecond\n");
    }

    #[test]
    fn a_file_without_its_folder_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let error = LogFile::open(&folder.path().join("no/a.log")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
