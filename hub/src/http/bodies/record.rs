//! The bodies of records.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};

use serde_json::{Map, Value};
use silo_shared::silo::{Addresses, Family, Hostname, MAX_RECORDS, SiloId, parse_address};

use super::super::error::ApiError;
use super::super::json::{json_object, whole_number};
use super::members::{Errors, kind, only, only_or_made_by_the_hub, patch, revision, text};
use crate::domain::change::{
    AttributePatch, check_comment, check_expires_after, check_ipv6_suffix, check_notify,
};
use crate::domain::revision::Revision;

/// The change that a record's body requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RecordPatch {
    /// The families to set.
    pub(crate) addresses: Addresses,
    /// The family to remove.
    pub(crate) cleared: Option<Family>,
    /// The attributes to change.
    pub(crate) attributes: AttributePatch,
}

/// The value of `ip` that means the caller's address.
const CALLER: &str = "caller";

/// Parses the body of `PUT /silos/{id}/records/{hostname}`. No body at all (`None`) and `{"ip":"caller"}` mean the
/// caller's address, if it may be used; an empty body is an error, since a script may have failed to fill it.
pub(crate) fn record(
    body: Option<&[u8]>,
    silo: &SiloId,
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
    let mut object = json_object(body)?;
    let mut errors = Errors::default();
    if let Some(given) = hostname_of(&object, &mut errors, false)
        && given != *hostname
    {
        let detail = format!("the body is for {given}, the path for {hostname}");
        errors.add("/hostname", detail);
    }
    let patch = members(&mut object, silo, &caller, &mut errors)?;
    errors.refuse_or(patch)
}

/// The hostname that an object names.
fn hostname_of(
    object: &Map<String, Value>,
    errors: &mut Errors,
    is_needed: bool,
) -> Option<Hostname> {
    if !is_needed && !object.contains_key("hostname") {
        return None;
    }
    text(object, "hostname")
        .and_then(|text| Hostname::parse(text).map_err(|error| error.to_string()))
        .map_err(|error| errors.add("/hostname", error))
        .ok()
}

/// Reads the members of a record's object.
fn members(
    object: &mut Map<String, Value>,
    silo: &SiloId,
    caller: impl Fn() -> Result<IpAddr, ApiError>,
    errors: &mut Errors,
) -> Result<RecordPatch, ApiError> {
    // A search names the silo of each record.
    if let Some(given) = object.remove("silo")
        && given.as_str() != Some(silo.as_str())
    {
        errors.add("/silo", format!("the path is for silo {silo}"));
    }
    let mut own = Errors::default();
    only_or_made_by_the_hub(object, "", &RECORD_MEMBERS, &MADE_BY_THE_HUB, &mut own);
    let attributes = attributes(object, &mut own);
    let is_by_family = BY_FAMILY
        .iter()
        .any(|(member, _)| object.contains_key(*member));
    let (addresses, cleared) = match (object.get("ip"), object.get("ips")) {
        (None, None) if is_by_family => addresses_by_family(object, &mut own),
        (Some(_), _) | (_, Some(_)) if is_by_family => {
            let detail = "give \"ip\" or \"ips\", or \"ip4\" and \"ip6\", not both";
            own.add("/ip4", detail);
            Default::default()
        }
        (Some(Value::String(ip)), None) if ip == CALLER => {
            let implied = own.take(caller())?;
            (implied.into_iter().collect(), None)
        }
        (None, None) if attributes.is_empty() && own.is_empty() && errors.is_empty() => {
            own.add("/ip", "\"ip\" or \"ips\" is missing");
            Default::default()
        }
        (ip, ips) => (listed_addresses(ip, ips, &mut own), None),
    };
    errors.take(own.refuse_or(()))?;
    Ok(RecordPatch {
        addresses,
        cleared,
        attributes,
    })
}

/// The changes that a body of `PATCH /silos/{id}/records` requests.
#[derive(Debug, Default)]
pub(in crate::http) struct RecordPatches {
    /// The records to set, in the order of the body; each hostname once in all.
    pub(in crate::http) set: Vec<(Hostname, RecordPatch)>,
    /// The hostnames to remove, in the order of the body.
    pub(in crate::http) removed: Vec<Hostname>,
    /// The revision of the silo that the body was made for.
    pub(in crate::http) revision: Option<Revision>,
}

/// Parses the body of `PATCH /silos/{id}/records`. A hostname that may not be written is reported before anything else.
pub(in crate::http) fn records(
    body: &[u8],
    silo: &SiloId,
    may_write: impl Fn(&Hostname) -> bool,
    caller: impl Fn() -> Result<IpAddr, ApiError>,
) -> Result<RecordPatches, ApiError> {
    let mut object = json_object(body)?;
    let mut errors = Errors::default();
    let mut forbidden = Errors::default();
    only(&object, "", &["set", "remove", "revision"], &mut errors);
    if !object.contains_key("set") && !object.contains_key("remove") {
        errors.add("/set", "\"set\" or \"remove\" is missing");
    }
    let revision = revision(&object, &mut errors);
    let set = array(&mut object, "set", &mut errors);
    let remove = array(&mut object, "remove", &mut errors);
    if set.len() + remove.len() > MAX_RECORDS {
        let detail = format!(
            "at most {MAX_RECORDS} hostnames at once, not {}",
            set.len() + remove.len()
        );
        return Err(ApiError::invalid("", detail));
    }
    let mut named = Named {
        may_write,
        places: HashMap::new(),
        forbidden: &mut forbidden,
    };
    let mut patches = RecordPatches {
        revision,
        ..RecordPatches::default()
    };
    for (index, entry) in set.into_iter().enumerate() {
        errors.go_to(format!("/set/{index}"));
        let Value::Object(mut entry) = entry else {
            errors.add("", format!("must be an object, not {}", kind(&entry)));
            continue;
        };
        let hostname = hostname_of(&entry, &mut errors, true);
        let mut own = Errors::default();
        let patch = members(&mut entry, silo, &caller, &mut own)?;
        errors.take(own.refuse_or(()))?;
        if let Some(hostname) = hostname {
            named.add(
                &hostname,
                format!("/set/{index}/hostname"),
                &mut errors,
                "/hostname",
            );
            patches.set.push((hostname, patch));
        }
    }
    for (index, entry) in remove.iter().enumerate() {
        errors.go_to(format!("/remove/{index}"));
        let hostname = match entry {
            Value::String(text) => Hostname::parse(text).map_err(|error| error.to_string()),
            other => Err(format!("must be a string, not {}", kind(other))),
        };
        match hostname {
            Err(error) => errors.add("", error),
            Ok(hostname) => {
                named.add(&hostname, format!("/remove/{index}"), &mut errors, "");
                patches.removed.push(hostname);
            }
        }
    }
    if let ApiError::Invalid(forbidden) = forbidden.into_error()
        && !forbidden.is_empty()
    {
        return Err(ApiError::ForbiddenPlaces(forbidden));
    }
    errors.refuse_or(patches)
}

/// The hostnames that a body has named so far, each with its place.
struct Named<'a, F> {
    may_write: F,
    places: HashMap<Hostname, String>,
    forbidden: &'a mut Errors,
}

impl<F: Fn(&Hostname) -> bool> Named<'_, F> {
    fn add(&mut self, hostname: &Hostname, place: String, errors: &mut Errors, pointer: &str) {
        if !(self.may_write)(hostname) {
            self.forbidden
                .add(&place, "this token may not write this record");
        }
        match self.places.entry(hostname.clone()) {
            Entry::Vacant(free) => drop(free.insert(place)),
            Entry::Occupied(first) => {
                let detail = format!("{hostname} is named already, at {}", first.get());
                errors.add(pointer, detail);
            }
        }
    }
}

/// The entries of an array, none if it is not there.
fn array(object: &mut Map<String, Value>, member: &str, errors: &mut Errors) -> Vec<Value> {
    match object.remove(member) {
        None => Vec::new(),
        Some(Value::Array(entries)) => entries,
        Some(other) => {
            let detail = format!("must be an array, not {}", kind(&other));
            errors.add(format!("/{member}"), detail);
            Vec::new()
        }
    }
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
        (Some(_), Some(_)) => errors.add("/ips", "give \"ip\" or \"ips\", not both"),
        (Some(ip), None) => add("/ip".to_owned(), ip),
        (None, Some(Value::Array(ips))) if ips.is_empty() => {
            errors.add("/ips", "must not be empty; DELETE removes a record")
        }
        (None, Some(Value::Array(ips))) => {
            for (index, ip) in ips.iter().enumerate() {
                add(format!("/ips/{index}"), ip);
            }
        }
        (None, Some(other)) => {
            let detail = format!("must be an array of addresses, not {}", kind(other));
            errors.add("/ips", detail);
        }
        (None, None) => {}
    }
    addresses
}

/// Members of a record's document that bodies may have, and which are ignored.
const MADE_BY_THE_HUB: [&str; 3] = ["revision", "updated_at", "last_seen"];

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
            let seconds =
                whole_number(value).ok_or("must be a whole number of seconds, or null")?;
            check_expires_after(seconds).map(|()| seconds)
        }),
    }
}
