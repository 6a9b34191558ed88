//! Schemas of the values that requests contain. What is stored has a schema at its own type.

use silo_shared::credential::TokenId;
use silo_shared::named_schema;
use silo_shared::openapi::text;
use utoipa::ToSchema;
use utoipa::openapi::schema::{AnyOfBuilder, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{KnownFormat, Ref, RefOr, Schema};

use crate::http::problems::ALL;
use crate::store::DeliveryState;

/// A silo's id in a request.
pub(crate) enum GivenSiloId {}

named_schema!(
    GivenSiloId,
    "GivenSiloId",
    text(
        "The id of a silo; upper case becomes lower case.",
        "^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$",
        "office"
    )
    .build()
);

/// A hostname in a request.
pub(crate) enum GivenHostname {}

named_schema!(
    GivenHostname,
    "GivenHostname",
    ObjectBuilder::new()
        .schema_type(Type::String)
        // `idn-hostname` (RFC 5890) has no underscore: validators would refuse names that the hub takes.
        .format(Some(SchemaFormat::Custom("silo-hostname".to_owned())))
        .min_length(Some(1))
        .max_length(Some(254))
        .description(Some(
            "A hostname (RFC 1123): labels of 1 to 63 letters, digits, `-` (not at their ends) and `_`, at most 253 characters. \
             Upper case becomes lower case, Unicode its A-labels, a trailing dot is dropped. Refused: names whose last label \
             is a number or begins with `0x`; `broadcasthost`; `ip6-…`; names under `localhost`, `invalid`, `onion` and `alt`."
        ))
        .examples(["db"])
        .build()
);

/// An IPv4 address in a request.
pub(crate) enum GivenIpv4 {}

named_schema!(
    GivenIpv4,
    "GivenIpv4",
    text(
        "An IPv4 address; not 0.0.0.0, not multicast.",
        "^(?!0\\.0\\.0\\.0$)(?!2(2[4-9]|3[0-9])\\.)",
        "10.0.0.5"
    )
    .format(Some(SchemaFormat::KnownFormat(KnownFormat::Ipv4)))
    .build()
);

/// An IPv6 address in a request.
pub(crate) enum GivenIpv6 {}

named_schema!(
    GivenIpv6,
    "GivenIpv6",
    text(
        "An IPv6 address without zone id; not `::`, not multicast. (An IPv4-mapped one is taken as the IPv4 address.)",
        "^(?!::$)(?![fF][fF])(?!::[fF]{4}:)",
        "fd00::5"
    )
    .format(Some(SchemaFormat::KnownFormat(KnownFormat::Ipv6)))
    .build()
);

/// An address in a request.
pub(crate) enum GivenAddress {}

named_schema!(
    GivenAddress,
    "GivenAddress",
    AnyOfBuilder::new()
        .item(Ref::from_schema_name("GivenIpv4"))
        .item(Ref::from_schema_name("GivenIpv6"))
        .description(Some("An IPv4 or IPv6 address that a record can have."))
        .examples(["10.0.0.5"])
        .build()
);

/// A time in a request.
pub(crate) enum GivenTime {}

named_schema!(
    GivenTime,
    "GivenTime",
    ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
        .description(Some("A time (RFC 3339)."))
        .examples(["2099-01-01T00:00:00Z"])
        .build()
);

/// A URL of the hub.
pub(crate) enum GivenHubUrl {}

named_schema!(
    GivenHubUrl,
    "GivenHubUrl",
    text(
        "A URL of the hub: `http://HOST:PORT` or `https://HOST`, without user, query and fragment.",
        "^https?://[!-~]+$",
        "http://hub.lan:8053"
    )
    .build()
);

/// A public key.
pub(crate) enum GivenPublicKey {}

named_schema!(
    GivenPublicKey,
    "GivenPublicKey",
    text(
        "A public key of X25519 (RFC 7748): 32 bytes in base64url.",
        "^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$",
        "hSDwCYkwp1R0i33ctD73Wg2_Og0mOBr066SpjqqbTmo"
    )
    .build()
);

/// A name or glob of silos.
pub(crate) enum SiloPattern {}

named_schema!(
    SiloPattern,
    "SiloPattern",
    text(
        "The id of a silo, or a glob: `*` matches any run of characters.",
        "^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?|[A-Za-z0-9._-]{0,100}\\*[A-Za-z0-9._*-]{0,100})$",
        "office"
    )
    .build()
);

/// A name or glob of hostnames.
pub(crate) enum HostnamePattern {}

named_schema!(
    HostnamePattern,
    "HostnamePattern",
    AnyOfBuilder::new()
        .item(text(
            "A glob: `*` matches any run of characters, dots too.",
            "^[A-Za-z0-9._-]{0,100}\\*[A-Za-z0-9._*-]{0,100}$",
            "nas-*"
        ))
        .item(Ref::from_schema_name("GivenHostname"))
        .description(Some("A hostname or a glob."))
        .build()
);

/// The value of `If-Match` and `If-None-Match`.
pub(crate) enum EntityTags {}

named_schema!(
    EntityTags,
    "EntityTags",
    text(
        "Entity tags in double quotes, separated by commas, or `*`.",
        "^(\\*|(W/)?\"[!#-~]*\"( *, *(W/)?\"[!#-~]*\")*)$",
        "\"1767323045678001\""
    )
    .build()
);

/// The value of `Prefer`.
pub(crate) enum Preferences {}

named_schema!(
    Preferences,
    "Preferences",
    text("Preferences (RFC 7240).", "", "wait=30").build()
);

/// The value of `Silo-Agent`.
pub(crate) enum AgentField {}

named_schema!(
    AgentField,
    "AgentField",
    text(
        "The name of an agent, its kind and version (RFC 9651).",
        "",
        "\"laptop-7\";kind=downstream;version=\"0.2.0\""
    )
    .build()
);

/// The value of `Silo-Applied`.
pub(crate) enum AppliedField {}

named_schema!(
    AppliedField,
    "AppliedField",
    text(
        "The entity tag of what a downstream has applied (RFC 9651).",
        "",
        "\"1767323045678001\";agent=\"laptop-7\""
    )
    .build()
);

/// The value of `Last-Event-ID`.
pub(crate) enum EventId {}

named_schema!(
    EventId,
    "EventId",
    text(
        "The id of the last event that was received: a revision.",
        "",
        "1767323045678001"
    )
    .build()
);

/// A text to search for.
pub(crate) enum SearchText {}

named_schema!(
    SearchText,
    "SearchText",
    text(
        "A text to search for; case of ASCII letters does not count.",
        "",
        "db"
    )
    .max_length(Some(1000))
    .build()
);

/// A position among the records of all silos.
pub(crate) enum RecordPlaceText {}

named_schema!(
    RecordPlaceText,
    "RecordPlace",
    text(
        "The id of a silo, or a silo and a hostname: `office/db`.",
        "",
        "office/db"
    )
    .build()
);

/// `limit`: 1 to 1000.
pub(crate) enum Limit {}

named_schema!(
    Limit,
    "Limit",
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(1))
        .maximum(Some(1000))
        .examples([100])
        .build()
);

/// A position in a list.
pub(crate) enum Cursor {}

named_schema!(
    Cursor,
    "Cursor",
    text(
        "An opaque position in a list, from a `Link` of the hub.",
        "^[A-Za-z0-9_-]*$",
        "MTc2"
    )
    .build()
);

/// The last segment of a problem's `type`.
pub(crate) enum Slug {}

named_schema!(
    Slug,
    "ProblemSlug",
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(ALL.iter().map(|kind| kind.slug)))
        .examples(["not-found"])
        .build()
);

/// The name of a sink.
pub(crate) enum GivenSinkName {}

named_schema!(
    GivenSinkName,
    "SinkName",
    text(
        "The name of a sink in the hub's configuration.",
        "^[a-z0-9][a-z0-9._-]{0,62}$",
        "dns"
    )
    .build()
);

/// The number of a delivery.
pub(crate) enum DeliveryId {}

named_schema!(
    DeliveryId,
    "DeliveryId",
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
        .minimum(Some(1))
        .examples([1])
        .build()
);

/// The representation of a silo.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase", as = Format, example = "hosts")]
#[expect(dead_code, reason = "it is a schema only")]
pub(crate) enum FormatName {
    /// JSON.
    Json,
    /// Lines of a hosts file.
    Hosts,
    /// A fragment of a DNS zone.
    Zone,
}

/// A family of addresses.
#[derive(ToSchema)]
#[schema(as = Family, example = "4")]
#[expect(dead_code, reason = "it is a schema only")]
pub(crate) enum FamilyNumber {
    /// IPv4.
    #[schema(rename = "4")]
    V4,
    /// IPv6.
    #[schema(rename = "6")]
    V6,
}

/// Yes or no.
#[derive(ToSchema)]
#[schema(example = "1")]
#[expect(dead_code, reason = "it is a schema only")]
pub(crate) enum Flag {
    /// No.
    #[schema(rename = "0")]
    No,
    /// Yes.
    #[schema(rename = "1")]
    Yes,
}

/// The schemas of parameters, which attributes of handlers only refer to.
pub(super) fn schemas() -> Vec<(String, RefOr<Schema>)> {
    fn named<T: ToSchema>() -> (String, RefOr<Schema>) {
        (T::name().into_owned(), T::schema())
    }
    vec![
        named::<GivenSiloId>(),
        named::<GivenHostname>(),
        named::<EntityTags>(),
        named::<Preferences>(),
        named::<AgentField>(),
        named::<AppliedField>(),
        named::<EventId>(),
        named::<Limit>(),
        named::<SearchText>(),
        named::<RecordPlaceText>(),
        named::<GivenAddress>(),
        named::<GivenIpv4>(),
        named::<GivenIpv6>(),
        named::<Cursor>(),
        named::<Slug>(),
        named::<GivenSinkName>(),
        named::<DeliveryId>(),
        named::<FormatName>(),
        named::<FamilyNumber>(),
        named::<Flag>(),
        named::<TokenId>(),
        named::<DeliveryState>(),
    ]
}
