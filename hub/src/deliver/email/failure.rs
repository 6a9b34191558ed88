//! Why a mail was not accepted, without mail addresses and secrets.

use std::time::Duration;

/// Why a mail was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Permanently refused: this receiver, or this mail.
    Refused(String),
    /// Temporary failure for this receiver.
    Later(String),
    /// The connection was lost before the mail was handed over. Others may get through.
    Lost(String),
    /// No mail can be sent now.
    Down(String),
    /// The mail was handed over, and the server did not say whether it accepts it: it may arrive.
    /// `tries`: how often this has happened to this mail.
    Unconfirmed {
        /// What happened.
        why: String,
        /// How often.
        tries: u32,
        /// How long it is not sent again.
        wait: Duration,
    },
}

/// Maximum length of an excerpt of another program's output, in characters.
const MAX_EXCERPT: usize = 160;

/// The beginning of another program's output, on one line, with mail addresses removed.
pub(super) fn excerpt(text: &str) -> String {
    let mut words: Vec<&str> = Vec::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()) {
        match word {
            "" => {}
            word if word.contains('@') => words.push("<address>"),
            word => words.push(word),
        }
    }
    let text = words.join(" ");
    match text.char_indices().nth(MAX_EXCERPT) {
        None => text,
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_one_short_line_without_addresses() {
        assert_eq!(
            excerpt("5.1.1 <a@example.net>:\r\n\x1b[31m no such user\ta@b"),
            "5.1.1 <address> [31m no such user <address>"
        );
        assert_eq!(excerpt(""), "");
        let long = excerpt(&"é ".repeat(500));
        assert_eq!(long.chars().count(), MAX_EXCERPT + 1);
        assert!(long.ends_with('…'), "{long}");
    }
}
