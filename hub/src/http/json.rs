//! JSON bodies: parsed strictly. If that fails, the error names the format that the body seems to have: common mistakes
//! are a form, a file in UTF-16, and quotes that a shell removed.

use std::fmt;

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::error::ApiError;

const BOM: &[u8] = b"\xEF\xBB\xBF";

/// Parses a body that must be a JSON object, optionally after a byte order mark. A duplicate member is an error, since
/// parsers disagree on which one to use (RFC 8259 section 4).
pub(super) fn json_object(body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    let text = body.strip_prefix(BOM).unwrap_or(body);
    if text.iter().all(u8::is_ascii_whitespace) {
        return Err(ApiError::MalformedBody("the body is empty".to_owned()));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let parsed = Strict
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value));
    match parsed {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(ApiError::invalid("", "the body must be a JSON object")),
        Err(error) => Err(ApiError::MalformedBody(match other_format(text) {
            Some(format) => format!("the body is not JSON: {format}"),
            None => format!("the body is not JSON: {error}"),
        })),
    }
}

/// The format of a body that is not JSON, and what to do; `None`: unknown.
fn other_format(body: &[u8]) -> Option<&'static str> {
    const UTF_16: &str =
        "it is UTF-16; send UTF-8 (PowerShell: -Encoding utf8, or [Text.Encoding]::UTF8.GetBytes)";
    const COMPRESSED: &str = "it is compressed; send it as it is, without Content-Encoding";
    match body {
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] | [0, b'{', ..] | [b'{', 0, ..] => {
            return Some(UTF_16);
        }
        // gzip (RFC 1952), zstd (RFC 8878), zlib (RFC 1950).
        [0x1F, 0x8B, ..] | [0x28, 0xB5, 0x2F, 0xFD, ..] | [0x78, 0x01 | 0x5E | 0x9C | 0xDA, ..] => {
            return Some(COMPRESSED);
        }
        _ => {}
    }
    let Ok(text) = std::str::from_utf8(body) else {
        return Some("it is not UTF-8 (Latin-1 perhaps); send UTF-8");
    };
    let text = text.trim();
    if let Some(inner) = text.strip_prefix('\'') {
        return inner.starts_with('{').then_some(
            "it begins with a single quote, which the shell has left there; in cmd write \"{\\\"ip\\\":\\\"10.0.0.7\\\"}\", or send a file",
        );
    }
    if let Some(inner) = text.strip_prefix('{') {
        let mut rest = inner.trim_start().chars();
        let first = rest.next()?;
        // `{\"ip\"` results from another shell's escapes.
        return match first {
            '\\' => Some("it has a backslash before a quote, which the shell has left there"),
            '\'' => Some("its strings are in single quotes; JSON has double quotes"),
            _ if first.is_alphabetic() || first == '_' => Some(
                "its double quotes are missing, which the shell has taken away (cmd, PowerShell); escape them as \\\", or send a file",
            ),
            _ => None,
        };
    }
    if text.starts_with('<') {
        return Some("it is XML or HTML");
    }
    if text.starts_with("--") && text.contains("Content-Disposition") {
        return Some("it is a multipart form; send JSON such as {\"ip\":\"10.0.0.7\"}");
    }
    let is_form = text.split('&').all(|pair| {
        let name = pair.split('=').next().unwrap_or("");
        let of_names = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.[]%+".contains(&byte);
        pair.contains('=') && !name.is_empty() && name.bytes().all(of_names)
    });
    is_form.then_some("it is a form; send JSON such as {\"ip\":\"10.0.0.7\"}")
}

/// Any JSON without duplicate members.
struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(entry) = entries.next_element_seed(Self)? {
            array.push(entry);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if object.contains_key(&name) {
                let name: String = name.chars().take(64).collect();
                return Err(A::Error::custom(format_args!("duplicate {name:?}")));
            }
            let value = members.next_value_seed(Self)?;
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

/// A whole number: to JSON Schema, 5.0 is an integer as 5 is. `None`: another value, or a fraction so large that reading it may
/// have rounded it to a whole number.
pub(super) fn whole_number(value: &Value) -> Option<i64> {
    /// Below it, neighbours differ by less than one, and so does what is read in the last place.
    const EXACT: f64 = 4_503_599_627_370_496.0;
    let whole = |number: &f64| number.fract() == 0.0 && number.abs() < EXACT;
    value
        .as_i64()
        .or_else(|| value.as_f64().filter(whole).map(|number| number as i64))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refusal(body: &[u8]) -> String {
        match json_object(body) {
            Err(ApiError::MalformedBody(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn json_is_parsed_without_loss() {
        let text = r#" {"a":[1,-2,2.5,true,null,"\u00e4",{}],"b":{"a":18446744073709551615}} "#;
        let expected = json!({"a": [1, -2, 2.5, true, null, "ä", {}], "b": {"a": u64::MAX}});
        assert_eq!(
            Value::Object(json_object(text.as_bytes()).unwrap()),
            expected
        );
        let marked = [BOM, br#"{"ip":"10.0.0.7"}"#].concat();
        assert_eq!(json_object(&marked).unwrap()["ip"], "10.0.0.7");
        assert!(matches!(json_object(b"[]"), Err(ApiError::Invalid(_))));
    }

    #[test]
    fn what_a_body_is_instead_is_named() {
        let utf16 = |text: &str, order: fn(u16) -> [u8; 2]| -> Vec<u8> {
            text.encode_utf16().flat_map(order).collect()
        };
        let text = r#"{"ip":"10.0.0.7"}"#;
        let cases: Vec<(Vec<u8>, &str)> = vec![
            (b"".to_vec(), "the body is empty"),
            (b" \r\n".to_vec(), "the body is empty"),
            (BOM.to_vec(), "the body is empty"),
            (b"ip=10.0.0.7".to_vec(), "a form"),
            (b"ip=10.0.0.7&comment=a%20b".to_vec(), "a form"),
            (
                b"--x\r\nContent-Disposition: form-data; name=\"ip\"\r\n\r\n".to_vec(),
                "a multipart form",
            ),
            (utf16(text, u16::to_le_bytes), "UTF-16"),
            (utf16(text, u16::to_be_bytes), "UTF-16"),
            (
                utf16(&format!("\u{feff}{text}"), u16::to_le_bytes),
                "UTF-16",
            ),
            (
                utf16(&format!("\u{feff}{text}"), u16::to_be_bytes),
                "UTF-16",
            ),
            (b"{\"comment\":\"K\xFCche\"}".to_vec(), "not UTF-8"),
            (b"\x1F\x8B\x08\0".to_vec(), "compressed"),
            (b"\x28\xB5\x2F\xFD".to_vec(), "compressed"),
            (b"{ip:10.0.0.7}".to_vec(), "double quotes are missing"),
            (b"{ ip : 10.0.0.7 }".to_vec(), "double quotes are missing"),
            (b"'{\"ip\":\"10.0.0.7\"}'".to_vec(), "single quote"),
            (b"'{ip:10.0.0.7}'".to_vec(), "single quote"),
            (b"{'ip':'10.0.0.7'}".to_vec(), "single quotes"),
            (br#"{\"ip\":\"10.0.0.7\"}"#.to_vec(), "backslash"),
            (b"<html>".to_vec(), "XML or HTML"),
            (b"{\"ip\":\"10.0.0.7\"".to_vec(), "EOF"),
            (b"{\"ip\":\"10.0.0.7\"} x".to_vec(), "trailing"),
            (b"{\"ip\":1,\"ip\":2}".to_vec(), "duplicate \"ip\""),
            (b"{\"a\":[{\"b\":1,\"b\":1}]}".to_vec(), "duplicate \"b\""),
            (b"10.0.0.7".to_vec(), "not JSON"),
        ];
        for (body, words) in cases {
            let why = refusal(&body);
            assert!(
                why.contains(words),
                "{:?}: {why}",
                String::from_utf8_lossy(&body)
            );
        }
    }

    #[test]
    fn whole_numbers_are_read_however_they_are_written() {
        for (text, number) in [
            ("0", Some(0)),
            ("-0.0", Some(0)),
            ("86400", Some(86_400)),
            ("86400.0", Some(86_400)),
            ("8.64e4", Some(86_400)),
            ("-5.0", Some(-5)),
            ("9007199254740991", Some(9_007_199_254_740_991)),
            ("4503599627370495.0", Some(4_503_599_627_370_495)),
            ("4503599627370496.0", None),
            ("9007199254740991.0", None),
            ("1e300", None),
            ("18446744073709551615", None),
            ("0.5", None),
            ("\"5\"", None),
            ("null", None),
            ("true", None),
        ] {
            let value: Value = serde_json::from_str(text).unwrap();
            assert_eq!(whole_number(&value), number, "{text}");
        }
    }

    #[test]
    fn deep_nesting_is_refused() {
        let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
        refusal(&deep);
    }
}
