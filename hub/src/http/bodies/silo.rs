//! The body of a silo.

use std::collections::BTreeMap;

use serde_json::Value;
use silo_shared::silo::{Family, Hostname, MAX_RECORDS, Records, SiloId, parse_address};

use super::super::error::ApiError;
use super::super::json::{json_object, whole_number};
use super::members::{Errors, kind, only, only_or_made_by_the_hub, revision, text};
use crate::domain::revision::Revision;

/// The body of `PUT /silos/{id}`: the records, and the revision that the document was read at.
pub(in crate::http) fn silo(
    body: &[u8],
    id: &SiloId,
) -> Result<(Records, Option<Revision>), ApiError> {
    let object = json_object(body)?;
    let mut errors = Errors::default();
    let known = ["id", "dnsrecords"];
    let made = ["revision", "updated_at"];
    only_or_made_by_the_hub(&object, "", &known, &made, &mut errors);
    let revision = revision(&object, &mut errors);
    if object.contains_key("id") {
        match text(&object, "id").and_then(|text| SiloId::parse(text).map_err(|e| e.to_string())) {
            Ok(given) if given == *id => {}
            Ok(given) => errors.add(
                "/id",
                format!("the body is for silo {given}, the path for {id}"),
            ),
            Err(error) => errors.add("/id", error),
        }
    }
    let entries = match object.get("dnsrecords") {
        Some(Value::Array(entries)) => entries.as_slice(),
        Some(other) => {
            let detail = format!("must be an array, not {}", kind(other));
            errors.add("/dnsrecords", detail);
            &[]
        }
        None => {
            errors.add("/dnsrecords", "\"dnsrecords\" is missing");
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

/// The body of `POST /silos/{id}/revert`: the revision to return to.
pub(in crate::http) fn revert(body: &[u8]) -> Result<Revision, ApiError> {
    let object = json_object(body)?;
    let mut errors = Errors::default();
    only(&object, "", &["revision"], &mut errors);
    let revision = object.get("revision").and_then(whole_number);
    if revision.is_none() {
        errors.add(
            "/revision",
            "must be a whole number: a revision from the silo's history",
        );
    }
    errors.refuse_or(revision.unwrap_or_default().into())
}
