//! Schemas of request bodies. `http::bodies` parses them; the tests of the REST interface compare the members that it
//! takes with these. The document closes them, since other members are refused.

use std::borrow::Cow;

use silo_shared::credential::TokenId;
use utoipa::openapi::schema::{
    AdditionalProperties, AnyOfBuilder, ArrayBuilder, ObjectBuilder, OneOfBuilder, SchemaFormat,
    SchemaType, Type,
};
use utoipa::openapi::{Components, KnownFormat, Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::values::{
    GivenAddress, GivenHostname, GivenIpv4, GivenIpv6, GivenPublicKey, GivenSiloId, GivenTime,
    HostnamePattern, SiloPattern,
};
use crate::domain::token::Role;
use crate::registry::new_token::{DEFAULT_OVERLAP, MAX_OVERLAP};

/// The records of a silo. A document that was read can be sent back.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is a schema only")]
pub(crate) struct SiloBody {
    /// Must be the id in the path.
    #[schema(nullable = false)]
    id: Option<GivenSiloId>,
    /// All records of the silo: one entry for each hostname and family. A second address of the same family is refused.
    #[schema(max_items = 10_000)]
    dnsrecords: Vec<DnsRecordBody>,
    /// The revision at which the document was read. While it is there, the write is refused (412) if the silo was changed
    /// since. Leave it out to overwrite.
    #[schema(minimum = 0, maximum = 9_007_199_254_740_991_i64)]
    revision: Option<i64>,
    /// Ignored.
    updated_at: Option<String>,
}

/// One hostname/address pair.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is a schema only")]
pub(crate) struct DnsRecordBody {
    hostname: GivenHostname,
    ip: GivenAddress,
}

/// The revision to return to.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is a schema only")]
pub(crate) struct RevertBody {
    #[schema(minimum = 0, maximum = 9_007_199_254_740_991_i64)]
    revision: i64,
}

/// Records to set, and perhaps hostnames to remove.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is a schema only")]
pub(crate) struct SetRecordsBody {
    #[schema(max_items = 10_000)]
    set: Vec<NamedRecordBody>,
    #[schema(max_items = 10_000, nullable = false)]
    remove: Option<Vec<GivenHostname>>,
    /// The revision of the silo that the body was made for. While it is there, the write is refused (412) if the silo was
    /// changed since.
    #[schema(minimum = 0, maximum = 9_007_199_254_740_991_i64)]
    revision: Option<i64>,
}

/// Hostnames to remove, and perhaps records to set.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is a schema only")]
pub(crate) struct RemoveRecordsBody {
    #[schema(max_items = 10_000, nullable = false)]
    set: Option<Vec<NamedRecordBody>>,
    #[schema(max_items = 10_000)]
    remove: Vec<GivenHostname>,
    /// The revision of the silo that the body was made for. While it is there, the write is refused (412) if the silo was
    /// changed since.
    #[schema(minimum = 0, maximum = 9_007_199_254_740_991_i64)]
    revision: Option<i64>,
}

/// What to change of a token; `null` removes a limit.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is a schema only")]
pub(crate) struct TokenPatchBody {
    /// A name for people, without control characters.
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*$",
        example = "nas",
        nullable = false
    )]
    name: Option<String>,
    /// Names or globs of the silos.
    #[schema(max_items = 100)]
    silos: Option<Vec<SiloPattern>>,
    /// Names or globs of the hostnames that the token may write; `null`: all.
    #[schema(min_items = 1, max_items = 100)]
    hostnames: Option<Vec<HostnamePattern>>,
    /// When the token ends, in the future; `null`: never.
    expires_at: Option<GivenTime>,
    /// Must be the id in the path.
    #[schema(nullable = false)]
    id: Option<TokenId>,
    /// Must be the token's role, which stays.
    #[schema(nullable = false)]
    role: Option<Role>,
}

/// How to rotate a token's secret.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is a schema only")]
pub(crate) struct RotateBody {
    /// For how many seconds the old secret stays valid.
    #[schema(default = json!(DEFAULT_OVERLAP), minimum = 0, maximum = 7_776_000, required = false)]
    overlap: u32,
    /// A new public key of X25519, in base64url: the answer then has the hub's public key and no secret. For the token itself.
    #[schema(nullable = false)]
    public_key: Option<GivenPublicKey>,
}

const _: () = assert!(MAX_OVERLAP == 7_776_000, "RotateBody says so");

/// A new token that may read or write some silos.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is a schema only")]
pub(crate) struct LimitedTokenBody {
    /// A name for people, without control characters.
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*$",
        example = "nas"
    )]
    name: String,
    role: LimitedRole,
    /// Names or globs of the silos.
    #[schema(min_items = 1, max_items = 100)]
    silos: Vec<SiloPattern>,
    /// Names or globs of the hostnames that the token may write. Left out: all, and the silo as a whole.
    #[schema(min_items = 1, max_items = 100)]
    hostnames: Option<Vec<HostnamePattern>>,
    /// When the token ends, in the future. Left out: never.
    expires_at: Option<GivenTime>,
}

/// The role of a token with limits.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase", example = "write")]
#[expect(dead_code, reason = "it is a schema only")]
pub(crate) enum LimitedRole {
    Read,
    Write,
}

/// A new token that may do everything.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is a schema only")]
pub(crate) struct AdminTokenBody {
    /// A name for people, without control characters.
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*$",
        example = "ops"
    )]
    name: String,
    role: AdminRole,
    /// When the token ends, in the future. Left out: never.
    expires_at: Option<GivenTime>,
}

/// The role of a token without limits.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase", example = "admin")]
#[expect(dead_code, reason = "it is a schema only")]
pub(crate) enum AdminRole {
    Admin,
}

/// A new token that may read metrics and the status of the hub, and no silo.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is a schema only")]
pub(crate) struct MetricsTokenBody {
    /// A name for people, without control characters.
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*$",
        example = "prometheus"
    )]
    name: String,
    role: MetricsRole,
    /// When the token ends, in the future. Left out: never.
    expires_at: Option<GivenTime>,
}

/// The role of a token for metrics.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase", example = "metrics")]
#[expect(dead_code, reason = "it is a schema only")]
pub(crate) enum MetricsRole {
    Metrics,
}

pub(super) type Schemas = Vec<(String, RefOr<Schema>)>;

/// Adds a schema and those that it refers to.
pub(super) fn add<T: ToSchema>(schemas: &mut Schemas) {
    schemas.push((T::name().into_owned(), T::schema()));
    T::schemas(schemas);
}

/// A new token.
pub(crate) enum TokenBody {}

impl PartialSchema for TokenBody {
    fn schema() -> RefOr<Schema> {
        AnyOfBuilder::new()
            .item(Ref::from_schema_name("LimitedTokenBody"))
            .item(Ref::from_schema_name("AdminTokenBody"))
            .item(Ref::from_schema_name("MetricsTokenBody"))
            .description(Some("A new token."))
            .into()
    }
}

impl ToSchema for TokenBody {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("TokenBody")
    }

    fn schemas(schemas: &mut Schemas) {
        add::<LimitedTokenBody>(schemas);
        add::<AdminTokenBody>(schemas);
        add::<MetricsTokenBody>(schemas);
    }
}

/// Records to set and hostnames to remove.
pub(crate) enum RecordsBody {}

impl PartialSchema for RecordsBody {
    fn schema() -> RefOr<Schema> {
        AnyOfBuilder::new()
            .item(Ref::from_schema_name("SetRecordsBody"))
            .item(Ref::from_schema_name("RemoveRecordsBody"))
            .description(Some(
                "Records to set and hostnames to remove; one of both is needed.",
            ))
            .into()
    }
}

impl ToSchema for RecordsBody {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("RecordsBody")
    }

    fn schemas(schemas: &mut Schemas) {
        add::<SetRecordsBody>(schemas);
        add::<RemoveRecordsBody>(schemas);
    }
}

/// Closes the schemas of bodies: members that they do not list are refused.
pub(crate) fn close(components: &mut Components) {
    for (name, schema) in &mut components.schemas {
        if let RefOr::T(Schema::Object(body)) = schema
            && name.ends_with("Body")
        {
            body.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
        }
    }
}

/// The addresses and attributes of a record.
pub(crate) enum RecordBody {}

/// The same in a list, with its hostname.
pub(crate) enum NamedRecordBody {}

impl PartialSchema for NamedRecordBody {
    fn schema() -> RefOr<Schema> {
        forms_of_record(|form| form.required("hostname"))
    }
}

impl ToSchema for NamedRecordBody {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("NamedRecordBody")
    }

    fn schemas(schemas: &mut Schemas) {
        RecordBody::schemas(schemas);
    }
}

impl PartialSchema for RecordBody {
    fn schema() -> RefOr<Schema> {
        forms_of_record(|form| form)
    }
}

/// The forms that the body of a record may have.
fn forms_of_record(finish: impl Fn(ObjectBuilder) -> ObjectBuilder) -> RefOr<Schema> {
    let with_attributes =
        |title: &str, own: &[(&str, RefOr<Schema>, bool)]| finish(with_attributes(title, own));
    AnyOfBuilder::new()
            .item(with_attributes("One address", &[("ip", ip(), true)]))
            .item(with_attributes("One or both addresses", &[("ips", ips(), true)]))
            .item(with_attributes(
                "The IPv4 address",
                &[("ip4", refer("GivenIpv4"), true), ("ip6", or_null("GivenIpv6"), false)],
            ))
            .item(with_attributes(
                "The IPv6 address",
                &[("ip6", refer("GivenIpv6"), true), ("ip4", or_null("GivenIpv4"), false)],
            ))
            .item(with_attributes("Attributes of a record that is there", &[]).min_properties(Some(1)))
            .description(Some(
                "Sets the addresses that are named, and the attributes. An address family that is not named stays; `null` removes \
                 it. An attribute that is left out stays; `null` clears it.",
            ))
            .into()
}

impl ToSchema for RecordBody {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("RecordBody")
    }

    fn schemas(schemas: &mut Schemas) {
        add::<GivenHostname>(schemas);
        add::<GivenAddress>(schemas);
        add::<GivenIpv4>(schemas);
        add::<GivenIpv6>(schemas);
    }
}

fn refer(name: &str) -> RefOr<Schema> {
    Ref::from_schema_name(name).into()
}

fn or_null(name: &str) -> RefOr<Schema> {
    OneOfBuilder::new()
        .item(ObjectBuilder::new().schema_type(Type::Null))
        .item(Ref::from_schema_name(name))
        .into()
}

/// `ip`: an address, or where the request comes from.
fn ip() -> RefOr<Schema> {
    let caller = ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(["caller"]))
        .description(Some("The address that the request comes from."));
    AnyOfBuilder::new()
        .item(Ref::from_schema_name("GivenAddress"))
        .item(caller)
        .into()
}

/// `ips`: at most one address of each family.
fn ips() -> RefOr<Schema> {
    let one = |name| {
        ArrayBuilder::new()
            .items(Ref::from_schema_name(name))
            .min_items(Some(1))
            .max_items(Some(1))
    };
    let both = |first, second| {
        let all_of = |name| {
            Schema::from(
                utoipa::openapi::schema::AllOfBuilder::new()
                    .item(Ref::from_schema_name(name))
                    .build(),
            )
        };
        ArrayBuilder::new()
            .prefix_items([all_of(first), all_of(second)])
            .min_items(Some(2))
            .max_items(Some(2))
    };
    AnyOfBuilder::new()
        .item(one("GivenIpv4"))
        .item(one("GivenIpv6"))
        .item(both("GivenIpv4", "GivenIpv6"))
        .item(both("GivenIpv6", "GivenIpv4"))
        .into()
}

/// A form of a record's body: its own members, each with its schema and whether it must be there, and the attributes.
fn with_attributes(title: &str, own: &[(&str, RefOr<Schema>, bool)]) -> ObjectBuilder {
    let nullable =
        |kind| ObjectBuilder::new().schema_type(SchemaType::from_iter([kind, Type::Null]));
    let mut object = ObjectBuilder::new()
        .schema_type(Type::Object)
        .title(Some(title))
        .additional_properties(Some(AdditionalProperties::FreeForm(false)));
    for (name, schema, is_needed) in own {
        object = object.property(*name, schema.clone());
        if *is_needed {
            object = object.required(*name);
        }
    }
    object
        .property("hostname", refer("GivenHostname"))
        .property(
            "comment",
            nullable(Type::String)
                .max_length(Some(1000))
                .description(Some("For people; without NUL."))
                .pattern(Some("^[^\\x00]*$"))
                .examples(["in the cellar"]),
        )
        .property(
            "notify",
            nullable(Type::String)
                .max_length(Some(254))
                .pattern(Some("^[!-~]+$"))
                .format(Some(SchemaFormat::KnownFormat(KnownFormat::Email)))
                .description(Some("A mail address to inform of changes."))
                .examples(["ops@example.net"]),
        )
        .property(
            "ipv6_suffix",
            nullable(Type::String)
                .format(Some(SchemaFormat::KnownFormat(KnownFormat::Ipv6)))
                .pattern(Some("^(?!::$)"))
                .description(Some(
                    "The host part to combine with the IPv6 prefixes that DDNS clients send.",
                ))
                .examples(["::5"]),
        )
        .property(
            "expires_after",
            nullable(Type::Integer)
                .minimum(Some(1800))
                .maximum(Some(3_162_240_000_i64))
                .description(Some(
                    "The hub removes the record after so many seconds without a write of it.",
                ))
                .examples([86_400]),
        )
}
