//! Output of both agents: results on stdout, failures on stderr. With `--json`, results and failures are JSON objects
//! on stdout, one on each line, and nothing else is.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;

use crate::fact::Fact;
use crate::log_file::LogFile;
use crate::program::{DONE, LogFormat, failed};
use crate::text::is_bidi;

/// Where to print, in which form, and which facts. A clone prints to the same place.
///
/// A line that can't be written does not stop the work; [`Output::finish`] reports it.
#[derive(Clone, Debug)]
pub struct Output {
    program: &'static str,
    quiet: bool,
    format: LogFormat,
    json: bool,
    now: fn() -> Timestamp,
    /// Instead of stdout and stderr.
    log: Option<LogFile>,
    /// The first error from writing to stdout.
    unwritten: Arc<OnceLock<io::Error>>,
}

impl Output {
    /// `program` starts each line on stderr; `quiet` omits everything but changes and failures.
    pub fn new(program: &'static str, quiet: bool, format: LogFormat) -> Self {
        Self {
            program,
            quiet,
            format,
            json: false,
            now: wall_clock,
            log: None,
            unwritten: Arc::default(),
        }
    }

    /// The same, printing JSON objects if `json` is set.
    #[must_use]
    pub fn in_json(self, json: bool) -> Self {
        Self { json, ..self }
    }

    /// The same, printing to a file if there is one, each line of text with the time.
    #[must_use]
    pub fn to_log(self, log: Option<LogFile>) -> Self {
        Self { log, ..self }
    }

    /// The same, printing only changes and failures.
    #[must_use]
    pub fn quieted(&self) -> Self {
        Self {
            quiet: true,
            ..self.clone()
        }
    }

    /// Whether only changes and failures are printed.
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Whether JSON objects are printed.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Prints a result.
    pub fn tell(&self, fact: &Fact) {
        if self.json {
            self.write(format!("{}\n", fact.to_json((self.now)())).as_bytes());
        } else {
            self.write(format!("{}{}\n", self.time(), printable(fact)).as_bytes());
        }
    }

    /// Prints a result that `quiet` omits.
    pub fn tell_unless_quiet(&self, fact: &Fact) {
        if !self.quiet {
            self.tell(fact);
        }
    }

    /// Prints a failure: as a line on stderr, or as an object on stdout.
    pub fn tell_failure(&self, fact: &Fact) {
        if self.json {
            self.tell(fact);
        } else {
            self.to_stderr(fact);
        }
    }

    /// Prints a fact that is not a failure, as a line on stderr, or as an object on stdout: for commands whose text on
    /// stdout is something else.
    pub fn tell_note(&self, fact: &Fact) {
        match (self.json, self.format) {
            (true, _) => self.tell(fact),
            (false, LogFormat::Text) => self.to_stderr(fact),
            (false, LogFormat::Json) => tracing::warn!("{}", printable(fact)),
        }
    }

    /// Writes bytes to stdout unchanged.
    pub fn write(&self, bytes: &[u8]) {
        let written = match self.log.clone() {
            Some(mut log) => log.write_all(bytes),
            None => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(bytes).and_then(|()| stdout.flush())
            }
        };
        if let Err(error) = written {
            // Only the first error is reported.
            let _ = self.unwritten.set(error);
        }
    }

    /// Prints a result that has no event of its own: event `message`.
    pub fn print(&self, line: impl Display) {
        self.tell(&Fact::message("message", line));
    }

    /// The same for one that `quiet` omits.
    pub fn print_unless_quiet(&self, line: impl Display) {
        self.tell_unless_quiet(&Fact::message("message", line));
    }

    /// Prints a line on stderr that is not a failure: event `note`.
    pub fn print_note(&self, line: impl Display) {
        self.tell_note(&Fact::message("note", line));
    }

    /// Prints a failure: event `error`.
    pub fn print_error(&self, line: impl Display) {
        self.tell_failure(&Fact::error(line));
    }

    /// The time that begins a line of a log file.
    fn time(&self) -> String {
        match self.log {
            Some(_) => format!("{:.3} ", (self.now)()),
            None => String::new(),
        }
    }

    fn to_stderr(&self, line: &impl Display) {
        match self.format {
            LogFormat::Text => {
                let line = format!("{}{}: {}\n", self.time(), self.program, printable(line));
                // If it can't be written, only the exit code is left.
                let _ = match self.log.clone() {
                    Some(mut log) => log.write_all(line.as_bytes()),
                    None => io::stderr().lock().write_all(line.as_bytes()),
                };
            }
            LogFormat::Json => tracing::error!("{}", printable(line)),
        }
    }

    /// The exit code: `code`, or failure if the run succeeded but stdout could not be written. A closed pipe, such as
    /// one to `head`, is not a failure.
    pub fn finish(self, code: ExitCode) -> ExitCode {
        match self.unwritten.get() {
            Some(error) if code == DONE && error.kind() != ErrorKind::BrokenPipe => {
                let place = if self.log.is_some() {
                    "the log file"
                } else {
                    "stdout"
                };
                self.print_error(format_args!("cannot write to {place}: {error}"));
                failed()
            }
            _ => code,
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the time of a printed fact, which nothing depends on"
)]
fn wall_clock() -> Timestamp {
    Timestamp::now()
}

/// Text from another machine, reduced to one line of output: at most 400 characters, without control characters or
/// characters that change the direction of the surrounding text.
pub fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() || is_bidi(c) { ' ' } else { c })
        .take(400)
        .collect()
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
    fn a_log_file_gets_results_and_failures_with_their_times() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let log = LogFile::open(&path).unwrap();
        let mut output = Output::new("program", false, LogFormat::Text).to_log(Some(log));
        output.now = || Timestamp::UNIX_EPOCH;
        output.print("done");
        output.print_error("failed");
        output.clone().in_json(true).print("as an object");
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let expected = [
            "1970-01-01T00:00:00.000Z done",
            "1970-01-01T00:00:00.000Z program: failed",
        ];
        assert_eq!(lines[..2], expected);
        assert!(lines[2].starts_with('{') && lines.len() == 3, "{text}");
    }

    #[test]
    fn foreign_text_is_reduced_to_one_line_of_limited_length() {
        assert_eq!(one_line("a\nb\u{1b}[31m"), "a b [31m");
        assert_eq!(one_line("שלום 10.0.0.5"), "שלום 10.0.0.5");
        assert_eq!(one_line(&"a".repeat(500)).len(), 400);
    }
}
