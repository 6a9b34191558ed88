//! Which problems an operation can answer with. Attributes of handlers name these sets; the document has a response for
//! each status, which lists the problem types.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use silo_shared::api::PROBLEM_JSON;
use utoipa::IntoResponses;
use utoipa::openapi::schema::{AllOfBuilder, ObjectBuilder, Type};
use utoipa::openapi::{ContentBuilder, HeaderBuilder, Ref, RefOr, Response, ResponseBuilder};

use crate::http::problems::{
    CALLER_UNKNOWN, CLOCK, CONTENT_ENCODING, FORBIDDEN, INTERNAL, INVALID, INVITATION_EXPIRED,
    INVITATION_REPLACED, INVITATION_REVOKED, INVITATION_USED, Kind, MALFORMED, MEDIA_TYPE,
    NOT_FOUND, ORDER, OUTCOME_UNKNOWN, PRECONDITION, REPLAY, TIMEOUT, TOO_LARGE, TOO_MANY_FAILURES,
    TOO_MANY_INVITATIONS, TOO_MANY_REQUESTS, UNAUTHORIZED, UNAVAILABLE, UNENCRYPTED,
};

type Kinds = &'static [&'static Kind];

/// Of every request.
const EVERY: Kinds = &[&MALFORMED, &UNENCRYPTED, &INTERNAL];
/// Of every `GET`: `If-Match` is judged.
const READ: Kinds = &[&PRECONDITION];
/// Of a signature.
const SIGNED: Kinds = &[
    &UNAUTHORIZED,
    &CLOCK,
    &REPLAY,
    &ORDER,
    &TOO_MANY_FAILURES,
    &UNAVAILABLE,
];
/// Of a caller's check.
const CALLER: Kinds = &[&TOO_MANY_REQUESTS, &INVALID];
/// Of what needs a right.
const RIGHT: Kinds = &[&FORBIDDEN];
/// Of every write.
const WRITE: Kinds = &[&FORBIDDEN, &OUTCOME_UNKNOWN];
/// Of `If-Match` and `If-None-Match` on writes.
const CONDITION: Kinds = &[&PRECONDITION];
/// Of a body.
const BODY: Kinds = &[&TIMEOUT, &TOO_LARGE, &MEDIA_TYPE, &CONTENT_ENCODING];
/// Of an invitation that has ended.
const ENDED: Kinds = &[&INVITATION_EXPIRED, &INVITATION_REVOKED, &INVITATION_USED];
/// Of what may not be there.
const MISSING: Kinds = &[&NOT_FOUND];

macro_rules! sets {
    ($($(#[$doc:meta])* $name:ident = [$($part:expr),*];)*) => {
        $($(#[$doc])*
        pub(crate) enum $name {}

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                by_status(&[$($part),*])
                    .into_iter()
                    .map(|(status, kinds)| {
                        let name = component_name(&kinds);
                        (status.as_str().to_owned(), Ref::from_response_name(name).into())
                    })
                    .collect()
            }
        })*

        /// The responses that the sets refer to, by name.
        pub(crate) fn components() -> BTreeMap<String, Response> {
            let mut found = BTreeMap::new();
            $(for (status, kinds) in by_status(&[$($part),*]) {
                found.entry(component_name(&kinds)).or_insert_with(|| component(status, &kinds));
            })*
            found
        }
    };
}

sets! {
    /// Of a read that anyone may make.
    OpenRead = [EVERY, READ];
    /// Of a read that anyone may make, of something that may not be there.
    OpenReadOfOne = [EVERY, READ, MISSING];
    /// Of `/ip`.
    CallerAddress = [EVERY, READ, SIGNED, &[&CALLER_UNKNOWN]];
    /// Of `/readyz`.
    Readiness = [EVERY, READ, &[&UNAVAILABLE]];
    /// Of a list for every token.
    List = [EVERY, READ, SIGNED, CALLER];
    /// Of a read of something that may not be there.
    ReadOfOne = [EVERY, READ, SIGNED, CALLER, MISSING];
    /// Of a read for some roles.
    ReadByRight = [EVERY, READ, SIGNED, CALLER, RIGHT];
    /// Of a stream of all silos.
    Stream = [EVERY, READ, SIGNED, CALLER, RIGHT, &[&OUTCOME_UNKNOWN]];
    /// Of a stream of a silo.
    StreamOfOne = [EVERY, READ, SIGNED, CALLER, MISSING, &[&OUTCOME_UNKNOWN]];
    /// Of a write with a body that may create something.
    WriteOfNew = [EVERY, SIGNED, CALLER, WRITE, BODY];
    /// Of a new invitation.
    NewInvitation = [EVERY, SIGNED, CALLER, WRITE, BODY, &[&TOO_MANY_INVITATIONS]];
    /// Of the removal of an invitation.
    RevocationOfInvitation = [EVERY, SIGNED, CALLER, WRITE, MISSING];
    /// Of a read with an invitation's key.
    ReadOfInvitation = [EVERY, READ, SIGNED, CALLER, RIGHT, ENDED];
    /// Of a write with an invitation's key.
    WriteOfInvitation = [EVERY, SIGNED, CALLER, WRITE, BODY, MISSING, ENDED];
    /// Of the confirmation of an invitation.
    Confirmation = [EVERY, SIGNED, CALLER, WRITE, BODY, MISSING, ENDED, &[&INVITATION_REPLACED]];
    /// Of a write with a body and conditions.
    ConditionalWrite = [EVERY, SIGNED, CALLER, WRITE, BODY, CONDITION, MISSING];
    /// Of a removal with conditions.
    ConditionalRemoval = [EVERY, SIGNED, CALLER, WRITE, CONDITION, MISSING];
    /// Of an update key, beside its own words.
    Foreign = [&[&MALFORMED]];
    /// Of update keys without a key.
    EmptyKey = [&[&MALFORMED], RIGHT];
    /// Of dyndns2, beside its own words.
    Dyndns2 = [&[&MALFORMED], RIGHT, &[&TIMEOUT, &TOO_LARGE, &CONTENT_ENCODING]];
    /// Of a foreign protocol that may not be there.
    ForeignAtRoot = [&[&MALFORMED], MISSING];
    /// Of a write without a body.
    WriteOfOne = [EVERY, SIGNED, CALLER, WRITE, CONDITION, MISSING];
    /// Of a write with a body.
    WriteOfOneWithBody = [EVERY, SIGNED, CALLER, WRITE, BODY, CONDITION, MISSING];
}

/// The kinds of these sets by status, in the order of `problems.rs`.
fn by_status(sets: &[&[&'static Kind]]) -> BTreeMap<StatusCode, Vec<&'static Kind>> {
    let mut found: BTreeMap<StatusCode, Vec<&'static Kind>> = BTreeMap::new();
    for kind in crate::http::problems::ALL {
        if sets.iter().any(|set| set.contains(kind)) {
            found.entry(kind.status).or_default().push(kind);
        }
    }
    found
}

fn component_name(kinds: &[&Kind]) -> String {
    let slugs: Vec<_> = kinds.iter().map(|kind| kind.slug).collect();
    slugs.join("_")
}

fn component(status: StatusCode, kinds: &[&Kind]) -> Response {
    let description: Vec<_> = kinds.iter().map(|kind| kind.markdown()).collect();
    let own = ObjectBuilder::new()
        .schema_type(Type::Object)
        .property(
            "type",
            ObjectBuilder::new()
                .schema_type(Type::String)
                .enum_values(Some(
                    kinds.iter().map(|kind| format!("/problems/{}", kind.slug)),
                )),
        )
        .property(
            "status",
            ObjectBuilder::new()
                .schema_type(Type::Integer)
                .enum_values(Some([status.as_u16()])),
        );
    let schema = AllOfBuilder::new()
        .item(Ref::from_schema_name("Problem"))
        .item(own);
    let headers: &[&str] = match status {
        StatusCode::UNAUTHORIZED => &["WWW-Authenticate"],
        StatusCode::PRECONDITION_FAILED => &["ETag"],
        StatusCode::UNSUPPORTED_MEDIA_TYPE => &["Accept-Encoding"],
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => &["Retry-After"],
        _ => &[],
    };
    let mut response = ResponseBuilder::new()
        .description(description.join("\n"))
        .content(
            PROBLEM_JSON,
            ContentBuilder::new().schema(Some(schema)).build(),
        );
    for name in headers {
        response = response.header(*name, HeaderBuilder::new().build());
    }
    response.build()
}
