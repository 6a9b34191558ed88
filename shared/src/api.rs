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
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SiloDocument {
    /// The silo's id.
    #[cfg_attr(feature = "openapi", schema(value_type = crate::silo::SiloId))]
    pub id: String,
    /// One entry per hostname and family, in byte order of the hostname, IPv4 first.
    pub dnsrecords: Vec<DnsRecord>,
    /// The revision of the last change.
    #[cfg_attr(feature = "openapi", schema(value_type = crate::openapi::Revision))]
    pub revision: i64,
    /// When that was (RFC 3339, UTC, milliseconds).
    #[cfg_attr(feature = "openapi", schema(value_type = crate::openapi::Time))]
    pub updated_at: String,
}

/// One hostname/address pair of a [`SiloDocument`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DnsRecord {
    /// The hostname.
    #[cfg_attr(feature = "openapi", schema(value_type = crate::silo::Hostname))]
    pub hostname: String,
    /// The address.
    #[cfg_attr(feature = "openapi", schema(value_type = crate::openapi::Address))]
    pub ip: String,
}

/// `GET` and `PUT /silos/{id}/records/{hostname}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RecordDocument {
    /// The hostname.
    #[cfg_attr(feature = "openapi", schema(value_type = crate::silo::Hostname))]
    pub hostname: String,
    /// Its addresses, IPv4 first.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<crate::openapi::Address>, max_items = 2))]
    pub ips: Vec<IpAddr>,
    /// The revision at which this record last changed.
    #[cfg_attr(feature = "openapi", schema(value_type = crate::openapi::Revision))]
    pub revision: i64,
    /// When that was (RFC 3339, UTC, milliseconds).
    #[cfg_attr(feature = "openapi", schema(value_type = crate::openapi::Time))]
    pub updated_at: String,
    /// When a write last included this record, even without a change.
    #[cfg_attr(feature = "openapi", schema(value_type = crate::openapi::Time))]
    pub last_seen: String,
    /// A free-form comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "openapi",
        schema(max_length = 1000, example = "in the cellar")
    )]
    pub comment: Option<String>,
    /// The mail address to notify when the address changes; visible only to writers and admins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "openapi",
        schema(max_length = 254, example = "ops@example.net")
    )]
    pub notify: Option<String>,
    /// The host part to combine with an IPv6 prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = Ipv6, example = "::5"))]
    pub ipv6_suffix: Option<std::net::Ipv6Addr>,
    /// Seconds without a write after which the hub deletes the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1800, example = 86400))]
    pub expires_after: Option<i64>,
}

/// `GET /ip`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CallerAddress {
    /// The caller's address as seen by the hub.
    #[cfg_attr(feature = "openapi", schema(value_type = crate::openapi::Address))]
    pub ip: IpAddr,
}

/// An error response (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// `/problems/<slug>`.
    #[serde(rename = "type")]
    #[cfg_attr(
        feature = "openapi",
        schema(pattern = "^/problems/[a-z-]+$", example = "/problems/not-found")
    )]
    pub kind: String,
    /// A short description of the slug.
    #[cfg_attr(feature = "openapi", schema(example = "Not found"))]
    pub title: String,
    /// The HTTP status.
    #[cfg_attr(
        feature = "openapi",
        schema(minimum = 400, maximum = 599, example = 404)
    )]
    pub status: u16,
    /// What is wrong with this request.
    #[cfg_attr(feature = "openapi", schema(example = "there is no such silo"))]
    pub detail: String,
    /// For a refused body: all errors in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// The id of the request, which the hub's log has in each line about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "openapi",
        schema(
            pattern = "^[0-9a-f]{16}$",
            example = "9f86d081884c7d65",
            nullable = false
        )
    )]
    pub request_id: Option<String>,
}

/// One error in a refused request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FieldError {
    /// A JSON pointer (RFC 6901) into the body, or `/` and the name of a parameter.
    #[cfg_attr(feature = "openapi", schema(example = "/dnsrecords/3/ip"))]
    pub pointer: String,
    /// What is wrong there.
    #[cfg_attr(feature = "openapi", schema(example = "not an IPv4 or IPv6 address"))]
    pub detail: String,
}
