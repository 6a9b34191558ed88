//! What the program says: results on stdout, errors on stderr.

use std::io::Write;

use silo_shared::program::LogFormat;

/// Where lines go, and which of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    /// Only changes and failures are said.
    pub(crate) quiet: bool,
    /// How errors are written.
    pub(crate) format: LogFormat,
}

impl Output {
    /// Says a result.
    pub(crate) fn say(&self, line: impl std::fmt::Display) {
        // Who closed our stdout does not want to hear it; the work goes on.
        let _ = writeln!(std::io::stdout().lock(), "{line}");
    }

    /// Says a result that --quiet leaves out.
    pub(crate) fn mention(&self, line: impl std::fmt::Display) {
        if !self.quiet {
            self.say(line);
        }
    }

    /// Says beside the result, on stderr, what is no failure.
    pub(crate) fn note(&self, line: impl std::fmt::Display) {
        match self.format {
            LogFormat::Text => self.complain(line),
            LogFormat::Json => tracing::warn!("{line}"),
        }
    }

    /// Says what failed.
    pub(crate) fn complain(&self, line: impl std::fmt::Display) {
        match self.format {
            LogFormat::Text => {
                let _ = writeln!(std::io::stderr().lock(), "silo-downstream: {line}");
            }
            LogFormat::Json => tracing::error!("{line}"),
        }
    }
}
