//! Shows how far long work is and how long it will take, on stderr and only if that is a terminal.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::task::JoinHandle;

/// How often what is watched is looked at.
const LOOK: Duration = Duration::from_millis(200);
const BYTES: &str = "{msg} {wide_bar} {bytes}/{total_bytes}, {eta} left";
const COUNT: &str = "{msg} {wide_bar} {pos}/{len}, {eta} left";
/// Without a total, there is nothing to estimate from.
const UNKNOWN: &str = "{msg} {spinner} {elapsed}";
const UNKNOWN_BYTES: &str = "{msg} {spinner} {bytes} in {elapsed}";

/// What is shown of one piece of work. Dropping it clears the line.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
    looking: Option<JoinHandle<()>>,
}

impl Progress {
    /// Work of so many bytes, if known.
    pub(super) fn of_bytes(what: &'static str, total: Option<u64>) -> Self {
        Self::new(what, total, BYTES, UNKNOWN_BYTES)
    }

    /// Work of so many steps, if known.
    pub(super) fn of_steps(what: &'static str, total: Option<u64>) -> Self {
        Self::new(what, total, COUNT, UNKNOWN)
    }

    fn new(what: &'static str, total: Option<u64>, known: &str, unknown: &str) -> Self {
        // Draws nothing if stderr is not a terminal.
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
        let template = if total.is_some() { known } else { unknown };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(what);
        if !bar.is_hidden() {
            bar.tick();
            bar.enable_steady_tick(LOOK);
        }
        Self { bar, looking: None }
    }

    /// Whether anything is shown.
    pub(super) fn is_shown(&self) -> bool {
        !self.bar.is_hidden()
    }

    /// Shows how much is done.
    pub(super) fn set(&self, done: u64) {
        self.bar.set_position(done);
    }

    /// Corrects the total.
    pub(super) fn set_total(&self, total: u64) {
        self.bar.set_length(total);
    }

    /// Shows the size of a file that is being written.
    pub(super) fn watch_file(mut self, file: PathBuf) -> Self {
        if self.is_shown() {
            let bar = self.bar.clone();
            self.looking = Some(tokio::spawn(async move {
                loop {
                    tokio::time::sleep(LOOK).await;
                    if let Ok(metadata) = std::fs::metadata(&file) {
                        bar.set_position(metadata.len());
                    }
                }
            }));
        }
        self
    }

    /// Shows what is read.
    pub(super) fn reading<R: Read>(&self, input: R) -> Counted<R> {
        let bar = self.bar.clone();
        Counted { inner: input, bar }
    }

    /// Shows the lines that are written.
    pub(super) fn writing<W: Write>(&self, output: W) -> Counted<W> {
        let bar = self.bar.clone();
        Counted { inner: output, bar }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(looking) = self.looking.take() {
            looking.abort();
        }
        self.bar.finish_and_clear();
    }
}

/// Counts the bytes that are read, or the lines that are written.
#[derive(Debug)]
pub(super) struct Counted<T> {
    inner: T,
    bar: ProgressBar,
}

impl<T> Counted<T> {
    /// What is behind it.
    pub(super) fn into_inner(self) -> T {
        self.inner
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bar.inc(read as u64);
        Ok(read)
    }
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        let lines = bytes[..written].iter().filter(|byte| **byte == b'\n');
        self.bar.inc(lines.count() as u64);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
