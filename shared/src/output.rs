//! What both agents print: results on stdout, failures on stderr.

use std::cell::OnceCell;
use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use crate::program::{DONE, LogFormat, failed};

/// Where lines go, and which of them.
///
/// A line that can't be written delays no work; [`Output::finish`] tells of it.
#[derive(Debug)]
pub struct Output {
    program: &'static str,
    quiet: bool,
    format: LogFormat,
    /// The first thing that stdout did not take.
    unwritten: OnceCell<io::Error>,
}

impl Output {
    /// `program` begins each line on stderr; `quiet` leaves out what is neither a change nor a
    /// failure.
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

    /// Writes bytes to stdout as they are.
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

    /// Prints a result that `quiet` leaves out.
    pub fn print_unless_quiet(&self, line: impl Display) {
        if !self.quiet {
            self.print(line);
        }
    }

    /// Prints on stderr what is not a failure.
    pub fn print_note(&self, line: impl Display) {
        match self.format {
            LogFormat::Text => self.print_error(line),
            LogFormat::Json => tracing::warn!("{}", without_bidi(&line)),
        }
    }

    /// Prints what failed.
    pub fn print_error(&self, line: impl Display) {
        match self.format {
            LogFormat::Text => {
                // Where stderr takes nothing, the exit code is all that is left to tell.
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

    /// The exit code: `code`, or failure when the run succeeded but stdout could not be written.
    /// A closed pipe, such as one to `head`, is not a failure.
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

/// Text from another machine, reduced to one line of output: at most 400 characters, none of them a control
/// character or one that changes the direction of the text around it.
pub fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() || is_bidi(c) { ' ' } else { c })
        .take(400)
        .collect()
}

/// Whether a character reorders the text around it (Unicode Annex 9 section 2), or ends a line to some terminals.
fn is_bidi(c: char) -> bool {
    matches!(c,
        '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A line without characters that change the order in which the rest is displayed.
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
