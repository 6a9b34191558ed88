//! Output of both agents: results on stdout, failures on stderr.

use std::cell::OnceCell;
use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use crate::program::{DONE, LogFormat, failed};

/// Where to print, and which lines.
///
/// A line that can't be written does not stop the work; [`Output::finish`] reports it.
#[derive(Debug)]
pub struct Output {
    program: &'static str,
    quiet: bool,
    format: LogFormat,
    /// The first error from writing to stdout.
    unwritten: OnceCell<io::Error>,
}

impl Output {
    /// `program` starts each line on stderr; `quiet` omits everything but changes and failures.
    pub fn new(program: &'static str, quiet: bool, format: LogFormat) -> Self {
        Self {
            program,
            quiet,
            format,
            unwritten: OnceCell::new(),
        }
    }

    /// Whether only changes and failures are printed.
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Writes bytes to stdout unchanged.
    pub fn write(&self, bytes: &[u8]) {
        let mut stdout = io::stdout().lock();
        if let Err(error) = stdout.write_all(bytes).and_then(|()| stdout.flush()) {
            // Only the first error is reported.
            let _ = self.unwritten.set(error);
        }
    }

    /// Prints a result.
    pub fn print(&self, line: impl Display) {
        self.write(format!("{}\n", without_bidi(&line)).as_bytes());
    }

    /// Prints a result that `quiet` omits.
    pub fn print_unless_quiet(&self, line: impl Display) {
        if !self.quiet {
            self.print(line);
        }
    }

    /// Prints a line on stderr that is not a failure.
    pub fn print_note(&self, line: impl Display) {
        match self.format {
            LogFormat::Text => self.print_error(line),
            LogFormat::Json => tracing::warn!("{}", without_bidi(&line)),
        }
    }

    /// Prints a failure.
    pub fn print_error(&self, line: impl Display) {
        match self.format {
            LogFormat::Text => {
                // If stderr can't be written, only the exit code is left.
                let _ = writeln!(
                    io::stderr().lock(),
                    "{}: {}",
                    self.program,
                    without_bidi(&line)
                );
            }
            LogFormat::Json => tracing::error!("{}", without_bidi(&line)),
        }
    }

    /// The exit code: `code`, or failure if the run succeeded but stdout could not be written. A closed pipe, such as
    /// one to `head`, is not a failure.
    pub fn finish(self, code: ExitCode) -> ExitCode {
        match self.unwritten.get() {
            Some(error) if code == DONE && error.kind() != ErrorKind::BrokenPipe => {
                self.print_error(format_args!("cannot write to stdout: {error}"));
                failed()
            }
            _ => code,
        }
    }
}

/// Text from another machine, reduced to one line of output: at most 400 characters, without control characters or
/// characters that change the direction of the surrounding text.
pub fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() || is_bidi(c) { ' ' } else { c })
        .take(400)
        .collect()
}

/// Whether a character reorders the surrounding text (Unicode Annex 9 section 2), or ends a line on some terminals.
fn is_bidi(c: char) -> bool {
    matches!(c,
        '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A line without characters that reorder the rest on display.
fn without_bidi(line: &impl Display) -> String {
    line.to_string().replace(is_bidi, " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_is_reduced_to_one_line_without_direction_changes() {
        assert_eq!(one_line("a\nb\u{1b}[31m"), "a b [31m");
        for c in ('\u{202a}'..='\u{202e}')
            .chain('\u{2066}'..='\u{2069}')
            .chain("\u{200e}\u{200f}\u{061c}\u{2028}\u{2029}".chars())
        {
            assert_eq!(one_line(&format!("a{c}b")), "a b", "{c:?}");
            assert_eq!(without_bidi(&format!("a{c}b\n")), "a b\n", "{c:?}");
        }
        assert_eq!(one_line("שלום 10.0.0.5"), "שלום 10.0.0.5");
        assert_eq!(one_line(&"a".repeat(500)).len(), 400);
    }
}
