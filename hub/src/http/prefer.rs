//! `Prefer` (RFC 7240).

use axum::http::{HeaderMap, HeaderName};

const PREFER: HeaderName = HeaderName::from_static("prefer");
/// The longest time that a read waits for a change.
const MAX_WAIT_SECONDS: u64 = 300;

/// The seconds of `Prefer: wait=N` (RFC 7240 section 4.3), at most [`MAX_WAIT_SECONDS`]. `None`: there is no such
/// preference, or its value is not a number of seconds.
pub(super) fn wait_seconds(headers: &HeaderMap) -> Option<u64> {
    // Most requests have no such header, and a lookup would hash its name.
    if !headers.keys().any(|name| *name == PREFER) {
        return None;
    }
    let seconds = preference(headers, "wait")?;
    let is_number = !seconds.is_empty() && seconds.bytes().all(|byte| byte.is_ascii_digit());
    // A number that overflows is a long time too.
    is_number.then(|| seconds.parse().unwrap_or(u64::MAX).min(MAX_WAIT_SECONDS))
}

/// The value of a preference, empty if it has none. Only the first of the same name counts; malformed ones are ignored
/// (RFC 7240 section 2).
fn preference(headers: &HeaderMap, name: &str) -> Option<String> {
    let fields = headers.get_all(PREFER).into_iter();
    fields
        .filter_map(|field| field.to_str().ok())
        .flat_map(elements)
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

    #[test]
    fn wait_is_read_from_prefer_and_bounded() {
        for (fields, seconds) in [
            (&["wait=30"][..], Some(30)),
            (&["wait=0"], Some(0)),
            (&["wait=007"], Some(7)),
            (&["respond-async, wait=10"], Some(10)),
            (&["respond-async", "wait=10"], Some(10)),
            (&[" ,, wait=10 ,"], Some(10)),
            (&["WAIT=10"], Some(10)),
            (&["Wait = \"5\""], Some(5)),
            (&["wait\t=\t5"], Some(5)),
            (&["wait=\"\\5\""], Some(5)),
            (&["wait=100000"], Some(300)),
            (&["wait=99999999999999999999999"], Some(300)),
            // Parameters of this preference, and of others.
            (&["wait=10; foo=bar"], Some(10)),
            (&["wait=10;foo;bar = \"a;b,c\" ;; ;"], Some(10)),
            (&["wait=10; wait=20"], Some(10)),
            (&["handling=strict; wait=3"], None),
            (&["handling=strict; wait=3, wait=4"], Some(4)),
            (&["handling=strict;wait=3", "wait=4"], Some(4)),
            (&["foo; wait=3"], None),
            (&["foo=\"; wait=3\""], None),
            // Commas and quotes within quoted strings.
            (&["foo=\"bar, wait=3\""], None),
            (&["foo=\"bar, wait=3\", wait=4"], Some(4)),
            (&["foo=\"\\\", wait=3\", wait=4"], Some(4)),
            (&["foo=\"\\\\\", wait=4"], Some(4)),
            (&["foo; bar=\"a, wait=3\"; baz, wait=4"], Some(4)),
            // The first one counts, in any field line.
            (&["wait=10, wait=20"], Some(10)),
            (&["wait=10", "wait=20"], Some(10)),
            (&["wait=20, wait=10"], Some(20)),
            (&["wait, wait=10"], None),
            (&["wait=\"\", wait=10"], None),
            (&["wait=soon, wait=10"], None),
            // Values that are not a number of seconds.
            (&["wait"], None),
            (&["wait=\"\""], None),
            (&["wait=soon"], None),
            (&["wait=-1"], None),
            (&["wait=+1"], None),
            (&["wait=1.5"], None),
            (&["wait=3s"], None),
            (&["wait=0x10"], None),
            (&["wait=\" 5\""], None),
            // Only the malformed element is ignored.
            (&["wait="], None),
            (&["wait=, wait=10"], Some(10)),
            (&["wait=10 20"], None),
            (&["wait=10 20, wait=30"], Some(30)),
            (&["wait==10"], None),
            (&["=10"], None),
            (&["wait=10; ="], None),
            (&["wait=10; foo bar"], None),
            (&["wait=\"10"], None),
            (&["foo=\"bar, wait=10"], None),
            (&["foo=\"bar", "wait=10"], Some(10)),
            (&["\"wait\"=10"], None),
            (&["w@it=10"], None),
            (&["x-wait=10"], None),
            (&["waiting=10"], None),
            (&["(foo), wait=10"], Some(10)),
            (&["wait:10"], None),
            (&["handling=lenient"], None),
            (&[""], None),
            (&[], None),
        ] {
            let mut headers = HeaderMap::new();
            for field in fields {
                headers.append(PREFER, field.parse().unwrap());
            }
            assert_eq!(wait_seconds(&headers), seconds, "{fields:?}");
        }
        let mut headers = HeaderMap::new();
        headers.append(
            PREFER,
            axum::http::HeaderValue::from_bytes(b"f=\xe9, wait=1").unwrap(),
        );
        headers.append(PREFER, "wait=2".parse().unwrap());
        assert_eq!(wait_seconds(&headers), Some(2));
    }
}
