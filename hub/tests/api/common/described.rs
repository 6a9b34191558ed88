//! Compares answers with the OpenAPI document: their status, problem type, headers, media type and JSON. As every test
//! does so, what is not described can't exist for long.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::{Map, Value};

/// The document.
pub(crate) static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let document = silo_hub::internals::compat::openapi::document();
    serde_json::from_slice(document.json()).expect("the document is JSON")
});

/// Headers of HTTP itself, of signatures, which the document describes in words, and of every answer.
const UNDESCRIBED: [&str; 9] = [
    "allow",
    "connection",
    "content-digest",
    "content-length",
    "content-type",
    "date",
    "signature",
    "signature-input",
    "silo-request",
];

/// What an answer is compared by.
pub(super) struct Seen<'a> {
    pub(super) method: &'a Method,
    pub(super) path: &'a str,
    /// In the words of a foreign protocol.
    pub(super) in_words: bool,
    pub(super) status: u16,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a [u8],
}

impl Seen<'_> {
    /// Panics if the document does not describe this answer.
    pub(super) fn check(&self) {
        if let Err(why) = self.compare() {
            let Self {
                method,
                path,
                status,
                headers,
                body,
                ..
            } = self;
            panic!(
                "/openapi.json does not describe this: {why}\n{method} {path}: {status} {headers:?} {}",
                String::from_utf8_lossy(body)
            );
        }
    }

    fn compare(&self) -> Result<(), String> {
        let Some((path, item)) = path_item(self.path) else {
            return Ok(());
        };
        // With `compat.sftdyn` the root is another one.
        if path == "/" && self.in_words {
            return Ok(());
        }
        let method = match *self.method {
            Method::HEAD => "get".to_owned(),
            ref method => method.as_str().to_lowercase(),
        };
        let Some(operation) = item.get(&method) else {
            return Ok(());
        };
        let is_foreign = operation["tags"][0] == "DDNS clients";
        // The foreign protocols refuse it, and only one setting makes keys of paths at the root.
        if is_foreign && (*self.method == Method::HEAD || path == "/{key}" && self.status == 404) {
            return Ok(());
        }
        let responses = &operation["responses"];
        let response = [self.status.to_string(), format!("{}XX", self.status / 100)]
            .iter()
            .find_map(|status| responses.get(status))
            .ok_or_else(|| format!("{method} {path} has no status {}", self.status))?;
        let response = resolve(response);
        for (name, value) in self.headers {
            let described = response["headers"].as_object();
            let is_described = described.is_some_and(|all| {
                all.keys()
                    .any(|known| known.eq_ignore_ascii_case(name.as_str()))
            });
            // The problems are those of REST, but are never stored.
            let is_foreign = is_foreign && name == "cache-control";
            // Those of CORS are described in words.
            let is_of_cors =
                name.as_str().starts_with("access-control-") || name == "vary" && value == "Origin";
            if !is_described && !is_foreign && !is_of_cors && !UNDESCRIBED.contains(&name.as_str())
            {
                return Err(format!("{method} {path} {}: header {name}", self.status));
            }
        }
        if self.body.is_empty() {
            return Ok(());
        }
        let kind = self.headers.get("content-type");
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default();
        let content = response["content"]
            .get(kind)
            .ok_or_else(|| format!("{method} {path} {}: content {kind}", self.status))?;
        if kind.ends_with("json") {
            let json = serde_json::from_slice(self.body).map_err(|error| error.to_string())?;
            fits(&content["schema"], &json, "")?;
        }
        Ok(())
    }
}

/// The template of a path, and its operations.
fn path_item(path: &str) -> Option<(&'static str, &'static Value)> {
    let paths = DOCUMENT["paths"].as_object().expect("there are paths");
    let fits = |template: &str| {
        let (mut given, mut wanted) = (path.split('/'), template.split('/'));
        loop {
            match (given.next(), wanted.next()) {
                (None, None) => return true,
                (Some(given), Some(wanted)) if given == wanted => {}
                (Some(given), Some(wanted)) if wanted.starts_with('{') && !given.is_empty() => {}
                _ => return false,
            }
        }
    };
    if let Some((template, item)) = paths.get_key_value(path) {
        return Some((template, item));
    }
    let found = paths.iter().find(|(template, _)| fits(template));
    found.map(|(template, item)| (template.as_str(), item))
}

/// What a reference leads to.
pub(crate) fn resolve(value: &'static Value) -> &'static Value {
    match value.get("$ref").and_then(Value::as_str) {
        None => value,
        Some(reference) => {
            let pointer = reference.strip_prefix('#').expect("it is a local one");
            let found = DOCUMENT.pointer(pointer);
            resolve(found.unwrap_or_else(|| panic!("{reference} leads nowhere")))
        }
    }
}

/// All properties of an object's schema, with those of its parts.
pub(crate) fn properties(schema: &'static Value) -> BTreeMap<&'static str, &'static Value> {
    let schema = resolve(schema);
    let own = schema["properties"].as_object().into_iter().flatten();
    let mut found: BTreeMap<_, _> = own.map(|(name, of)| (name.as_str(), of)).collect();
    for parts in ["allOf", "anyOf", "oneOf"] {
        for part in schema[parts].as_array().into_iter().flatten() {
            for (name, of) in properties(part) {
                found.entry(name).or_insert(of);
            }
        }
    }
    found
}

/// Whether a value has no member that its schema does not name, and those that it requires, of the right types.
fn fits(schema: &'static Value, value: &Value, at: &str) -> Result<(), String> {
    let known = properties(schema);
    let unknown = |name: &&String| !known.contains_key(name.as_str());
    match value {
        Value::Object(object) if !known.is_empty() => {
            if let Some(name) = object.keys().find(unknown) {
                return Err(format!("the member {at}/{name}"));
            }
        }
        _ => {}
    }
    fits_parts(schema, value, at)
}

fn fits_parts(schema: &'static Value, value: &Value, at: &str) -> Result<(), String> {
    let schema = resolve(schema);
    for part in schema["allOf"].as_array().into_iter().flatten() {
        fits_parts(part, value, at)?;
    }
    for parts in ["anyOf", "oneOf"] {
        if let Some(parts) = schema[parts].as_array() {
            let found: Result<Vec<_>, _> = parts
                .iter()
                .map(|part| match fits(part, value, at) {
                    Ok(()) => Err(()),
                    Err(why) => Ok(why),
                })
                .collect();
            if let Ok(whys) = found {
                return Err(format!("{at}: none of {}", whys.join(" / ")));
            }
        }
    }
    let is_of_type = |kind: &Value| match kind.as_str() {
        Some("null") => value.is_null(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("string") => value.is_string(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        other => panic!("{other:?}"),
    };
    match &schema["type"] {
        Value::Null => {}
        Value::Array(kinds) if kinds.iter().any(is_of_type) => {}
        kind @ Value::String(_) if is_of_type(kind) => {}
        kind => return Err(format!("{at} is {value}, not {kind}")),
    }
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        return Err(format!("{at} is {value}, none of {allowed:?}"));
    }
    match value {
        Value::Object(object) => members_fit(schema, object, at),
        Value::Array(items) if schema.get("items").is_some() => {
            let mut items = items.iter().enumerate();
            items.try_for_each(|(index, item)| {
                fits(&schema["items"], item, &format!("{at}/{index}"))
            })
        }
        Value::Number(number) => {
            let (number, bound) = (number.as_f64(), |name: &str| schema[name].as_f64());
            let is_inside = bound("minimum").is_none_or(|least| number >= Some(least))
                && bound("maximum").is_none_or(|most| number <= Some(most));
            is_inside.then_some(()).ok_or(format!("{at} is {value}"))
        }
        _ => Ok(()),
    }
}

fn members_fit(
    schema: &'static Value,
    object: &Map<String, Value>,
    at: &str,
) -> Result<(), String> {
    for name in schema["required"].as_array().into_iter().flatten() {
        let name = name.as_str().expect("a name");
        if !object.contains_key(name) {
            return Err(format!("no member {at}/{name}"));
        }
    }
    for (name, of) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(value) = object.get(name) {
            fits(of, value, &format!("{at}/{name}"))?;
        }
    }
    Ok(())
}
