//! A temporary file between the database and a slow reader of standard output, such as `| ssh`. A snapshot of SQLite
//! keeps its log from starting over, and one of a server keeps old rows: it must not last as long as the reader takes.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use silo_shared::private_file::create_new;

/// A private file that is gone when this is dropped; on Unix, also when the program is killed.
#[derive(Debug)]
pub(super) struct Spool {
    path: PathBuf,
    written: Option<File>,
    /// Opened before the file lost its name.
    reader: Option<File>,
}

impl Spool {
    /// Creates one in a folder.
    pub(super) fn create(folder: &Path) -> io::Result<Self> {
        let path = folder.join(format!("export.{}.part", std::process::id()));
        // A former program with this id may have been killed.
        let _ = fs::remove_file(&path);
        let mut spool = Self {
            written: Some(create_new(&path)?),
            reader: None,
            path,
        };
        if cfg!(unix) {
            spool.reader = Some(File::open(&spool.path)?);
            fs::remove_file(&spool.path)?;
        }
        Ok(spool)
    }

    /// Passes everything that was written on.
    pub(super) fn pass_on(mut self, output: &mut impl Write) -> io::Result<()> {
        // Windows opens it once only.
        drop(self.written.take());
        let mut reader = match self.reader.take() {
            Some(reader) => reader,
            None => File::open(&self.path)?,
        };
        io::copy(&mut reader, output)?;
        output.flush()
    }
}

impl Write for Spool {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let file = self.written.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        drop(self.written.take());
        if !cfg!(unix) {
            // Whatever remains is private.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_passes_on_what_was_written_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::create(folder.path()).unwrap();
        spool.write_all(b"one\n").unwrap();
        spool.write_all(b"two\n").unwrap();
        let mut output = Vec::new();
        spool.pass_on(&mut output).unwrap();
        assert_eq!(output, b"one\ntwo\n");
        drop(Spool::create(folder.path()).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
