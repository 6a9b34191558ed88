//! A fuzz target: takes bytes and panics if an invariant is violated. The package `silo-fuzz` runs it under libFuzzer;
//! the test below runs it briefly.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use serde_json::{Value, json};
use silo_shared::credential::TokenId;
use silo_shared::silo::{Hostname, MAX_RECORDS, SiloId, count_records};

use super::bodies::{self, RecordPatch};
use super::error::ApiError;
use crate::domain::time::Time;

/// A body is parsed, or refused with pointers into it. A parsed body survives printing and parsing again.
pub fn bodies(data: &[u8]) {
    let id = SiloId::parse("office").expect("it is the id of a silo");
    let caller = IpAddr::from(Ipv4Addr::new(192, 0, 2, 1));
    let now = Time::parse("2026-01-02T03:04:05Z").expect("it is a time");

    match bodies::silo(data, &id) {
        Ok((records, _)) => {
            assert!(count_records(&records) <= MAX_RECORDS);
            let printed: Vec<Value> = records
                .iter()
                .flat_map(|(name, addresses)| addresses.iter().map(move |ip| (name, ip)))
                .map(|(hostname, ip)| json!({ "hostname": hostname, "ip": ip }))
                .collect();
            let printed = json!({ "id": id, "dnsrecords": printed }).to_string();
            let again = bodies::silo(printed.as_bytes(), &id).expect("what was read can be sent");
            assert_eq!(again, (records, None));
        }
        Err(error) => check(data, &error),
    }
    let hostname = Hostname::parse("db").expect("it is a hostname");
    match bodies::record(Some(data), &id, &hostname, || Ok(caller)) {
        Ok(RecordPatch {
            addresses,
            cleared,
            attributes,
        }) => {
            assert!(!addresses.is_empty() || cleared.is_some() || !attributes.is_empty());
            assert!(cleared.is_none_or(|family| addresses.get(family).is_none()));
            if !addresses.is_empty() {
                let printed = json!({ "ips": addresses.iter().collect::<Vec<_>>() }).to_string();
                let printed = Some(printed.as_bytes());
                let again = bodies::record(printed, &id, &hostname, || Ok(caller));
                let again = again.expect("what was read can be sent");
                assert_eq!(again.addresses, addresses);
            }
        }
        Err(error) => check(data, &error),
    }
    match bodies::records(data, &id, |_| true, || Ok(caller)) {
        Ok(patches) => {
            let set = patches.set.iter().map(|(hostname, _)| hostname);
            let all: Vec<_> = set.chain(&patches.removed).collect();
            assert!(all.len() <= MAX_RECORDS);
            assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
        }
        Err(error) => check(data, &error),
    }
    match bodies::token(data, now) {
        Ok(spec) => assert_eq!(spec.clone().check(now), Ok(spec)),
        Err(error) => check(data, &error),
    }
    let token = TokenId::parse("abcdefgh12").expect("it is the id of a token");
    let others = [
        bodies::rotation(data).err(),
        bodies::invitation(data, now).err(),
        bodies::redemption(data).err(),
        bodies::confirmation(data).err(),
        bodies::revert(data).err(),
        bodies::token_patch(data, token, now).err(),
    ];
    for error in others.iter().flatten() {
        check(data, error);
    }
}

/// A refusal has a reason and a place: the object or array that a pointer leads into exists in the body.
fn check(data: &[u8], error: &ApiError) {
    let plain = data.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(data);
    match error {
        ApiError::MalformedBody(why) => {
            assert!(!why.is_empty());
            assert!(why.contains("duplicate") || serde_json::from_slice::<Value>(plain).is_err());
        }
        ApiError::Invalid(places) => {
            assert!((1..=100).contains(&places.len()));
            let body = serde_json::from_slice::<Value>(plain).unwrap_or_default();
            for place in places {
                let parent = place
                    .pointer
                    .rsplit_once('/')
                    .map_or("", |(parent, _)| parent);
                assert!(body.pointer(parent).is_some(), "{place:?} is nowhere");
                assert!(!place.detail.is_empty());
            }
        }
        other => panic!("a body is not refused with {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use silo_e2e::fuzz::try_target;

    #[test]
    fn bodies_are_read_or_refused_at_a_place() {
        try_target("bodies", super::bodies);
    }
}
