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
        self.write(format!("{}\n", printable(&line)).as_bytes());
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
            LogFormat::Json => tracing::warn!("{}", printable(&line)),
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
                    printable(&line)
                );
            }
            LogFormat::Json => tracing::error!("{}", printable(&line)),
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

/// A line without characters that control a terminal or change the order in which the rest is displayed. Lines may end
/// in it, and tabs separate columns.
fn printable(line: &impl Display) -> String {
    let is_unwanted = |c: char| is_bidi(c) || (c.is_control() && !matches!(c, '\n' | '\t'));
    line.to_string().replace(is_unwanted, " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    /// Characters that drive a terminal: escape, bell, backspace, carriage return, delete, and those of C1 by which a
    /// sequence begins or a line ends.
    const CONTROL: &str = "\0\u{7}\u{8}\u{b}\u{c}\r\u{1b}\u{7f}\u{85}\u{90}\u{9b}\u{9d}";
    /// Characters that change the order in which text is displayed, and separators of lines and paragraphs.
    const BIDI: &str = "\u{61c}\u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\
                        \u{2066}\u{2067}\u{2068}\u{2069}";

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The one line that is logged in the format JSON.
    fn logged(print: impl FnOnce(&Output)) -> (String, String) {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_writer(move || writer.clone())
            .finish();
        let output = Output::new("program", false, LogFormat::Json);
        tracing::subscriber::with_default(subscriber, || print(&output));
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        let part = |name: &str| line[name].as_str().unwrap().to_owned();
        (part("level"), part("message"))
    }

    #[test]
    fn what_drives_a_terminal_becomes_a_blank_on_stdout_and_in_both_log_formats() {
        for c in CONTROL.chars().chain(BIDI.chars()) {
            let hostile = format!("a{c}b");
            assert_eq!(one_line(&hostile), "a b", "{c:?}");
            // As stdout and stderr get it.
            assert_eq!(printable(&hostile), "a b", "{c:?}");
            let note = logged(|output| output.print_note(&hostile));
            assert_eq!(note, ("WARN".to_owned(), "a b".to_owned()), "{c:?}");
            let error = logged(|output| output.print_error(&hostile));
            assert_eq!(error, ("ERROR".to_owned(), "a b".to_owned()), "{c:?}");
        }
        for text in ["שלום 10.0.0.5", "a\tb\nc\n", "10.0.0.5 → 10.0.0.6 …"] {
            assert_eq!(printable(&text), text);
        }
    }

    #[test]
    fn foreign_text_is_reduced_to_one_line_of_limited_length() {
        assert_eq!(one_line("a\nb\u{1b}[31m"), "a b [31m");
        assert_eq!(one_line("שלום 10.0.0.5"), "שלום 10.0.0.5");
        assert_eq!(one_line(&"a".repeat(500)).len(), 400);
    }
}
