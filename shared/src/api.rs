//! The JSON bodies of the HTTP contract that more than one program reads or writes.
//!
//! Texts here are as they travel; [`crate::silo`] has the types that they parse into.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The largest request body that the hub reads, in bytes.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;

/// The media type of every error (RFC 9457).
pub const PROBLEM_JSON: &str = "application/problem+json";

/// `GET /silos/{id}` and the answer to a PUT of a silo.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiloDocument {
    /// The silo's id.
    pub id: String,
    /// One entry a hostname and family, in byte order of the hostname, IPv4 first.
    pub dnsrecords: Vec<DnsRecord>,
    /// The revision of the last change.
    pub revision: i64,
    /// When that was (RFC 3339, UTC, milliseconds).
    pub updated_at: String,
}

/// One hostname/address pair of a [`SiloDocument`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsRecord {
    /// The hostname.
    pub hostname: String,
    /// The address.
    pub ip: String,
}

/// `GET` and `PUT /silos/{id}/records/{hostname}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordDocument {
    /// The hostname.
    pub hostname: String,
    /// Its addresses, IPv4 first.
    pub ips: Vec<IpAddr>,
    /// The revision at which this record last changed.
    pub revision: i64,
    /// When that was (RFC 3339, UTC, milliseconds).
    pub updated_at: String,
    /// When a write last named this record, also one that changed nothing.
    pub last_seen: String,
    /// A note of the users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Who is told by mail when the address changes; shown to writers and admins only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<String>,
    /// The host part that is put behind an IPv6 prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6_suffix: Option<std::net::Ipv6Addr>,
    /// Seconds without a write after which the hub removes the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_after: Option<i64>,
}

/// `GET /ip`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallerAddress {
    /// The caller's address as the hub sees it.
    pub ip: IpAddr,
}

/// An error answer (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `/problems/<slug>`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The slug in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong with this request.
    pub detail: String,
    /// For a refused body: each place that is wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

/// One wrong place in a refused request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldError {
    /// Where: a JSON pointer (RFC 6901) into the body, or `/` and the name of a parameter.
    pub pointer: String,
    /// What is wrong there.
    pub detail: String,
}
