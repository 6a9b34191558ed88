//! Schemas of values that are texts in JSON, for the hub's OpenAPI document. Only with the feature `openapi`.

use std::borrow::Cow;

use utoipa::openapi::schema::{AnyOfBuilder, Object, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{KnownFormat, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::credential::TokenId;
use crate::silo::{Hostname, SiloId};

/// The pattern of a hostname as it is stored.
const HOSTNAME: &str = "^(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*$";

/// The schema of a text. An empty pattern: any text.
pub fn text(description: &str, pattern: &str, example: &str) -> ObjectBuilder {
    let pattern = (!pattern.is_empty()).then_some(pattern);
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(description))
        .pattern(pattern)
        .examples([example])
}

/// Implements [`ToSchema`] for types with a schema of their own.
#[macro_export]
macro_rules! named_schema {
    ($type:ty, $name:literal, $schema:expr) => {
        impl ::utoipa::PartialSchema for $type {
            fn schema() -> ::utoipa::openapi::RefOr<::utoipa::openapi::Schema> {
                ::std::convert::Into::into(::utoipa::openapi::Schema::from($schema))
            }
        }

        impl ::utoipa::ToSchema for $type {
            fn name() -> ::std::borrow::Cow<'static, str> {
                ::std::borrow::Cow::Borrowed($name)
            }
        }
    };
}

named_schema!(
    SiloId,
    "SiloId",
    text(
        "The id of a silo.",
        "^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$",
        "office"
    )
    .build()
);

named_schema!(
    Hostname,
    "Hostname",
    text(
        "A hostname in its stored form: lower case, no trailing dot, Unicode as A-labels.",
        HOSTNAME,
        "db"
    )
    .max_length(Some(253))
    .build()
);

named_schema!(
    TokenId,
    "TokenId",
    text(
        "The id of a token. Not secret.",
        "^[a-z0-9]{10}$",
        "k3f9a0b2c1"
    )
    .build()
);

/// The schema of an address in an answer.
#[derive(Debug)]
pub enum Address {}

impl PartialSchema for Address {
    fn schema() -> RefOr<Schema> {
        let family = |format, example: &str| {
            ObjectBuilder::new()
                .schema_type(Type::String)
                .format(Some(SchemaFormat::KnownFormat(format)))
                .examples([example])
        };
        AnyOfBuilder::new()
            .item(family(KnownFormat::Ipv4, "10.0.0.5"))
            .item(family(KnownFormat::Ipv6, "fd00::5"))
            .description(Some("An IPv4 or IPv6 address."))
            .into()
    }
}

impl ToSchema for Address {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Address")
    }
}

/// The schema of a time in an answer.
pub fn time() -> Object {
    text(
        "A time: RFC 3339, UTC, milliseconds.",
        "^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{3}Z$",
        "2026-01-02T03:04:05.678Z",
    )
    .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
    .build()
}

/// The schema of a revision.
pub fn revision() -> Object {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
        .description(Some(
            "The number of a change. Each command that changes a silo takes the next one, over the whole hub.",
        ))
        .minimum(Some(0))
        .maximum(Some(9_007_199_254_740_991_i64))
        .examples([1_767_323_045_678_001_i64])
        .build()
}

/// A time as text.
#[derive(Debug)]
pub enum Time {}

named_schema!(Time, "Time", time());

/// A revision.
#[derive(Debug)]
pub enum Revision {}

named_schema!(Revision, "Revision", revision());
