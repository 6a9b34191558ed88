//! Why a mail was not taken, in words that name no address and no secret.

/// Why a mail was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// This receiver, or this mail, is refused for good.
    Refused(String),
    /// This receiver can't be told now.
    Later(String),
    /// Nobody can be told now.
    Down(String),
}

/// The longest excerpt of what another program said, in characters.
const MAX_EXCERPT: usize = 160;

/// The beginning of what another program said, on one line, with every mail address in it left out.
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
