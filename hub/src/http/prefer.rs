//! `Prefer` (RFC 7240).

use std::borrow::Cow;

use axum::http::{HeaderMap, HeaderName};

const PREFER: HeaderName = HeaderName::from_static("prefer");
/// The longest time that a read waits for a change.
const MAX_WAIT_SECONDS: u64 = 300;

/// How long a read whose preference for a wait can't be used waits, so that a client that repeats it does not do so
/// without a pause.
const UNUSABLE_WAIT_SECONDS: u64 = 1;

/// How long a read may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Patience {
    seconds: u64,
    is_applied: bool,
}

impl Patience {
    /// In seconds.
    pub(super) fn seconds(self) -> u64 {
        self.seconds
    }

    /// Whether it is what the client prefers, at most [`MAX_WAIT_SECONDS`].
    pub(super) fn is_applied(self) -> bool {
        self.is_applied
    }
}

/// The patience of `Prefer: wait=N` (RFC 7240 section 4.3). `None`: there is no such preference.
pub(super) fn patience(headers: &HeaderMap) -> Option<Patience> {
    // Most requests have no such header, and a lookup would hash its name.
    if !headers.keys().any(|name| *name == PREFER) {
        return None;
    }
    let unusable = Patience {
        seconds: UNUSABLE_WAIT_SECONDS,
        is_applied: false,
    };
    let Some(seconds) = preference(headers, "wait") else {
        let is_meant = |element| {
            let name = token(skip_blanks(element));
            name.is_some_and(|(name, _)| name.eq_ignore_ascii_case("wait"))
        };
        let fields = values(headers);
        let mut elements = fields.iter().flat_map(|field| elements(field));
        return elements.any(is_meant).then_some(unusable);
    };
    let is_number = !seconds.is_empty() && seconds.bytes().all(|byte| byte.is_ascii_digit());
    Some(if is_number {
        Patience {
            // A number that overflows is a long time too.
            seconds: seconds.parse().unwrap_or(u64::MAX).min(MAX_WAIT_SECONDS),
            is_applied: true,
        }
    } else {
        unusable
    })
}

/// Whether a write is to be answered without the representation (RFC 7240 section 4.2).
pub(super) fn prefers_minimal(headers: &HeaderMap) -> bool {
    preference(headers, "return").is_some_and(|value| value.eq_ignore_ascii_case("minimal"))
}

/// The values of all fields. What is not UTF-8 makes only its own element malformed.
fn values(headers: &HeaderMap) -> Vec<Cow<'_, str>> {
    let fields = headers.get_all(PREFER).into_iter();
    fields
        .map(|field| String::from_utf8_lossy(field.as_bytes()))
        .collect()
}

/// The value of a preference, empty if it has none. Only the first of the same name counts; malformed ones are ignored
/// (RFC 7240 section 2).
fn preference(headers: &HeaderMap, name: &str) -> Option<String> {
    let fields = values(headers);
    fields
        .iter()
        .flat_map(|field| elements(field))
        .filter_map(parse)
        .find(|(token, _)| token.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

/// The elements of a list, split at commas outside of quoted strings. An unterminated string extends to the end.
fn elements(field: &str) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    field.split(move |character| {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            _ => return character == ',' && !is_quoted,
        }
        false
    })
}

/// Name and value of `token [ BWS "=" BWS word ] *( OWS ";" [ OWS parameter ] )`, where a parameter has the form of a
/// preference; `None` for anything else.
fn parse(element: &str) -> Option<(&str, String)> {
    let (name, value, mut rest) = pair(skip_blanks(element))?;
    loop {
        if rest.is_empty() {
            return Some((name, value));
        }
        rest = skip_blanks(rest.strip_prefix(';')?);
        if !rest.is_empty() && !rest.starts_with(';') {
            (_, _, rest) = pair(rest)?;
        }
    }
}

/// Parses `token [ BWS "=" BWS word ]`; returns also the rest after the following whitespace.
fn pair(text: &str) -> Option<(&str, String, &str)> {
    let (name, rest) = token(text)?;
    let rest = skip_blanks(rest);
    let Some(rest) = rest.strip_prefix('=') else {
        return Some((name, String::new(), rest));
    };
    let rest = skip_blanks(rest);
    let (value, rest) = match rest.strip_prefix('"') {
        Some(inner) => quoted_string(inner)?,
        None => {
            let (value, rest) = token(rest)?;
            (value.to_owned(), rest)
        }
    };
    Some((name, value, skip_blanks(rest)))
}

/// Parses a token (RFC 9110 section 5.6.2); returns also the rest.
fn token(text: &str) -> Option<(&str, &str)> {
    let is_inside = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let end = text.find(|c| !is_inside(c)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// Parses a quoted string (RFC 9110 section 5.6.4) after its opening quote; returns the content and the rest.
fn quoted_string(text: &str) -> Option<(String, &str)> {
    let mut content = String::new();
    let mut characters = text.chars();
    loop {
        match characters.next()? {
            '"' => return Some((content, characters.as_str())),
            '\\' => content.push(characters.next()?),
            character => content.push(character),
        }
    }
}

fn skip_blanks(text: &str) -> &str {
    text.trim_start_matches([' ', '\t'])
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNUSABLE: Option<Patience> = Some(Patience {
        seconds: 1,
        is_applied: false,
    });

    fn wait(seconds: u64) -> Option<Patience> {
        Some(Patience {
            seconds,
            is_applied: true,
        })
    }

    #[test]
    fn wait_is_read_from_prefer_and_bounded() {
        for (fields, expected) in [
            (&["wait=30"][..], wait(30)),
            (&["wait=0"], wait(0)),
            (&["wait=007"], wait(7)),
            (&["respond-async, wait=10"], wait(10)),
            (&["respond-async", "wait=10"], wait(10)),
            (&[" ,, wait=10 ,"], wait(10)),
            (&["WAIT=10"], wait(10)),
            (&["Wait = \"5\""], wait(5)),
            (&["wait\t=\t5"], wait(5)),
            (&["wait=\"\\5\""], wait(5)),
            (&["wait=100000"], wait(300)),
            (&["wait=99999999999999999999999"], wait(300)),
            // Parameters of this preference, and of others.
            (&["wait=10; foo=bar"], wait(10)),
            (&["wait=10;foo;bar = \"a;b,c\" ;; ;"], wait(10)),
            (&["wait=10; wait=20"], wait(10)),
            (&["handling=strict; wait=3"], None),
            (&["handling=strict; wait=3, wait=4"], wait(4)),
            (&["handling=strict;wait=3", "wait=4"], wait(4)),
            (&["foo; wait=3"], None),
            (&["foo=\"; wait=3\""], None),
            // Commas and quotes within quoted strings.
            (&["foo=\"bar, wait=3\""], None),
            (&["foo=\"bar, wait=3\", wait=4"], wait(4)),
            (&["foo=\"\\\", wait=3\", wait=4"], wait(4)),
            (&["foo=\"\\\\\", wait=4"], wait(4)),
            (&["foo; bar=\"a, wait=3\"; baz, wait=4"], wait(4)),
            // The first one counts, in any field line.
            (&["wait=10, wait=20"], wait(10)),
            (&["wait=10", "wait=20"], wait(10)),
            (&["wait=20, wait=10"], wait(20)),
            (&["wait, wait=10"], UNUSABLE),
            (&["wait=\"\", wait=10"], UNUSABLE),
            (&["wait=soon, wait=10"], UNUSABLE),
            // Values that are not a number of seconds.
            (&["wait"], UNUSABLE),
            (&["wait=\"\""], UNUSABLE),
            (&["wait=soon"], UNUSABLE),
            (&["wait=-1"], UNUSABLE),
            (&["wait=+1"], UNUSABLE),
            (&["wait=1.5"], UNUSABLE),
            (&["wait=3s"], UNUSABLE),
            (&["wait=0x10"], UNUSABLE),
            (&["wait=\" 5\""], UNUSABLE),
            // Only the malformed element is ignored.
            (&["wait="], UNUSABLE),
            (&["wait=, wait=10"], wait(10)),
            (&["wait=10 20"], UNUSABLE),
            (&["wait=10 20, wait=30"], wait(30)),
            (&["wait==10"], UNUSABLE),
            (&["=10"], None),
            (&["wait=10; ="], UNUSABLE),
            (&["wait=10; foo bar"], UNUSABLE),
            (&["wait=\"10"], UNUSABLE),
            (&["foo=\"bar, wait=10"], None),
            (&["foo=\"bar", "wait=10"], wait(10)),
            (&["\"wait\"=10"], None),
            (&["w@it=10"], None),
            (&["x-wait=10"], None),
            (&["waiting=10"], None),
            (&["(foo), wait=10"], wait(10)),
            (&["wait:10"], UNUSABLE),
            (&["handling=lenient"], None),
            (&[""], None),
            (&[], None),
        ] {
            let mut headers = HeaderMap::new();
            for field in fields {
                headers.append(PREFER, field.parse().unwrap());
            }
            assert_eq!(patience(&headers), expected, "{fields:?}");
        }
        // What is not ASCII is no token.
        for (field, expected) in [
            (&b"f=\xe9, wait=3"[..], wait(3)),
            (b"f=\xc3\xa9, wait=3", wait(3)),
            (b"wait=\xe9, wait=3", wait(3)),
            (b"wait=\xe9", UNUSABLE),
            (b"f=\xe9", None),
        ] {
            let mut headers = HeaderMap::new();
            let field = axum::http::HeaderValue::from_bytes(field).unwrap();
            headers.append(PREFER, field);
            assert_eq!(patience(&headers), expected, "{headers:?}");
        }
    }

    #[test]
    fn a_minimal_answer_is_read_from_prefer() {
        for (field, minimal) in [
            ("return=minimal", true),
            ("Return=\"Minimal\"", true),
            ("wait=3, return=minimal; foo", true),
            ("return=representation", false),
            ("return=representation, return=minimal", false),
            ("return", false),
            ("foo; return=minimal", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(PREFER, field.parse().unwrap());
            assert_eq!(prefers_minimal(&headers), minimal, "{field}");
        }
    }
}
