//! Templates such as `{hostname}: {old} → {new}`: parsed once, when the settings are read.

/// A text with placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Value(Placeholder),
}

/// The known placeholders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placeholder {
    /// The silo.
    Silo,
    /// The hostname.
    Hostname,
    /// The previous addresses.
    Old,
    /// The current addresses.
    New,
    /// When it happened.
    At,
    /// What happened, in words.
    Event,
    /// When the record was last seen.
    LastSeen,
}

impl Placeholder {
    const ALL: [(&str, Self); 7] = [
        ("silo", Self::Silo),
        ("hostname", Self::Hostname),
        ("old", Self::Old),
        ("new", Self::New),
        ("at", Self::At),
        ("event", Self::Event),
        ("last_seen", Self::LastSeen),
    ];

    fn of(name: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name);
        found.map(|(_, placeholder)| *placeholder)
    }
}

impl Template {
    /// Parses a text. `{{` gives `{`, `}}` gives `}`, and a single `}` is literal.
    ///
    /// The error names an unknown placeholder or an unclosed brace.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            plain.push_str(before);
            let (brace, after) = from.split_at(1);
            if let Some(after) = after.strip_prefix(brace) {
                plain.push_str(brace);
                rest = after;
            } else if brace == "}" {
                plain.push('}');
                rest = after;
            } else {
                let (name, after) = after
                    .split_once('}')
                    .ok_or("a { is not closed; write {{ for a literal brace")?;
                let value = Placeholder::of(name).ok_or_else(|| unknown(name))?;
                if !plain.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut plain)));
                }
                pieces.push(Piece::Value(value));
                rest = after;
            }
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self(pieces))
    }

    /// The text with placeholders replaced by values.
    pub(super) fn render(&self, mut value: impl FnMut(Placeholder) -> String) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Value(placeholder) => value(*placeholder),
        };
        self.0.iter().map(piece).collect()
    }

    /// Whether the template contains a placeholder.
    pub(super) fn names(&self, placeholder: Placeholder) -> bool {
        self.0.contains(&Piece::Value(placeholder))
    }
}

fn unknown(name: &str) -> String {
    let known: Vec<_> = Placeholder::ALL
        .iter()
        .map(|(name, _)| format!("{{{name}}}"))
        .collect();
    format!(
        "{{{name}}} is not a placeholder; known are {}, and {{{{ for a literal brace",
        known.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(text: &str) -> String {
        let template = Template::parse(text).unwrap();
        template.render(|placeholder| format!("<{placeholder:?}>"))
    }

    #[test]
    fn values_stand_in_their_places_and_doubled_braces_for_themselves() {
        for (text, expected) in [
            ("", ""),
            ("plain é", "plain é"),
            ("{silo}/{hostname}", "<Silo>/<Hostname>"),
            (
                "{old}→{new} {at} {event} {last_seen}.",
                "<Old>→<New> <At> <Event> <LastSeen>.",
            ),
            ("{{silo}} {{{silo}}}", "{silo} {<Silo>}"),
            ("p {{ color: red }", "p { color: red }"),
        ] {
            assert_eq!(rendered(text), expected, "{text:?}");
        }
    }

    #[test]
    fn unknown_placeholders_are_named() {
        for name in ["host", "", "Silo", "silo ", "old{new"] {
            let error = Template::parse(&format!("a {{{name}}} b")).unwrap_err();
            let wanted = format!("{{{name}}} is not a placeholder");
            assert!(error.starts_with(&wanted), "{error}");
            assert!(error.contains(" {hostname} "), "{error}");
        }
        let error = Template::parse("a {silo").unwrap_err();
        assert!(error.contains("not closed"), "{error}");
    }
}
