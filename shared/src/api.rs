//! The JSON bodies of the HTTP API that more than one program reads or writes.
//!
//! Texts here are as sent; [`crate::silo`] has the types that they parse into.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The largest request body that the hub reads, in bytes.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;

/// The media type of every error (RFC 9457).
pub const PROBLEM_JSON: &str = "application/problem+json";

/// `GET /silos/{id}` and the response to a PUT of a silo.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiloDocument {
    /// The silo's id.
    pub id: String,
    /// One entry per hostname and family, in byte order of the hostname, IPv4 first.
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
    /// When a write last included this record, even without a change.
    pub last_seen: String,
    /// A free-form comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// The mail address to notify when the address changes; visible only to writers and admins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<String>,
    /// The host part to combine with an IPv6 prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6_suffix: Option<std::net::Ipv6Addr>,
    /// Seconds without a write after which the hub deletes the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_after: Option<i64>,
}

/// `GET /ip`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallerAddress {
    /// The caller's address as seen by the hub.
    pub ip: IpAddr,
}

/// An error response (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `/problems/<slug>`.
    #[serde(rename = "type")]
    pub kind: String,
    /// A short description of the slug.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong with this request.
    pub detail: String,
    /// For a refused body: all errors in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

/// One error in a refused request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldError {
    /// A JSON pointer (RFC 6901) into the body, or `/` and the name of a parameter.
    pub pointer: String,
    /// What is wrong there.
    pub detail: String,
}
