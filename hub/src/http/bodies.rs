//! From JSON bodies to commands' parts, with a pointer to every place that is wrong.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use serde_json::{Map, Value};
use silo_shared::api::FieldError;
use silo_shared::silo::{Addresses, Family, Hostname, MAX_RECORDS, Records, SiloId, parse_address};

use super::error::ApiError;
use super::request::json_object;
use crate::domain::change::{
    AttributePatch, check_comment, check_expires_after, check_ipv6_suffix, check_notify,
};
use crate::domain::time::Time;
use crate::domain::token::{SpecError, TokenSpec};
use crate::new_token::{DEFAULT_OVERLAP, MAX_OVERLAP};

/// How many wrong places are named at most.
const MAX_ERRORS: usize = 100;

/// Gathers wrong places; the object is refused when there is one.
#[derive(Debug, Default)]
struct Errors(Vec<FieldError>);

impl Errors {
    fn add(&mut self, pointer: String, detail: impl ToString) {
        if self.0.len() < MAX_ERRORS {
            self.0.push(FieldError {
                pointer,
                detail: detail.to_string(),
            });
        }
    }

    fn refuse_or<T>(self, value: T) -> Result<T, ApiError> {
        if self.0.is_empty() {
            Ok(value)
        } else {
            Err(ApiError::Invalid(self.0))
        }
    }
}

fn text<'a>(object: &'a Map<String, Value>, member: &str) -> Result<&'a str, String> {
    match object.get(member) {
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(format!("must be a string, not {}", kind(other))),
        None => Err(format!("\"{member}\" is missing")),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// The body of `PUT /silos/{id}`.
pub(super) fn silo(body: &[u8], id: &SiloId) -> Result<Records, ApiError> {
    let object = json_object(body)?;
    let mut errors = Errors::default();
    if object.contains_key("id") {
        match text(&object, "id").and_then(|text| SiloId::parse(text).map_err(|e| e.to_string())) {
            Ok(given) if given == *id => {}
            Ok(given) => errors.add(
                "/id".to_owned(),
                format!("the body is for silo {given}, the path for {id}"),
            ),
            Err(error) => errors.add("/id".to_owned(), error),
        }
    }
    let entries = match object.get("dnsrecords") {
        Some(Value::Array(entries)) => entries.as_slice(),
        Some(other) => {
            let detail = format!("must be an array, not {}", kind(other));
            errors.add("/dnsrecords".to_owned(), detail);
            &[]
        }
        None => {
            errors.add("/dnsrecords".to_owned(), "\"dnsrecords\" is missing");
            &[]
        }
    };
    if entries.len() > MAX_RECORDS {
        let detail = format!(
            "a silo holds at most {MAX_RECORDS} records, not {}",
            entries.len()
        );
        return Err(ApiError::invalid(
            format!("/dnsrecords/{MAX_RECORDS}"),
            detail,
        ));
    }
    let mut records = Records::new();
    let mut places = BTreeMap::new();
    for (index, entry) in entries.iter().enumerate() {
        let at = |member: &str| format!("/dnsrecords/{index}/{member}");
        let Value::Object(entry) = entry else {
            let detail = format!("must be an object, not {}", kind(entry));
            errors.add(format!("/dnsrecords/{index}"), detail);
            continue;
        };
        let hostname = text(entry, "hostname")
            .and_then(|text| Hostname::parse(text).map_err(|error| error.to_string()))
            .map_err(|error| errors.add(at("hostname"), error));
        let ip = text(entry, "ip")
            .and_then(|text| parse_address(text).map_err(|error| error.to_string()))
            .map_err(|error| errors.add(at("ip"), error));
        let (Ok(hostname), Ok(ip)) = (hostname, ip) else {
            continue;
        };
        let family = Family::of(ip);
        if let Some(first) = places.insert((hostname.clone(), family), index) {
            let detail =
                format!("{hostname} has an {family} address already, at /dnsrecords/{first}");
            errors.add(at("ip"), detail);
        }
        records.entry(hostname).or_default().set(ip);
    }
    errors.refuse_or(records)
}

/// The body of `PUT /silos/{id}/records/{hostname}`; no body stands for the caller's address, where that
/// may be taken.
pub(super) fn record(
    body: &[u8],
    caller: Option<IpAddr>,
) -> Result<(Addresses, AttributePatch), ApiError> {
    if body.is_empty() {
        let caller = caller.ok_or_else(|| {
            let detail =
                "a signed request names the address: whoever relays it could have his own set";
            ApiError::invalid("/ip", detail)
        })?;
        let ip = silo_shared::silo::check_address(caller)
            .map_err(|error| ApiError::invalid("", format!("your address {caller}: {error}")))?;
        return Ok((Addresses::from_iter([ip]), AttributePatch::default()));
    }
    let object = json_object(body)?;
    let mut errors = Errors::default();
    let attributes = attributes(&object, &mut errors);
    let mut addresses = Addresses::default();
    let mut add = |pointer: String, text: Result<&str, String>| match text
        .and_then(|text| parse_address(text).map_err(|error| error.to_string()))
    {
        Ok(ip) if addresses.get(Family::of(ip)).is_some() => {
            errors.add(pointer, format!("a second {} address", Family::of(ip)));
        }
        Ok(ip) => {
            addresses.set(ip);
        }
        Err(error) => errors.add(pointer, error),
    };
    match (object.get("ip"), object.get("ips")) {
        (Some(_), Some(_)) => errors.add("/ips".to_owned(), "give \"ip\" or \"ips\", not both"),
        (Some(_), None) => add("/ip".to_owned(), text(&object, "ip")),
        (None, Some(Value::Array(ips))) if ips.is_empty() => {
            errors.add(
                "/ips".to_owned(),
                "must not be empty; DELETE removes a record",
            );
        }
        (None, Some(Value::Array(ips))) => {
            for (index, ip) in ips.iter().enumerate() {
                let text = match ip {
                    Value::String(text) => Ok(text.as_str()),
                    other => Err(format!("must be a string, not {}", kind(other))),
                };
                add(format!("/ips/{index}"), text);
            }
        }
        (None, Some(other)) => {
            let detail = format!("must be an array of addresses, not {}", kind(other));
            errors.add("/ips".to_owned(), detail);
        }
        (None, None) if attributes.is_empty() && errors.0.is_empty() => {
            errors.add("/ip".to_owned(), "\"ip\" or \"ips\" is missing");
        }
        (None, None) => {}
    }
    errors.refuse_or((addresses, attributes))
}

fn attributes(object: &Map<String, Value>, errors: &mut Errors) -> AttributePatch {
    AttributePatch {
        comment: patch(object, "comment", errors, |value| {
            let text = value.as_str().ok_or("must be a string or null")?;
            check_comment(text).map(|()| text.to_owned())
        }),
        notify: patch(object, "notify", errors, |value| {
            let text = value.as_str().ok_or("must be a mail address or null")?;
            check_notify(text).map(|()| text.to_owned())
        }),
        ipv6_suffix: patch(object, "ipv6_suffix", errors, |value| {
            let text = value
                .as_str()
                .ok_or("must be a string such as \"::5\", or null")?;
            // What is no address at all is no host part either.
            let suffix = text.parse().unwrap_or(Ipv6Addr::UNSPECIFIED);
            check_ipv6_suffix(suffix).map(|()| suffix)
        }),
        expires_after: patch(object, "expires_after", errors, |value| {
            let seconds = value
                .as_i64()
                .ok_or("must be a whole number of seconds, or null")?;
            check_expires_after(seconds).map(|()| seconds)
        }),
    }
}

fn patch<T>(
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

/// The body of `POST /tokens/{id}/rotate`: for how many seconds the old secret counts.
pub(super) fn overlap(body: &[u8]) -> Result<u32, ApiError> {
    let object = json_object(body)?;
    match object.get("overlap") {
        None => Ok(DEFAULT_OVERLAP),
        Some(value) => value
            .as_u64()
            .and_then(|seconds| u32::try_from(seconds).ok())
            .filter(|seconds| *seconds <= MAX_OVERLAP)
            .ok_or_else(|| {
                let detail = format!("must be a whole number of seconds, at most {MAX_OVERLAP}");
                ApiError::invalid("/overlap", detail)
            }),
    }
}

/// The body of `POST /tokens`.
pub(super) fn token(body: &[u8], now: Time) -> Result<TokenSpec, ApiError> {
    let object = json_object(body)?;
    let mut errors = Errors::default();
    let name = text(&object, "name").map_err(|error| errors.add("/name".to_owned(), error));
    let role = text(&object, "role")
        .and_then(|text| text.parse().map_err(|error| format!("{error}")))
        .map_err(|error| errors.add("/role".to_owned(), error));
    let silos = names(&object, "silos", &mut errors);
    let hostnames = names(&object, "hostnames", &mut errors);
    let expires_at = match object.get("expires_at") {
        None | Some(Value::Null) => None,
        Some(value) => {
            let time = value.as_str().and_then(Time::parse);
            if time.is_none() {
                let detail = "must be a time such as \"2027-01-01T00:00:00Z\" (RFC 3339)";
                errors.add("/expires_at".to_owned(), detail);
            }
            time
        }
    };
    let (Ok(name), Ok(role)) = (name, role) else {
        return Err(ApiError::Invalid(errors.0));
    };
    let spec = TokenSpec {
        name: name.to_owned(),
        role,
        silos: silos.unwrap_or_default(),
        hostnames,
        expires_at,
    };
    errors.refuse_or(())?;
    spec.check(now)
        .map_err(|wrong| ApiError::Invalid(wrong.into_iter().map(spec_error).collect()))
}

fn spec_error(
    SpecError {
        member,
        index,
        error,
    }: SpecError,
) -> FieldError {
    let pointer = match index {
        Some(index) => format!("/{member}/{index}"),
        None => format!("/{member}"),
    };
    FieldError {
        pointer,
        detail: error.to_string(),
    }
}

fn names(
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
