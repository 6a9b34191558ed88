//! A fact that an agent prints: a line of text for people, or with `--json` one JSON object for scripts.
//!
//! Both forms come from one [`Fact`], so that neither says more than the other. [`crate::output`] prints it. Every
//! event and its fields are documented in docs/agents.md.

use std::fmt::{self, Display};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::silo::SiloId;

/// What happened, in both forms.
///
/// The JSON object has the members `at` (RFC 3339, UTC), `event`, `silo` where there is one, and those of the fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    event: &'static str,
    silo: Option<String>,
    fields: Map<String, Value>,
    text: String,
}

/// The JSON object of a fact.
#[derive(Serialize)]
struct Line<'a> {
    at: String,
    event: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    silo: Option<&'a str>,
    #[serde(flatten)]
    fields: &'a Map<String, Value>,
}

impl Fact {
    /// A fact about no particular silo. `text` is the line for people.
    pub fn new(event: &'static str, text: impl Display) -> Self {
        Self {
            event,
            silo: None,
            fields: Map::new(),
            text: text.to_string(),
        }
    }

    /// A fact about a silo, which starts its line of text.
    pub fn of_silo(event: &'static str, silo: &SiloId, text: impl Display) -> Self {
        Self {
            silo: Some(silo.to_string()),
            ..Self::new(event, format_args!("{silo}: {text}"))
        }
    }

    /// A failure: event `error`, with the text as its `message`.
    pub fn error(text: impl Display) -> Self {
        Self::message("error", text)
    }

    /// An event whose only field is its text, as `message`.
    pub fn message(event: &'static str, text: impl Display) -> Self {
        let text = text.to_string();
        Self::new(event, &text).with("message", text)
    }

    /// Sets the silo; the text stays as it is.
    #[must_use]
    pub fn about(mut self, silo: &SiloId) -> Self {
        self.silo = Some(silo.to_string());
        self
    }

    /// Adds a field of the JSON object. A value that can't be represented in JSON becomes `null`.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Serialize) -> Self {
        let value = serde_json::to_value(value).unwrap_or(Value::Null);
        self.fields.insert(name.to_owned(), value);
        self
    }

    /// The event.
    pub fn event(&self) -> &'static str {
        self.event
    }

    /// The JSON object, on one line. Characters that control a terminal or reorder text are escaped.
    pub(crate) fn to_json(&self, at: Timestamp) -> String {
        let line = Line {
            at: seconds(at),
            event: self.event,
            silo: self.silo.as_deref(),
            fields: &self.fields,
        };
        let json = serde_json::to_string(&line)
            .expect("its keys are strings, and its values were serialized before");
        let mut escaped = String::with_capacity(json.len());
        for c in json.chars() {
            // Outside of its strings, JSON contains none of these characters, all of which have 16 bits.
            if c.is_control() || crate::text::is_bidi(c) {
                escaped.push_str(&format!("\\u{:04x}", u32::from(c)));
            } else {
                escaped.push(c);
            }
        }
        escaped
    }
}

impl Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A time in RFC 3339, UTC, in seconds.
pub fn seconds(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_fact_has_a_line_of_text_and_an_object() {
        let silo = SiloId::parse("office").unwrap();
        let at = Timestamp::from_second(1_764_000_000).unwrap();
        for (fact, text, json) in [
            (
                Fact::of_silo("changed", &silo, "db added").with("revision", 42),
                "office: db added",
                r#"{"at":"2025-11-24T16:00:00Z","event":"changed","silo":"office","revision":42}"#,
            ),
            (
                Fact::error("cannot \"read\""),
                "cannot \"read\"",
                r#"{"at":"2025-11-24T16:00:00Z","event":"error","message":"cannot \"read\""}"#,
            ),
            (
                Fact::message("note", "a\u{202e}b\u{9b}\nc").about(&silo),
                "a\u{202e}b\u{9b}\nc",
                r#"{"at":"2025-11-24T16:00:00Z","event":"note","silo":"office","message":"a\u202eb\u009b\nc"}"#,
            ),
        ] {
            assert_eq!(fact.to_string(), text);
            assert_eq!(fact.to_json(at), json);
            // What was escaped is read back unchanged.
            let parsed: Value = serde_json::from_str(&fact.to_json(at)).unwrap();
            assert_eq!(parsed["event"], fact.event());
        }
    }
}
