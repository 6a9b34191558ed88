//! What both agents say: results on stdout, failures on stderr.

use std::cell::OnceCell;
use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use crate::program::{DONE, LogFormat, failed};

/// Where lines go, and which of them.
///
/// A line that can't be written holds up no work; [`Output::finish`] tells of it.
#[derive(Debug)]
pub struct Output {
    program: &'static str,
    quiet: bool,
    format: LogFormat,
    /// The first thing that stdout did not take.
    unwritten: OnceCell<io::Error>,
}

impl Output {
    /// `program` stands before each line on stderr; `quiet` leaves out what is neither a change nor a
    /// failure.
    pub fn new(program: &'static str, quiet: bool, format: LogFormat) -> Self {
        Self {
            program,
            quiet,
            format,
            unwritten: OnceCell::new(),
        }
    }

    /// Whether only changes and failures are said.
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Writes bytes to stdout as they are.
    pub fn write(&self, bytes: &[u8]) {
        let mut stdout = io::stdout().lock();
        if let Err(error) = stdout.write_all(bytes).and_then(|()| stdout.flush()) {
            // The first error says why; later ones say no more.
            let _ = self.unwritten.set(error);
        }
    }

    /// Says a result.
    pub fn say(&self, line: impl Display) {
        self.write(format!("{line}\n").as_bytes());
    }

    /// Says a result that `quiet` leaves out.
    pub fn mention(&self, line: impl Display) {
        if !self.quiet {
            self.say(line);
        }
    }

    /// Says beside the result, on stderr, what is no failure.
    pub fn note(&self, line: impl Display) {
        match self.format {
            LogFormat::Text => self.complain(line),
            LogFormat::Json => tracing::warn!("{line}"),
        }
    }

    /// Says what failed.
    pub fn complain(&self, line: impl Display) {
        match self.format {
            LogFormat::Text => {
                // Where stderr takes nothing, the exit code is all that is left to tell.
                let _ = writeln!(io::stderr().lock(), "{}: {line}", self.program);
            }
            LogFormat::Json => tracing::error!("{line}"),
        }
    }

    /// The exit code: `code`, or failure when all went well but stdout did not take what was said.
    /// Who closed a pipe, such as `head`, did not want to hear more: that is no failure.
    pub fn finish(self, code: ExitCode) -> ExitCode {
        match self.unwritten.get() {
            Some(error) if code == DONE && error.kind() != ErrorKind::BrokenPipe => {
                self.complain(format_args!("cannot write to stdout: {error}"));
                failed()
            }
            _ => code,
        }
    }
}
