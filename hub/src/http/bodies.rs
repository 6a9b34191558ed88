//! Parses JSON bodies into the parts of commands, with a JSON pointer to each wrong value.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use serde_json::{Map, Value};
use silo_shared::api::FieldError;
use silo_shared::silo::{Addresses, Family, Hostname, MAX_RECORDS, Records, SiloId, parse_address};

use super::error::ApiError;
use super::json::json_object;
use crate::domain::change::{
    AttributePatch, check_comment, check_expires_after, check_ipv6_suffix, check_notify,
};
use crate::domain::time::Time;
use crate::domain::token::{SpecError, TokenSpec};
use crate::registry::new_token::{DEFAULT_OVERLAP, MAX_OVERLAP};

/// The maximum number of reported errors.
const MAX_ERRORS: usize = 100;

/// Collects errors; the body is refused if there are any.
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

/// Members that the hub sets in documents and ignores in bodies, so that a document that was read can be sent back.
const MADE_BY_THE_HUB: [&str; 3] = ["revision", "updated_at", "last_seen"];

/// Refuses unknown members: a mistyped one would otherwise be ignored silently.
fn only(object: &Map<String, Value>, at: &str, known: &[&str], errors: &mut Errors) {
    for name in object.keys() {
        if !known.contains(&name.as_str()) && !MADE_BY_THE_HUB.contains(&name.as_str()) {
            let name: String = name.chars().take(64).collect();
            // RFC 6901 section 3.
            let escaped = name.replace('~', "~0").replace('/', "~1");
            let detail = format!("there is no such member here, only: {}", known.join(", "));
            errors.add(format!("{at}/{escaped}"), detail);
        }
    }
}

/// The body of `PUT /silos/{id}`: the records, and the revision that the document was read at.
pub(super) fn silo(body: &[u8], id: &SiloId) -> Result<(Records, Option<i64>), ApiError> {
    let object = json_object(body)?;
    let mut errors = Errors::default();
    only(&object, "", &["id", "dnsrecords"], &mut errors);
    let revision = match object.get("revision") {
        None | Some(Value::Null) => None,
        Some(value) => {
            let revision = value.as_i64();
            if revision.is_none() {
                errors.add(
                    "/revision".to_owned(),
                    "must be a whole number, as it was read; leave it out to overwrite",
                );
            }
            revision
        }
    };
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
        if entry.len() > 2 {
            let place = format!("/dnsrecords/{index}");
            only(entry, &place, &["hostname", "ip"], &mut errors);
        }
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
    errors.refuse_or((records, revision))
}

/// The change that a record's body requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RecordPatch {
    /// The families to set.
    pub(super) addresses: Addresses,
    /// The family to remove.
    pub(super) cleared: Option<Family>,
    /// The attributes to change.
    pub(super) attributes: AttributePatch,
}

/// The value of `ip` that means the caller's address.
const CALLER: &str = "caller";

/// Parses the body of `PUT /silos/{id}/records/{hostname}`. No body at all (`None`) and `{"ip":"caller"}` mean the
/// caller's address, if it may be used; an empty body is an error, since a script may have failed to fill it.
pub(super) fn record(
    body: Option<&[u8]>,
    hostname: &Hostname,
    caller: impl Fn() -> Result<IpAddr, ApiError>,
) -> Result<RecordPatch, ApiError> {
    let Some(body) = body else {
        return Ok(RecordPatch {
            addresses: Addresses::from_iter([caller()?]),
            ..RecordPatch::default()
        });
    };
    if body.is_empty() {
        let detail = "the body is empty; to set the address that you call from, send {\"ip\":\"caller\"}, or neither a body nor Content-Type and Content-Length";
        return Err(ApiError::MalformedBody(detail.to_owned()));
    }
    let object = json_object(body)?;
    let mut errors = Errors::default();
    only(&object, "", &RECORD_MEMBERS, &mut errors);
    if object.contains_key("hostname") {
        match text(&object, "hostname")
            .and_then(|text| Hostname::parse(text).map_err(|error| error.to_string()))
        {
            Ok(given) if given == *hostname => {}
            Ok(given) => errors.add(
                "/hostname".to_owned(),
                format!("the body is for {given}, the path for {hostname}"),
            ),
            Err(error) => errors.add("/hostname".to_owned(), error),
        }
    }
    let attributes = attributes(&object, &mut errors);
    let is_by_family = BY_FAMILY
        .iter()
        .any(|(member, _)| object.contains_key(*member));
    let (addresses, cleared) = match (object.get("ip"), object.get("ips")) {
        (None, None) if is_by_family => addresses_by_family(&object, &mut errors),
        (Some(_), _) | (_, Some(_)) if is_by_family => {
            let detail = "give \"ip\" or \"ips\", or \"ip4\" and \"ip6\", not both";
            errors.add("/ip4".to_owned(), detail);
            Default::default()
        }
        (Some(Value::String(ip)), None) if ip == CALLER => {
            (Addresses::from_iter([caller()?]), None)
        }
        (None, None) if attributes.is_empty() && errors.0.is_empty() => {
            errors.add("/ip".to_owned(), "\"ip\" or \"ips\" is missing");
            Default::default()
        }
        (ip, ips) => (listed_addresses(ip, ips, &mut errors), None),
    };
    errors.refuse_or(RecordPatch {
        addresses,
        cleared,
        attributes,
    })
}

/// The members that hold the address of one family each.
const BY_FAMILY: [(&str, Family); 2] = [("ip4", Family::V4), ("ip6", Family::V6)];

/// The addresses of `ip4` and `ip6`, and the family that `null` removes.
fn addresses_by_family(
    object: &Map<String, Value>,
    errors: &mut Errors,
) -> (Addresses, Option<Family>) {
    let mut addresses = Addresses::default();
    let mut cleared = None;
    for (member, family) in BY_FAMILY {
        match object.get(member) {
            None => {}
            Some(Value::Null) if cleared.is_some() => errors.add(
                format!("/{member}"),
                "one address is needed; DELETE removes a record",
            ),
            Some(Value::Null) => cleared = Some(family),
            Some(_) => match text(object, member)
                .and_then(|text| parse_address(text).map_err(|error| error.to_string()))
            {
                Ok(ip) if Family::of(ip) != family => errors.add(
                    format!("/{member}"),
                    format!("must be an {family} address or null"),
                ),
                Ok(ip) => {
                    addresses.set(ip);
                }
                Err(error) => errors.add(format!("/{member}"), error),
            },
        }
    }
    (addresses, cleared)
}

/// The addresses of `ip` or `ips`; none if there is neither.
fn listed_addresses(ip: Option<&Value>, ips: Option<&Value>, errors: &mut Errors) -> Addresses {
    let mut addresses = Addresses::default();
    let mut add = |pointer: String, value: &Value| {
        let text = match value {
            Value::String(text) => Ok(text.as_str()),
            other => Err(format!("must be a string, not {}", kind(other))),
        };
        match text.and_then(|text| parse_address(text).map_err(|error| error.to_string())) {
            Ok(ip) if addresses.get(Family::of(ip)).is_some() => {
                errors.add(pointer, format!("a second {} address", Family::of(ip)));
            }
            Ok(ip) => {
                addresses.set(ip);
            }
            Err(error) => errors.add(pointer, error),
        }
    };
    match (ip, ips) {
        (Some(_), Some(_)) => errors.add("/ips".to_owned(), "give \"ip\" or \"ips\", not both"),
        (Some(ip), None) => add("/ip".to_owned(), ip),
        (None, Some(Value::Array(ips))) if ips.is_empty() => errors.add(
            "/ips".to_owned(),
            "must not be empty; DELETE removes a record",
        ),
        (None, Some(Value::Array(ips))) => {
            for (index, ip) in ips.iter().enumerate() {
                add(format!("/ips/{index}"), ip);
            }
        }
        (None, Some(other)) => {
            let detail = format!("must be an array of addresses, not {}", kind(other));
            errors.add("/ips".to_owned(), detail);
        }
        (None, None) => {}
    }
    addresses
}

/// The members that a record's body may have.
const RECORD_MEMBERS: [&str; 9] = [
    "hostname",
    "ip",
    "ips",
    "ip4",
    "ip6",
    "comment",
    "notify",
    "ipv6_suffix",
    "expires_after",
];

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
            // Text that is not an address is not a host part either: `::` is refused below.
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

/// Parses the body of `POST /tokens/{id}/rotate`: for how many seconds the old secret stays valid.
pub(super) fn overlap(body: &[u8]) -> Result<u32, ApiError> {
    let object = json_object(body)?;
    let mut errors = Errors::default();
    only(&object, "", &["overlap"], &mut errors);
    errors.refuse_or(())?;
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

/// Parses the body of `POST /tokens`.
pub(super) fn token(body: &[u8], now: Time) -> Result<TokenSpec, ApiError> {
    let object = json_object(body)?;
    let mut errors = Errors::default();
    let known = ["name", "role", "silos", "hostnames", "expires_at"];
    only(&object, "", &known, &mut errors);
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
