//! Files that another program has open for a moment.
//!
//! Windows refuses to open, replace or remove a file that another program has open without sharing it: a virus scanner
//! that looks at a new file, an editor that saves, a backup. Such an access is tried again for a while. Other systems
//! have no such errors, and the first attempt is the only one.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long to try.
pub const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(50);

/// Error codes of Windows (winerror.h): the file is open, or a part of it is locked.
const IN_USE: [i32; 2] = [32, 33];
/// The file is open and was removed, so that its name is not free yet.
const DELETE_PENDING: i32 = 303;
/// Also the answer when a file that is open is to be replaced or removed.
const ACCESS_DENIED: i32 = 5;

/// Opens or reads a file, again while another program holds it.
pub fn retry<T>(attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    retry_while(is_held, PATIENCE, std::thread::sleep, attempt)
}

/// Replaces or removes a file, again while another program holds it.
pub fn retry_to_replace<T>(attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    retry_while(may_be_held, PATIENCE, std::thread::sleep, attempt)
}

/// Whether another program holds the file that can't be opened.
pub fn is_held(error: &io::Error) -> bool {
    cfg!(windows) && is_in_use(error)
}

/// Whether another program may hold the file that can't be replaced or removed.
pub fn may_be_held(error: &io::Error) -> bool {
    cfg!(windows) && (is_in_use(error) || error.raw_os_error() == Some(ACCESS_DENIED))
}

fn is_in_use(error: &io::Error) -> bool {
    error
        .raw_os_error()
        .is_some_and(|code| IN_USE.contains(&code) || code == DELETE_PENDING)
}

fn retry_while<T>(
    is_held: impl Fn(&io::Error) -> bool,
    patience: Duration,
    mut pause: impl FnMut(Duration),
    mut attempt: impl FnMut() -> io::Result<T>,
) -> io::Result<T> {
    let started = Instant::now();
    loop {
        match attempt() {
            Err(error) if is_held(&error) && started.elapsed() < patience => pause(PAUSE),
            done => return done,
        }
    }
}

/// Reads a whole file.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    retry(|| fs::read(path))
}

/// Reads at most `limit` bytes of a file.
pub fn read_up_to(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    retry(|| {
        let mut bytes = Vec::new();
        File::open(path)?.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    })
}

/// Renames a file over another one.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    retry_to_replace(|| fs::rename(from, to))
}

/// Removes a file.
pub fn remove(path: &Path) -> io::Result<()> {
    retry_to_replace(|| fs::remove_file(path))
}

/// What to do about an error on Windows, as the end of a sentence; empty on other systems, and for other errors.
pub fn advice(error: &io::Error) -> &'static str {
    if cfg!(windows) { advice_for(error) } else { "" }
}

fn advice_for(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(ACCESS_DENIED) => {
            " (run this as an administrator; if it is elevated already, another program has the file open, or Defender's controlled folder access does not allow this program)"
        }
        Some(code) if IN_USE.contains(&code) || code == DELETE_PENDING => {
            " (another program has the file open: Resource Monitor, `resmon`, finds it by the file's name under CPU, Associated Handles)"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_is_tried_again_only_while_the_file_is_held() {
        let held = || io::Error::from_raw_os_error(32);
        for (failures, patience, succeeds) in [
            (0, Duration::ZERO, true),
            (3, Duration::MAX, true),
            (1, Duration::ZERO, false),
        ] {
            let (mut tries, mut pauses) = (0, 0);
            let done = retry_while(
                is_in_use,
                patience,
                |_| pauses += 1,
                || {
                    tries += 1;
                    if tries <= failures {
                        Err(held())
                    } else {
                        Ok(tries)
                    }
                },
            );
            assert_eq!(done.is_ok(), succeeds, "{failures} {patience:?}");
            assert_eq!(pauses, tries - 1);
        }
        let other = retry_while(
            is_in_use,
            Duration::MAX,
            |_| panic!("no pause"),
            || Err::<(), _>(io::Error::from_raw_os_error(2)),
        );
        assert_eq!(other.unwrap_err().raw_os_error(), Some(2));
    }

    #[test]
    fn only_errors_of_windows_count_and_only_there() {
        for (code, opened, replaced) in [
            (5, false, true),
            (32, true, true),
            (33, true, true),
            (303, true, true),
            (2, false, false),
        ] {
            let error = io::Error::from_raw_os_error(code);
            assert_eq!(is_held(&error), cfg!(windows) && opened, "{code}");
            assert_eq!(may_be_held(&error), cfg!(windows) && replaced, "{code}");
            assert_eq!(advice_for(&error).is_empty(), !replaced, "{code}");
            assert_eq!(advice(&error).is_empty(), !(cfg!(windows) && replaced));
        }
        assert!(!is_held(&io::Error::other("32")));
    }

    #[cfg(windows)]
    #[test]
    fn a_file_that_is_held_for_a_moment_is_read_replaced_and_removed() {
        use std::os::windows::fs::OpenOptionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (path, new) = (folder.path().join("file"), folder.path().join("new"));
        let holding = |work: &dyn Fn() -> io::Result<()>| {
            fs::write(&path, "old").unwrap();
            let held = fs::OpenOptions::new()
                .read(true)
                .share_mode(0)
                .open(&path)
                .unwrap();
            let (started, start) = std::sync::mpsc::channel();
            let holder = std::thread::spawn(move || {
                start.recv().unwrap();
                std::thread::sleep(Duration::from_millis(300));
                drop(held);
            });
            started.send(()).unwrap();
            work().unwrap();
            holder.join().unwrap();
        };
        holding(&|| read(&path).map(|bytes| assert_eq!(bytes, b"old")));
        holding(&|| {
            fs::write(&new, "new")?;
            rename(&new, &path)?;
            assert_eq!(fs::read(&path)?, b"new");
            Ok(())
        });
        holding(&|| remove(&path));
        assert!(!path.exists());
    }
}
