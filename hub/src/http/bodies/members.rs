//! The members of JSON bodies: their types, and the errors for wrong and unknown ones.

use serde_json::{Map, Value};
use silo_shared::api::FieldError;

use super::super::error::ApiError;
use super::super::json::whole_number;
use crate::domain::revision::Revision;

/// The maximum number of reported errors.
const MAX_ERRORS: usize = 100;

/// Collects errors; the body is refused if there are any.
#[derive(Debug, Default)]
pub(super) struct Errors {
    found: Vec<FieldError>,
    /// The pointer to the part of the body that is being read.
    at: String,
}

impl Errors {
    /// Adds an error; `pointer` is relative to the part that is being read.
    pub(super) fn add(&mut self, pointer: impl AsRef<str>, detail: impl ToString) {
        if self.found.len() < MAX_ERRORS {
            self.found.push(FieldError {
                pointer: format!("{}{}", self.at, pointer.as_ref()),
                detail: detail.to_string(),
            });
        }
    }

    /// Reads a part of the body next.
    pub(super) fn go_to(&mut self, pointer: String) {
        self.at = pointer;
    }

    /// Adds the errors of a part; any other error is returned.
    pub(super) fn take<T>(&mut self, result: Result<T, ApiError>) -> Result<Option<T>, ApiError> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(ApiError::Invalid(errors)) => {
                for error in errors {
                    self.add(error.pointer, error.detail);
                }
                Ok(None)
            }
            Err(other) => Err(other),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub(super) fn into_error(self) -> ApiError {
        ApiError::Invalid(self.found)
    }

    pub(super) fn refuse_or<T>(self, value: T) -> Result<T, ApiError> {
        if self.is_empty() {
            Ok(value)
        } else {
            Err(self.into_error())
        }
    }
}

pub(super) fn text<'a>(object: &'a Map<String, Value>, member: &str) -> Result<&'a str, String> {
    match object.get(member) {
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(format!("must be a string, not {}", kind(other))),
        None => Err(format!("\"{member}\" is missing")),
    }
}

pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Refuses unknown members: a mistyped one would otherwise be ignored silently.
pub(super) fn only(object: &Map<String, Value>, at: &str, known: &[&str], errors: &mut Errors) {
    only_or_made_by_the_hub(object, at, known, &[], errors);
}

/// The same for a body that may be a document that was read: it also has `made`, which the hub sets in documents.
pub(super) fn only_or_made_by_the_hub(
    object: &Map<String, Value>,
    at: &str,
    known: &[&str],
    made: &[&str],
    errors: &mut Errors,
) {
    for name in object.keys() {
        if !known.contains(&name.as_str()) && !made.contains(&name.as_str()) {
            let name: String = name.chars().take(64).collect();
            // RFC 6901 section 3.
            let escaped = name.replace('~', "~0").replace('/', "~1");
            let detail = format!("there is no such member here, only: {}", known.join(", "));
            errors.add(format!("{at}/{escaped}"), detail);
        }
    }
}

/// The revision that the body was made for: it is a condition.
pub(super) fn revision(object: &Map<String, Value>, errors: &mut Errors) -> Option<Revision> {
    let value = object.get("revision").filter(|value| !value.is_null())?;
    let revision = whole_number(value).map(Revision::from);
    if revision.is_none() {
        errors.add(
            "/revision",
            "must be a whole number, as it was read; leave it out to overwrite",
        );
    }
    revision
}

pub(super) fn patch<T>(
    object: &Map<String, Value>,
    member: &'static str,
    errors: &mut Errors,
    read: impl Fn(&Value) -> Result<T, &'static str>,
) -> Option<Option<T>> {
    match object.get(member)? {
        Value::Null => Some(None),
        value => match read(value) {
            Ok(value) => Some(Some(value)),
            Err(error) => {
                errors.add(format!("/{member}"), error);
                None
            }
        },
    }
}

pub(super) fn names(
    object: &Map<String, Value>,
    member: &'static str,
    errors: &mut Errors,
) -> Option<Vec<String>> {
    let value = object.get(member).filter(|value| !value.is_null())?;
    let Value::Array(entries) = value else {
        let detail = format!("must be an array of names, not {}", kind(value));
        errors.add(format!("/{member}"), detail);
        return None;
    };
    let mut names = Vec::with_capacity(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        match entry {
            Value::String(name) => names.push(name.clone()),
            other => {
                let detail = format!("must be a string, not {}", kind(other));
                errors.add(format!("/{member}/{index}"), detail);
            }
        }
    }
    Some(names)
}
